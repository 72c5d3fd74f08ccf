"""The lumbar spine as a wing; see :class:`fracture.wing.contract.Wing`."""

from fracture.spine.lumbar.card import STORE
from fracture.wing.contract import reader_wing

WING = reader_wing("lumbar", STORE, "fracture.spine.lumbar.reader:LumbarReader", kind="lumbar", series=("MR",))
