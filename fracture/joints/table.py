"""The challenge's table: one row per patient, three sums and 86 joints, in the columns of ``layout.ROW``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from fracture.evaluation.files import score_tables
from fracture.evaluation.stats.checks import FloatArray
from fracture.joints.layout import BY_NAME, ROW, SUMS, WHOLES, Damage, Kind, Whole

JOINTS: Final = ROW[1 + len(SUMS) :]
"""The 86 joints in the challenge's order."""

_SUMS = {"Overall_Tol": ("erosion", "narrowing"), "Overall_erosion": ("erosion",), "Overall_narrowing": ("narrowing",)}


class ScoreTable(score_tables.ScoreTable):
    """Patients' damage scores: ``values`` (patients, 86), ``sums`` (patients, 3) of total, erosion, narrowing."""

    LAYOUT: ClassVar = score_tables.Layout(
        ROW[0],
        {name: [joint for joint in JOINTS if BY_NAME[joint].damage in damages] for name, damages in _SUMS.items()},
        {joint: float(BY_NAME[joint].maximum) for joint in JOINTS},
    )

    @staticmethod
    def names(damage: Damage, kind: Kind | None = None) -> tuple[str, ...]:
        """Columns of one kind of damage, of hands or forefeet alone where asked."""
        return tuple(c for c in JOINTS if BY_NAME[c].damage == damage and kind in (None, BY_NAME[c].kind))

    def joints(self, damage: Damage, kind: Kind | None = None) -> FloatArray:
        """float64 (patients, joints) of ``names(damage, kind)``."""
        found: FloatArray = self.values[:, self.LAYOUT.places(self.names(damage, kind))]
        return found

    def overall(self, what: Whole) -> FloatArray:
        """float64 (patients,): the sum as the table states it."""
        found: FloatArray = self.sums[:, WHOLES.index(what)]
        return found


read_table = ScoreTable.read


def write_table(table: ScoreTable, path: str | Path) -> None:
    """Write the 90 columns as CSV; see :meth:`fracture.evaluation.files.score_tables.ScoreTable.write`."""
    table.write(path)
