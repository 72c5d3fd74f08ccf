"""The challenge's table: one row per patient, three sums and 86 joints; read, checked, made and written.

Its columns are :data:`fracture.joints.layout.ROW`. Each sum is that of its joints.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np

from fracture.atomic import write_text
from fracture.data.files import Problems, as_number, load_csv, plain_name
from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import FloatArray
from fracture.joints.layout import COLUMNS, ROW, SUMS, Damage, Kind

__all__ = ["JOINTS", "ScoreTable", "highest", "read_table", "write_table"]

Whole = Literal["total", "erosion", "narrowing"]

_ERROR = 1e-6  # of a sum, relative to it: what rounding to six digits leaves (ours)


JOINTS: Final = ROW[1 + len(SUMS) :]
"""The 86 joints in the challenge's order."""

_OF = {column.full(side): column for column in COLUMNS for side in ("left", "right")}


def highest(joint: str) -> int:
    """The most that a column can hold: narrowing 4, erosion of a hand 5, of a foot's joint, both sides, 10."""
    return _OF[joint].maximum


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Patients' scores.

    Attributes:
        patients: Their names, each once.
        values: float64 (patients, 86), the joints in the order of ``JOINTS``.
        sums: float64 (patients, 3), total, erosion, narrowing; those of the joints where not given.

    Raises:
        EvaluationError: Patients that occur twice; values of another shape, not finite, or negative.
    """

    patients: tuple[str, ...]
    values: FloatArray = field(repr=False)
    sums: FloatArray = field(repr=False, default_factory=lambda: np.zeros((0, 3)))

    def __post_init__(self) -> None:
        if len(set(self.patients)) != len(self.patients):
            twice = sorted({name for name in self.patients if self.patients.count(name) > 1})
            raise EvaluationError(
                "a patient has one row", got=", ".join(twice[:8]), hint="give visits names of their own"
            )
        shape = (len(self.patients), len(JOINTS))
        if self.values.shape != shape:
            raise EvaluationError("scores are one row per patient", got=self.values.shape, allowed=shape)
        if not self.sums.size:
            parts = [self.values[:, [c in self.names(damage) for c in JOINTS]].sum(axis=1) for damage in _DAMAGES]
            object.__setattr__(self, "sums", np.stack([parts[0] + parts[1], *parts], axis=1))
        for part in (self.values, self.sums):
            if not np.isfinite(part).all() or (part < 0).any():
                raise EvaluationError("damage scores are finite and not negative", hint="open columns cannot be judged")

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.patients)

    @classmethod
    def of_rows(cls, rows: Mapping[str, Mapping[str, float]]) -> ScoreTable:
        """A table from rows by patient, each with every column of ``JOINTS``; sums are made.

        Raises:
            EvaluationError: A column is missing.
        """
        for patient, row in rows.items():
            if lacking := [name for name in JOINTS if row.get(name) is None]:
                raise EvaluationError(f"{patient}: scores of {len(lacking)} joints are missing", got=lacking[:8])
        return cls(tuple(rows), np.array([[row[c] for c in JOINTS] for row in rows.values()], np.float64))

    @staticmethod
    def names(damage: Damage, kind: Kind | None = None) -> tuple[str, ...]:
        """Columns of one kind of damage, of hands or forefeet alone where asked."""
        return tuple(c for c in JOINTS if _OF[c].damage == damage and kind in (None, _OF[c].kind))

    def joints(self, damage: Damage, kind: Kind | None = None) -> FloatArray:
        """float64 (patients, joints) of ``names(damage, kind)``."""
        chosen = set(self.names(damage, kind))
        found: FloatArray = self.values[:, [c in chosen for c in JOINTS]]
        return found

    def overall(self, what: Whole) -> FloatArray:
        """float64 (patients,): the sum as the table states it."""
        found: FloatArray = self.sums[:, ("total", "erosion", "narrowing").index(what)]
        return found

    def of(self, patients: Sequence[str]) -> ScoreTable:
        """The same for these patients, in this order.

        Raises:
            EvaluationError: A patient is missing, or one is left over.
        """
        place = {name: row for row, name in enumerate(self.patients)}
        missing, more = [p for p in patients if p not in place], sorted(set(self.patients) - set(patients))
        if missing or more:
            raise EvaluationError(
                "both tables hold the same patients", got=f"missing: {missing[:8]}; left over: {more[:8]}"
            )
        rows = [place[name] for name in patients]
        return ScoreTable(tuple(patients), self.values[rows], self.sums[rows])

    def rounded(self, near_zero: float = 0.0) -> ScoreTable:
        """Whole scores; those up to ``near_zero`` become 0 whatever they round to. Sums are made anew."""
        whole = np.floor(self.values + 0.5)
        return ScoreTable(self.patients, np.where(self.values <= near_zero, 0.0, whole))


_DAMAGES: tuple[Damage, ...] = ("erosion", "narrowing")


def read_table(path: str | Path, *, predicted: bool = False) -> ScoreTable:
    """Read a table of the challenge.

    Args:
        path: CSV with the 90 columns in any order; others are ignored.
        predicted: Scores that an algorithm gave: they may lie beyond what a reader can give, and their sums may be
            predictions of their own.

    Raises:
        UnreadableDataError: The file, or a column of it, is missing.
        DataError: Cells that are no numbers or out of range, sums that are not those of their joints, patients that
            occur twice; all at once.
    """
    file = Path(path)
    keys = {name: plain_name(name) for name in ROW}
    table, problems = load_csv(file, required=tuple(keys.values())), Problems(file)
    rows: dict[str, list[float]] = {}
    for number, row in enumerate(table.rows, start=2):
        patient = row.get(keys["Patient_ID"], "")
        if not patient or patient in rows:
            problems.add("rows without a patient of their own", f"row {number} {patient}".strip())
            continue
        rows[patient] = [_number(patient, name, row.get(key, ""), problems) for name, key in list(keys.items())[1:]]
        if predicted:
            continue
        for name, value in zip(JOINTS, rows[patient][3:], strict=True):
            if value > highest(name):
                problems.add("scores above what the column can hold", f"{patient} {name} {value:g} > {highest(name):g}")
    problems.raise_if_any(hint="a score is a number of 0 or more, and every joint has one")
    numbers = np.array(list(rows.values()), np.float64).reshape(-1, len(ROW) - 1)
    stated = ScoreTable(tuple(rows), numbers[:, 3:], numbers[:, :3])
    if not predicted:
        made = ScoreTable(stated.patients, stated.values).sums
        wrong = np.abs(made - stated.sums) > _ERROR * np.maximum(1.0, made)
        for row, place in zip(*np.nonzero(wrong), strict=True):
            says = f"{stated.patients[row]} {SUMS[place]} {stated.sums[row, place]:g}, its joints {made[row, place]:g}"
            problems.add("sums that are not those of their joints", says)
        problems.raise_if_any(hint="correct the row, or read it with predicted=True")
    return stated


def _number(patient: str, name: str, text: str, problems: Problems) -> float:
    value = as_number(text)
    if value is not None and value >= 0:
        return value
    problems.add("cells that are no score", f"{patient} {name} {text!r}")
    return 0.0


def write_table(table: ScoreTable, path: str | Path) -> None:
    """Write the 90 columns as CSV; whole numbers without a decimal point, others so that they are read back exactly.

    Raises:
        OutputError: It cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(ROW)
    for patient, sums, row in zip(table.patients, table.sums, table.values, strict=True):
        writer.writerow([patient, *(_shown(float(value)) for value in (*sums, *row))])
    write_text(path, text.getvalue())


def _shown(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
