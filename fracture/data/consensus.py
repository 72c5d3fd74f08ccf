"""Several annotators per film: one reference from their opinions.

Jones et al. 2020 (Methods, "Test dataset"): three annotators per film; the majority opinion tells whether a fracture
is present; a pixel-wise majority vote of their annotations tells where, and each connected region of it is one fracture
site. Results are also given on the films without disagreement about presence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fracture.data.records import AnnotatedSet, Box, Film
from fracture.data.targets import draw_target, fracture_rings
from fracture.errors import DataError

Tie = Literal["fractured", "normal"]


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """What several readings of one film agree on.

    Attributes:
        fractured: 1 where the majority sees a fracture.
        votes: Readings that see one.
        readings: Readings in all.
        sites: A box (x0, y0, x1, y1) in source pixels around each connected region that a majority marked.
        mask: bool, shape (height, width): the pixels that a majority marked.
    """

    fractured: int
    votes: int
    readings: int
    sites: tuple[Box, ...]
    mask: NDArray[np.bool_]

    @property
    def unanimous(self) -> bool:
        """Whether all readings agree on presence or absence."""
        return self.votes in (0, self.readings)


def consensus(readings: Sequence[Film], *, tie: Tie = "fractured") -> Consensus:
    """Combine readings of one film.

    A pixel is marked by a reading when its center lies in one of the reading's polygons, or boxes where there are
    none; it belongs to a site when more than half of all readings mark it. Regions that touch at a corner are one
    site (our choice; the paper says "connected").

    Args:
        readings: The film as each annotator described it: the same source and size.
        tie: The label where an even number of readings is split equally (our choice; the paper has three
            readings).

    Raises:
        DataError: No readings, or readings of different films or sizes, or of unknown size.
    """
    import cv2

    if not readings:
        raise DataError("a consensus needs readings", got="none")
    first = readings[0]
    size = (first.width, first.height)
    if any((film.source, film.width, film.height) != (first.source, *size) for film in readings) or not all(size):
        raise DataError(
            f"{first.source}: readings of one film must agree in source and size",
            got=", ".join(f"{film.source} {film.width} x {film.height}" for film in readings),
        )
    votes = sum(film.fractured for film in readings)
    half = len(readings) / 2
    fractured = int(votes > half or (votes == half and tie == "fractured"))
    marked = np.zeros((first.height, first.width), np.int32)
    for film in readings:
        if film.boxes:
            marked += draw_target(fracture_rings(film, shape="polygon"), size, stride=1) > 0
    mask = marked > half
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    sites = sorted((float(x), float(y), float(x + w), float(y + h)) for x, y, w, h, _area in stats[1:count].tolist())
    return Consensus(fractured, votes, len(readings), tuple(sites) if fractured else (), mask)


def consensus_set(
    annotators: Mapping[str, AnnotatedSet], *, name: str | None = None, tie: Tie = "fractured"
) -> AnnotatedSet:
    """One reference set from one set per annotator.

    A film need not be read by everybody; the majority is that of its own readings. The film's other fields are those
    of the first annotator who read it. ``label_conflict`` is set where they disagree about presence, and
    ``Film.extra`` gets ``votes``, ``readings``, ``unanimous`` (for ``AnnotatedSet.select``) and ``annotators``. A film
    that the majority calls fractured while no pixel has a majority is not ``localized``.

    Args:
        annotators: A name for each annotator and their set; all sets have one root.
        name: Of the new set.
        tie: What a tie about presence means.

    Raises:
        DataError: No sets, sets with different roots, or a film with different sizes.
    """
    sets = list(annotators.values())
    if not sets or len({part.root.resolve() for part in sets}) != 1:
        raise DataError(
            "a consensus needs sets of the same films, below one folder",
            got=", ".join(sorted({str(part.root) for part in sets})) or "none",
        )
    readings: dict[str, list[tuple[str, Film]]] = {}
    for reader, part in annotators.items():
        for film in part:
            readings.setdefault(film.source, []).append((reader, film))
    films = []
    for opinions in readings.values():
        agreed = consensus([film for _, film in opinions], tie=tie)
        films.append(
            replace(
                opinions[0][1],
                fractured=agreed.fractured,
                boxes=agreed.sites,
                polygons=(),
                localized=bool(agreed.sites) or not agreed.fractured,
                label_conflict=not agreed.unanimous,
                extra={
                    **opinions[0][1].extra,
                    "votes": agreed.votes,
                    "readings": agreed.readings,
                    "unanimous": agreed.unanimous,
                    "annotators": tuple(reader for reader, _ in opinions),
                },
            )
        )
    return replace(sets[0], films=tuple(films), name=name or f"{sets[0].name}/consensus", remarks=())
