"""Sets of joint networks: found and opened as any wing's weights, see :mod:`fracture.wing.store`."""

from __future__ import annotations

from typing import TypeAlias

from fracture.joints.card import JointsCard
from fracture.wing.store import Store, Weights

__all__ = ["STORE", "JointsWeights"]

STORE = Store(JointsCard, "joints-small", "joint networks", "`fracture joints train`")
JointsWeights: TypeAlias = Weights[JointsCard]
