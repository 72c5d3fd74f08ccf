"""The cervical spine as a wing; see :class:`fracture.wing.contract.Wing`."""

from fracture.spine.cervical.card import STORE
from fracture.wing.contract import reader_wing

WING = reader_wing("cervical", STORE, "fracture.spine.cervical.reader:CervicalReader", kind="cervical", series=("CT",))
