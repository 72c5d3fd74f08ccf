"""Wings that read series; torch is imported when they are used."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fracture.wing.contract import Wing
from fracture.wing.store import C, Store, Weights

if TYPE_CHECKING:
    from fracture.spine.reader import SeriesReader
    from fracture.wing.engine_choice import Engine


def series_wing(name: str, store: Store[C], modality: str) -> Wing[C]:
    """The wing whose :class:`fracture.spine.reader.SeriesReader` stands in ``fracture.spine.<name>.reader``."""

    def kind() -> type[SeriesReader[Any, Any, Any]]:
        found: Any = getattr(import_module(f"fracture.spine.{name}.reader"), f"{name.capitalize()}Reader")
        return found  # type: ignore[no-any-return]

    def reader(weights: Weights[C], *, engine: Engine = "auto", **options: Any) -> SeriesReader[Any, Any, Any]:
        return kind().opened(weights, engine=engine, **options)

    def self_tests(weights: Weights[C]) -> Iterator[str]:
        return kind().verified(weights)

    return Wing(name, store, reader, self_tests, kind=name, series=(modality,))
