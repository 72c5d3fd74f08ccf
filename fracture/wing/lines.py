"""What a result's JSON line says, whatever wing wrote it: is there a finding, and how suspicious is it.

A line states a score and a threshold for itself (``probability``), or for parts of the film in a list
(``fracture_probability`` of hips). A wing that names them so is understood by the gallery, the tables, the node and the
labeling tools.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fracture.wing.scene import suspicion

_SCORES = ("probability", "fracture_probability")


def flagged_of(line: Mapping[str, Any]) -> bool:
    """Whether a line's film, or a part of it, is called fractured; what the line itself states goes first."""
    if (stated := line.get("fractured")) is not None:
        return bool(stated)
    return any(bool(part.get("fractured")) for part in _parts(line))


def suspicion_of(line: Mapping[str, Any]) -> float | None:
    """The highest suspicion that a line states, 0 to 1 with the threshold at 0.5; None without any."""
    if (told := line.get("suspicion")) is not None:  # of a study: not that of its most suspicious film
        return float(told)
    stated = [(part.get(name), part.get("threshold")) for part in _parts(line) for name in _SCORES]
    found = [suspicion(score, limit) for score, limit in stated if score is not None and limit is not None]
    return max(found, default=None)


def _parts(line: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The line itself and the records in its lists."""
    yield line
    for value in line.values():
        if isinstance(value, list):
            yield from (part for part in value if isinstance(part, Mapping))
