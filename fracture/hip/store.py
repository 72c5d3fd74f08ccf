"""Pairs of hip networks: found and opened as any wing's weights, see :mod:`fracture.wing.store`."""

from __future__ import annotations

from fracture.hip.card import HipCard
from fracture.wing.store import Store

DEFAULT_HIP_WEIGHTS = "hip-small"
STORE = Store(HipCard, DEFAULT_HIP_WEIGHTS, "hip networks", "`fracture hip assemble`")
available, find = STORE.available, STORE.find
