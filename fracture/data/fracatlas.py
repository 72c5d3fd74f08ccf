"""Reader for FracAtlas as published (Abedeen et al. 2023, doi 10.6084/m9.figshare.22363012).

The archive holds ``images/Fractured``, ``images/Non_fractured``, ``dataset.csv`` (image_id, hand, leg, hip,
shoulder, mixed, hardware, multiscan, fractured, fracture_count, frontal, lateral, oblique) and, among other
formats, ``Annotations/COCO JSON/COCO_fracture_masks.json`` for the fractured films.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fracture.data._common import film_size, license_text, load_csv, rename_regions, truth
from fracture.data.coco import read_coco
from fracture.data.records import AnnotatedSet, Film
from fracture.data.views import VIEWS
from fracture.errors import DataError

__all__ = ["read_fracatlas"]

REGION_COLUMNS = ("hand", "leg", "hip", "shoulder")
_COLUMNS = ("image_id", *REGION_COLUMNS, "hardware", "multiscan", "fractured", "fracture_count", *VIEWS)
_COCO = "Annotations/COCO JSON/COCO_fracture_masks.json"
_PARTS = {"train": "train", "valid": "tune", "test": "validation"}  # Utilities/Fracture Split/*.csv
_FOLDERS = {1: "Fractured", 0: "Non_fractured"}


def read_fracatlas(
    root: str | Path,
    *,
    region_prefix: str = "fracatlas_",
    region_map: Mapping[str, str] | None = None,
    group_run: int = 20,
    name: str = "fracatlas",
) -> AnnotatedSet:
    """Read the published FracAtlas archive.

    Labels, regions and views come from ``dataset.csv``, boxes and outlines from the COCO file. The set has no
    patient numbers, and neighboring file numbers are very often one patient: ``group`` is a run of
    ``group_run`` consecutive numbers (our choice). The published split of the fractured films, where its lists are
    there, is kept in ``extra["published_part"]``. Sizes come from the COCO file where the film is in it, so
    that ``verify`` can compare them with the files.

    Args:
        root: The folder that holds ``dataset.csv``.
        region_prefix: Before the set's own region names, since its "hand" holds wrist, forearm and elbow.
        region_map: The set's region names to others.
        group_run: Consecutive file numbers per group.
        name: Name of the set.

    Raises:
        DataError: A part of the archive is missing or malformed.
    """
    base = Path(root)
    if group_run < 1:
        raise DataError("films per group", got=group_run, allowed="1 or more")
    rows = load_csv(base / "dataset.csv", required=_COLUMNS)
    boxes = read_coco(base / _COCO, images=base / "images" / "Fractured", region_prefix="", fracture_categories=None)
    outlined = {Path(film.source).name: film for film in boxes}
    published = _published_parts(base)
    remarks: list[tuple[str, str]] = []
    films = []
    for row in rows:
        file = row["image_id"]
        what = f"dataset.csv, {file}"
        fractured = int(truth(row["fractured"], what=f"{what}: fractured"))
        source = f"images/{_FOLDERS[fractured]}/{file}"
        other = f"images/{_FOLDERS[1 - fractured]}/{file}"
        if not (base / source).exists() and (base / other).exists():
            remarks.append((other, f"labeled fractured={fractured} but stored in {_FOLDERS[1 - fractured]}"))
            source = other
        drawn = outlined.pop(file, None)
        found = drawn.boxes if drawn else ()
        stated = int(float(row["fracture_count"] or 0))
        if drawn and stated != len(found):
            remarks.append((source, f"fracture_count says {stated}, the COCO file has {len(found)} boxes"))
        size = (drawn.width, drawn.height) if drawn else film_size(base / source)
        number = re.search(r"\d+", file)
        films.append(
            Film(
                source=source,
                width=size[0],
                height=size[1],
                fractured=fractured,
                regions=rename_regions(
                    (r for r in REGION_COLUMNS if truth(row[r], what=f"{what}: {r}")),
                    prefix=region_prefix,
                    mapping=region_map,
                ),
                views=tuple(v for v in VIEWS if truth(row[v], what=f"{what}: {v}")),
                boxes=found,
                polygons=drawn.polygons if drawn else (),
                localized=bool(found) or not fractured,
                group=str(int(number.group()) // group_run) if number else file,
                hardware=truth(row["hardware"], what=f"{what}: hardware"),
                extra={
                    "multiscan": truth(row["multiscan"], what=f"{what}: multiscan"),
                    "published_part": published.get(file),
                },
            )
        )
    remarks.extend((film.source, "in the COCO file but not in dataset.csv") for film in outlined.values())
    return AnnotatedSet(
        films=tuple(films),
        name=name,
        root=base,
        license=license_text(base) or "CC BY 4.0",
        attribution="Abedeen et al., FracAtlas, Scientific Data 10, 521 (2023), doi 10.1038/s41597-023-02432-4",
        format="fracatlas",
        remarks=tuple(remarks),
    )


def _published_parts(base: Path) -> dict[str, str]:
    """Image -> part of the published split, which covers fractured films only."""
    found: dict[str, str] = {}
    for name, part in _PARTS.items():
        path = base / "Utilities" / "Fracture Split" / f"{name}.csv"
        if path.is_file():
            found |= {row["image_id"]: part for row in load_csv(path, required=("image_id",))}
    return found
