"""Films with named points, from a COCO keypoint file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from fracture.data.files import Problems, load_json
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError

Points = Mapping[str, tuple[float, float]]
Kind = TypeVar("Kind", bound=str)
_FIELD = "marked"  # of a film's ``extra``


@dataclass(frozen=True, slots=True)
class Marked(Generic[Kind]):
    """One thing on a film with named points.

    Attributes:
        kind: What it is.
        points: The labeled points by name, in source pixels.
    """

    kind: Kind
    points: Points


def marked(film: Film) -> tuple[Marked[Any], ...]:
    """What is marked on a film; () where nothing is."""
    return tuple(cast("Any", film.extra.get(_FIELD, ())))


def with_marks(film: Film, marks: Iterable[Marked[Any]]) -> Film:
    """A film with other marks."""
    return replace(film, extra={**film.extra, _FIELD: tuple(marks)})


def read_keypoints(
    path: str | Path,
    images: str | Path | None,
    known: Mapping[Kind, tuple[str, ...]],
    regions: Mapping[Kind, str],
) -> AnnotatedSet:
    """COCO keypoints as films with marks, see :func:`marked`.

    Args:
        path: The JSON file. Points with ``v`` 0 are not labeled. Images may say ``group`` and ``fractured``.
        images: Folder of the films; names are looked up there first, then beside the file.
        known: Category to the names of its points; no other is taken.
        regions: Category to the film's region.

    Raises:
        DataError: Other categories or points, a film that is missing, or a point outside its film; all told at once.
    """
    file = Path(path)
    content = load_json(file)
    problems = Problems(file)
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise DataError(f"{file} is not a COCO keypoint file", allowed="images, annotations, categories")
    root = Path(images) if images is not None else file.parent
    kinds: dict[Any, Kind] = {}
    for category in content.get("categories", []):
        kind = next((one for one in known if one == category.get("name")), None)
        if kind is None or set(category.get("keypoints", ())) != set(known[kind]):
            problems.add(f"a category that is no {' or '.join(known)} with our points", str(category.get("name")))
        else:
            kinds[category["id"]] = kind
    names = {category.get("id"): tuple(category.get("keypoints", ())) for category in content.get("categories", [])}
    marks: dict[Any, list[Marked[Kind]]] = {}
    for one in content["annotations"]:
        if one.get("category_id") not in kinds:
            problems.add("an annotation without a known category", one.get("id"))
            continue
        flat, order = one.get("keypoints", []), names[one["category_id"]]
        if len(flat) != 3 * len(order):
            problems.add("an annotation with another number of points", one.get("id"))
            continue
        points = {
            name: (float(flat[3 * i]), float(flat[3 * i + 1])) for i, name in enumerate(order) if flat[3 * i + 2] > 0
        }
        marks.setdefault(one.get("image_id"), []).append(Marked(kinds[one["category_id"]], points))
    films, absent = [], False
    for image in content["images"]:
        name = str(image.get("file_name", ""))
        place = next((folder / name for folder in (root, file.parent) if (folder / name).is_file()), None)
        if place is None:
            problems.add("a film that is missing", name)
            absent = True
            continue
        found = marks.get(image.get("id"), [])
        width, height = int(image.get("width", 0)), int(image.get("height", 0))
        if any(not (0 <= x <= width and 0 <= y <= height) for one in found for x, y in one.points.values()):
            problems.add("a point outside its film", name)
        film = Film(
            source=Path(os.path.relpath(place, root)).as_posix(),
            width=width,
            height=height,
            fractured=int(bool(image.get("fractured", 0))),
            regions=tuple(dict.fromkeys(regions[one.kind] for one in found)),
            group=str(image.get("group") or image.get("fracatlas_group") or name),
        )
        films.append(with_marks(film, found))
    where = f"films are looked for in {root} and beside the file; --images gives another folder"
    problems.raise_if_any(where if absent else None)
    return AnnotatedSet(tuple(films), file.stem, root, format="keypoints")
