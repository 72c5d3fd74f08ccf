"""What the two networks of the neck are, as their card says it, and the grids they look at; no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CHANNELS", "CROP", "CROP_SPACING", "GRID", "HU", "SLICES", "FractureSpec", "LevelSpec"]

GRID = 2.0
"""Millimeters of the grid on which levels are sought."""

HU = (-500.0, 1300.0)
"""Hounsfield units that become 0 and 1: a bone window of level 400 and width 1800, as public solutions have it."""

SLICES, CHANNELS = 15, 5
"""Slices of a vertebra, and neighboring planes that a slice's picture has as channels (after the first place)."""

CROP_SPACING = (1.0, 1.25)
"""Millimeters between planes and between pixels of a vertebra's crop; slices lie two planes apart."""

CROP = (2 * (SLICES - 1) + CHANNELS, 64, 64)
"""Planes, rows and columns of a crop."""


@dataclass(frozen=True, slots=True)
class LevelSpec:
    """The finder of levels, a U-Net in 3D.

    Attributes:
        widths: Channels at 4, 8, 16 and 32 mm.
        fine: Channels at 2 mm, where the labels are given.
    """

    widths: tuple[int, int, int, int] = (16, 24, 40, 64)
    fine: int = 8

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {**asdict(self), "widths": list(self.widths)}


@dataclass(frozen=True, slots=True)
class FractureSpec:
    """The judge of fractures.

    Attributes:
        widths: Channels of its 2.5D network at a half, a quarter (twice) and an eighth of a crop's side.
        hidden: Of the recurrent layers, in each direction.
    """

    widths: tuple[int, int, int] = (24, 40, 64)
    hidden: int = 32

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {**asdict(self), "widths": list(self.widths)}
