"""Pictures with marked discs: a COCO file of boxes or polygons, and ``disc_levels.json`` with named centers beside it.

The COCO file's boxes may be incomplete. A disc that is not marked is then no disc that is not there: training leaves
the places where it may lie out, and measures count it neither way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.data.coco import list_coco
from fracture.data.entries import Entry
from fracture.data.files import Problems, as_number, load_json
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError
from fracture.simulate.lumbar import LEVELS

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DiscMark:
    """A disc that somebody marked.

    Attributes:
        x, y: Center in source pixels.
        size: Width and height of its box; None where only the center was marked.
        level: Its name; empty where nobody named it.
        abnormal: Whether it was called bulging, herniated or degenerated; None where nobody said.
    """

    x: float
    y: float
    size: tuple[float, float] | None = None
    level: str = ""
    abnormal: bool | None = None

    def holds(self, x: float, y: float) -> bool:
        """Whether a place lies in its box."""
        wide, tall = self.size or (0.0, 0.0)
        return abs(self.x - x) < wide / 2 and abs(self.y - y) < tall / 2


def discs_of(film: Film) -> tuple[DiscMark, ...]:
    """The marked discs of a film that :func:`read_discs` read, from the head to the feet."""
    marks: Any = film.extra["discs"]
    return tuple(DiscMark(*mark) for mark in marks)


def read_discs(path: str | os.PathLike[str]) -> AnnotatedSet:
    """Read a folder with ``annotations.json`` (COCO), ``disc_levels.json`` if there is one, and ``images``.

    Each picture is a group of its own unless the file gives groups. A category called ``Normal`` is a normal disc, any
    other an abnormal one.

    Raises:
        UnreadableDataError: A file that cannot be read.
        DataError: It is not what it should be; all faults are told at once.
    """
    folder = Path(path)
    listing = list_coco(folder / "annotations.json" if folder.is_dir() else folder)
    named, problems = listing.file.parent / "disc_levels.json", listing.problems
    levels = load_json(named) if named.is_file() else {"points": {}}
    points = levels.get("points") if isinstance(levels, dict) else None
    if not isinstance(points, dict):
        raise DataError(f"{named}: not a file of named discs", allowed="points, an object of places by file and level")
    films = tuple(_film(entry, points.get(Path(entry.source).name, {}), problems) for entry in listing.entries)
    problems.raise_if_any()
    about = (listing.license, listing.attribution, "discs")
    return AnnotatedSet(films, listing.root.name, listing.root, *about, group_field="group")


def _film(entry: Entry, points: Any, problems: Problems) -> Film:
    marks = []
    for one in entry.marks:
        x0, y0, x1, y1 = one.box or (0.0, 0.0, 0.0, 0.0)
        if not (x1 > x0 and y1 > y0) or not one.category:
            problems.add("annotations without a box of a known category", f"{entry.source} {one.box}")
        abnormal = str(one.category).lower() != "normal"
        marks.append(DiscMark((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0, y1 - y0), "", abnormal))
    boxes = tuple(one.box for one in entry.marks if one.box is not None)
    free = list(marks)
    for level, place in points.items() if isinstance(points, dict) else ():
        numbers = [as_number(value) for value in place] if isinstance(place, list) else []
        x, y = numbers if len(numbers) == 2 else (None, None)
        if x is None or y is None:
            problems.add("named discs without a place", f"{entry.source} {level}")
            continue
        inside = [mark for mark in free if mark.holds(x, y)]
        near = min(inside, key=lambda mark: np.hypot(mark.x - x, mark.y - y), default=DiscMark(x, y))
        if near in free:  # the point is where the disc is; the box gives its size
            free.remove(near)
            marks.remove(near)
        marks.append(replace(near, x=x, y=y, level=str(level)))
    marks.sort(key=lambda mark: mark.y)
    levels = {mark.level for mark in marks}
    return Film(
        entry.source,
        *entry.size,
        int(any(mark.abnormal for mark in marks)),
        boxes=boxes,
        group=str(entry.fields.get("group", Path(entry.source).name)),
        extra={
            "discs": tuple((m.x, m.y, m.size, m.level, m.abnormal) for m in marks),
            "complete": levels.issuperset(LEVELS),
            "spacing": as_number(entry.fields.get("spacing_mm")),
            "part": "augmented" if entry.fields.get("augmented_by_uploader") else "plain",
            "anchored": any(level.endswith("/S1") for level in levels),
        },
    )


def polyline(marks: Sequence[DiscMark]) -> tuple[Points, float]:
    """The marked centers from the head to the feet, and the usual distance between neighbors (of all, if one alone)."""
    places = np.array([(mark.x, mark.y) for mark in marks], np.float64).reshape(-1, 2)
    gaps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    return places, float(gaps.min()) if len(gaps) else 0.0
