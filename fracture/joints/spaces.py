"""The width of joint spaces, between the edges of the two bones that meet there.

Each joint is cut out with its digit pointing up, and :func:`fracture.preprocess.gap.gap_width` measures along it. Of a
fused joint, or one seen from the side, it says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fracture.digits import Points, unit_length
from fracture.evaluation.stats.record import Record
from fracture.joints.frames import joint_place
from fracture.joints.layout import DIGITS, Kind
from fracture.preprocess.gap import gap_width
from fracture.preprocess.similarity import crop_at

_SIDE: Final = 96  # of the crop, in pixels
_SPAN: Final[Mapping[Kind, float]] = {"hand": 0.3, "forefoot": 0.34}  # its side as a share of the unit length


@dataclass(frozen=True, slots=True)
class Space(Record):
    """The width of one joint space.

    Attributes:
        pixels: In pixels of the film.
        share: Of the unit length: MCP3 to DIP3, or MTP1 to MTP5.
        mm: In millimeters at the object; None where the film does not say how large its pixels are.
        lines: Lines across the joint that it was found in, of 19.
    """

    pixels: float
    share: float
    mm: float | None
    lines: int


def joint_spaces(pixels: NDArray[np.float32], points: Points, kind: Kind, spacing: float | None) -> dict[str, Space]:
    """Widths by the joint's name, of joints between two long bones whose space is found.

    Args:
        pixels: float32, (height, width), in [0, 1], square pixels.
        points: In pixels of the film; MCP3 and DIP3, or MTP1 and MTP5, must be among them.
        kind: Which points they are.
        spacing: Millimeters per pixel, or None.
    """
    unit = unit_length(points)
    scale = _SIDE / (_SPAN[kind] * max(unit, 1e-6))
    found: dict[str, Space] = {}
    for name in (joint for joint in DIGITS[kind] if joint in points):
        crop = crop_at(pixels, joint_place(points, name, scale, _SIDE))
        width, lines = gap_width(crop.pixels)
        if width is not None and crop.mask.all():
            size = width / scale
            found[name] = Space(size, size / unit, None if spacing is None else size * spacing, lines)
    return found
