"""The reference standard: an annotated set in the columns that an evaluation needs.

Files are read by :func:`fracture.data.read_annotations`, as for training: COCO, YOLO, CSV, VIA and the published sets,
with the same rules for labels, groups, categories and crowd regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fracture.data.entries import INDICATORS
from fracture.data.files import Problems, as_number
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet, Film
from fracture.data.words import as_flag
from fracture.evaluation.matching import BoxTable, box_table
from fracture.evaluation.stats.checks import BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The reference standard, film by film; n films.

    Attributes:
        source: The file, as given.
        names: File name of each film.
        image_ids: The films' ids in the file as text, ``None`` where it gives none.
        labels: bool (n,), fractured.
        boxes: Reference boxes, ``None`` where the file has none at all.
        unboxed: bool (n,), fractured films whose boxes are missing or incomplete.
        sizes: (width, height) in pixels, ``None`` where not given.
        groups: Cluster of each film as text, ``None`` without.
        group_field: The field they come from.
        regions: Regions of each film, empty where unknown.
        views: Views of each film.
        attributes: ``site``, ``hardware``, ``sex`` where given: one value per film.
        ages: Years, where given.
        indicators: Clinical indicators, where given.
        disagreement: bool (n,) or ``None``.
        categories: Category ids that mean a fracture, as text; empty where the file lists none.
        other_categories: Category ids that mean something else.
        description: What the file says it is.
        remarks: What a reader of the report must know.
    """

    source: str
    names: tuple[str, ...]
    image_ids: tuple[str, ...] | None
    labels: BoolArray
    boxes: BoxTable | None
    unboxed: BoolArray
    sizes: tuple[tuple[int, int] | None, ...]
    groups: tuple[str, ...] | None
    group_field: str
    regions: tuple[tuple[str, ...], ...]
    views: tuple[tuple[str, ...], ...]
    attributes: dict[str, tuple[object, ...]]
    ages: tuple[float | None, ...] | None
    indicators: dict[str, tuple[bool | None, ...]]
    disagreement: BoolArray | None
    categories: tuple[str, ...] = ()
    other_categories: tuple[str, ...] = ()
    description: str = ""
    remarks: tuple[str, ...] = ()


def read_reference(
    path: str | PathLike[str],
    *,
    groups: str | None = None,
    format: str = "auto",  # noqa: A002
    **options: Any,
) -> Reference:
    """Read a reference standard: a file or folder in any format that training reads.

    Args:
        path: The file or folder.
        groups: Field that films are grouped by; ``None``: the first of ``GROUP_FIELDS`` that is there; ``"none"``:
            no grouping, each film on its own.
        format: As for :func:`fracture.data.read_annotations`.
        options: Its other options.

    Raises:
        DataError: Faults in it, all told at once.
        ConfigurationError: An unknown format or option.
    """
    if groups not in (None, "none"):
        options = {**options, "group_field": groups}
    annotated = read_annotations(Path(path), format, **options)
    return reference_of(annotated, source=str(path), grouped=groups != "none")


def reference_of(annotated: AnnotatedSet, *, source: str = "", grouped: bool = True) -> Reference:
    """An annotated set as a reference standard.

    Args:
        annotated: The set; films of a COCO file come by rising id, the order in which COCO's evaluation breaks ties.
        source: The file, for messages; default the set's name.
        grouped: Whether the set's groups are used.

    Raises:
        DataError: A box without an area, or films labeled normal that have boxes.
    """
    films = sorted(annotated, key=_by_id) if annotated.format == "coco" else list(annotated)
    problems = Problems(source or annotated.name)
    for film in films:
        for x0, y0, x1, y1 in (*film.boxes, *film.crowd):
            if not (x1 > x0 and y1 > y0):
                problems.add("boxes that are broken or empty", f"{film.source} ({x0:g}, {y0:g}, {x1:g}, {y1:g})")
        if not film.fractured and (film.boxes or film.crowd):
            problems.add("films labeled normal that have fracture boxes", film.source)
    problems.raise_if_any("mend the reference and try again")
    boxes = reference_boxes(films)
    field = annotated.group_field if grouped else ""
    alone = () if field else ("films were taken as independent: no groups were given or found",)
    ids = tuple(film.id for film in films)
    sexes = [film.extra.get("sex", film.extra.get("gender")) for film in films]
    implants = {True: "with hardware", False: "without hardware"}
    attributes: dict[str, Sequence[object]] = {
        "site": [film.site for film in films],
        "hardware": [None if film.hardware is None else implants[film.hardware] for film in films],
        "sex": [None if sex in (None, "") else str(sex) for sex in sexes],
    }
    conflicts = np.array([film.label_conflict for film in films], dtype=bool)
    marked = {name for name in INDICATORS if any(name in film.extra for film in films)}
    return Reference(
        source=source or annotated.name,
        names=tuple(film.source for film in films),
        image_ids=ids if all(ids) and len(set(ids)) == len(ids) else None,
        labels=np.array([bool(film.fractured) for film in films]),
        boxes=boxes if len(boxes) else None,
        unboxed=np.array([bool(f.fractured and not f.localized and not f.crowd) for f in films]),
        sizes=tuple((film.width, film.height) if film.width and film.height else None for film in films),
        groups=tuple(film.group for film in films) if field else None,
        group_field=field,
        regions=tuple(film.regions for film in films),
        views=tuple(film.views for film in films),
        attributes={name: tuple(v) for name, v in attributes.items() if any(item is not None for item in v)},
        ages=tuple(as_number(f.extra.get("age")) for f in films) if any("age" in f.extra for f in films) else None,
        indicators={n: tuple(as_flag(film.extra.get(n)) for film in films) for n in INDICATORS if n in marked},
        disagreement=conflicts if conflicts.any() else None,
        categories=tuple(key for key, counts in annotated.categories.items() if counts),
        other_categories=tuple(key for key, counts in annotated.categories.items() if not counts),
        description=annotated.attribution,
        remarks=(*alone, *(text for name, text in annotated.remarks if not name)),
    )


def reference_boxes(films: Sequence[Film]) -> BoxTable:
    """The fractures and crowd regions of films, as the matcher takes them."""
    kinds = [(i, boxes, crowd) for i, f in enumerate(films) for boxes, crowd in ((f.boxes, False), (f.crowd, True))]
    rows = [(i, box, crowd) for i, boxes, crowd in kinds for box in boxes]
    number, boxes, crowd = zip(*rows, strict=True) if rows else ((), (), ())
    return box_table(number, boxes, films=len(films), name="annotations", crowd=crowd)


def _by_id(film: Film) -> tuple[int, str]:
    return (int(film.id), "") if film.id.isdecimal() else (2**63, film.id)
