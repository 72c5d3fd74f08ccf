"""Results as a table: one row per film, for spreadsheets, pandas and Parquet.

A result's JSON line is nested; here nothing is. A mapping becomes a column per key (``thresholds.high_sensitivity``), a
list of words is joined by ``"; "``, and a list of records (boxes, hips, candidates) becomes its JSON text, with a
column ``n_boxes`` beside it. ``suspicion`` is the score as a person reads it: 0 to 1, and 0.5 is the threshold in use.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fracture.errors import ConfigurationError, needing
from fracture.wing.lines import flagged_of, suspicion_of

if TYPE_CHECKING:
    import pandas as pd

    from fracture.wing.contract import Result
    from fracture.wing.result import Failure

_FIRST = ("source", "ok", "fractured", "suspicion", "region", "n_boxes", "n_hips", "error_type", "error_message")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a cell that begins so


def to_frame(results: Iterable[Result | Failure | Mapping[str, Any]]) -> pd.DataFrame:
    """Results as a pandas table, one row per film, failures among them.

    Args:
        results: What ``predict`` and ``predict_many`` of any wing give, or their JSON lines as dictionaries.

    Returns:
        A row for each result, in order. Columns: ``source``, ``ok``, ``fractured``, ``suspicion`` (0 to 1; 0.5 is the
        threshold in use), ``region``, ``n_boxes``, ``error_type``, ``error_message``, then every further value of the
        JSON line; ``thresholds`` and the like as ``thresholds.high_sensitivity``, boxes as JSON text in source pixels.

    Raises:
        ConfigurationError: pandas is not installed.

    >>> fracture.to_frame(fracture.load().predict_many(films)).to_excel("films.xlsx")  # doctest: +SKIP
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ConfigurationError(
            "tables in Python need pandas", got="it is not installed", hint="pip install 'fracture-radiographs[table]'"
        ) from error
    rows = [row_of(one if isinstance(one, Mapping) else one.to_dict()) for one in results]
    return pd.DataFrame(rows, columns=columns_of(rows))


def row_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """One JSON line as a flat row; see the module's text."""
    error = line.get("error")
    row: dict[str, Any] = {
        "source": line["source"],
        "ok": error is None,
        "fractured": None if error is not None else flagged_of(line),
        "suspicion": suspicion_of(line),
    }
    for name, value in line.items():
        if name in row or name in ("error", "regions"):
            continue
        if isinstance(value, Mapping):
            row |= {f"{name}.{key}": inner for key, inner in value.items()}
        elif isinstance(value, list) and (value or name in ("boxes", "hips", "candidates")):
            if value and not isinstance(value[0], Mapping):
                row[name] = "; ".join(map(str, value))
            else:
                row |= {f"n_{name}": len(value), name: json.dumps(value)}
        else:
            row[name] = None if isinstance(value, list) else value
    if error is not None:
        row |= {"error_type": error["type"], "error_message": error["message"]}
    return row


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """All columns of some rows: those that a person looks for first, then the others as they come."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in _FIRST if name in names] + [name for name in names if name not in _FIRST]


def write_csv(rows: Iterable[Mapping[str, Any]], stream: IO[str]) -> None:
    """Write rows as CSV (RFC 4180, UTF-8 for a stream opened with ``encoding="utf-8-sig", newline=""``).

    Numbers have a point. A text that a spreadsheet would take for a formula gets an apostrophe before it, since file
    names come from outside; a name that is not UTF-8 is written with backslashes (``\\\\udcff``).
    """
    rows = list(rows)
    writer = csv.DictWriter(stream, columns_of(rows), restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})


def can_parquet() -> bool:
    """Whether pyarrow is installed (extra ``[table]``)."""
    return find_spec("pyarrow") is not None


def write_parquet(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows as Parquet, a column for each name, null where a row lacks it."""
    rows = list(rows)
    write_parquet_parts(lambda: [rows], path)


def write_parquet_parts(parts: Callable[[], Iterable[Iterable[Mapping[str, Any]]]], path: Path) -> int:
    """The same for more rows than memory holds: they come in parts, each of which becomes a row group.

    Args:
        parts: Gives the parts anew at each call: they are gone through twice, first for the names and types of columns.
        path: The file.

    Returns:
        How many rows were written.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    with needing("table", "archive"):
        import pyarrow as pa
        from pyarrow import parquet

    def tables() -> Iterator[pa.Table]:
        for part in parts():
            rows = list(part)
            yield pa.table({name: [_text(row.get(name)) for row in rows] for name in columns_of(rows)})

    schema = pa.unify_schemas([table.schema for table in tables()], promote_options="permissive")
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for table in tables():
            count += table.num_rows
            columns = [
                table[field.name].cast(field.type)
                if field.name in table.column_names
                else pa.nulls(len(table), field.type)
                for field in schema
            ]
            writer.write_table(pa.table(columns, schema=schema))
    return count


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = _text(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _text(value: Any) -> Any:
    """Texts without lone surrogates, which no UTF-8 file can hold; all else as it is."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value
