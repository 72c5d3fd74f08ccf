"""The joints of hands and feet as a wing; see :class:`fracture.wing.contract.Wing`."""

from fracture.joints.card import STORE
from fracture.wing.contract import reader_wing

WING = reader_wing("joints", STORE, "fracture.joints.reader:JointsReader", kind="joints")
