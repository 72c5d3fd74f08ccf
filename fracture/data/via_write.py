"""VGG Image Annotator (VIA 2) projects: rectangles around hips with side and class, read and written as JSON and CSV.

The annotation tool of Krogue et al. 2020. JSON is either a project (with ``_via_img_metadata``) or the export of the
annotations alone; CSV is the export with one region per line. Rectangles are in source pixels: x, y, width, height of
pixel edges, as this library's boxes. Each region has the attributes ``side`` (left or right, the patient's) and
``hip_class`` and/or ``findings`` (several joined by ``|``); film attributes such as ``group``, ``view_position`` and
``view_codes`` are kept.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fracture.atomic import write_text
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError
from fracture.hip.classes import CLASSES, FINDINGS, SIDES
from fracture.hip.records import HipLabel, hips_of, read_hips

__all__ = ["read_via", "write_via"]

_COLUMNS: Final = (
    "filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
    "region_attributes",
)  # fmt: skip
_KEPT: Final = ("group", "view_position", "view_codes", "view_description")


def read_via(path: str | Path, *, images: str | Path | None = None, name: str | None = None) -> AnnotatedSet:
    """Read the hips of a VIA project or export: :func:`fracture.hip.read_hips` for this format.

    Args:
        path: A JSON or CSV file.
        images: Folder of the films; the file's own where left out.
        name: Name of the set; default the file's.

    Raises:
        DataError: Not a VIA file, regions that cannot be read, a missing or unknown side, class or finding.
    """
    return read_hips(path, "via", images=images, name=name)


def write_via(annotated: AnnotatedSet, path: str | Path) -> None:
    """Write a set of hips as a VIA project (``.json``) or export (``.csv``); :func:`read_via` is the inverse.

    Raises:
        DataError: Another suffix, or a film without annotated hips.
        OutputError: The file cannot be written.
    """
    file = Path(path)
    if file.suffix.lower() not in (".json", ".csv"):
        raise DataError("a VIA file is JSON or CSV", got=file.name, allowed=(".json", ".csv"))
    records = [_record(annotated, film) for film in annotated]
    text = (
        _to_csv(records) if file.suffix.lower() == ".csv" else json.dumps(_project(annotated.name, records), indent=1)
    )
    write_text(file, text)


def _record(annotated: AnnotatedSet, film: Film) -> dict[str, Any]:
    path = annotated.image_path(film)
    attributes: dict[str, Any] = {"group": film.group, "width": str(film.width), "height": str(film.height)}
    for key in _KEPT[1:]:
        value = film.extra.get(key)
        if value:
            attributes[key] = "|".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value)
    regions = [
        {
            "shape_attributes": {
                "name": "rect", "x": hip.box[0], "y": hip.box[1],
                "width": hip.box[2] - hip.box[0], "height": hip.box[3] - hip.box[1],
            },
            "region_attributes": {
                "side": hip.side,
                "hip_class": hip.hip_class or "",
                "findings": "|".join(hip.findings) or ("" if hip.hip_class else "|".join(_words(hip))),
            },
        }
        for hip in hips_of(film)
    ]  # fmt: skip
    size = path.stat().st_size if path.is_file() else -1
    return {"filename": film.source, "size": size, "regions": regions, "file_attributes": attributes}


def _words(hip: HipLabel) -> tuple[str, ...]:
    """Findings that leave open what a label without words leaves open."""
    return next(((word,) for word, classes in FINDINGS.items() if classes == hip.allowed and classes), ())


def _project(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    keys = [f"{record['filename']}{record['size']}" for record in records]
    attribute = {"description": "", "options": {}, "default_options": {}}
    return {
        "_via_settings": {
            "ui": {},
            "core": {"buffer_size": 18, "filepath": {}, "default_filepath": ""},
            "project": {"name": name},
        },
        "_via_img_metadata": dict(zip(keys, records, strict=True)),
        "_via_attributes": {
            "region": {
                "side": {**attribute, "type": "radio", "options": dict.fromkeys(SIDES, "")},
                "hip_class": {**attribute, "type": "dropdown", "options": dict.fromkeys(CLASSES, "")},
                "findings": {**attribute, "type": "text", "default_value": ""},
            },
            "file": {key: {**attribute, "type": "text", "default_value": ""} for key in _KEPT},
        },
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": keys,
    }


def _to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for record in records:
        regions = record["regions"] or [{"shape_attributes": {}, "region_attributes": {}}]
        for number, region in enumerate(regions):
            writer.writerow(
                [
                    record["filename"], record["size"], json.dumps(record["file_attributes"]), len(record["regions"]),
                    number, json.dumps(region["shape_attributes"]), json.dumps(region["region_attributes"]),
                ]
            )  # fmt: skip
    return text.getvalue()
