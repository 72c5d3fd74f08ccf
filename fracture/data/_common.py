"""Small steps that the readers share."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fracture.data.images import read_header
from fracture.data.records import Box
from fracture.errors import DataError, UnreadableFileError

FALSE_WORDS = frozenset({"", "0", "0.0", "false", "no", "n", "normal", "negative", "none", "nan"})
TRUE_WORDS = frozenset({"1", "1.0", "true", "yes", "y", "fracture", "fractured", "positive"})


def load_json(path: Path) -> Any:
    """The parsed file.

    Raises:
        DataError: Missing, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: the annotation file cannot be read", got=error.strerror) from error
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file", got=error) from error


def load_csv(path: Path, *, required: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header; names and values stripped, names lower-case, comma or semicolon.

    Raises:
        DataError: Missing, not text, without rows, or without a required column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the annotation file cannot be read", got=error) from error
    lines = text.splitlines()
    head = lines[0] if lines else ""
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        rows = [
            dict(zip(names, (value.strip() for value in row), strict=False))
            for row in reader
            if any(value.strip() for value in row)
        ]
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file", got=error) from error
    missing = [name for name in required if name not in names]
    if missing or not rows:
        raise DataError(
            f"{path}: " + ("columns are missing" if missing else "the file has no rows"),
            got=f"columns {', '.join(names)}",
            allowed=f"at least {', '.join(required)}",
        )
    return rows


def truth(value: object, *, what: str) -> bool:
    """A yes or no as tables write it (0/1, true/false, yes/no, fractured/normal, empty = no).

    Raises:
        DataError: Any other word.
    """
    word = str(value).strip().lower() if value is not None else ""
    if word in FALSE_WORDS:
        return False
    if word in TRUE_WORDS:
        return True
    raise DataError(f"{what}: neither yes nor no", got=value, allowed="0 or 1")


def rename_regions(
    names: Iterable[str], *, prefix: str = "", mapping: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Regions under our names: ``mapping[name]`` where it has the name, else ``prefix + name``.

    Names are lower-cased, with spaces, hyphens and slashes as underscores, and each is kept once.
    """
    renamed: dict[str, None] = {}
    for name in names:
        plain = "_".join(str(name).strip().lower().replace("-", " ").replace("/", " ").split())
        if plain:
            renamed[mapping[plain] if mapping and plain in mapping else prefix + plain] = None
    return tuple(renamed)


def film_size(path: Path) -> tuple[int, int]:
    """(width, height) as read, or (0, 0) for a file that cannot be read: ``verify`` reports it."""
    try:
        return read_header(path).size
    except UnreadableFileError:
        return 0, 0


def hull(boxes: Iterable[Box]) -> Box:
    """The smallest box around ``boxes``, of which there must be one at least."""
    every = list(boxes)
    return (
        min(b[0] for b in every),
        min(b[1] for b in every),
        max(b[2] for b in every),
        max(b[3] for b in every),
    )


def license_text(folder: Path) -> str:
    """The text of a LICENSE file in ``folder``, or empty."""
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt"):
        path = folder / name
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace").strip()
    return ""
