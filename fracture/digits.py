"""How a hand or forefoot lies in a picture, told by its joints: length, axis, directions of digits, handedness.

What draws films and what reads them share it. Points are by name, (x, y), x right and y down, in any unit; the names
and the ends of digits are those of ``simulate/joints.toml``. All rules are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from fracture.tables import table

Point: TypeAlias = tuple[float, float]
Points: TypeAlias = Mapping[str, Point]

AXES: Final[Mapping[str, tuple[str, str]]] = table("joints")["axes"]
"""Which two points a joint's digit runs through, from the body outwards; other points take the axis of the whole."""

ENDS: Final[Mapping[str, tuple[str, str]]] = {"hand": ("mcp3", "dip3"), "forefoot": ("mtp1", "mtp5")}
"""The length between these is that of a hand or forefoot."""


def kind_of(points: Points) -> Literal["hand", "forefoot"]:
    """Whose points these are, by their names."""
    return "forefoot" if any(name in points for name in table("joints")["points"]["forefoot"]) else "hand"


def axis_of(points: Points) -> Point:
    """The direction of a whole hand or forefoot, from the body to the tips, of length 1; (0, 0) where they do not tell.

    Of a hand the mean of its fingers' MCP to DIP (or PIP) joints; of a forefoot across the row of MTP joints, to the
    side where the big toe's own joint lies; mtp1 without mtp5 is a ``KeyError``.
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


def direction(points: Points, name: str) -> Point:
    """The direction of a point's digit, outwards, of length 1; of the whole where the digit's points are unknown."""
    ends = AXES.get(name)
    if ends is not None and all(end in points for end in ends):
        (x0, y0), (x1, y1) = (points[end] for end in ends)
        length = math.hypot(x1 - x0, y1 - y0)
        if length > 0:
            return (x1 - x0) / length, (y1 - y0) / length
    return axis_of(points)


def unit_length(points: Points) -> float:
    """The length of a hand or forefoot, between its :data:`ENDS`; ``KeyError`` without both."""
    (x0, y0), (x1, y1) = (points[name] for name in ENDS[kind_of(points)])
    return float(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)


def is_mirrored(points: Points) -> bool:
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
