"""The hips as a wing; see :class:`fracture.wing.contract.Wing`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fracture.hip.card import HipCard
from fracture.hip.store import STORE, HipWeights
from fracture.wing.contract import Wing

if TYPE_CHECKING:
    from fracture.hip.pipeline import HipReader
    from fracture.wing.engine_choice import Engine


def _reader(weights: HipWeights, *, engine: Engine = "auto", **options: Any) -> HipReader:
    from fracture.hip.pipeline import load

    return load(weights.folder, engine=engine, **options)


def _self_tests(weights: HipWeights) -> Iterator[str]:
    from fracture.hip.assembly import self_test
    from fracture.wing.verification import compare_tests

    found = self_test(weights)
    yield "networks built and filled"
    yield compare_tests(found, weights.card.self_test)


WING = Wing[HipCard]("hip", STORE, _reader, _self_tests, kind="hips")
