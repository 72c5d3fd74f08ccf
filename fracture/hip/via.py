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
from fracture.data._common import film_size, load_json
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError
from fracture.hip.classes import CLASSES, FINDINGS, SIDES, allowed_classes
from fracture.hip.records import HipLabel, as_film, hips_of

__all__ = ["read_via", "write_via"]

_COLUMNS: Final = (
    "filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
    "region_attributes",
)  # fmt: skip
_KEPT: Final = ("group", "view_position", "view_codes", "view_description")


def read_via(path: str | Path, *, images: str | Path | None = None, name: str | None = None) -> AnnotatedSet:
    """Read a VIA project or export.

    Args:
        path: A ``.json`` or ``.csv`` file.
        images: Folder of the films; the file's own where left out.
        name: Name of the set; default the file's.

    Returns:
        A set as :func:`fracture.hip.records.read_hips` gives; regions become hips, films keep their order.

    Raises:
        DataError: Not a VIA file, a region that is no rectangle, a missing or unknown side, class or finding.
    """
    file = Path(path)
    root = file.parent if images is None else Path(images)
    records = _from_csv(file) if file.suffix.lower() == ".csv" else _from_json(file)
    films = tuple(_film(file, root, record) for record in records)
    return AnnotatedSet(films=films, name=name or file.stem, root=root, format="via")


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


def _film(file: Path, root: Path, record: Mapping[str, Any]) -> Film:
    source = str(record.get("filename") or "")
    if not source:
        raise DataError(f"{file}: a film without a name", got=record.get("filename"))
    attributes = record.get("file_attributes") or {}
    regions = record.get("regions") or []
    rows = list(regions.values()) if isinstance(regions, Mapping) else list(regions)
    hips = [_hip(f"{file}: {source}", row) for row in rows]
    size = (int(attributes.get("width") or 0), int(attributes.get("height") or 0))
    if not all(size):
        size = film_size(root / source)
    extra = {key: attributes[key] for key in attributes if key not in ("group", "width", "height")}
    if isinstance(codes := extra.get("view_codes"), str):
        extra["view_codes"] = [code for code in codes.replace(",", "|").split("|") if code.strip()]
    return as_film(source, size, hips, group=str(attributes.get("group") or ""), extra=extra)


def _hip(where: str, region: Mapping[str, Any]) -> HipLabel:
    shape, attributes = region.get("shape_attributes") or {}, region.get("region_attributes") or {}
    if shape.get("name") != "rect":
        raise DataError(f"{where}: a region that is no rectangle", got=shape.get("name"), allowed="rect")
    try:
        x, y, wide, high = (float(shape[key]) for key in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{where}: a rectangle without x, y, width or height", got=dict(shape)) from None
    side = str(attributes.get("side") or "").strip().lower()
    known = str(attributes.get("hip_class") or "").strip().lower() or None
    words = attributes.get("findings") or ""
    # A check box in VIA gives {"neck": true}, a text field a string.
    findings = [word for word, on in words.items() if on] if isinstance(words, Mapping) else str(words).split("|")
    named = tuple(word.strip() for word in findings if word.strip())
    try:
        return HipLabel(side, (x, y, x + wide, y + high), allowed_classes(hip_class=known, findings=named), named)
    except DataError as error:
        raise DataError(f"{where}: {error.what}", got=error.got, allowed=error.allowed, hint=error.hint) from None


def _from_json(file: Path) -> list[Mapping[str, Any]]:
    content = load_json(file)
    records = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    if not isinstance(records, dict) or not all(isinstance(r, dict) and "filename" in r for r in records.values()):
        raise DataError(
            f"{file}: not a VIA project or export",
            hint="save the project, or export annotations as JSON or CSV, in VIA 2",
        )
    order = content.get("_via_image_id_list")
    keys = [key for key in order if key in records] if isinstance(order, list) else list(records)
    return [records[key] for key in (*keys, *(key for key in records if key not in set(keys)))]


def _from_csv(file: Path) -> list[Mapping[str, Any]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: the table cannot be read", got=type(error).__name__) from error
    header = [cell.strip().lstrip("#").strip() for cell in lines[0]] if lines else []
    if not {"filename", "region_shape_attributes", "region_attributes"} <= set(header):
        raise DataError(f"{file}: not a VIA table", got=header, allowed=_COLUMNS)
    films: dict[str, dict[str, Any]] = {}
    for number, cells in enumerate(lines[1:], start=2):
        row = dict(zip(header, cells, strict=False))
        try:
            shape, attributes = json.loads(row["region_shape_attributes"]), json.loads(row["region_attributes"])
            own = json.loads(row.get("file_attributes") or "{}")
        except (KeyError, ValueError) as error:
            raise DataError(f"{file}: line {number} cannot be read", got=type(error).__name__) from error
        film = films.setdefault(row["filename"], {"filename": row["filename"], "file_attributes": own, "regions": []})
        if shape:
            film["regions"].append({"shape_attributes": shape, "region_attributes": attributes})
    return list(films.values())


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
