"""One door to all annotation formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fracture.data.coco import coco_file, read_coco
from fracture.data.files import load_csv, read_text
from fracture.data.fracatlas import read_fracatlas
from fracture.data.grazpedwri import read_grazpedwri
from fracture.data.records import AnnotatedSet
from fracture.data.tables import only_table, read_csv, read_folders
from fracture.data.via import read_via
from fracture.data.yolo import read_yolo
from fracture.errors import ConfigurationError, DataError, UnreadableDataError

FORMATS: MappingProxyType[str, Callable[..., AnnotatedSet]] = MappingProxyType(
    {
        "coco": read_coco,
        "fracatlas": read_fracatlas,
        "grazpedwri": read_grazpedwri,
        "yolo": read_yolo,
        "csv": read_csv,
        "via": read_via,
        "folders": read_folders,
    }
)
"""Format name -> reader."""


def read_annotations(path: str | Path, format: str = "auto", **options: Any) -> AnnotatedSet:  # noqa: A002
    """Read an annotated set in any format; training, calibration, evaluation and the hips all read through here.

    Args:
        path: An annotation file, or the folder of a set.
        format: One of :data:`FORMATS`, or ``"auto"`` to look at what is there.
        options: See :class:`fracture.data.entries.Options`: ``region``, ``fracture_classes``, ``group_field``, ...

    Raises:
        DataError: Nothing there, a format that cannot be told, or faults of the file.
        ConfigurationError: An unknown format, or an option that there is not.
    """
    if format == "auto":
        format = detect_format(path)  # noqa: A001
    if format not in FORMATS:
        raise ConfigurationError("unknown annotation format", got=format, allowed=("auto", *FORMATS))
    source = Path(path)
    if source.is_file() and format in ("fracatlas", "grazpedwri", "folders"):
        source = source.parent
    return FORMATS[format](source, **options)


def detect_format(path: str | Path) -> str:
    """The format of an annotation file or folder, by what it holds.

    Raises:
        DataError: Nothing there, or nothing that is known.
    """
    source = Path(path)
    if source.is_dir():
        if coco_file(source):
            return "coco"
        if (source / "dataset.csv").is_file():
            return detect_format(source / "dataset.csv")
        if any(
            next(source.glob(pattern), None) for pattern in ("[lL]abels", "*/[lL]abels", "data.y*ml", "classes.txt")
        ):
            return "yolo"
        if len(list(source.glob("*.csv"))) == 1:
            return detect_format(only_table(source))
        if any(child.is_dir() for child in source.iterdir()):
            return "folders"
        raise DataError(
            f"{source}: the format of the annotations cannot be told",
            allowed=FORMATS,
            hint="say it with format=..., or give the annotation file itself",
        )
    if not source.exists():
        raise UnreadableDataError(
            f"{source}: nothing there, no such file", hint="give an annotation file or the folder of a set"
        )
    if source.suffix.lower() in (".yaml", ".yml"):
        return "yolo"
    text = read_text(source)
    start = text.lstrip()[:65536]
    if start[0] == "{":
        return "via" if re.search(r'"_via_|"filename"\s*:', start) else "coco"
    if start[0] == "[":
        raise UnreadableDataError(
            f"{source}: a list is neither a reference nor an annotated set",
            hint="COCO results are predictions; give the annotations here",
        )
    columns = set(load_csv(source, text).columns)
    if {"filestem", "patient_id"} <= columns:
        return "grazpedwri"
    if {"image_id", "fracture_count", "multiscan"} <= columns:
        return "fracatlas"
    return "via" if "region_shape_attributes" in columns else "csv"


def options_of(texts: Iterable[str] | None) -> dict[str, str]:
    """Options of the reader from ``name=value``, as the command line gives them.

    Raises:
        ConfigurationError: Something that is not ``name=value``.
    """
    given = {}
    for item in texts or ():
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigurationError("an option of the reader", got=item, allowed="KEY=VALUE")
        given[key.strip().replace("-", "_")] = value.strip()
    return given
