"""Reader for YOLO labels: ``images/.../x.png`` beside ``labels/.../x.txt``, class names in a YAML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fracture.data._common import film_size, hull, license_text, rename_regions
from fracture.data.images import image_files
from fracture.data.records import AnnotatedSet, Box, Film, Ring
from fracture.errors import DataError

__all__ = ["LabeledBox", "class_names", "read_label_file", "read_yolo"]

_YAML_NAMES = ("data.yaml", "dataset.yaml", "meta.yaml", "data.yml")
_PARTS = {"train": "train", "valid": "tune", "val": "tune", "test": "validation"}


class LabeledBox(NamedTuple):
    """One row of a label file, in source pixels; ``rings`` is empty for a plain box."""

    category: str
    box: Box
    rings: tuple[Ring, ...] = ()


def read_yolo(
    root: str | Path,
    *,
    region: str | None = None,
    fracture_classes: Sequence[str] | None = None,
    group_pattern: str | None = None,
    name: str | None = None,
) -> AnnotatedSet:
    """Read a folder in YOLO's layout.

    A film without a label file, or with an empty one, is normal, as YOLO reads it. Rows are ``class cx cy w h``
    (with a trailing confidence or without) or ``class x1 y1 x2 y2 x3 y3 ...`` for outlines, all in fractions of
    the film's sides. The part that the layout puts a film in goes into ``extra["published_part"]``.

    Args:
        root: The folder that holds ``images`` and ``labels`` (or ``train/images``, ...), and ``data.yaml``.
        region: The anatomical region of all films, where they share one.
        fracture_classes: Classes that are fractures; default those whose name contains "fracture" but not
            "no" or "non" before it, else the only class.
        group_pattern: Regular expression on the film's path; its first group (or the whole match) names the
            film's group. Without it every film is its own group, and ``verify`` warns.
        name: Name of the set; default the name of the folder.

    Raises:
        DataError: No films, no label files, no class that is a fracture, or malformed rows (all are listed).
    """
    base = Path(root)
    described = next((base / n for n in _YAML_NAMES if (base / n).is_file()), None)
    labels = {p for p in base.rglob("*.txt") if "labels" in p.relative_to(base).parts}
    if not labels:
        raise DataError(f"{base}: no YOLO labels", allowed="labels/*.txt beside images/")
    listing = next(iter(sorted(base.glob("classes.txt")) + sorted(base.glob("labels/classes.txt"))), None)
    if described:
        classes = class_names(described)
    elif listing:
        classes = tuple(line.strip() for line in listing.read_text().splitlines() if line.strip())
    else:
        classes = ("fracture",)
    wanted = _fracture_classes(base, classes, fracture_classes)
    pattern = re.compile(group_pattern) if group_pattern else None

    films, faults = [], []
    for path in image_files(base):
        below = path.relative_to(base)
        label = base / Path(*("labels" if p == "images" else p for p in below.parts)).with_suffix(".txt")
        size = film_size(path)
        try:
            found = read_label_file(label, classes, size) if label in labels else []
        except DataError as error:
            faults.append(str(error))
            continue
        fractures = [item for item in found if item.category in wanted]
        others = tuple({"category": i.category, "box": i.box} for i in found if i.category not in wanted)
        part = next((_PARTS[p.lower()] for p in below.parts if p.lower() in _PARTS), None)
        extra: dict[str, object] = {"published_part": part} if part else {}
        if others:
            extra["other_boxes"] = others
        match = pattern.search(below.as_posix()) if pattern else None
        rings = tuple(item.rings for item in fractures)
        films.append(
            Film(
                source=below.as_posix(),
                width=size[0],
                height=size[1],
                fractured=int(bool(fractures)),
                regions=rename_regions([region] if region else []),
                boxes=tuple(item.box for item in fractures),
                polygons=rings if any(rings) else (),
                group=match.group((match.lastindex and 1) or 0) if match else "",
                extra=extra,
            )
        )
    if faults:
        raise DataError(f"{base}: {len(faults)} label files are malformed", got="\n  ".join(["", *faults]))
    if not films:
        raise DataError(f"{base}: no images", allowed="images/*.png, *.jpg, ... beside labels/")
    return AnnotatedSet(
        films=tuple(films),
        name=name or base.resolve().name,
        root=base,
        license=license_text(base),
        format="yolo",
    )


def class_names(path: Path) -> tuple[str, ...]:
    """The ``names`` of a YOLO description, given as a list or as a map from number to name.

    Raises:
        DataError: Unreadable, not YAML, or without names.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: the class names cannot be read", got=error) from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names)]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: no class names", allowed="names: [...]")
    return tuple(str(item) for item in names)


def read_label_file(path: Path, classes: Sequence[str], size: tuple[int, int]) -> list[LabeledBox]:
    """The rows of one label file in source pixels.

    Args:
        path: The file.
        classes: Names by number.
        size: (width, height) of the film; (0, 0) where it cannot be read, which gives boxes at 0.

    Raises:
        DataError: A row is malformed; every such row is named.
    """
    found, faults = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            category = classes[int(float(words[0]))]
            values = [float(word) for word in words[1:]]
            found.append(_row(category, values, size))
        except (ValueError, IndexError) as error:
            faults.append(f"line {number}: {error}")
    if faults:
        raise DataError(f"{path}: malformed rows", got="; ".join(faults), allowed="class cx cy w h")
    return found


def _row(category: str, values: Sequence[float], size: tuple[int, int]) -> LabeledBox:
    width, height = size
    if len(values) in (4, 5):
        x, y, w, h = values[:4]
        box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        return LabeledBox(category, box)
    if len(values) >= 6 and len(values) % 2 == 0:
        ring = tuple((x * width, y * height) for x, y in zip(values[::2], values[1::2], strict=True))
        return LabeledBox(category, hull((x, y, x, y) for x, y in ring), (ring,))
    raise ValueError(f"{len(values)} numbers after the class")


def _fracture_classes(base: Path, classes: Sequence[str], wanted: Sequence[str] | None) -> set[str]:
    if wanted is not None:
        unknown = sorted(set(wanted) - set(classes))
        if unknown:
            raise DataError(f"{base}: no such class", got=unknown, allowed=classes)
        return set(wanted)
    found = {c for c in classes if "fracture" in c.lower() and not re.match(r"non?[\W_]", c.lower())}
    if not found and len(classes) == 1:
        found = set(classes)
    if not found:
        raise DataError(
            f"{base}: no class is named fracture",
            got=", ".join(classes),
            hint="say which are with fracture_classes=[...]",
        )
    return found
