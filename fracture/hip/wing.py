"""The hips as a wing; see :class:`fracture.wing.contract.Wing`."""

from fracture.hip.store import STORE
from fracture.wing.contract import reader_wing

WING = reader_wing("hip", STORE, "fracture.hip.pipeline:HipReader", kind="hips")
