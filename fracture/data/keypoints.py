"""Films with the points of their hands and forefeet, from a COCO keypoint file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fracture.data.files import Problems, load_json
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError
from fracture.joints.layout import POINTS, Kind, Point

__all__ = ["Limb", "limbs_of", "read_landmarks"]

_REGION = {"hand": "hand", "forefoot": "foot"}


@dataclass(frozen=True, slots=True)
class Limb:
    """One annotated hand or forefoot.

    Attributes:
        kind: Which.
        points: The labeled points by name, in source pixels.
    """

    kind: Kind
    points: Mapping[str, Point]


def limbs_of(film: Film) -> tuple[Limb, ...]:
    """The hands and forefeet that are annotated on a film; () where it shows none."""
    found: Any = film.extra.get("limbs", ())
    return tuple(found)


def read_landmarks(path: str | Path, images: str | Path | None = None) -> AnnotatedSet:
    """COCO keypoints of hands (26 points) and forefeet (6), as films that hold :class:`Limb` in ``extra["limbs"]``.

    Args:
        path: The JSON file; categories ``hand`` and ``forefoot`` with the names of :mod:`fracture.joints.layout`.
            Points with ``v`` 0 are not labeled. Images may say ``fracatlas_group`` or ``group`` and ``fractured``.
        images: Folder of the films; names are looked up there first, then beside the file.

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
        kind: Kind | None = next((k for k in POINTS if k == category.get("name")), None)
        if kind is None or set(category.get("keypoints", ())) != set(POINTS[kind]):
            problems.add("a category that is no hand or forefoot with our points", category.get("name"))
        else:
            kinds[category["id"]] = kind
    names = {category.get("id"): tuple(category.get("keypoints", ())) for category in content.get("categories", [])}
    limbs: dict[Any, list[Limb]] = {}
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
        limbs.setdefault(one.get("image_id"), []).append(Limb(kinds[one["category_id"]], points))
    films = []
    for image in content["images"]:
        name = str(image.get("file_name", ""))
        place = next((folder / name for folder in (root, file.parent) if (folder / name).is_file()), None)
        if place is None:
            problems.add("a film that is missing", name)
            continue
        found = tuple(limbs.get(image.get("id"), ()))
        width, height = int(image.get("width", 0)), int(image.get("height", 0))
        if any(not (0 <= x <= width and 0 <= y <= height) for limb in found for x, y in limb.points.values()):
            problems.add("a point outside its film", name)
        films.append(
            Film(
                source=Path(os.path.relpath(place, root)).as_posix(),
                width=width,
                height=height,
                fractured=int(bool(image.get("fractured", 0))),
                regions=tuple(dict.fromkeys(_REGION[limb.kind] for limb in found)),
                group=str(image.get("group") or image.get("fracatlas_group") or name),
                extra={"limbs": found},
            )
        )
    problems.raise_if_any()
    return AnnotatedSet(tuple(films), file.stem, root, format="joints")
