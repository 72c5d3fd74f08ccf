"""The cervical spine as a wing; see :class:`fracture.wing.contract.Wing`."""

from fracture.spine.cervical.card import STORE
from fracture.spine.wing import series_wing

WING = series_wing("cervical", STORE, "CT")
