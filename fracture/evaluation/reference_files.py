"""Reading the reference standard: COCO with further fields per image, or a CSV.

COCO images may carry ``fractured`` (else: has a box), ``regions`` or ``region``, ``views`` or ``view``, ``group`` (or
``patient``, ``study``), ``site``, ``hardware``, ``sex``, ``age``, ``label_conflict`` (annotators disagreed) and the
clinical indicators; these may also stand at the annotations. A CSV has the same names as columns, lists parted by
``;``, and may have ``boxes`` as ``x0 y0 x1 y1; ...`` in source pixels.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fracture.errors import DataError, UnreadableFileError
from fracture.evaluation.checks import BoolArray
from fracture.evaluation.cohorts import INDICATORS
from fracture.evaluation.matching import BoxTable, box_table
from fracture.evaluation.prediction_files import NAME_COLUMNS, first_of
from fracture.evaluation.problems import Problems, as_flag, as_number, load_json, read_text

__all__ = ["GROUP_FIELDS", "Reference", "read_reference"]

GROUP_FIELDS = ("patient", "patient_id", "study", "study_id", "group")
"""Fields that films are grouped by, the first one present unless the caller names another."""

_LABELS = ("fractured", "label", "fracture", "y_true")
_REGIONS = ("regions", "region")
_VIEWS = ("views", "view", "projection")
_CONFLICT = ("label_conflict", "disagreement")
_ATTRIBUTES = {"site": ("site", "institution"), "hardware": ("hardware", "metal"), "sex": ("sex", "gender")}


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The reference standard, film by film; n films.

    Attributes:
        source: The file, as given.
        names: File name of each film.
        image_ids: COCO image ids as text, ``None`` for a CSV.
        labels: bool (n,), fractured.
        boxes: Reference boxes, ``None`` where the file has none at all.
        sizes: (width, height) in pixels, ``None`` where not given.
        groups: Cluster of each film as text, ``None`` without.
        group_field: The field they come from.
        regions: Regions of each film, empty where unknown.
        views: Views of each film.
        attributes: ``site``, ``hardware``, ``sex`` where given: one value per film.
        ages: Years, where given.
        indicators: Clinical indicators, where given.
        disagreement: bool (n,) or ``None``.
        categories: COCO category ids that mean a fracture.
        description: What the file says it is.
        remarks: What a reader of the report must know.
    """

    source: str
    names: tuple[str, ...]
    image_ids: tuple[str, ...] | None
    labels: BoolArray
    boxes: BoxTable | None
    sizes: tuple[tuple[int, int] | None, ...]
    groups: tuple[str, ...] | None
    group_field: str
    regions: tuple[tuple[str, ...], ...]
    views: tuple[tuple[str, ...], ...]
    attributes: dict[str, tuple[object, ...]]
    ages: tuple[float | None, ...] | None
    indicators: dict[str, tuple[bool | None, ...]]
    disagreement: BoolArray | None
    categories: tuple[Any, ...] = ()
    description: str = ""
    remarks: tuple[str, ...] = ()


def read_reference(path: str | PathLike[str], *, groups: str | None = None) -> Reference:
    """Read a reference standard, COCO or CSV by its content.

    Args:
        path: The file.
        groups: Field that films are grouped by; ``None``: the first of ``GROUP_FIELDS`` that is there; ``"none"``:
            no grouping, each film on its own.

    Raises:
        UnreadableFileError: Missing, empty, or neither COCO nor CSV.
        DataError: Faults in it, all told at once.
    """
    file = Path(path)
    text = read_text(file)
    start = text.lstrip()[:1]
    if not start:
        raise UnreadableFileError(f"{file}: the file is empty")
    if start == "{":
        return _coco(file, load_json(file, text), groups)
    if start == "[":
        raise UnreadableFileError(
            f"{file}: a list is no reference", hint="COCO results are predictions; give the annotations here"
        )
    return _csv(file, text, groups)


