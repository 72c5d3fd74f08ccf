"""Centers that follow each other along a spine: the best chain among all that were found, whatever else was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

_NEAR, _FAR, _BEND = 0.45, 1.7, 50.0  # shares of the usual distance; degrees between two steps (ours)


class Center(Protocol):
    """A place (x, y) with a score."""

    @property
    def x(self) -> float:
        """To the right."""

    @property
    def y(self) -> float:
        """Down."""

    @property
    def score(self) -> float:
        """How sure it is."""


D = TypeVar("D", bound=Center)


def chain(discs: Sequence[D]) -> list[D]:
    """The chain of highest total score among discs: from the lowest upward, at like distances, without sharp bends.

    The usual distance is the median of each disc's distance to its nearest neighbor.
    """
    if len(discs) < 2:
        return list(discs)
    ordered = sorted(discs, key=lambda disc: -disc.y)
    places = np.array([(disc.x, disc.y) for disc in ordered])
    far = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(far, np.inf)
    usual = float(np.median(far.min(axis=1)))
    # Best chain that ends with the step from i to j; i above -1 stands for a chain of one.
    best: dict[tuple[int, int], tuple[float, tuple[int, int] | None]] = {
        (-1, j): (disc.score, None) for j, disc in enumerate(ordered)
    }
    for j in range(len(ordered)):
        for i in range(j):
            if not _NEAR * usual <= far[i, j] <= _FAR * usual:
                continue
            before = [(h, i) for h in range(-1, i) if (h, i) in best and _straight(places, h, i, j)]
            if before:
                last = max(before, key=lambda step: best[step][0])
                best[i, j] = best[last][0] + ordered[j].score, last
    step: tuple[int, int] | None = max(best, key=lambda one: best[one][0])
    links = []
    while step is not None:
        links.append(ordered[step[1]])
        step = best[step][1]
    return links[::-1]


def _straight(places: NDArray[np.float64], h: int, i: int, j: int) -> bool:
    if h < 0:
        return True
    one, two = places[i] - places[h], places[j] - places[i]
    cosine = float(one @ two) / float(np.linalg.norm(one) * np.linalg.norm(two))
    return cosine > math.cos(math.radians(_BEND))
