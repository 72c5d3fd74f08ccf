"""Films with named points, from a COCO keypoint file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fracture.data.files import Problems, load_json
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError

Points = Mapping[str, tuple[float, float]]


def read_keypoints(
    path: str | Path,
    images: str | Path | None,
    known: Mapping[str, tuple[str, ...]],
    make: Callable[[str, Points], Any],
    regions: Mapping[str, str],
    field: str,
) -> AnnotatedSet:
    """COCO keypoints as films that hold what ``make`` gives for each annotation, as a tuple, in ``extra[field]``.

    Args:
        path: The JSON file. Points with ``v`` 0 are not labeled. Images may say ``group`` and ``fractured``.
        images: Folder of the films; names are looked up there first, then beside the file.
        known: Category to the names of its points; no other is taken.
        make: From a category and its labeled points, (x, y) in source pixels.
        regions: Category to the film's region.
        field: Where a film holds them.

    Raises:
        DataError: Other categories or points, a film that is missing, or a point outside its film; all told at once.
    """
    file = Path(path)
    content = load_json(file)
    problems = Problems(file)
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise DataError(f"{file} is not a COCO keypoint file", allowed="images, annotations, categories")
    root = Path(images) if images is not None else file.parent
    kinds: dict[Any, str] = {}
    for category in content.get("categories", []):
        kind = str(category.get("name"))
        if kind not in known or set(category.get("keypoints", ())) != set(known[kind]):
            problems.add(f"a category that is no {' or '.join(known)} with our points", kind)
        else:
            kinds[category["id"]] = kind
    names = {category.get("id"): tuple(category.get("keypoints", ())) for category in content.get("categories", [])}
    marks: dict[Any, list[tuple[str, Points]]] = {}
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
        marks.setdefault(one.get("image_id"), []).append((kinds[one["category_id"]], points))
    films = []
    for image in content["images"]:
        name = str(image.get("file_name", ""))
        place = next((folder / name for folder in (root, file.parent) if (folder / name).is_file()), None)
        if place is None:
            problems.add("a film that is missing", name)
            continue
        found = marks.get(image.get("id"), [])
        width, height = int(image.get("width", 0)), int(image.get("height", 0))
        if any(not (0 <= x <= width and 0 <= y <= height) for _, points in found for x, y in points.values()):
            problems.add("a point outside its film", name)
        films.append(
            Film(
                source=Path(os.path.relpath(place, root)).as_posix(),
                width=width,
                height=height,
                fractured=int(bool(image.get("fractured", 0))),
                regions=tuple(dict.fromkeys(regions[kind] for kind, _ in found)),
                group=str(image.get("group") or image.get("fracatlas_group") or name),
                extra={field: tuple(make(*one) for one in found)},
            )
        )
    problems.raise_if_any()
    return AnnotatedSet(tuple(films), file.stem, root, format="keypoints")
