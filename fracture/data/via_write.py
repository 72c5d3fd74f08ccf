"""Writer for VGG Image Annotator (VIA 2): a project (JSON) or an export with one region per line (CSV).

:mod:`fracture.data.via` reads both. Rectangles are x, y, width, height of pixel edges in source pixels.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fracture.atomic import write_text
from fracture.data.records import AnnotatedSet, Box, Film
from fracture.errors import DataError

_COLUMNS: Final = (
    "filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
    "region_attributes",
)  # fmt: skip

Regions = Callable[[Film], Sequence[tuple[Box, Mapping[str, str]]]]


def write_via(
    annotated: AnnotatedSet,
    path: str | Path,
    regions: Regions,
    menus: Mapping[str, Sequence[str]],
    kept: Sequence[str] = (),
) -> None:
    """Write a set as a VIA project (``.json``) or export (``.csv``).

    Args:
        annotated: The set.
        path: The file.
        regions: The rectangles of a film, with their attributes as text.
        menus: Attribute -> what VIA offers for it; nothing for free text.
        kept: Fields of ``Film.extra`` that become attributes of the film, beside its group and size.

    Raises:
        DataError: Another suffix.
        OutputError: The file cannot be written.
    """
    file = Path(path)
    kind = file.suffix.lower()
    if kind not in (".json", ".csv"):
        raise DataError("a VIA file is JSON or CSV", got=file.name, allowed=(".json", ".csv"))
    records = [_record(annotated, film, regions(film), kept) for film in annotated]
    if kind == ".csv":
        write_text(file, _to_csv(records))
    else:
        write_text(file, json.dumps(_project(annotated.name, records, menus, ("group", *kept)), indent=1))


def _record(
    annotated: AnnotatedSet, film: Film, marks: Sequence[tuple[Box, Mapping[str, str]]], kept: Sequence[str]
) -> dict[str, Any]:
    path = annotated.image_path(film)
    own = {"group": film.group, "width": str(film.width), "height": str(film.height)}
    for key in kept:
        if value := film.extra.get(key):
            own[key] = "|".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value)
    found = [
        {
            "shape_attributes": {"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0},
            "region_attributes": dict(attributes),
        }
        for (x0, y0, x1, y1), attributes in marks
    ]
    size = path.stat().st_size if path.is_file() else -1
    return {"filename": film.source, "size": size, "regions": found, "file_attributes": own}


def _project(
    name: str, records: Sequence[Mapping[str, Any]], menus: Mapping[str, Sequence[str]], kept: Sequence[str]
) -> dict[str, Any]:
    keys = [f"{record['filename']}{record['size']}" for record in records]
    text = {"type": "text", "description": "", "default_value": ""}
    offered = {
        key: {**text, "type": "dropdown" if len(choices) > 2 else "radio", "options": dict.fromkeys(choices, "")}
        if choices
        else text
        for key, choices in menus.items()
    }
    core = {"buffer_size": 18, "filepath": {}, "default_filepath": ""}
    return {
        "_via_settings": {"ui": {}, "core": core, "project": {"name": name}},
        "_via_img_metadata": dict(zip(keys, records, strict=True)),
        "_via_attributes": {"region": offered, "file": dict.fromkeys(kept, text)},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": keys,
    }


def _to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for record in records:
        film = (record["filename"], record["size"], json.dumps(record["file_attributes"]), len(record["regions"]))
        regions = record["regions"] or [{"shape_attributes": {}, "region_attributes": {}}]
        for number, region in enumerate(regions):
            writer.writerow((*film, number, *map(json.dumps, region.values())))
    return text.getvalue()
