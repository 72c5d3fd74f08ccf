"""Reader for VGG Image Annotator (VIA 2): projects and exports, as JSON or CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fracture.data.entries import Entry, Listing, Mark, Options, film_set, hull, locate, stated_size
from fracture.data.files import Problems, as_number, four, load_csv, load_json, read_text
from fracture.data.records import AnnotatedSet, Box, Ring
from fracture.errors import UnreadableDataError

_CATEGORY = ("category", "class", "label", "type", "name", "finding", "fracture")
_LARGEST = 1e6


def read_via(path: str | Path, **options: Any) -> AnnotatedSet:
    """Read a VIA 2 project (with ``_via_img_metadata``) or an export of the annotations, JSON or CSV.

    Rectangles, polygons, polylines, circles and ellipses become boxes (and outlines where they have corners). The
    category of a region is its attribute ``category``, ``class``, ``label``, ``type``, ``name`` or ``finding`` (text,
    or the box that is ticked); regions without one are fractures. All attributes go into ``extra["other_boxes"]`` with
    boxes of other categories. File attributes are the film's extra fields, as in COCO. A film without regions is normal
    unless its ``fractured`` says otherwise.

    Args:
        path: The file.
        options: See :class:`fracture.data.entries.Options`; ``images`` is the folder of the films, by default the
            file's own.

    Raises:
        DataError: Not a VIA file, or regions that cannot be read; all are told at once.
        ConfigurationError: An unknown option.
    """
    chosen, file = Options.of(options, what="via"), Path(path)
    text = read_text(file)
    records = _of_json(file, text) if text.lstrip()[0] in "{[" else _of_csv(file, text)
    root = file.parent if chosen.images is None else chosen.images
    problems, entries = Problems(file), []
    names = [str(record.get("filename") or "") for record in records]
    for record, source in zip(records, locate(root, None, [(f"images/{n}", n) for n in names]), strict=True):
        if not source:
            problems.add("films without a name", record.get("filename"))
        row = record.get("file_attributes")
        row = row if isinstance(row, dict) else {}
        regions = record.get("regions") or []
        listed = list(regions.values()) if isinstance(regions, dict) else regions if isinstance(regions, list) else []
        marks = [mark for region in listed if (mark := _mark(source, region, problems)) is not None]
        entries.append(Entry(source, row, marks, stated_size(row, source, problems)))
    return film_set(Listing(file, root, "via", entries, problems, name=file.stem), chosen)


def _mark(source: str, region: object, problems: Problems) -> Mark | None:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    shape, attributes = (part if isinstance(part, dict) else {} for part in (shape, attributes))
    box, rings = _outline(shape)
    if box is None:
        problems.add(
            "regions that are not a rectangle, polygon, circle or ellipse, or lack its numbers",
            f"{source} {str(shape)[:80]}",
        )
        return None
    return Mark(_category(attributes), box, rings, extra={"attributes": dict(attributes)})


def _outline(shape: Mapping[str, Any]) -> tuple[Box | None, tuple[Ring, ...]]:
    kind = shape.get("name")
    if kind == "rect":
        return four([shape.get(key) for key in ("x", "y", "width", "height")], corners=False), ()
    if kind in ("circle", "ellipse"):
        rx, ry = (shape.get(key, shape.get("r")) for key in ("rx", "ry"))
        numbers = four([shape.get("cx"), shape.get("cy"), rx, ry], corners=True)
        if numbers is None:
            return None, ()
        x, y, wide, high = numbers
        return (x - wide, y - high, x + wide, y + high), ()
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if kind in ("polygon", "polyline") and isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys) > 1:
        flat = [as_number(value) for value in (*xs, *ys)]
        values = [value for value in flat if value is not None and abs(value) <= _LARGEST]
        if len(values) == len(flat):
            ring = tuple(zip(values[: len(xs)], values[len(xs) :], strict=True))
            return hull(ring), (ring,) if len(ring) > 2 else ()
    return None, ()


def _category(attributes: Mapping[str, Any]) -> str | None:
    for name in _CATEGORY:
        value = attributes.get(name)
        # A check box in VIA gives {"fracture": true}, a text field a string.
        word = next((str(key) for key, on in value.items() if on), "") if isinstance(value, dict) else value
        if word not in (None, ""):
            return str(word).strip()
    return None


def _of_json(file: Path, text: str) -> list[Mapping[str, Any]]:
    content = load_json(file, text)
    records = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    if not isinstance(records, dict) or not all(isinstance(r, dict) and "filename" in r for r in records.values()):
        raise UnreadableDataError(
            f"{file}: not a VIA project or export",
            hint="save the project, or export annotations as JSON or CSV, in VIA 2",
        )
    order = content.get("_via_image_id_list")
    keys: Iterable[str] = [key for key in order if key in records] if isinstance(order, list) else ()
    return [records[key] for key in dict.fromkeys((*keys, *records))]


def _of_csv(file: Path, text: str) -> list[Mapping[str, Any]]:
    table = load_csv(file, text)
    if not {"filename", "region_shape_attributes", "region_attributes"} <= set(table.columns):
        raise UnreadableDataError(
            f"{file}: not a VIA table",
            got=", ".join(table.columns[:12]),
            allowed="filename, region_shape_attributes, region_attributes, ...",
        )
    problems = Problems(file)
    films: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(table.rows, start=2):
        try:
            shape, attributes, own = (
                json.loads(row.get(key) or "{}")
                for key in ("region_shape_attributes", "region_attributes", "file_attributes")
            )
        except (ValueError, RecursionError) as error:
            problems.add("rows whose attributes are no JSON", f"row {number} ({error})")
            continue
        name = row.get("filename", "")
        film = films.setdefault(name, {"filename": name, "file_attributes": own, "regions": []})
        if shape:
            film["regions"].append({"shape_attributes": shape, "region_attributes": attributes})
    problems.raise_if_any()
    return list(films.values())
