"""The challenge's table: one row per patient, three sums and 86 joints, in the columns of ``layout.ROW``."""

from __future__ import annotations

from typing import ClassVar, Final

from fracture.evaluation.files import score_tables
from fracture.evaluation.files.score_tables import write_table as write_table
from fracture.evaluation.stats.checks import FloatArray
from fracture.joints.layout import BY_NAME, ROW, SUMMED, SUMS, WHOLES, Damage, Kind, Whole

JOINTS: Final = SUMMED["total"]


class ScoreTable(score_tables.ScoreTable):
    """Patients' damage scores: ``values`` (patients, 86), ``sums`` (patients, 3) of total, erosion, narrowing."""

    LAYOUT: ClassVar = score_tables.Layout(
        ROW[0],
        {name: list(SUMMED[whole]) for name, whole in SUMS.items()},
        {joint: float(BY_NAME[joint].maximum) for joint in JOINTS},
    )

    @staticmethod
    def names(damage: Damage, kind: Kind | None = None) -> tuple[str, ...]:
        """Columns of one kind of damage, of hands or forefeet alone where asked."""
        return tuple(name for name in SUMMED[damage] if kind in (None, BY_NAME[name].kind))

    def joints(self, damage: Damage, kind: Kind | None = None) -> FloatArray:
        """float64 (patients, joints) of ``names(damage, kind)``."""
        found: FloatArray = self.values[:, self.LAYOUT.places(self.names(damage, kind))]
        return found

    def overall(self, what: Whole) -> FloatArray:
        """float64 (patients,): the sum as the table states it."""
        found: FloatArray = self.sums[:, WHOLES.index(what)]
        return found


read_table = ScoreTable.read
