"""The challenge's table: one row per patient, three sums and 86 joints; read, checked, made and written.

RA2-DREAM's layout (columns and their order: vkichu77/RA2CH, train/training.csv): ``Patient_ID, Overall_Tol,
Overall_erosion, Overall_narrowing``, then erosion of left hand, right hand, left foot, right foot, then narrowing of
the same. Each sum is that of its joints.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from fracture.atomic import write_text
from fracture.data.files import Problems, as_number, load_csv, plain_name
from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import FloatArray

__all__ = ["COLUMNS", "HEADER", "SUMS", "Kind", "Limb", "ScoreTable", "highest", "read_table", "write_table"]

Kind = Literal["erosion", "narrowing"]
Limb = Literal["hand", "foot"]
Whole = Literal["total", "erosion", "narrowing"]

_OF = {"hand": "H", "foot": "F"}
SUMS = ("Overall_Tol", "Overall_erosion", "Overall_narrowing")
_ERROR = 1e-6  # of a sum, relative to it: what rounding to six digits leaves (ours)


def _columns() -> tuple[str, ...]:
    hand = {
        "E": ["mcp_E__ip", *(f"pip_E__{k}" for k in range(2, 6)), *(f"mcp_E__{k}" for k in range(1, 6))]
        + [f"wrist_E__{name}" for name in ("mc1", "mul", "nav", "lunate", "radius", "ulna")],
        "J": [*(f"pip_J__{k}" for k in range(2, 6)), *(f"mcp_J__{k}" for k in range(1, 6))]
        + [f"wrist_J__{name}" for name in ("cmc3", "cmc4", "cmc5", "mna", "capnlun", "radcar")],
    }
    foot = {letter: [f"mtp_{letter}__{name}" for name in ("ip", *"12345")] for letter in "EJ"}
    return tuple(
        f"{prefix}_{name}"
        for letter in "EJ"
        for prefix in ("LH", "RH", "LF", "RF")
        for name in (hand if prefix[1] == "H" else foot)[letter]
    )


COLUMNS = _columns()
"""The 86 joints in the challenge's order."""

HEADER = ("Patient_ID", *SUMS, *COLUMNS)
"""All 90 columns."""


def highest(column: str) -> float:
    """The most that a joint's column can hold: narrowing 4, erosion of a hand 5, of a foot's joint, both sides, 10."""
    return 4.0 if "_J_" in column else 5.0 if column[1] == "H" else 10.0


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Patients' scores.

    Attributes:
        patients: Their names, each once.
        values: float64 (patients, 86), the joints in the order of ``COLUMNS``.
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
        shape = (len(self.patients), len(COLUMNS))
        if self.values.shape != shape:
            raise EvaluationError("scores are one row per patient", got=self.values.shape, allowed=shape)
        if not self.sums.size:
            parts = [self.values[:, [c in self.names(kind) for c in COLUMNS]].sum(axis=1) for kind in _KINDS]
            object.__setattr__(self, "sums", np.stack([parts[0] + parts[1], *parts], axis=1))
        for part in (self.values, self.sums):
            if not np.isfinite(part).all() or (part < 0).any():
                raise EvaluationError("damage scores are finite and not negative", hint="open columns cannot be judged")

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.patients)

    @classmethod
    def of_rows(cls, rows: Mapping[str, Mapping[str, float]]) -> ScoreTable:
        """A table from rows by patient, each with every column of ``COLUMNS``; sums are made.

        Raises:
            EvaluationError: A column is missing.
        """
        for patient, row in rows.items():
            if lacking := [name for name in COLUMNS if row.get(name) is None]:
                raise EvaluationError(f"{patient}: scores of {len(lacking)} joints are missing", got=lacking[:8])
        return cls(tuple(rows), np.array([[row[c] for c in COLUMNS] for row in rows.values()], np.float64))

    @staticmethod
    def names(kind: Kind, limb: Limb | None = None) -> tuple[str, ...]:
        """Columns of one kind of damage, of hands or feet alone where asked."""
        letter = "_E_" if kind == "erosion" else "_J_"
        return tuple(c for c in COLUMNS if letter in c and (limb is None or c[1] == _OF[limb]))

    def joints(self, kind: Kind, limb: Limb | None = None) -> FloatArray:
        """float64 (patients, joints) of ``names(kind, limb)``."""
        chosen = set(self.names(kind, limb))
        found: FloatArray = self.values[:, [c in chosen for c in COLUMNS]]
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


_KINDS: tuple[Kind, ...] = ("erosion", "narrowing")


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
    keys = {name: plain_name(name) for name in HEADER}
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
        for name, value in zip(COLUMNS, rows[patient][3:], strict=True):
            if value > highest(name):
                problems.add("scores above what the column can hold", f"{patient} {name} {value:g} > {highest(name):g}")
    problems.raise_if_any(hint="a score is a number of 0 or more, and every joint has one")
    numbers = np.array(list(rows.values()), np.float64).reshape(-1, len(HEADER) - 1)
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
    writer.writerow(HEADER)
    for patient, sums, row in zip(table.patients, table.sums, table.values, strict=True):
        writer.writerow([patient, *(_shown(float(value)) for value in (*sums, *row))])
    write_text(path, text.getvalue())


def _shown(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
