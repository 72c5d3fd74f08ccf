"""Reader for YOLO labels: ``images/.../x.png`` beside ``labels/.../x.txt``, class names in a YAML file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fracture.data.entries import Entry, Listing, Mark, Options, film_set, film_size, hull
from fracture.data.files import Problems, listed, read_text
from fracture.data.images import IMAGE_SUFFIXES, image_files
from fracture.data.records import AnnotatedSet
from fracture.errors import DataError, UnreadableDataError

_YAML_NAMES = ("data.yaml", "dataset.yaml", "meta.yaml", "data.yml", "dataset.yml")
_PARTS = {"train": "train", "valid": "tune", "val": "tune", "test": "validation"}
_LISTS = ("classes.txt", "obj.names", "predefined_classes.txt", "_darknet.labels")
_BEYOND = 0.5  # how far a fraction may lie outside the film; further out it is a pixel, not a fraction


def read_yolo(path: str | Path, **options: Any) -> AnnotatedSet:
    """Read a folder in YOLO's layout: detection, segmentation, oriented boxes (OBB) or poses.

    A film's labels lie in ``labels/`` where its image lies in ``images/``, else beside it, under the image's name with
    ``.txt``. A film without a label file, or with an empty one, is normal, as YOLO reads it; films without one are
    counted in the remarks, and so are label files that belong to no image. Rows are ``class cx cy w h``, or
    ``class x1 y1 x2 y2 x3 y3 ...`` for outlines and oriented boxes, in fractions of the film's sides, with a trailing
    confidence or without. Class names come from ``names`` of ``data.yaml`` (a list, or a map from number to name) or
    from ``classes.txt``; a set without names has one class, the fracture. Films are those of ``train``, ``val`` and
    ``test`` of ``data.yaml`` (folders, lists of folders, or text files that list films, relative to ``path`` or to
    the file), else all images below the folder. The part that the layout puts a film in goes into
    ``extra["published_part"]``.

    Args:
        path: The folder that holds ``images`` and ``labels`` (or ``train/images``, ...), or its ``data.yaml``.
        options: See :class:`fracture.data.entries.Options`.

    Raises:
        DataError: No films, no label files, no class that is a fracture, or malformed rows (all are told at once).
        ConfigurationError: An unknown option.
    """
    chosen, given = Options.of(options, what="yolo"), Path(path)
    described = given if given.is_file() else next((given / n for n in _YAML_NAMES if (given / n).is_file()), None)
    base = given.parent if given.is_file() else given
    content = _description(described) if described else {}
    classes = _names(described, content) if described else _listed_names(base)
    problems = Problems(base)
    remarks: list[tuple[str, str]] = []
    films = _films(base, content, remarks)
    used: set[Path] = set()
    entries, bare = [], []
    for file, part in films.items():
        below = _below(base, file)
        label = _label_path(file)
        marks: list[Mark] = []
        size = film_size(file)
        if label.is_file():
            used.add(label)
            marks = read_label_file(label, classes, size, problems, pose="kpt_shape" in content)
        else:
            bare.append(below)
        entries.append(Entry(below, {"published_part": part} if part else {}, marks, size))
    if not used:
        raise DataError(
            f"{base}: no YOLO labels of its {len(films)} images",
            allowed="labels/*.txt beside images/",
            hint=_loose(base),
        )
    if bare:
        remarks.append(("", f"{len(bare)} films have no label file and were read as normal: {listed(bare)}"))
    if left := _left_over(base, films, used):
        remarks.append(("", f"{len(left)} label files belong to no image and were not read: {listed(left)}"))
    categories = {str(number): name for number, name in enumerate(classes)}
    return film_set(Listing(base, base, "yolo", entries, problems, categories=categories, remarks=remarks), chosen)


def read_label_file(
    path: Path, classes: Sequence[str], size: tuple[int, int], problems: Problems, *, pose: bool = False
) -> list[Mark]:
    """The rows of one label file in source pixels.

    Args:
        path: The file.
        classes: Names by number.
        size: (width, height) of the film; (0, 0) where it cannot be read, which gives boxes at 0.
        problems: Collects malformed rows.
        pose: Whether keypoints follow each box.
    """
    marks = []
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if not words:
            continue
        try:
            index, values = float(words[0]), [float(word) for word in words[1:]]
            if not (index.is_integer() and 0 <= index < len(classes)):
                raise ValueError(f"no class {words[0]} among {len(classes)}")
            marks.append(_row(classes[int(index)], values[:4] if pose else values, size))
        except ValueError as error:
            problems.add("malformed rows of label files", f"{path.name}, line {number}: {error}")
    return marks


def _row(category: str, values: Sequence[float], size: tuple[int, int]) -> Mark:
    width, height = size
    if not all(math.isfinite(value) and -_BEYOND <= value <= 1 + _BEYOND for value in values):
        raise ValueError("numbers that are not fractions of the film's sides")
    if len(values) in (4, 5):
        x, y, w, h = values[:4]
        return Mark(category, ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height))
    if len(values) >= 6:
        # An odd number of values ends with a confidence.
        ring = tuple((x * width, y * height) for x, y in zip(values[::2], values[1::2], strict=False))
        return Mark(category, hull(ring), (ring,))
    raise ValueError(f"{len(values)} numbers after the class")


def _lines(path: Path) -> list[str]:
    """Lines of a text file that may be empty; only line feeds and returns end one."""
    return re.split(r"\r\n?|\n", read_text(path, blank=True))


def _description(path: Path) -> dict[str, Any]:
    """The YAML file, every value as text: ``names: [no, yes]`` are names and not false and true."""
    import yaml  # type: ignore[import-untyped]

    text = read_text(path)
    if len(text) > 1_000_000:
        raise UnreadableDataError(f"{path}: too large for a description of a set", got=f"{len(text)} characters")
    try:
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UnreadableDataError(f"{path}: not a YAML file", got=str(error)[:200]) from None
    if not isinstance(content, dict):
        raise UnreadableDataError(f"{path}: no description of a YOLO set", allowed="names: [...]")
    return content


def class_names(path: Path) -> tuple[str, ...]:
    """The ``names`` of a YOLO description, given as a list or as a map from number to name.

    Raises:
        DataError: Unreadable, not YAML, or without names.
    """
    return _names(path, _description(path))


def _names(described: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    names = content.get("names")
    if isinstance(names, dict):
        numbered = {int(key): name for key, name in names.items() if str(key).strip().isdigit()}
        if len(numbered) != len(names) or sorted(numbered) != list(range(len(numbered))):
            raise DataError(f"{described}: class numbers", got=", ".join(map(str, names))[:200], allowed="0, 1, 2, ...")
        names = [numbered[key] for key in sorted(numbered)]
    if isinstance(names, str):
        names = [name for name in names.split(",") if name.strip()]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{described}: no class names", allowed="names: [...]")
    return tuple(name.strip() for name in names)


def _listed_names(base: Path) -> tuple[str, ...]:
    """The names of a text file, one a line; a set without any has one class, the fracture."""
    places = [folder / name for folder in (base, base / "labels", base / "train") for name in _LISTS]
    file = next((place for place in places if place.is_file()), None)
    return tuple(line.strip() for line in _lines(file) if line.strip()) if file else ("fracture",)


def _films(base: Path, content: Mapping[str, Any], remarks: list[tuple[str, str]]) -> dict[Path, str | None]:
    """The films and the part each is in: those that the description names where they are there, else all."""
    found: dict[Path, str | None] = {}
    absent = []
    root = base / str(content.get("path") or "")
    for key, part in _PARTS.items():
        value = content.get(key) or []
        for place in value if isinstance(value, list) else [value]:
            if place in ("", "null", "~"):
                continue
            target = next((p for p in _places(base, root, str(place)) if p.exists()), None)
            if target is None:
                absent.append(f"{key}: {place}")
                continue
            for file in _listed_files(target, base, root) if target.is_file() else image_files(target):
                found.setdefault(file, part)
    if absent:
        remarks.append(("", f"data.yaml names folders that are not there: {listed(absent)}; what lies here was read"))
    every = [file for file in image_files(base) if file not in found]
    # Beside the parts that data.yaml names, what has the layout of a part is read too, and nothing else.
    left = [file for file in every if found and not absent and not _in_layout(file)]
    if left:
        shown = listed([_below(base, file) for file in left])
        remarks.append(("", f"{len(left)} images are in no part of data.yaml and were left out: {shown}"))
    found |= {file: _part(base, file) for file in every if file not in set(left)}
    if not found:
        raise DataError(f"{base}: no images", allowed="images/*.png, *.jpg, ... beside labels/")
    return found


def _places(base: Path, root: Path, place: str) -> list[Path]:
    """Where a folder of data.yaml may lie: below ``path``, beside the file, or (``../train`` of exports) inside."""
    name = place.replace("\\", "/")
    inside = name
    while inside.startswith(("../", "./")):
        inside = inside.split("/", 1)[1]
    places = [base / inside, root / inside, root / name] if name.startswith("../") else [root / name, base / name]
    return [Path(os.path.normpath(place)) for place in places]


def _listed_files(listing: Path, base: Path, root: Path) -> list[Path]:
    """The films of a text file, one a line."""
    names = [line.strip() for line in _lines(listing) if line.strip()]
    return [
        next((p for p in _places(base, root, n) if p.is_file()), listing.parent / n.replace("\\", "/")) for n in names
    ]


def _part(base: Path, file: Path) -> str | None:
    return next((_PARTS[p.lower()] for p in file.relative_to(base).parts if p.lower() in _PARTS), None)


def _in_layout(file: Path) -> bool:
    label = _label_path(file)
    return label.is_file() or (label.parent != file.parent and label.parent.is_dir())


def _label_path(file: Path) -> Path:
    parts = list(file.with_suffix(".txt").parts)
    places = [i for i, part in enumerate(parts[:-1]) if part.lower() == "images"]
    if places:
        parts[places[-1]] = "labels" if parts[places[-1]].islower() else "Labels"
    return Path(*parts)


def _left_over(base: Path, films: Iterable[Path], used: set[Path]) -> list[str]:
    """Text files that are meant as labels and were not read: among labels, or beside an image under its name."""
    beside = {(file.parent, file.stem.lower()) for file in films}
    known = used | {_label_path(file) for file in image_files(base)}

    def folders(path: Path) -> list[str]:
        return [part.lower() for part in path.relative_to(base).parts[:-1]]

    return sorted(
        _below(base, path)
        for path in base.rglob("*.[tT][xX][tT]")
        if path not in known
        and path.name not in _LISTS
        and ("labels" in folders(path) or (path.parent, _bare(path.stem).lower()) in beside)
    )


def _bare(stem: str) -> str:
    """A name without an image's ending: ``b.png.txt`` is meant for ``b.png``."""
    return Path(stem).stem if Path(stem).suffix.lower() in IMAGE_SUFFIXES else stem


def _loose(base: Path) -> str:
    loose = [path.name for path in base.rglob("*.txt")][:3]
    return f"text files there: {', '.join(loose)}" if loose else "give the folder above images/ and labels/"


def _below(base: Path, file: Path) -> str:
    try:
        return file.relative_to(base).as_posix()
    except ValueError:
        return file.as_posix()
