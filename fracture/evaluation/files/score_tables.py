"""Tables of scores: one row per patient, sums, and a column for each score; read, checked, made and written.

What the columns are, which sums they add up to and how high they go is a :class:`Layout`, and a table's class has one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from fracture.atomic import write_text
from fracture.data.files import Problems, as_number, load_csv, plain_name
from fracture.errors import EvaluationError
from fracture.evaluation.stats.algorithms import Discordant
from fracture.evaluation.stats.checks import FloatArray

_ERROR = 1e-6  # of a sum, relative to it: what rounding to six digits leaves (ours)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table.

    Attributes:
        patient: Column of the patients' names.
        sums: Column of a sum to the columns that it adds up.
        highest: Column of a score to the most that it can hold, in order.
    """

    patient: str
    sums: Mapping[str, Sequence[str]]
    highest: Mapping[str, float]

    @property
    def row(self) -> tuple[str, ...]:
        """All columns in order."""
        return self.patient, *self.sums, *self.highest

    def places(self, names: Sequence[str]) -> list[int]:
        """Where columns of scores stand."""
        order = {name: place for place, name in enumerate(self.highest)}
        return [order[name] for name in names]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Patients' scores.

    Attributes:
        patients: Their names, each once.
        values: float64 (patients, scores), in the order of the layout.
        sums: float64 (patients, sums); those of the scores where not given.

    Raises:
        EvaluationError: Patients that occur twice; values of another shape, not finite, or negative.
    """

    LAYOUT: ClassVar[Layout]

    patients: tuple[str, ...]
    values: FloatArray = field(repr=False)
    sums: FloatArray = field(repr=False, default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if len(set(self.patients)) != len(self.patients):
            twice = sorted({name for name in self.patients if self.patients.count(name) > 1})
            raise EvaluationError(
                "a patient has one row", got=", ".join(twice[:8]), hint="give visits names of their own"
            )
        layout, shape = self.LAYOUT, (len(self.patients), len(self.LAYOUT.highest))
        if self.values.shape != shape:
            raise EvaluationError("scores are one row per patient", got=self.values.shape, allowed=shape)
        if not self.sums.size:
            parts = [self.values[:, layout.places(names)].sum(axis=1) for names in layout.sums.values()]
            object.__setattr__(self, "sums", np.stack(parts, axis=1))
        for part in (self.values, self.sums):
            if not np.isfinite(part).all() or (part < 0).any():
                raise EvaluationError("scores are finite and not negative", hint="open columns cannot be judged")

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.patients)

    @classmethod
    def of_rows(cls, rows: Mapping[str, Mapping[str, float]]) -> Self:
        """A table from rows by patient, each with every score; sums are made.

        Raises:
            EvaluationError: A column is missing.
        """
        names = cls.LAYOUT.highest
        for patient, row in rows.items():
            if lacking := [name for name in names if row.get(name) is None]:
                raise EvaluationError(f"{patient}: {len(lacking)} scores are missing", got=lacking[:8])
        return cls(tuple(rows), np.array([[row[name] for name in names] for row in rows.values()], np.float64))

    def of(self, patients: Sequence[str]) -> Self:
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
        return type(self)(tuple(patients), self.values[rows], self.sums[rows])

    @classmethod
    def mean(cls, tables: Sequence[Self]) -> Self:
        """The mean of several algorithms' scores, sums too.

        Raises:
            EvaluationError: None given, or other patients.
        """
        if not tables:
            raise EvaluationError("an ensemble has at least one algorithm")
        same = [table.of(tables[0].patients) for table in tables]
        values, sums = (np.mean([getattr(one, part) for one in same], axis=0) for part in ("values", "sums"))
        return cls(tables[0].patients, values, sums)

    def rounded(self, near_zero: float = 0.0) -> Self:
        """Whole scores; those up to ``near_zero`` become 0 whatever they round to. Sums are made anew."""
        whole = np.floor(self.values + 0.5)
        return type(self)(self.patients, np.where(self.values <= near_zero, 0.0, whole))

    @classmethod
    def read(cls, path: str | Path, *, predicted: bool = False) -> Self:
        """Read a CSV file with the layout's columns in any order; others are ignored.

        Args:
            path: The file.
            predicted: Scores that an algorithm gave: they may lie beyond what a reader can give, and their sums may be
                predictions of their own.

        Raises:
            UnreadableDataError: The file, or a column of it, is missing.
            DataError: Cells that are no numbers or out of range, sums that are not those of their joints, patients that
                occur twice; all at once.
        """
        file, layout = Path(path), cls.LAYOUT
        keys = {name: plain_name(name) for name in layout.row}
        table, problems = load_csv(file, required=tuple(keys.values())), Problems(file)
        rows: dict[str, list[float]] = {}
        for number, row in enumerate(table.rows, start=2):
            patient = row.get(keys[layout.patient], "")
            if not patient or patient in rows:
                problems.add("rows without a patient of their own", f"row {number} {patient}".strip())
                continue
            rows[patient] = [_number(patient, name, row.get(keys[name], ""), problems) for name in layout.row[1:]]
            given = zip(layout.highest.items(), rows[patient][len(layout.sums) :], strict=True)
            for (name, most), value in () if predicted else given:
                if value > most:
                    problems.add("scores above what the column can hold", f"{patient} {name} {value:g} > {most:g}")
        problems.raise_if_any(hint="a score is a number of 0 or more, and every joint has one")
        numbers = np.array(list(rows.values()), np.float64).reshape(-1, len(layout.row) - 1)
        stated = cls(tuple(rows), numbers[:, len(layout.sums) :], numbers[:, : len(layout.sums)])
        made = cls(stated.patients, stated.values).sums
        wrong = np.abs(made - stated.sums) > _ERROR * np.maximum(1.0, made)
        for at, place in () if predicted else zip(*np.nonzero(wrong), strict=True):
            name, said = list(layout.sums)[place], stated.sums[at, place]
            says = f"{stated.patients[at]} {name} {said:g}, its joints {made[at, place]:g}"
            problems.add("sums that are not those of their joints", says)
        problems.raise_if_any(hint="correct the row, or read it with predicted=True")
        return stated

    def write(self, path: str | Path) -> None:
        """Write all columns as CSV; whole numbers without a decimal point, others so that they are read back exactly.

        Raises:
            OutputError: It cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.LAYOUT.row)
        for patient, sums, row in zip(self.patients, self.sums, self.values, strict=True):
            writer.writerow([patient, *(_shown(float(value)) for value in (*sums, *row))])
        write_text(path, text.getvalue())


