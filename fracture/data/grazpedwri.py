"""Reader for GRAZPEDWRI-DX as published (Nagy et al. 2022, doi 10.6084/m9.figshare.14825193).

The archive holds ``dataset.csv`` (filestem, patient_id, study_number, timehash, gender, age, laterality,
projection, initial_exam, ao_classification, cast, diagnosis_uncertain, osteopenia, fracture_visible, metal,
pixel_spacing, device_manufacturer), the films as 16-bit PNG in four parts, and ``folder_structure`` with
``yolov5/labels/*.txt`` and ``yolov5/meta.yaml`` (nine classes).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fracture.data.entries import Entry, Listing, Options, film_set, film_size, license_text
from fracture.data.files import Problems, as_number, load_csv
from fracture.data.images import image_files
from fracture.data.records import AnnotatedSet
from fracture.data.words import as_flag
from fracture.data.yolo import class_names, read_label_file
from fracture.errors import DataError

CLASSES = (
    "boneanomaly",
    "bonelesion",
    "foreignbody",
    "fracture",
    "metal",
    "periostealreaction",
    "pronatorsign",
    "softtissue",
    "text",
)
_COLUMNS = ("filestem", "patient_id", "projection", "fracture_visible")
_PROJECTIONS = {"1": "frontal", "2": "lateral", "3": "oblique"}


def read_grazpedwri(path: str | Path, **options: Any) -> AnnotatedSet:
    """Read the published GRAZPEDWRI-DX archive, unpacked into one folder in whatever sub-folders.

    The label is ``fracture_visible``, the group is ``patient_id``, boxes are those of class ``fracture``; those of
    other classes (metal, text, periosteal reaction, ...) go into ``extra["other_boxes"]``. A visible fracture without a
    box makes the film not ``localized``. All films are wrists of children. Empty cells mean no, as in the archive.

    Args:
        path: The folder that holds ``dataset.csv``.
        options: See :class:`fracture.data.entries.Options`. With ``skip_missing`` rows whose film is not there are left
            out and counted; by default they stay, and ``verify`` lists them.

    Raises:
        DataError: A part of the archive is missing or malformed.
        ConfigurationError: An unknown option.
    """
    chosen, base = Options.of(options, what="grazpedwri"), Path(path)
    rows = load_csv(base / "dataset.csv", required=_COLUMNS).rows
    files = {file.stem: file for file in image_files(base)}
    labels = {file.stem: file for file in base.rglob("*.txt") if file.parent.name == "labels"}
    if not labels:
        raise DataError(
            f"{base}: no label files", allowed="folder_structure/yolov5/labels/*.txt", hint="unpack the archive"
        )
    meta = next(iter(sorted(base.rglob("meta.yaml"))), None)
    classes = class_names(meta) if meta else CLASSES
    problems, entries, skipped = Problems(base), [], 0
    for row in rows:
        stem = row["filestem"]
        if stem not in files and chosen.skip_missing:
            skipped += 1
            continue
        file = files.get(stem)
        source = file.relative_to(base).as_posix() if file else f"images/{stem}.png"
        size = film_size(base / source)
        marks = read_label_file(labels[stem], classes, size, problems) if stem in labels else []
        fields = {
            "fractured": row["fracture_visible"] or "0",
            "region": "wrist",
            "view": _PROJECTIONS.get(row["projection"].removesuffix(".0"), ""),
            "group": row["patient_id"],
            "hardware": row.get("metal") or "0",
            "patient": row["patient_id"],
            "sex": row.get("gender") or None,
            "laterality": row.get("laterality") or None,
            "age": as_number(row.get("age")),
            "ao_classification": row.get("ao_classification", ""),
            "cast": bool(as_flag(row.get("cast"))),
            "diagnosis_uncertain": bool(as_flag(row.get("diagnosis_uncertain"))),
            "pixel_spacing": as_number(row.get("pixel_spacing")),
        }
        entries.append(Entry(source, fields, marks, size))
    return film_set(
        Listing(
            base,
            base,
            "grazpedwri",
            entries,
            problems,
            categories={str(number): name for number, name in enumerate(classes)},
            name="grazpedwri_dx",
            license=license_text(base) or "CC BY 4.0",
            attribution="Nagy et al., GRAZPEDWRI-DX, Scientific Data 9, 222 (2022), doi 10.1038/s41597-022-01328-z",
            remarks=[("", f"{skipped} films of dataset.csv are not there and were left out")] if skipped else [],
        ),
        chosen,
    )
