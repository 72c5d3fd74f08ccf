"""The limbs' detector as a wing; see :class:`fracture.wing.contract.Wing`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fracture.limb.card import Card
from fracture.limb.store import STORE, Weights
from fracture.wing.contract import Wing

if TYPE_CHECKING:
    from fracture.limb.detector import Detector

__all__ = ["WING"]


def _load(weights: str | os.PathLike[str] | None = None, **options: Any) -> Detector:
    from fracture.limb.detector import Detector

    return Detector.load(weights, **options)


def _self_tests(weights: Weights) -> Iterator[str]:
    from fracture.limb.detector import Detector
    from fracture.limb.ensemble import Ensemble
    from fracture.limb.fast import fast_view

    card = weights.card
    detector = Detector(Ensemble.load(weights, device="cpu", precision="float32"), card)
    yield f"networks built and filled; operating points at {', '.join(detector.operating_points.nodes) or 'no node'}"
    if card.input_check is not None:
        yield f"input check on {card.input_check.member}, limit {card.input_check.limit:.2f}"
    yield _self_test(detector, "self-test")
    if card.fast is not None:
        view = fast_view(card)
        fast = Ensemble.load(Weights(weights.folder, view), device="cpu", precision="float32")
        yield _self_test(Detector(fast, view), f"fast subset of {len(view.members)}, self-test")


def _self_test(detector: Detector, what: str) -> str:
    from fracture.wing.verification import compare, self_test_film

    if (test := detector.card.self_test) is None:
        return f"{what}: the card states none"
    return compare(what, [detector.predict(self_test_film()).probability], [test.probability], test.tolerance)


WING = Wing[Card]("limb", STORE, _load, _self_tests)
