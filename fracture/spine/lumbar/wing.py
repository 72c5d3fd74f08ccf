"""The lumbar spine as a wing; see :class:`fracture.wing.contract.Wing`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fracture.spine.lumbar.card import STORE, LumbarCard
from fracture.wing.contract import Wing

if TYPE_CHECKING:
    from fracture.spine.lumbar.reader import LumbarReader
    from fracture.wing.engine_choice import Engine
    from fracture.wing.store import Weights


def _reader(weights: Weights[LumbarCard], *, engine: Engine = "auto", **options: Any) -> LumbarReader:
    from fracture.spine.lumbar.reader import load_reader

    return load_reader(weights, engine=engine, **options)


def _self_tests(weights: Weights[LumbarCard]) -> Iterator[str]:
    from fracture.spine.lumbar.reader import verified

    yield from verified(weights)


WING = Wing[LumbarCard]("lumbar", STORE, _reader, _self_tests, kind="lumbar", series=("MR",))
