"""CVAT: annotations "CVAT for images 1.1" out and back (https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat).

What is uploaded there is an annotation at once, looked at or not. So a picture counts only where a person set the tag
``checked`` (normal, or right with its boxes), ``fracture somewhere`` (without a box) or ``unsure``.
"""

from __future__ import annotations

import json
import math
from typing import Any
from xml.etree import ElementTree as ET

from fracture.errors import DataError
from fracture.label.films import Answer, Listing

LABELS = [
    {"name": "fracture", "type": "rectangle", "color": "#ff9f1c", "attributes": []},
    {"name": "checked", "type": "tag", "attributes": []},
    {"name": "fracture somewhere", "type": "tag", "attributes": []},
    {"name": "unsure", "type": "tag", "attributes": []},
]
_SHAPES = ("box", "polygon")


def written(listing: Listing, url: str) -> dict[str, str]:
    """``annotations.xml`` to upload to a task made of ``pictures/``, and ``labels.json`` for the task's raw labels."""
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")  # Datumaro wants them
    for label in LABELS:
        ET.SubElement(ET.SubElement(labels, "label"), "name").text = str(label["name"])
    for number, film in enumerate(listing.films):
        size = {"width": str(film.width), "height": str(film.height)}
        image = ET.SubElement(root, "image", {"id": str(number), "name": url + film.picture, **size})
        for x0, y0, x1, y1, _ in film.boxes:
            corners = {"xtl": f"{x0:.2f}", "ytl": f"{y0:.2f}", "xbr": f"{x1:.2f}", "ybr": f"{y1:.2f}"}
            ET.SubElement(
                image, "box", {"label": "fracture", "source": "auto", "occluded": "0", **corners, "z_order": "0"}
            )
    ET.indent(root)
    xml = '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
    return {"annotations.xml": xml, "labels.json": json.dumps(LABELS, indent=1) + "\n"}


def answers(content: bytes) -> list[Answer]:
    """What people said, from an export "CVAT for images 1.1".

    Raises:
        DataError: It is no such export, or declares entities (which could make it grow without bound).
    """
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise DataError("an export of CVAT declares no entities", hint="export as CVAT for images 1.1")
    try:
        root = ET.fromstring(content)
    except ET.ParseError as error:
        raise DataError("this is not XML", got=error, hint="export as CVAT for images 1.1, and unpack it") from error
    if root.tag != "annotations" or (root.findtext("version") or "") != "1.1" or root.find("track") is not None:
        raise DataError("this is not an export of CVAT", got=root.tag, hint="export as CVAT for images 1.1")
    return [_answer(image) for image in root.iter("image")]


def _answer(image: Any) -> Answer:
    name = image.get("name", "").replace("\\", "/").rpartition("/")[2]
    answer = Answer(name)
    try:
        answer.width, answer.height = int(image.get("width", 0)), int(image.get("height", 0))
        for shape in image:
            if shape.tag in _SHAPES:
                answer.add(_points(shape))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name}: a shape cannot be read", got=error) from error
    tags = {tag.get("label") for tag in image.iter("tag")}
    if "unsure" in tags:
        answer.verdict = "unsure"
    elif "fracture somewhere" in tags or ("checked" in tags and answer.boxes):
        answer.verdict = "fracture"
    elif "checked" in tags:
        answer.verdict = "normal"
    return answer


def _points(shape: Any) -> list[tuple[float, float]]:
    """Corners in pixels; a box may be turned about its middle, in degrees clockwise."""
    if shape.tag == "polygon":
        pairs = [part.split(",") for part in shape.attrib["points"].split(";")]
        return [(float(x), float(y)) for x, y in pairs]
    x0, y0, x1, y1 = (float(shape.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    angle = math.radians(float(shape.get("rotation", 0.0)))
    cos, sin = math.cos(angle), math.sin(angle)
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    around = [(x - cx, y - cy) for x in (x0, x1) for y in (y0, y1)]
    return [(cx + a * cos - b * sin, cy + a * sin + b * cos) for a, b in around]
