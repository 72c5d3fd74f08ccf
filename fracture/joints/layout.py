"""Names: points of a hand and a forefoot, and the columns of the RA2-DREAM challenge that are scored at them.

Sources: the challenge's table (90 columns: the patient, three sums, 43 columns for each side) as in
``vkichu77/RA2CH``; which point a column is scored at, the scales of Sharp/van der Heijde (narrowing 0 to 4; erosion 0
to 5, in the foot 0 to 10), and the 26 and 6 points are those of the annotated films. The mirror rule is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind = Literal["hand", "forefoot"]
Damage = Literal["narrowing", "erosion"]
Family = Literal["finger", "wrist", "forefoot"]
Point: TypeAlias = tuple[float, float]

HAND: Final = (
    *("mcp1", "mcp2", "mcp3", "mcp4", "mcp5", "ip1", "pip2", "pip3", "pip4", "pip5", "dip2", "dip3", "dip4", "dip5"),
    *("mc1", "mul", "nav", "lunate", "radius", "ulna", "cmc3", "cmc4", "cmc5", "mna", "capnlun", "radcar"),
)
"""The 26 points of a hand: middles of joint spaces, of carpal bones, and of the distal ends of radius and ulna."""

FOREFOOT: Final = ("mtp1", "mtp2", "mtp3", "mtp4", "mtp5", "ip")
"""The 6 points of a forefoot."""

POINTS: Final[Mapping[Kind, tuple[str, ...]]] = {"hand": HAND, "forefoot": FOREFOOT}


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

    def full(self, side: Literal["left", "right"]) -> str:
        """The name with its prefix, as ``"LH_mcp_E__2"``."""
        return f"{side[0].upper()}{'H' if self.kind == 'hand' else 'F'}_{self.name}"


def _columns(kind: Kind, damage: Damage, maximum: int, joints: Mapping[str, tuple[str, ...]]) -> list[Column]:
    letter = {"erosion": "E", "narrowing": "J"}[damage]
    return [
        Column(f"{group}_{letter}__{ending}", kind, damage, _point(group, ending), maximum)
        for group, endings in joints.items()
        for ending in endings
    ]


def _point(group: str, ending: str) -> str:
    if ending == "ip":
        return "ip" if group == "mtp" else "ip1"
    return ending if group == "wrist" else f"{group}{ending}"


_FINGERS, _DIGITS, _TOES = ("2", "3", "4", "5"), ("1", "2", "3", "4", "5"), {"mtp": ("ip", "1", "2", "3", "4", "5")}
_HAND_EROSION = _columns("hand", "erosion", 5, {"mcp": ("ip",)}) + _columns(
    "hand",
    "erosion",
    5,
    {"pip": _FINGERS, "mcp": _DIGITS, "wrist": ("mc1", "mul", "nav", "lunate", "radius", "ulna")},
)
_HAND_NARROWING = _columns(
    "hand",
    "narrowing",
    4,
    {"pip": _FINGERS, "mcp": _DIGITS, "wrist": ("cmc3", "cmc4", "cmc5", "mna", "capnlun", "radcar")},
)
_FOOT_EROSION, _FOOT_NARROWING = _columns("forefoot", "erosion", 10, _TOES), _columns("forefoot", "narrowing", 4, _TOES)

COLUMNS: Final = (*_HAND_EROSION, *_FOOT_EROSION, *_HAND_NARROWING, *_FOOT_NARROWING)
"""The 43 columns of a side in the challenge's order: 16 + 6 of erosion, 15 + 6 of narrowing."""

SUMS: Final = ("Overall_Tol", "Overall_erosion", "Overall_narrowing")

ROW: Final = (
    "Patient_ID",
    *SUMS,
    *(
        column.full(side)
        for part in (_HAND_EROSION, _FOOT_EROSION, _HAND_NARROWING, _FOOT_NARROWING)
        for side in ("left", "right")
        for column in part
    ),
)
"""The 90 columns of the challenge's table, in its order."""


def columns_of(kind: Kind) -> tuple[Column, ...]:
    """The columns that one film has: 31 of a hand, 12 of a forefoot."""
    return tuple(column for column in COLUMNS if column.kind == kind)


AXES: Final[Mapping[str, tuple[str, str]]] = {
    **{f"mcp{k}": (f"mcp{k}", f"pip{k}") for k in range(2, 6)},
    **{f"pip{k}": (f"mcp{k}", f"dip{k}") for k in range(2, 6)},
    **{f"dip{k}": (f"pip{k}", f"dip{k}") for k in range(2, 6)},
    "mcp1": ("mcp1", "ip1"),
    "ip1": ("mcp1", "ip1"),
    "mc1": ("mc1", "mcp1"),
    "mtp1": ("mtp1", "ip"),
    "ip": ("mtp1", "ip"),
}
"""Which two points a joint's digit runs through, from the body outwards; other points take the axis of the whole."""


def axis_of(points: Mapping[str, Point]) -> Point:
    """The direction of a whole hand or forefoot, from the body to the tips, of length 1; x right, y down.

    Of a hand the mean of its fingers' MCP to DIP (or PIP) joints; of a forefoot across the row of MTP joints, to the
    side where the big toe's own joint lies.
    """
    if "mtp1" in points:
        (x1, y1), (x5, y5) = points["mtp1"], points["mtp5"]
        xi, yi = points.get("ip", (x1 + y5 - y1, y1 + x1 - x5))
        dx, dy = y5 - y1, x1 - x5
        if dx * (xi - x1) + dy * (yi - y1) < 0:
            dx, dy = -dx, -dy
    else:
        dx = dy = 0.0
        for k in range(2, 6):
            near, far = points.get(f"mcp{k}"), points.get(f"dip{k}", points.get(f"pip{k}"))
            if near is not None and far is not None:
                dx, dy = dx + far[0] - near[0], dy + far[1] - near[1]
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    return dx / length, dy / length


def unit_length(points: Mapping[str, Point]) -> float:
    """The length that errors and widths are told by, in pixels: MCP3 to DIP3 of a hand, MTP1 to MTP5 of a forefoot."""
    first, last = ("mtp1", "mtp5") if "mtp1" in points else ("mcp3", "dip3")
    (x0, y0), (x1, y1) = points[first], points[last]
    return float(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)


def is_mirrored(points: Mapping[str, Point]) -> bool:
    """Whether thumb or big toe lies to the left when the tips point up. Networks see all films with it to the right.

    This is the shape's handedness in the picture, not the patient's side: films are hung either way. False where the
    points do not tell.
    """
    dx, dy = axis_of(points)
    near, far = ("mtp1", "mtp5") if "mtp1" in points else ("mcp2", "mcp5")
    if near not in points or far not in points:
        return False
    (x1, y1), (x5, y5) = points[near], points[far]
    return dx * (y1 - y5) - dy * (x1 - x5) < 0