def _coco(file: Path, content: Any, groups: str | None) -> Reference:
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UnreadableFileError(f"{file}: a COCO reference needs a list of images")
    images: list[dict[str, Any]] = content["images"]
    annotations: list[dict[str, Any]] = content.get("annotations") or []
    problems = Problems(str(file))
    ids = [str(image.get("id")) for image in images]
    place = {key: index for index, key in enumerate(ids)}
    if len(place) < len(ids):
        problems.add("image ids that occur twice", len(ids) - len(place))
    categories = _fracture_categories(content.get("categories") or [])
    film: list[int] = []
    corners: list[list[float]] = []
    marks: list[dict[str, Any]] = [{} for _ in images]
    for annotation in annotations:
        if categories and annotation.get("category_id") not in categories:
            continue
        index = place.get(str(annotation.get("image_id")))
        if index is None:
            problems.add("annotations of images that are not listed", annotation.get("id"))
            continue
        _collect_indicators(marks[index], annotation)
        box = annotation.get("bbox")
        if not box:
            continue
        numbers = [as_number(value) for value in box]
        if len(numbers) != 4 or any(v is None for v in numbers) or min(numbers[2] or 0, numbers[3] or 0) <= 0:
            problems.add("boxes that are broken or empty", f"annotation {annotation.get('id')}")
            continue
        x, y, width, height = (float(v) for v in numbers if v is not None)
        film.append(index)
        corners.append([x, y, x + width, y + height])
    rows = [{**mark, **image} for mark, image in zip(marks, images, strict=True)]
    names = [str(image.get("file_name") or image.get("id")) for image in images]
    order = _order(images)
    has_box = np.bincount(film, minlength=len(images)) > 0 if images else np.zeros(0, dtype=bool)
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.arange(len(order))
    boxes = box_table(inverse[film] if film else [], corners, films=len(images)) if film else None
    info = content.get("info") or {}
    description = str(info.get("description") or "") if isinstance(info, dict) else ""
    return _finish(
        file,
        [rows[i] for i in order],
        [names[i] for i in order],
        [ids[i] for i in order],
        boxes,
        [bool(has_box[i]) for i in order],
        groups,
        problems,
        categories,
        description,
    )


def _csv(file: Path, text: str, groups: str | None) -> Reference:
    reader = csv.DictReader(io.StringIO(text))
    columns = [(column or "").strip() for column in reader.fieldnames or ()]
    reader.fieldnames = columns
    name_column, label_column = first_of(columns, NAME_COLUMNS), first_of(columns, _LABELS)
    if name_column is None or label_column is None:
        raise UnreadableFileError(
            f"{file}: a CSV reference needs a column with film names and one with labels",
            got=", ".join(columns[:12]),
            allowed=f"one of {', '.join(NAME_COLUMNS)} and one of {', '.join(_LABELS)}",
        )
    problems = Problems(str(file))
    rows: list[dict[str, Any]] = []
    film: list[int] = []
    corners: list[list[float]] = []
    for index, record in enumerate(reader):
        row = {key: value for key, value in record.items() if key is not None and value not in (None, "")}
        rows.append(row)
        for part in str(row.get("boxes", "")).split(";"):
            if not part.strip():
                continue
            numbers = [as_number(value) for value in part.replace(",", " ").split()]
            if len(numbers) != 4 or any(value is None for value in numbers):
                problems.add("boxes that are broken or empty", f"row {index + 2}")
                continue
            x0, y0, x1, y1 = (float(v) for v in numbers if v is not None)
            if x1 <= x0 or y1 <= y0:
                problems.add("boxes that are broken or empty", f"row {index + 2}")
                continue
            film.append(index)
            corners.append([x0, y0, x1, y1])
    names = [str(row.get(name_column, "")) for row in rows]
    has_box = [False] * len(rows)
    for index in film:
        has_box[index] = True
    boxes = box_table(film, corners, films=len(rows)) if "boxes" in columns else None
    return _finish(file, rows, names, None, boxes, has_box, groups, problems, (), "")


