"""The cervical spine as a wing; see :class:`fracture.wing.contract.Wing`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fracture.spine.cervical.card import STORE, CervicalCard
from fracture.wing.contract import Wing

if TYPE_CHECKING:
    from fracture.spine.cervical.reader import CervicalReader
    from fracture.wing.engine_choice import Engine
    from fracture.wing.store import Weights


def _reader(weights: Weights[CervicalCard], *, engine: Engine = "auto", **options: Any) -> CervicalReader:
    from fracture.spine.cervical.reader import load_reader

    return load_reader(weights, engine=engine, **options)


def _self_tests(weights: Weights[CervicalCard]) -> Iterator[str]:
    from fracture.spine.cervical.reader import verified

    yield from verified(weights)


WING = Wing[CervicalCard]("cervical", STORE, _reader, _self_tests, kind="cervical", series=("CT",))
