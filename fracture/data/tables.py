"""Readers for a plain CSV table and for folders with image-level labels only."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fracture.data._common import (
    FALSE_WORDS,
    TRUE_WORDS,
    film_size,
    license_text,
    load_csv,
    rename_regions,
    truth,
)
from fracture.data.images import image_files
from fracture.data.records import AnnotatedSet, Box, Film
from fracture.data.views import collapse_views
from fracture.errors import DataError

__all__ = ["read_csv", "read_folders"]

_CORNERS = ("x0", "y0", "x1", "y1")
_KNOWN = frozenset(("image", "group", "region", "view", "fractured", "hardware", "site", "width", "height", *_CORNERS))
_FRACTURED = ("fractured", "fracture", "positive", "abnormal")
_NORMAL = ("normal", "non_fractured", "not_fractured", "no_fracture", "negative")


def read_csv(
    path: str | Path,
    *,
    images: str | Path | None = None,
    region_prefix: str = "",
    region_map: Mapping[str, str] | None = None,
    name: str | None = None,
) -> AnnotatedSet:
    """Read a table with the columns ``image, group, region, view, fractured, x0, y0, x1, y1``.

    Only ``image`` and ``fractured`` are required. A film with several boxes has several rows; regions and views of
    one film are separated by ``;``, ``|`` or ``+``, or stand in several rows. Boxes are in source pixels. A
    fractured film without a box is not ``localized``: a table without the four corners is a set with
    image-level labels. ``hardware``, ``site``, ``width`` and ``height`` are understood, other columns go into
    ``Film.extra``.

    Args:
        path: The CSV file.
        images: Folder that ``image`` is relative to; default the file's own.
        region_prefix: Put before region names that ``region_map`` does not have.
        region_map: Region names of the file to ours.
        name: Name of the set; default the name of the file.

    Raises:
        DataError: The table is malformed; every faulty row is named.
    """
    file = Path(path)
    root = Path(images) if images is not None else file.parent
    films: dict[str, list[dict[str, str]]] = {}
    for row in load_csv(file, required=("image", "fractured")):
        films.setdefault(row["image"].replace("\\", "/"), []).append(row)
    made, faults, remarks = [], [], []
    for source, rows in films.items():
        try:
            labels = {truth(row["fractured"], what=f"{source}: fractured") for row in rows}
            boxes = tuple(box for row in rows if (box := _corners(source, row)) is not None)
            size = _size(root / source, rows[0])
        except DataError as error:
            faults.append(str(error))
            continue
        if len(labels) > 1:
            remarks.append((source, "its rows disagree: fractured is both 0 and 1; read as 1"))
        groups = sorted({row["group"] for row in rows if row.get("group")})
        if len(groups) > 1:
            remarks.append((source, f"its rows name several groups: {', '.join(groups)}; read as {groups[0]}"))
        hardware = next((row["hardware"] for row in rows if row.get("hardware")), None)
        made.append(
            Film(
                source=source,
                width=size[0],
                height=size[1],
                fractured=int(any(labels)),
                regions=rename_regions(_words(rows, "region"), prefix=region_prefix, mapping=region_map),
                views=collapse_views(_words(rows, "view")),
                boxes=boxes,
                localized=bool(boxes) or not any(labels),
                group=groups[0] if groups else "",
                hardware=None if hardware is None else hardware.lower() in TRUE_WORDS,
                site=next((row["site"] for row in rows if row.get("site")), None),
                extra={k: v for k, v in rows[0].items() if k not in _KNOWN and v},
            )
        )
    if faults:
        raise DataError(f"{file}: {len(faults)} films have faulty rows", got="\n  ".join(["", *faults]))
    return AnnotatedSet(
        films=tuple(made),
        name=name or file.stem,
        root=root,
        license=license_text(root),
        format="csv",
        remarks=tuple(remarks),
    )


def read_folders(
    root: str | Path,
    *,
    region: str | None = None,
    group_pattern: str | None = None,
    name: str | None = None,
) -> AnnotatedSet:
    """Read films whose folder is their label: ``fractured/`` and ``normal/`` (or common synonyms) at any depth.

    Image-level labels only: fractured films are not ``localized``. Folders above may name the region of their
    films when it is one of ``fracture.regions.REGIONS``.

    Args:
        root: The folder.
        region: The region of all films; default from the folders' names.
        group_pattern: See :func:`fracture.data.yolo.read_yolo`.
        name: Name of the set; default the name of the folder.

    Raises:
        DataError: No film below a folder with such a name.
    """
    from fracture.regions import REGIONS

    base = Path(root)
    pattern = re.compile(group_pattern) if group_pattern else None
    films = []
    for path in image_files(base):
        below = path.relative_to(base)
        folders = ["_".join(re.findall(r"[a-z]+", part.lower())) for part in below.parts[:-1]]
        label = next((int(f in _FRACTURED) for f in reversed(folders) if f in (*_FRACTURED, *_NORMAL)), None)
        if label is None:
            continue
        width, height = film_size(path)
        match = pattern.search(below.as_posix()) if pattern else None
        films.append(
            Film(
                source=below.as_posix(),
                width=width,
                height=height,
                fractured=label,
                regions=rename_regions([region] if region else [f for f in folders if f in REGIONS]),
                localized=not label,
                group=match.group((match.lastindex and 1) or 0) if match else "",
            )
        )
    if not films:
        raise DataError(f"{base}: no films in folders named by label", allowed=(*_FRACTURED, *_NORMAL))
    return AnnotatedSet(
        films=tuple(films),
        name=name or base.resolve().name,
        root=base,
        license=license_text(base),
        format="folders",
    )


def _corners(source: str, row: Mapping[str, str]) -> Box | None:
    values = [row.get(corner, "") for corner in _CORNERS]
    if all(value.lower() in FALSE_WORDS - {"0", "0.0"} for value in values):
        return None
    try:
        x0, y0, x1, y1 = (float(value) for value in values)
    except ValueError:
        raise DataError(f"{source}: a box needs four numbers", got=", ".join(values)) from None
    if not all(math.isfinite(value) for value in (x0, y0, x1, y1)):
        raise DataError(f"{source}: a box needs four finite numbers", got=", ".join(values))
    return x0, y0, x1, y1


def _size(path: Path, row: Mapping[str, str]) -> tuple[int, int]:
    try:
        stated = int(float(row.get("width") or 0)), int(float(row.get("height") or 0))
    except (ValueError, OverflowError):
        raise DataError(f"{path.name}: width and height", got=(row["width"], row["height"])) from None
    return stated if all(stated) else film_size(path)


def _words(rows: Sequence[Mapping[str, str]], column: str) -> list[str]:
    return [word.strip() for row in rows for word in re.split(r"[;|+]", row.get(column, "")) if word.strip()]
