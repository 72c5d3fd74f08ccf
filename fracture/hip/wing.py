"""What ``fracture verify`` asks of a pair of hip networks; the rest is :mod:`fracture.wing.verification`."""

from __future__ import annotations

from collections.abc import Iterator

from fracture.hip.assembly import self_test
from fracture.hip.card import HipCard
from fracture.hip.store import STORE, HipWeights
from fracture.wing.verification import Verifiable, compare

__all__ = ["WING"]


def _self_tests(weights: HipWeights) -> Iterator[str]:
    found, expected = self_test(weights), weights.card.self_test
    yield "networks built and filled"
    if expected is None:
        yield "self-test: the card states none"
        return
    here, there = ([*test.probabilities, test.best_score] for test in (found, expected))
    yield compare("self-test", here, there, expected.tolerance)


WING = Verifiable[HipCard](STORE, _self_tests)
