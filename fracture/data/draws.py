"""How often training draws a film, where not all are drawn alike: hard normal films often, doubtful ones never.

Both are found by networks that never saw the film (out of fold). A normal film that they call fractured is what
training has most to learn from (hard examples, Shrivastava et al. 2016, "Training Region-based Object Detectors with
Online Hard Example Mining"; there within a batch, here once, out of fold); where they are surest, the label itself is
the likelier fault (Northcutt et al. 2021, "Confident Learning"). Shares and counts are our choice. Evaluation never
looks at these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fracture.data.files import Problems, listed, load_csv, write_rows
from fracture.errors import ConfigurationError, DataError
from fracture.schema import Record, Share

_COLUMNS: Final = ("source", "draws")
_MOST: Final = 100  # draws of one film: beyond this a set is a handful of films


@dataclass(frozen=True, slots=True)
class MiningSpec(Record):
    """Which normal films are drawn often, and which never; fractured films are drawn once in any case.

    Attributes:
        doubtful: Share of the normal films, the ones with the highest scores, that are never drawn.
        hard: Share of the normal films, the next ones, that are drawn ``times`` times.
        times: How often a hard film is drawn where another is drawn once.

    Raises:
        ConfigurationError: A value out of range.
    """

    doubtful: Share = 0.01
    hard: Share = 0.15
    times: Annotated[int, Field(ge=1, le=_MOST)] = 3


def mine_draws(
    fractured: NDArray[np.bool_], scores: NDArray[np.float64], spec: MiningSpec | None = None
) -> NDArray[np.int64]:
    """How often each film is drawn, int64 (n,), by what networks that never saw it say.

    Args:
        fractured: bool (n,), the films' labels.
        scores: float64 (n,), out of fold; only their order among the normal films counts, equal ones stay in theirs.
        spec: Shares and counts, the defaults where left out.

    Raises:
        ConfigurationError: Arrays of different lengths, or a score that is not finite.
    """
    chosen = spec or MiningSpec()
    if fractured.shape != scores.shape or fractured.ndim != 1 or not np.isfinite(scores).all():
        raise ConfigurationError(
            "mining takes one label and one finite score for each film",
            got=f"{fractured.shape} labels, {scores.shape} scores",
        )
    normal = np.flatnonzero(~fractured)
    ranked = normal[np.argsort(-scores[normal], kind="stable")]
    doubtful = round(chosen.doubtful * ranked.size)
    draws = np.ones(fractured.size, np.int64)
    draws[ranked[doubtful : doubtful + round(chosen.hard * ranked.size)]] = chosen.times
    draws[ranked[:doubtful]] = 0
    return draws


def write_draws(path: str | Path, sources: Sequence[str], draws: NDArray[np.int64]) -> None:
    """Write the films that are not drawn once: CSV with the columns ``source`` and ``draws``.

    Args:
        path: The file; one that is there is replaced.
        sources: The n films' names in their set.
        draws: int64 (n,), of :func:`mine_draws`.

    Raises:
        OutputError: It cannot be written.
    """
    changed = [(source, int(count)) for source, count in zip(sources, draws, strict=True) if count != 1]
    write_rows(path, _COLUMNS, changed)


def read_draws(path: str | Path, sources: Sequence[str]) -> NDArray[np.int64]:
    """How often each of these films is drawn, int64 (n,); films that the file does not list once.

    Args:
        path: The file; it may list films of other parts.
        sources: The n films' names in their set.

    Raises:
        UnreadableDataError: No such file, or it has no columns ``source`` and ``draws``.
        DataError: A count that is no whole number from 0 to 100, a film listed twice, or none of these films listed.
    """
    file, told = Path(path), dict[str, int]()
    problems = Problems(file)
    for row in load_csv(file, required=_COLUMNS).rows:
        source, count = row["source"], row.get("draws", "")
        if source in told:
            problems.add("films listed twice", source)
        if not count.isdecimal() or int(count) > _MOST:
            problems.add(f"draws that are no whole number from 0 to {_MOST}", f"{count or 'none'} for {source}")
        told[source] = int(count) if count.isdecimal() else 1
    problems.raise_if_any("fracture mine writes such a file")
    if not told.keys() & set(sources):
        raise DataError(
            f"{file}: none of its films is trained on", got=listed(tuple(told)), hint="films have the names of the set"
        )
    return np.array([told.get(source, 1) for source in sources], np.int64)