def _finish(
    file: Path,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    ids: Sequence[str] | None,
    boxes: BoxTable | None,
    has_box: Sequence[bool],
    groups: str | None,
    problems: Problems,
    categories: tuple[Any, ...],
    description: str,
) -> Reference:
    if not rows:
        raise DataError(f"{file}: the reference holds no film")
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            problems.add("film names that are missing or occur twice", name or "(empty)")
        seen.add(name)
    present = {key for row in rows for key in row}
    labels = _labels(rows, names, first_of(tuple(present), _LABELS), has_box, problems)
    group_field, clusters = _groups(file, rows, names, present, groups, problems)
    conflict = first_of(tuple(present), _CONFLICT)
    attributes: dict[str, tuple[object, ...]] = {}
    for name, aliases in _ATTRIBUTES.items():
        column = first_of(tuple(present), aliases)
        if column is not None:
            attributes[name] = tuple(_attribute(name, row.get(column)) for row in rows)
    indicators = {name: tuple(as_flag(row.get(name)) for row in rows) for name in INDICATORS if name in present}
    ages = tuple(as_number(row.get("age")) for row in rows) if "age" in present else None
    problems.raise_if_any("mend the reference and try again")
    return Reference(
        str(file),
        tuple(names),
        None if ids is None else tuple(ids),
        np.array(labels, dtype=bool),
        boxes,
        tuple(_size(row) for row in rows),
        clusters,
        group_field,
        tuple(_list(row, _REGIONS) for row in rows),
        tuple(_list(row, _VIEWS) for row in rows),
        attributes,
        ages,
        indicators,
        None if conflict is None else np.array([as_flag(row.get(conflict)) is True for row in rows], dtype=bool),
        categories,
        description,
        () if group_field else ("films were taken as independent: no groups were given or found",),
    )


def _labels(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    column: str | None,
    has_box: Sequence[bool],
    problems: Problems,
) -> list[bool]:
    if column is None:
        return list(has_box)
    labels = []
    for row, name, boxed in zip(rows, names, has_box, strict=True):
        label = as_flag(row.get(column))
        if label is None:
            problems.add("labels that are neither 0 nor 1", f"{name} {row.get(column)!r}")
        elif boxed and not label:
            problems.add("films labeled normal that have fracture boxes", name)
        labels.append(bool(label))
    return labels


def _groups(
    file: Path,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    present: Iterable[str],
    groups: str | None,
    problems: Problems,
) -> tuple[str, tuple[str, ...] | None]:
    if groups == "none":
        return "", None
    column = first_of(tuple(present), GROUP_FIELDS if groups is None else (groups,))
    if column is None:
        if groups is not None:
            raise DataError(f"{file}: no film has the field to group by", got=groups, allowed=sorted(present))
        return "", None
    for row, name in zip(rows, names, strict=True):
        if row.get(column) in (None, ""):
            problems.add(f"films without {column}", name)
    return column, tuple(str(row.get(column)) for row in rows)


def _fracture_categories(categories: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """The categories called fracture; all of them where none is."""
    named = tuple(c.get("id") for c in categories if "fracture" in str(c.get("name", "")).lower())
    return named or tuple(c.get("id") for c in categories)


def _order(images: Sequence[Mapping[str, Any]]) -> list[int]:
    """Images by rising id, the order in which COCO's evaluation breaks ties."""
    keys = [image.get("id") for image in images]
    if all(isinstance(key, int) for key in keys):
        return sorted(range(len(keys)), key=lambda index: images[index]["id"])
    return sorted(range(len(keys)), key=lambda index: str(keys[index]))


def _collect_indicators(mark: dict[str, Any], annotation: Mapping[str, Any]) -> None:
    """A film has an indicator where any of its fractures has it."""
    for name in INDICATORS:
        flag = as_flag(annotation.get(name))
        if flag is not None:
            mark[name] = bool(mark.get(name)) or flag


def _attribute(name: str, value: object) -> object:
    if value in (None, ""):
        return None
    if name == "hardware":
        flag = as_flag(value)
        return None if flag is None else ("with hardware" if flag else "without hardware")
    return str(value)


def _list(row: Mapping[str, Any], aliases: Sequence[str]) -> tuple[str, ...]:
    value = next((row[name] for name in aliases if row.get(name) not in (None, "")), ())
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(";") if part.strip())
    return tuple(str(part) for part in value) if isinstance(value, list | tuple) else (str(value),)


def _size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = as_number(row.get("width")), as_number(row.get("height"))
    return None if width is None or height is None else (int(width), int(height))
