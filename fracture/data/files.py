"""Text files of annotations and predictions: JSON, tables, numbers, and the faults in them told together."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fracture.atomic import write_text
from fracture.errors import DataError, UnreadableDataError, UnreadableFileError

MAX_SIDE = 1_000_000
"""Largest side of a film and coordinate of a box, in pixels (our choice)."""
_SHOWN = 8
_LARGEST_LINES = 2**30  # bytes of a file of results
_LARGEST = 1e9  # of a number in a table or a box: beyond it lies no pixel, age or count


class Problems:
    """Faults found so far; ``raise_if_any`` tells them together."""

    def __init__(self, source: object) -> None:
        self.source = source
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, example: object) -> None:
        """Note one fault: its kind, and where or what it was."""
        self._found.setdefault(kind, []).append(str(example))

    def raise_if_any(self, hint: str | None = None) -> None:
        """Raise one error that lists every kind of fault with its count and first examples.

        Raises:
            DataError: Any fault was noted.
        """
        if self._found:
            parts = (f"{kind} ({len(examples)}): {listed(examples)}" for kind, examples in self._found.items())
            raise DataError(f"{self.source}: " + "; ".join(parts), hint=hint)


def listed(examples: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(examples) - _SHOWN} more" if len(examples) > _SHOWN else ""
    return ", ".join(examples[:_SHOWN]) + more


def read_text(path: Path, *, blank: bool = False, max_bytes: int | None = None) -> str:
    """A text file in UTF-8, with or without byte order mark, whatever the machine's locale.

    Args:
        path: The file.
        blank: Whether it may hold nothing.

    Raises:
        UnreadableDataError: Missing, not a regular file, empty, too large, or not text.
    """
    from fracture.io.files import MAX_BYTES, open_bytes

    if blank and path.is_file() and path.stat().st_size == 0:
        return ""
    try:
        text = open_bytes(path, max_bytes or MAX_BYTES)[0].decode("utf-8-sig")
    except UnreadableFileError as error:
        raise UnreadableDataError(error.what, got=error.got, allowed=error.allowed, hint=error.hint) from None
    except UnicodeDecodeError:
        raise UnreadableDataError(f"{path}: not a text file in UTF-8", hint="save it as UTF-8") from None
    if not (blank or text.strip()):
        raise UnreadableDataError(f"{path}: the file is empty")
    return text


def load_json(path: Path, text: str | None = None, *, where: str = "") -> Any:
    """Parsed JSON; NaN and infinities, which JSON does not know, come as floats and are refused later.

    Args:
        path: The file.
        text: Its content, or the part of it that ``where`` names.
        where: Which part.

    Raises:
        UnreadableDataError: It cannot be read, is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(read_text(path) if text is None else text)
    except json.JSONDecodeError as error:
        raise UnreadableDataError(f"{path}: not a JSON file ({where or f'line {error.lineno}'}: {error.msg})") from None
    except (RecursionError, ValueError) as error:
        raise UnreadableDataError(f"{path}: not a JSON file of this kind", got=str(error)[:80]) from None


def load_json_lines(path: Path, text: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place, as ``"line 3"``, and its JSON object; blank lines are passed over.

    Raises:
        UnreadableDataError: The file cannot be read, or a line holds no JSON object.
    """
    lines = read_text(path, max_bytes=_LARGEST_LINES) if text is None else text
    for number, line in enumerate(lines.split("\n"), 1):
        if line.strip():
            record = load_json(path, line, where=f"line {number}")
            if not isinstance(record, dict):
                raise UnreadableDataError(f"{path}: line {number} is not a JSON object")
            yield f"line {number}", record


class Table(NamedTuple):
    """A CSV file with a header: its columns by :func:`plain_name`, and each row by column, values stripped."""

    columns: tuple[str, ...]
    rows: list[dict[str, str]]


def load_csv(path: Path, text: str | None = None, *, required: Sequence[str] = ()) -> Table:
    """A CSV file with a header; comma, semicolon or tab, any line ends, quoted fields with any character in them.

    Raises:
        UnreadableDataError: It cannot be read, is not CSV, or lacks a required column.
        DataError: No rows, columns that occur twice, or rows with more values than columns.
    """
    text = read_text(path) if text is None else text
    first, _, rest = text.lstrip("\r\n").partition("\n")
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # as Excel writes and reads it
        text, first = rest, first[4]
    # newline="": only \n, \r and \r\n end a line. str.splitlines would part a note at U+2028 or a form feed.
    # strict: a quote that is never closed would else swallow the rows after it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    problems = Problems(path)
    rows: list[dict[str, str]] = []
    try:
        lines = (line for line in reader if any(value.strip() for value in line))
        columns = [plain_name(name.strip().lstrip("#")) for name in next(lines, [])]
        for line in lines:
            if any(value.strip() for value in line[len(columns) :]):
                problems.add("rows with more values than columns", f"line {reader.line_num}")
            rows.append(dict(zip(columns, (value.strip() for value in line), strict=False)))
    except csv.Error as error:
        raise UnreadableDataError(f"{path}: not a CSV file", got=error) from None
    for name in sorted({name for name in columns if name and columns.count(name) > 1}):
        problems.add("columns that occur twice", name)
    missing = [name for name in required if name not in columns]
    if missing:
        raise UnreadableDataError(
            f"{path}: columns are missing: {', '.join(missing)}", got=f"columns {', '.join(columns[:12])}"
        )
    problems.raise_if_any("quote a value that holds the separator, such as a decimal comma")
    return Table(tuple(columns), rows)


def write_rows(path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file whole or not at all; floats so that they read back as they are.

    Raises:
        OutputError: It cannot be written.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(Path(path), stream.getvalue())


def plain_name(text: object) -> str:
    """A column's or region's name in lower case, with spaces, hyphens and slashes as underscores."""
    return "_".join(str(text).lower().replace("-", " ").replace("/", " ").split())


def first_of(columns: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first of ``wanted`` that is among ``columns``, ``None`` without any."""
    return next((name for name in wanted if name in columns), None)


def as_number(value: object) -> float | None:
    """A finite float from a number or a numeric text (a decimal comma is one), ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and "," in value:
        point, comma = value.rfind("."), value.rfind(",")
        value = value.replace(",", "") if point > comma else value.replace(".", "").replace(",", ".")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= _LARGEST else None


def four(values: object, *, corners: bool) -> tuple[float, float, float, float] | None:
    """A box from four numbers: x0, y0, x1, y1, or (not ``corners``) x, y, width, height; ``None`` if they are none."""
    if not isinstance(values, list | tuple) or len(values) != 4:
        return None
    numbers = [as_number(value) for value in values]
    if any(number is None or abs(number) > MAX_SIDE for number in numbers):
        return None
    a, b, c, d = (float(number) for number in numbers if number is not None)
    return (a, b, c, d) if corners else (a, b, a + c, b + d)
