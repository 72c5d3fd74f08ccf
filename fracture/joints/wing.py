"""The joints of hands and feet as a wing; see :class:`fracture.wing.contract.Wing`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fracture.joints.card import STORE, JointsCard, JointsWeights
from fracture.wing.contract import Wing

if TYPE_CHECKING:
    from fracture.joints.reader import JointsReader
    from fracture.wing.engine_choice import Engine


def _reader(weights: JointsWeights, *, engine: Engine = "auto", **options: Any) -> JointsReader:
    from fracture.joints.reader import load

    return load(weights.folder, engine=engine, **options)


def _self_tests(weights: JointsWeights) -> Iterator[str]:
    from fracture.joints.reader import self_test
    from fracture.wing.verification import compare

    found, expected = self_test(weights), weights.card.self_test
    yield "networks built and filled"
    if expected is None:
        yield "self-test: the card states none"
        return
    here, there = ([*test.points, test.center] for test in (found, expected))
    yield compare("self-test", here, there, expected.tolerance)


WING = Wing[JointsCard]("joints", STORE, _reader, _self_tests, kind="joints")
