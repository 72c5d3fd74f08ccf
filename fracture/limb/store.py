"""The weights of the limbs' detector: found and opened as any wing's, see :mod:`fracture.wing.store`."""

from __future__ import annotations

from typing import TypeAlias

from fracture.limb.card import Card
from fracture.wing.store import Store, Weights as AnyWeights

DEFAULT_WEIGHTS = "fracatlas-small"
STORE = Store(Card, DEFAULT_WEIGHTS, "weights", "`fracture assemble`")
Weights: TypeAlias = AnyWeights[Card]
available, find, open_weights = STORE.available, STORE.find, STORE.open
