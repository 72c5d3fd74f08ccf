"""Reader for GRAZPEDWRI-DX as published (Nagy et al. 2022, doi 10.6084/m9.figshare.14825193).

The archive holds ``dataset.csv`` (filestem, patient_id, study_number, timehash, gender, age, laterality,
projection, initial_exam, ao_classification, cast, diagnosis_uncertain, osteopenia, fracture_visible, metal,
pixel_spacing, device_manufacturer), the films as 16-bit PNG in four parts, and ``folder_structure`` with
``yolov5/labels/*.txt`` and ``yolov5/meta.yaml`` (nine classes).
"""

from __future__ import annotations

from pathlib import Path

from fracture.data._common import film_size, license_text, load_csv, truth
from fracture.data.images import image_files
from fracture.data.records import AnnotatedSet, Film
from fracture.data.yolo import class_names, read_label_file
from fracture.errors import DataError

__all__ = ["read_grazpedwri"]

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


def read_grazpedwri(root: str | Path, *, name: str = "grazpedwri_dx", skip_missing: bool = False) -> AnnotatedSet:
    """Read the published GRAZPEDWRI-DX archive, unpacked into one folder in whatever sub-folders.

    The label is ``fracture_visible``, the group is ``patient_id``, boxes are those of class ``fracture``; those of
    other classes (metal, text, periosteal reaction, ...) go into ``extra["other_boxes"]``. A visible fracture without a
    box makes the film not ``localized``. All films are wrists of children.

    Args:
        root: The folder that holds ``dataset.csv``.
        name: Name of the set.
        skip_missing: Leave out rows whose film is not there (a part of the archive only); by default they stay,
            and ``verify`` lists them.

    Raises:
        DataError: A part of the archive is missing or malformed.
    """
    base = Path(root)
    rows = load_csv(base / "dataset.csv", required=_COLUMNS)
    files = {path.stem: path for path in image_files(base)}
    labels = {path.stem: path for path in base.rglob("*.txt") if path.parent.name == "labels"}
    if not labels:
        raise DataError(
            f"{base}: no label files", allowed="folder_structure/yolov5/labels/*.txt", hint="unpack the archive"
        )
    meta = next(iter(sorted(base.rglob("meta.yaml"))), None)
    classes = class_names(meta) if meta else CLASSES
    if "fracture" not in classes:
        raise DataError(f"{meta}: no class fracture", got=", ".join(classes))
    films = []
    for row in rows:
        stem = row["filestem"]
        if stem not in files and skip_missing:
            continue
        path = files.get(stem)
        source = path.relative_to(base).as_posix() if path else f"images/{stem}.png"
        width, height = film_size(base / source)
        found = read_label_file(labels[stem], classes, (width, height)) if stem in labels else []
        boxes = tuple(item.box for item in found if item.category == "fracture")
        others = tuple({"category": item.category, "box": item.box} for item in found if item.category != "fracture")
        fractured = int(truth(row["fracture_visible"], what=f"dataset.csv, {stem}: fracture_visible"))
        extra: dict[str, object] = {
            "patient": row["patient_id"],
            "sex": row.get("gender") or None,
            "laterality": row.get("laterality") or None,
            "age": float(row["age"]) if row.get("age") else None,
            "ao_classification": row.get("ao_classification", ""),
            "cast": truth(row.get("cast"), what=f"dataset.csv, {stem}: cast"),
            "diagnosis_uncertain": truth(row.get("diagnosis_uncertain"), what=f"dataset.csv, {stem}"),
            "pixel_spacing": float(row["pixel_spacing"]) if row.get("pixel_spacing") else None,
        }
        if others:
            extra["other_boxes"] = others
        view = _PROJECTIONS.get(row["projection"].removesuffix(".0"))
        films.append(
            Film(
                source=source,
                width=width,
                height=height,
                fractured=fractured,
                regions=("wrist",),
                views=(view,) if view else (),
                boxes=boxes,
                localized=bool(boxes) or not fractured,
                group=row["patient_id"],
                hardware=truth(row.get("metal"), what=f"dataset.csv, {stem}: metal"),
                extra=extra,
            )
        )
    return AnnotatedSet(
        films=tuple(films),
        name=name,
        root=base,
        license=license_text(base) or "CC BY 4.0",
        attribution="Nagy et al., GRAZPEDWRI-DX, Scientific Data 9, 222 (2022), doi 10.1038/s41597-022-01328-z",
        format="grazpedwri",
    )
