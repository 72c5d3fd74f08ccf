"""The challenges' CSV files: numbers by ``row_id``, joined by name and never by place, and written back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fracture.data.files import Problems, as_number, load_csv, plain_name
from fracture.errors import DataError

Numbers = dict[str, tuple[float, ...]]
"""``row_id`` to its numbers."""


def read_numbers(path: str | os.PathLike[str], columns: Sequence[str], *, blank: bool = False) -> Numbers:
    """A table with ``row_id`` and columns of numbers of 0 or more.

    Args:
        path: The file.
        columns: Their names.
        blank: Leave out rows where a number is missing (blank or NaN); else they are a fault.

    Raises:
        UnreadableDataError: It cannot be read, or lacks a column.
        DataError: A ``row_id`` that is missing or occurs twice, or what is no number of 0 or more.
    """
    names = [plain_name(column) for column in columns]
    problems, found = Problems(path), Numbers()
    for number, row in enumerate(load_csv(Path(path), required=["row_id", *names]).rows, start=2):
        key, texts = row.get("row_id", ""), [row.get(name, "") for name in names]
        if not key:
            problems.add("rows without row_id", f"row {number}")
            continue
        if blank and any(text.lower() in ("", "nan") for text in texts):
            continue
        values = [as_number(text) for text in texts]
        if any(value is None or value < 0 for value in values):
            problems.add("rows without numbers of 0 or more", key)
        elif key in found:
            problems.add("rows that occur twice", key)
        else:
            found[key] = tuple(value for value in values if value is not None)
    problems.raise_if_any()
    return found


def read_wide(path: str | os.PathLike[str], key: str) -> dict[str, dict[str, str]]:
    """A table with one row for each examination: its texts by column, ``key`` apart; blank and NaN are left out.

    Raises:
        UnreadableDataError: It cannot be read, or lacks the key.
        DataError: A key that is missing or occurs twice.
    """
    name, problems = plain_name(key), Problems(path)
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(load_csv(Path(path), required=[name]).rows, start=2):
        one = row.pop(name, "")
        if not one or one in found:
            problems.add(f"rows without {key}, or with one that occurs twice", one or f"row {number}")
        found[one] = {column: text for column, text in row.items() if text and text.lower() != "nan"}
    problems.raise_if_any()
    return found


def joined(truth: Iterable[str], predicted: Mapping[str, Sequence[float]], what: str) -> NDArray[np.float64]:
    """Predictions in the order of the truth's rows; more predictions than rows are left out.

    Raises:
        DataError: A row without a prediction.
    """
    wanted = list(truth)
    missing = [key for key in wanted if key not in predicted]
    if missing or not wanted:
        raise DataError(
            f"{what} has no prediction for {len(missing)} of {len(wanted)} rows",
            got=", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "") if missing else "no labeled row",
            hint="predict every row of the solution",
        )
    return np.array([predicted[key] for key in wanted], np.float64)


def mean_of(models: Sequence[Mapping[str, Sequence[float]]]) -> Numbers:
    """The ensemble of some models: the mean of their numbers, row by row.

    Raises:
        DataError: No model, or models with other rows than the first.
    """
    if not models:
        raise DataError("an ensemble needs a model")
    for number, model in enumerate(models[1:], start=2):
        if different := sorted(set(models[0]) ^ set(model)):
            raise DataError(
                f"model {number} of the ensemble has other rows than the first",
                got=f"{len(different)} rows, such as {different[0]}",
                hint="predict the same rows with every model",
            )
    means = {key: np.mean([model[key] for model in models], axis=0).tolist() for key in models[0]}
    return {key: tuple(values) for key, values in means.items()}
