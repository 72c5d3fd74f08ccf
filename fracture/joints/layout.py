"""Names: points of a hand and a forefoot, and the columns of the RA2-DREAM challenge that are scored at them.

Sources: the challenge's table (90 columns: the patient, three sums, 43 columns for each side) as in
``vkichu77/RA2CH``; which point a column is scored at, the scales of Sharp/van der Heijde (narrowing 0 to 4; erosion 0
to 5, in the foot 0 to 10), and the 26 and 6 points are those of the annotated films.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from fracture.tables import table

Kind = Literal["hand", "forefoot"]
Damage = Literal["narrowing", "erosion"]
Whole = Literal["total", "erosion", "narrowing"]
Family = Literal["finger", "wrist", "forefoot"]
SIDES: Final = ("left", "right")
DAMAGES: Final[tuple[Damage, ...]] = ("narrowing", "erosion")
FAMILIES: Final[tuple[Family, ...]] = ("finger", "forefoot", "wrist")

_NAMES: Final = table("joints")

HAND: Final[tuple[str, ...]] = _NAMES["points"]["hand"]
"""The 26 points of a hand: middles of joint spaces, of carpal bones, and of the distal ends of radius and ulna."""

FOREFOOT: Final[tuple[str, ...]] = _NAMES["points"]["forefoot"]
"""The 6 points of a forefoot."""

POINTS: Final[Mapping[Kind, tuple[str, ...]]] = {"hand": HAND, "forefoot": FOREFOOT}

DIGITS: Final[Mapping[Kind, tuple[str, ...]]] = {"hand": HAND[:14], "forefoot": FOREFOOT}
"""The joints between two long bones. Every annotated film has their points; those of wrists it may lack."""

MIDDLE: Final[Mapping[Kind, tuple[str, ...]]] = {"hand": HAND[1:5], "forefoot": FOREFOOT[:5]}
"""The row of joints whose mean is the center: a hand's MCP 2 to 5, a forefoot's MTP."""

BEYOND: Final[Mapping[Kind, tuple[str, ...]]] = {"hand": HAND[6:10], "forefoot": (FOREFOOT[5], "", "", "", "")}
"""The next joint of each of these, toward the tip."""


@dataclass(frozen=True, slots=True)
class Column:
    """One of the 43 columns of a side.

    Attributes:
        name: Without its prefix, as ``"mcp_E__2"``.
        kind: Of the film it is read on.
        damage: What is scored.
        point: Where.
        maximum: The highest score: 4 for narrowing, 5 for erosion, 10 for erosion in the foot.
    """

    name: str
    kind: Kind
    damage: Damage
    point: str
    maximum: int

    @property
    def family(self) -> Family:
        """Which networks read it."""
        return "forefoot" if self.kind == "forefoot" else "wrist" if self.name.startswith("wrist") else "finger"

    def full(self, side: str) -> str:
        """The name with its prefix, as ``"LH_mcp_E__2"``."""
        return f"{side[0].upper()}{'H' if self.kind == 'hand' else 'F'}_{self.name}"


def _column(kind: Kind, damage: Damage, maximum: int, point: str) -> Column:
    """The challenge calls a thumb's joint ``mcp`` and a big toe's ``mtp``, and what is no finger's ``wrist``."""
    group, ending = (point[:-1], point[-1]) if point[:-1] in ("mcp", "pip", "mtp") else ("wrist", point)
    if point in ("ip", "ip1"):
        group, ending = "mtp" if kind == "forefoot" else "mcp", "ip"
    return Column(f"{group}_{'E' if damage == 'erosion' else 'J'}__{ending}", kind, damage, point, maximum)


_PARTS: Final[list[tuple[Kind, Damage, int]]] = [
    (kind, damage, _NAMES["highest"][kind][DAMAGES.index(damage)]) for damage in reversed(DAMAGES) for kind in POINTS
]
_ORDER = [
    [_column(*part, point) for point in _NAMES["scored"][part[1] if part[0] == "hand" else "forefoot"]]
    for part in _PARTS
]
COLUMNS: Final = tuple(column for part in _ORDER for column in part)
"""The 43 columns of a side in the challenge's order: 16 + 6 of erosion, 15 + 6 of narrowing."""

WHOLES: Final[tuple[Whole, ...]] = ("total", "erosion", "narrowing")
SUMS: Final = dict(zip(("Overall_Tol", "Overall_erosion", "Overall_narrowing"), WHOLES, strict=True))

ROW: Final = ("Patient_ID", *SUMS, *(column.full(side) for part in _ORDER for side in SIDES for column in part))
"""The 90 columns of the challenge's table, in its order."""

BY_NAME: Final = {column.full(side): column for column in COLUMNS for side in SIDES}
"""The columns of both sides by their full names."""

SUMMED: Final[Mapping[str, tuple[str, ...]]] = {
    what: tuple(name for name in ROW[4:] if what in ("total", BY_NAME[name].damage)) for what in WHOLES
}
"""Which of the 86 joints each sum adds up, in the challenge's order."""


def columns_of(kind: Kind) -> tuple[Column, ...]:
    """The columns that one film has: 31 of a hand, 12 of a forefoot."""
    return tuple(column for column in COLUMNS if column.kind == kind)