def write_table(table: ScoreTable, path: str | Path) -> None:
    """Write a table as CSV; see :meth:`ScoreTable.write`."""
    table.write(path)


def discordant(gold: ScoreTable, predicted: ScoreTable, *, least: float = 0.4) -> tuple[Discordant, ...]:
    """Scores that differ by at least ``least`` of their column's range, the farthest first: those for a second reader.

    Sun et al. 2022 had their outliers (201 of 7,896 narrowing scores, 462 of 8,272 erosion scores) read again by a
    radiologist, and do not state their rule; 0.4 is ours: 1.6 grades of 4, 2 of 5, 4 of 10.

    Args:
        gold: The true scores.
        predicted: Scores of the same patients.
        least: Share of a column's range, in (0, 1].

    Raises:
        EvaluationError: Other patients, or ``least`` outside (0, 1].
    """
    if not 0 < least <= 1:
        raise EvaluationError("a share of the range", got=least, allowed="above 0, up to 1")
    truth, other, highest = gold.values, predicted.of(gold.patients).values, gold.LAYOUT.highest
    share, columns = np.abs(other - truth) / np.array(list(highest.values())), list(highest)
    found = [
        Discordant(gold.patients[r], columns[c], float(truth[r, c]), float(other[r, c]), float(share[r, c]))
        for r, c in zip(*np.nonzero(share >= least - 1e-12), strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-one.share, one.patient, one.column)))


def _number(patient: str, name: str, text: str, problems: Problems) -> float:
    value = as_number(text)
    if value is not None and value >= 0:
        return value
    problems.add("cells that are no score", f"{patient} {name} {text!r}")
    return 0.0


def _shown(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
