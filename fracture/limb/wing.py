"""What ``fracture verify`` asks of the limbs' detector; the rest is :mod:`fracture.wing.verification`."""

from __future__ import annotations

from collections.abc import Iterator

from fracture.limb.card import Card
from fracture.limb.detector import Detector
from fracture.limb.ensemble import Ensemble
from fracture.limb.fast import fast_view
from fracture.limb.store import STORE, Weights
from fracture.wing.verification import Verifiable, compare, self_test_film

__all__ = ["WING"]


def _self_tests(weights: Weights) -> Iterator[str]:
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
    if (test := detector.card.self_test) is None:
        return f"{what}: the card states none"
    return compare(what, [detector.predict(self_test_film()).probability], [test.probability], test.tolerance)


WING = Verifiable[Card](STORE, _self_tests)
