"""One door to all annotation formats."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fracture.data._common import load_csv
from fracture.data.coco import read_coco
from fracture.data.fracatlas import read_fracatlas
from fracture.data.grazpedwri import read_grazpedwri
from fracture.data.records import AnnotatedSet
from fracture.data.tables import read_csv, read_folders
from fracture.data.yolo import read_yolo
from fracture.errors import ConfigurationError, DataError

__all__ = ["FORMATS", "detect_format", "read_annotations"]

FORMATS: MappingProxyType[str, Callable[..., AnnotatedSet]] = MappingProxyType(
    {
        "coco": read_coco,
        "fracatlas": read_fracatlas,
        "grazpedwri": read_grazpedwri,
        "yolo": read_yolo,
        "csv": read_csv,
        "folders": read_folders,
    }
)
"""Format name -> reader."""


def read_annotations(path: str | Path, format: str = "auto", **options: Any) -> AnnotatedSet:  # noqa: A002
    """Read an annotated set in any format.

    Args:
        path: An annotation file, or the folder of a set.
        format: One of :data:`FORMATS`, or ``"auto"`` to look at what is there.
        options: Further arguments of the format's reader (``region_prefix``, ``region``, ``group_pattern``, ...).

    Raises:
        DataError: Nothing there, a format that cannot be told, or faults of the file.
        ConfigurationError: An unknown format, or an option that its reader does not have.
    """
    if format == "auto":
        format = detect_format(path)  # noqa: A001
    if format not in FORMATS:
        raise ConfigurationError("unknown annotation format", got=format, allowed=("auto", *FORMATS))
    reader = FORMATS[format]
    accepted = list(inspect.signature(reader).parameters)[1:]
    unknown = [key for key in options if key not in accepted]
    if unknown:
        raise ConfigurationError(f"options of the {format} reader", got=", ".join(unknown), allowed=accepted)
    source = Path(path)
    if source.is_file() and format in ("fracatlas", "grazpedwri", "yolo"):
        source = source.parent
    if source.is_dir() and format == "csv":
        source = _only_table(source)
    return reader(source, **options)


def detect_format(path: str | Path) -> str:
    """The format of an annotation file or folder, by what it holds.

    Raises:
        DataError: Nothing there, or nothing that is known.
    """
    source = Path(path)
    if source.is_file():
        kind = {".json": "coco", ".csv": "csv", ".yaml": "yolo", ".yml": "yolo"}.get(source.suffix.lower())
        if kind == "csv":
            columns = load_csv(source, required=())[0].keys()
            if {"filestem", "patient_id"} <= columns:
                return "grazpedwri"
            if {"image_id", "fracture_count", "multiscan"} <= columns:
                return "fracatlas"
        if kind:
            return kind
    elif source.is_dir():
        if (source / "annotations.json").is_file():
            return "coco"
        if (source / "dataset.csv").is_file():
            return detect_format(source / "dataset.csv")
        if any(source.glob("labels")) or any(source.glob("*/labels")) or (source / "data.yaml").is_file():
            return "yolo"
        if len(list(source.glob("*.csv"))) == 1:
            return detect_format(_only_table(source))
        if any(child.is_dir() for child in source.iterdir()):
            return "folders"
    else:
        raise DataError(f"{source}: nothing there", hint="give an annotation file or the folder of a set")
    raise DataError(
        f"{source}: the format of the annotations cannot be told",
        allowed=FORMATS,
        hint="say it with format=..., or give the annotation file itself",
    )


def _only_table(folder: Path) -> Path:
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise DataError(
            f"{folder}: one CSV file is expected",
            got=", ".join(t.name for t in tables) or "none",
            hint="give the file",
        )
    return tables[0]
