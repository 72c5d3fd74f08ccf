"""What the two networks of the neck are, as their card says it, and the grids they look at; no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fracture.wing.card import Section

GRID = 2.0
"""Millimeters of the grid on which levels are sought."""

HU = (-500.0, 1300.0)
"""Hounsfield units that become 0 and 1: a bone window of level 400 and width 1800, as public solutions have it."""

SLICES, CHANNELS = 15, 5
"""Slices of a vertebra, and neighboring planes that a slice's picture has as channels (after the first place)."""

CROP_SPACING = (1.0, 1.0)
"""Millimeters between planes and between pixels of a vertebra's crop; slices lie two planes apart."""

CROP = (2 * (SLICES - 1) + CHANNELS, 64, 64)
"""Planes, rows and columns of a crop."""


_Width = Annotated[int, Field(ge=1, le=512)]


class LevelSpec(Section):
    """The finder of levels, a U-Net in 3D.

    Attributes:
        widths: Channels at 4, 8, 16 and 32 mm.
        copies: Networks that differ in what they began with, whose answers are averaged (ours).
    """

    widths: tuple[_Width, _Width, _Width, _Width] = Field(default=(16, 32, 64, 96), strict=False)
    copies: int = Field(default=1, ge=1, le=8)


class FractureSpec(Section):
    """The judge of fractures.

    Attributes:
        widths: Channels of its 2.5D network at a half, a quarter (twice) and an eighth of a crop's side.
        hidden: Of the recurrent layers, in each direction.
    """

    widths: tuple[_Width, _Width, _Width] = Field(default=(24, 48, 64), strict=False)
    hidden: _Width = 32
