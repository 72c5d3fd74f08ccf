"""The lumbar spine as a wing; see :class:`fracture.wing.contract.Wing`."""

from fracture.spine.lumbar.card import STORE
from fracture.spine.wing import series_wing

WING = series_wing("lumbar", STORE, "MR")
