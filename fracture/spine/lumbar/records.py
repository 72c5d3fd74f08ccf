"""Pictures with marked discs: a COCO file of boxes or polygons, and ``disc_levels.json`` with named centers beside it.

The COCO file's boxes may be incomplete. A disc that is not marked is then no disc that is not there: training leaves
the places where it may lie out, and measures count it neither way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.data.files import Problems, as_number, four, load_json
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
    file = folder / "annotations.json" if folder.is_dir() else folder
    coco, named = load_json(file), file.parent / "disc_levels.json"
    levels = load_json(named) if named.is_file() else {"points": {}}
    parts = [coco.get(key) if isinstance(coco, dict) else None for key in ("images", "annotations", "categories")]
    points = levels.get("points") if isinstance(levels, dict) else None
    if not all(isinstance(part, list) for part in parts) or not isinstance(points, dict):
        raise DataError(f"{file}: not a set of discs", allowed="COCO lists, and points by file in disc_levels.json")
    images, rows, categories = (list(part or ()) for part in parts)
    problems = Problems(file)
    normal = {row.get("id"): str(row.get("name", "")).lower() == "normal" for row in categories if _is(row, problems)}
    boxes: dict[object, list[tuple[float, float, float, float, bool]]] = {}
    for row in rows:
        box = four(row.get("bbox"), corners=False) if _is(row, problems) else None
        if box is None or not (box[2] > box[0] and box[3] > box[1]) or row.get("category_id") not in normal:
            problems.add("annotations without a box of a known category", row)
            continue
        boxes.setdefault(row.get("image_id"), []).append((*box, not normal[row["category_id"]]))
    films = [
        _film(row, boxes.get(row.get("id"), []), points.get(row.get("file_name"), {}), problems)
        for row in images
        if _is(row, problems)
    ]
    problems.raise_if_any()
    text = " ".join(str(row.get("name", "")) for row in coco.get("licenses") or () if isinstance(row, dict))
    about = str((coco.get("info") or {}).get("description", ""))
    return AnnotatedSet(tuple(films), file.parent.name, file.parent, text, about, "discs", group_field="group")


def _is(row: object, problems: Problems) -> bool:
    if not isinstance(row, dict):
        problems.add("entries that are not objects", str(row)[:40])
    return isinstance(row, dict)


def _film(row: dict[str, Any], boxes: Sequence[Any], points: Any, problems: Problems) -> Film:
    name = str(row.get("file_name", ""))
    marks = [DiscMark((b[0] + b[2]) / 2, (b[1] + b[3]) / 2, (b[2] - b[0], b[3] - b[1]), "", b[4]) for b in boxes]
    free = list(range(len(marks)))
    for level, place in points.items() if isinstance(points, dict) else ():
        numbers = [as_number(value) for value in place] if isinstance(place, list) else []
        if len(numbers) != 2 or None in numbers:
            problems.add("named discs without a place", f"{name} {level}")
            continue
        x, y = (float(value) for value in numbers if value is not None)
        inside = [k for k in free if abs(boxes[k][0] + boxes[k][2] - 2 * x) < boxes[k][2] - boxes[k][0]]
        inside = [k for k in inside if abs(boxes[k][1] + boxes[k][3] - 2 * y) < boxes[k][3] - boxes[k][1]]
        inside.sort(key=lambda k: np.hypot(marks[k].x - x, marks[k].y - y))
        if inside:  # the point is where the disc is; the box gives its size
            free.remove(inside[0])
            old = marks[inside[0]]
            marks[inside[0]] = DiscMark(x, y, old.size, str(level), old.abnormal)
        else:
            marks.append(DiscMark(x, y, None, str(level)))
    marks.sort(key=lambda mark: mark.y)
    wide, tall = (int(as_number(row.get(key)) or 0) for key in ("width", "height"))
    named = {mark.level for mark in marks}
    return Film(
        f"images/{name}",
        wide,
        tall,
        int(any(mark.abnormal for mark in marks)),
        boxes=tuple((b[0], b[1], b[2], b[3]) for b in boxes),
        group=str(row.get("group", name)),
        extra={
            "discs": tuple((m.x, m.y, m.size, m.level, m.abnormal) for m in marks),
            "complete": named.issuperset(LEVELS),
            "spacing": as_number(row.get("spacing_mm")),
            "part": "augmented" if row.get("augmented_by_uploader") else "plain",
            "anchored": any(level.endswith("/S1") for level in named),
        },
    )


def polyline(marks: Sequence[DiscMark]) -> tuple[Points, float]:
    """The marked centers from the head to the feet, and the usual distance between neighbors (of all, if one alone)."""
    places = np.array([(mark.x, mark.y) for mark in marks], np.float64).reshape(-1, 2)
    gaps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    return places, float(gaps.min()) if len(gaps) else 0.0
