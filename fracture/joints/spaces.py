"""The width of joint spaces, between the edges of the two bones that meet there.

Along a digit's axis the gray falls from one bone into the space and rises into the other. The width is measured where
it is halfway between the space's darkest gray and each bone's brightest beside it, in many lines across the joint, and
the median counts. The method is ours; of a fused joint, or one seen from the side, it says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fracture.evaluation.stats.record import Record
from fracture.joints.frames import crop_joint
from fracture.joints.layout import AXES, Kind, Point, unit_length

MEASURED: Final[Mapping[Kind, tuple[str, ...]]] = {
    "hand": tuple(name for name in AXES if name[:3] in ("mcp", "pip", "dip") or name == "ip1"),
    "forefoot": ("mtp1", "mtp2", "mtp3", "mtp4", "mtp5", "ip"),
}
"""The joints that are measured: those between two long bones. Wrists are not."""
_SIDE: Final = 96  # of the crop, in pixels
_SPAN: Final[Mapping[Kind, float]] = {"hand": 0.3, "forefoot": 0.34}  # its side as a share of the unit length
_HALF: Final = 9  # lines to either side of the middle
_SHIFT: Final = 13  # crop pixels that the space may lie off the point
_SPREAD: Final = 6.0  # likewise, as a standard deviation: of two dark lines the one nearer to the point is the space
_REACH: Final = 20  # crop pixels from the space within which a bone's brightest gray is looked for
_LEAST: Final = 0.04  # least depth of the space's gray below its bones, in shares of the crop's own range
_STEP: Final = 4  # crop pixels that neighboring lines may differ by


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


def joint_spaces(
    pixels: NDArray[np.float32], points: Mapping[str, Point], kind: Kind, spacing: float | None
) -> dict[str, Space]:
    """Widths by the joint's name; joints whose space is not found are left out.

    Args:
        pixels: float32, (height, width), in [0, 1], square pixels.
        points: In pixels of the film; MCP3 and DIP3, or MTP1 and MTP5, must be among them.
        kind: Which points they are.
        spacing: Millimeters per pixel, or None.
    """
    unit = unit_length(points)
    scale = _SIDE / (_SPAN[kind] * max(unit, 1e-6))
    found: dict[str, Space] = {}
    for name in MEASURED[kind]:
        if name not in points:
            continue
        crop = crop_joint(pixels, points, name, size=_SIDE, scale=scale)
        width, lines = space_width(crop.pixels)
        if width is not None and crop.mask.all():
            size = width / scale
            found[name] = Space(size, size / unit, None if spacing is None else size * spacing, lines)
    return found


def space_width(plane: NDArray[np.float32]) -> tuple[float | None, int]:
    """The width in pixels of the space across the middle of an upright crop, and in how many lines it is seen.

    Args:
        plane: float32, (side, side): bones above and below, the space between them near the middle row.

    Returns:
        The median over the lines, None where fewer than a third of them show a space.
    """
    side = plane.shape[0]
    middle = side // 2
    columns = np.arange(middle - _HALF, middle + _HALF + 1)
    # A line's neighbors are averaged in: noise goes, the edges stay where they are.
    kernel = np.ones(3) / 3
    lines = np.apply_along_axis(lambda row: np.convolve(row, kernel, "same"), 1, plane.astype(np.float64))[:, columns]
    low, high = np.percentile(plane, (2, 98))
    if high - low < 1e-3:
        return None, 0
    lines = (lines - low) / (high - low)
    window = slice(middle - _SHIFT, middle + _SHIFT + 1)
    # Where the space lies: darkest compared with what is brighter on both sides, followed from line to line.
    above, below = (
        ndimage.maximum_filter1d(lines, _REACH + 1, axis=0, mode="nearest", origin=shift)
        for shift in (_REACH // 2, -_REACH // 2)
    )
    depth = np.minimum(above, below) - lines
    near_point = np.exp(-0.5 * (np.arange(-_SHIFT, _SHIFT + 1) / _SPREAD) ** 2)
    best = (depth[window].mean(1) * near_point).argmax() + middle - _SHIFT
    widths = []
    for order in (range(_HALF, len(columns)), range(_HALF - 1, -1, -1)):
        at = int(best)
        for index in order:
            near = slice(max(at - _STEP, _REACH), min(at + _STEP + 1, side - _REACH))
            if near.stop <= near.start:
                break
            at = int(depth[near, index].argmax()) + near.start
            if depth[at, index] < _LEAST:
                continue
            up, down = (_crossing(lines[:, index], at, step, depth[at, index]) for step in (-1, 1))
            if up is not None and down is not None:
                widths.append(up + down)
    if len(widths) < len(columns) / 3:
        return None, len(widths)
    return float(np.median(widths)), len(widths)


def _crossing(line: NDArray[np.float64], at: int, step: int, depth: float) -> float | None:
    """How far from ``at`` the gray is halfway up to the bone's crest, between pixels; None where it never is.

    The crest is the first place after which the gray falls by a fifth of the space's depth, or the brightest.
    """
    run = line[at : at + _REACH + 1] if step > 0 else line[at - _REACH : at + 1][::-1]
    risen = np.maximum.accumulate(run)
    falls = np.flatnonzero((risen - run > 0.2 * depth) & (risen - run[0] > 0.6 * depth))
    top = risen[int(falls[0]) if len(falls) else -1]
    over = np.flatnonzero(run >= (run[0] + top) / 2)
    if not len(over) or over[0] == 0:
        return None
    k = int(over[0])
    return float(k - 1 + ((run[0] + top) / 2 - run[k - 1]) / (run[k] - run[k - 1]))
