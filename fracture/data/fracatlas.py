"""Reader for FracAtlas as published (Abedeen et al. 2023, doi 10.6084/m9.figshare.22363012).

The archive holds ``images/Fractured``, ``images/Non_fractured``, ``dataset.csv`` (image_id, hand, leg, hip,
shoulder, mixed, hardware, multiscan, fractured, fracture_count, frontal, lateral, oblique) and, among other
formats, ``Annotations/COCO JSON/COCO_fracture_masks.json`` for the fractured films.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fracture.data.coco import list_coco
from fracture.data.entries import Entry, Listing, Options, film_set, license_text
from fracture.data.files import Problems, as_number, load_csv
from fracture.data.records import AnnotatedSet
from fracture.data.views import VIEWS
from fracture.data.words import as_flag

REGION_COLUMNS = ("hand", "leg", "hip", "shoulder")
_COLUMNS = ("image_id", *REGION_COLUMNS, "hardware", "multiscan", "fractured", "fracture_count", *VIEWS)
_COCO = "Annotations/COCO JSON/COCO_fracture_masks.json"
_PARTS = {"train": "train", "valid": "tune", "test": "validation"}  # Utilities/Fracture Split/*.csv
_FOLDERS = {True: "Fractured", False: "Non_fractured"}


def read_fracatlas(path: str | Path, **options: Any) -> AnnotatedSet:
    """Read the published FracAtlas archive.

    Labels, regions and views come from ``dataset.csv``, boxes and outlines from the COCO file. The set has no
    patient numbers, and neighboring file numbers are very often one patient: ``group`` is a run of
    ``group_run`` consecutive numbers (our choice). The published split of the fractured films, where its lists are
    there, is kept in ``extra["published_part"]``. Sizes come from the COCO file where the film is in it, so
    that ``verify`` can compare them with the files.

    Args:
        path: The folder that holds ``dataset.csv``.
        options: See :class:`fracture.data.entries.Options`; ``region_prefix`` is ``"fracatlas_"`` by default, since the
            set's "hand" holds wrist, forearm and elbow.

    Raises:
        DataError: A part of the archive is missing or malformed.
        ConfigurationError: An unknown option.
    """
    chosen, base = Options.of(options, what="fracatlas"), Path(path)
    rows = load_csv(base / "dataset.csv", required=_COLUMNS).rows
    coco = list_coco(base / _COCO, base / "images" / "Fractured")
    outlined = {Path(entry.source).name: entry for entry in coco.entries}
    published = _published_parts(base)
    remarks: list[tuple[str, str]] = []
    entries = []
    for row in rows:
        file = row["image_id"]
        fractured = as_flag(row["fractured"] or "0")
        source = f"images/{_FOLDERS[bool(fractured)]}/{file}"
        other = f"images/{_FOLDERS[not fractured]}/{file}"
        if not (base / source).exists() and (base / other).exists():
            remarks.append((other, f"labeled fractured={int(bool(fractured))} but stored in {_FOLDERS[not fractured]}"))
            source = other
        drawn = outlined.pop(file, None)
        stated = as_number(row["fracture_count"] or "0")
        if drawn and stated != len(drawn.marks):
            found = len(drawn.marks)
            remarks.append((source, f"fracture_count says {row['fracture_count']}, the COCO file has {found} boxes"))
        number = re.search(r"\d+", file)
        fields = {
            "fractured": row["fractured"] or "0",
            "regions": [name for name in REGION_COLUMNS if _yes(coco.problems, row, name)],
            "views": [name for name in VIEWS if _yes(coco.problems, row, name)],
            "group": str(int(number.group()) // chosen.group_run) if number else file,
            "hardware": row["hardware"] or "0",
            "multiscan": _yes(coco.problems, row, "multiscan"),
            "published_part": published.get(file),
        }
        entries.append(Entry(source, fields, drawn.marks if drawn else [], drawn.size if drawn else (0, 0)))
    remarks.extend((entry.source, "in the COCO file but not in dataset.csv") for entry in outlined.values())
    return film_set(
        Listing(
            base,
            base,
            "fracatlas",
            entries,
            coco.problems,
            categories=coco.categories,
            name="fracatlas",
            license=license_text(base) or "CC BY 4.0",
            attribution="Abedeen et al., FracAtlas, Scientific Data 10, 521 (2023), doi 10.1038/s41597-023-02432-4",
            region_prefix="fracatlas_",
            remarks=remarks,
        ),
        chosen,
    )


def _yes(problems: Problems, row: dict[str, str], column: str) -> bool:
    flag = as_flag(row[column] or "0")
    if flag is None:
        problems.add("values that are neither 0 nor 1", f"{row['image_id']} {column} {row[column]!r}")
    return bool(flag)


def _published_parts(base: Path) -> dict[str, str]:
    """Image -> part of the published split, which covers fractured films only."""
    found: dict[str, str] = {}
    for name, part in _PARTS.items():
        path = base / "Utilities" / "Fracture Split" / f"{name}.csv"
        if path.is_file():
            found |= {row["image_id"]: part for row in load_csv(path, required=("image_id",)).rows}
    return found
