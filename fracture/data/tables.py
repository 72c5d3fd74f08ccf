"""Readers for a plain CSV table and for folders with image-level labels only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fracture.data.entries import LABELS, NAMES, Entry, Listing, Mark, Options, film_set, locate, stated_size
from fracture.data.files import Problems, first_of, four, load_csv, plain_name
from fracture.data.images import image_files
from fracture.data.records import AnnotatedSet, Box
from fracture.data.words import as_label, is_unknown, says_fracture
from fracture.errors import DataError, UnreadableDataError

_CORNERS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"))
_LISTS = ("regions", "region", "views", "view", "projection")


def read_csv(path: str | Path, **options: Any) -> AnnotatedSet:
    """Read a table with the columns ``image, group, region, view, fractured, x0, y0, x1, y1``.

    Only ``image`` (or ``file_name``, ``filename``, ``source``, ``path``, ``name``, ``id``) and ``fractured`` (or
    ``label``) are required. Commas, semicolons or tabs separate values; a decimal comma is read. A film with several
    boxes has several rows, or all of them in the column ``boxes`` as ``x0 y0 x1 y1; ...``. Regions and views of one
    film are separated by ``;``, ``|`` or ``+``, or stand in several rows. Boxes are in source pixels. A fractured film
    without a box is not ``localized``: a table without corners is a set with image-level labels. The optional columns
    are the extra fields of :func:`fracture.data.coco.read_coco`, ``width`` and ``height``; others go into
    ``Film.extra``.

    Args:
        path: The CSV file, or a folder that holds one.
        options: See :class:`fracture.data.entries.Options`; ``images`` is the folder that film names are relative to,
            by default the file's own.

    Raises:
        DataError: The table is malformed; all faulty rows are told at once.
        ConfigurationError: An unknown option.
    """
    chosen = Options.of(options, what="csv")
    file = Path(path)
    if file.is_dir():
        file = only_table(file)
    table = load_csv(file)
    film_column, label_column = first_of(table.columns, NAMES), first_of(table.columns, LABELS)
    if film_column is None or label_column is None:
        raise UnreadableDataError(
            f"{file}: a table of films needs a column with film names and a column with labels",
            got=f"columns {', '.join(table.columns[:12])}",
            allowed=f"one of {', '.join(NAMES)} and one of {', '.join(LABELS)}",
        )
    problems = Problems(file)
    films: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(table.rows, start=2):
        if row.get(film_column):
            films.setdefault(row[film_column], []).append(row)
        else:
            problems.add("rows without a film name", f"row {number}")
    root = chosen.images if chosen.images is not None else file.parent
    remarks: list[tuple[str, str]] = []
    entries = []
    for source, rows in zip(locate(root, None, [(name,) for name in films]), films.values(), strict=True):
        boxes = [box for row in rows for box in _boxes(source, row, problems)]
        entries.append(
            Entry(
                source,
                _merged(source, rows, film_column, label_column, remarks),
                [Mark("fracture", box) for box in boxes],
                stated_size(rows[0], source, problems),
            )
        )
    return film_set(Listing(file, root, "csv", entries, problems, name=file.stem, boxed=False, remarks=remarks), chosen)


def only_table(folder: Path) -> Path:
    """The CSV file of a folder that holds one.

    Raises:
        DataError: It holds none, or several.
    """
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise DataError(
            f"{folder}: one CSV file is expected",
            got=", ".join(t.name for t in tables) or "none",
            hint="give the file",
        )
    return tables[0]


def read_folders(path: str | Path, **options: Any) -> AnnotatedSet:
    """Read films that lie in folders named by label and, higher up, by region (``wrist/fractured/x.png``).

    Labels are those that say whether there is a fracture: ``fractured``, ``positive``, ``abnormal``, ``normal``,
    ``Non_fractured``, ...; regions are those of the region tree. There are no boxes: fractured films are not
    ``localized``. Films in other folders are left out, and counted in the remarks.

    Args:
        path: The folder.
        options: See :class:`fracture.data.entries.Options`.

    Raises:
        DataError: No film below a folder with such a name.
        ConfigurationError: An unknown option.
    """
    from fracture.regions import REGIONS

    chosen, base = Options.of(options, what="folders"), Path(path)
    entries, left = [], 0
    for file in image_files(base):
        below = file.relative_to(base)
        labels = [says_fracture(part) for part in reversed(below.parts[:-1])]
        label = next((label for label in labels if label is not None), None)
        if label is None:
            left += 1
            continue
        regions = [name for part in below.parts[:-1] if (name := re.sub(r"\d+", "", plain_name(part))) in REGIONS]
        entries.append(Entry(below.as_posix(), {"fractured": int(label), "regions": regions}, []))
    if not entries:
        raise DataError(f"{base}: no films in folders named by label", allowed=("fractured", "normal", "..."))
    remarks = [("", f"{left} films lie in no folder named by label and were left out")] if left else []
    return film_set(Listing(base, base, "folders", entries, Problems(base), boxed=False, remarks=remarks), chosen)


def _merged(
    source: str,
    rows: Sequence[Mapping[str, str]],
    film_column: str,
    label_column: str,
    remarks: list[tuple[str, str]],
) -> dict[str, Any]:
    """The fields of a film's rows as one: lists together, else the first value; contradictions are remarks."""
    merged: dict[str, Any] = {}
    for column in dict.fromkeys(key for row in rows for key in row):
        values = [value for value in dict.fromkeys(row.get(column, "") for row in rows) if not is_unknown(value)]
        if column in _LISTS:
            merged[column] = ";".join(values)
        elif values:
            merged[column] = values[0]
    labels = {as_label(row.get(label_column)) for row in rows if not is_unknown(row.get(label_column))}
    if labels == {True, False}:
        merged[label_column] = "1"
        remarks.append((source, "its rows disagree: fractured is both 0 and 1; read as 1"))
    elif None in labels:
        merged[label_column] = next(row[label_column] for row in rows if as_label(row.get(label_column)) is None)
    for column in ("group", "patient", "patient_id"):
        groups = sorted({row[column] for row in rows if row.get(column)})
        if len(groups) > 1:
            remarks.append((source, f"its rows name several groups: {', '.join(groups)}; read as {merged[column]}"))
    used = {"boxes", *(corner for corners in _CORNERS for corner in corners)} | ({film_column} - {"id"})
    return {key: value for key, value in merged.items() if key not in used}


def _boxes(source: str, row: Mapping[str, str], problems: Problems) -> list[Box]:
    found: list[Box] = []
    given = [[part] for part in re.split(r"[;|]", row.get("boxes", "")) if part.strip()]
    texts = [part.split() if len(part.split()) == 4 else re.split(r"[,\s]+", part.strip()) for (part,) in given]
    for corners in _CORNERS:
        values = [row.get(corner, "") for corner in corners]
        if not all(is_unknown(value) for value in values):
            texts.append(values)
    for values in texts:
        box = four(values, corners=True)
        if box is None:
            problems.add("boxes that are not four finite numbers", f"{source} ({', '.join(values)})")
        else:
            found.append(box)
    return found
