"""The width of a dark gap between two bright edges, as a joint space between two bones.

Along a line across the gap the gray falls from one edge into it and rises into the other. The width is measured where
the gray is halfway between the gap's darkest and each edge's brightest beside it, in many lines, and the median counts.
The method and all numbers are ours; of a gap that is closed, or seen from the side, it says nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_HALF: Final = 9  # lines to either side of the middle
_SHIFT: Final = 13  # pixels that the gap may lie off the middle
_SPREAD: Final = 6.0  # likewise, as a standard deviation: of two dark lines the one nearer to the middle is the gap
_REACH: Final = 20  # pixels from the gap within which an edge's brightest gray is looked for
_LEAST: Final = 0.04  # least depth of the gap's gray below its edges, in shares of the crop's own range
_STEP: Final = 4  # pixels that neighboring lines may differ by


def gap_width(plane: NDArray[np.float32]) -> tuple[float | None, int]:
    """The width in pixels of the gap across the middle of an upright crop, and in how many of 19 lines it is seen.

    Args:
        plane: float32, (side, side): bright above and below, the gap between them near the middle row.

    Returns:
        The median over the lines, None where fewer than a third of them show a gap.
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
    # Where the gap lies: darkest compared with what is brighter on both sides, followed from line to line.
    above, below = (
        ndimage.maximum_filter1d(lines, _REACH + 1, axis=0, mode="nearest", origin=shift)
        for shift in (_REACH // 2, -_REACH // 2)
    )
    depth = np.minimum(above, below) - lines
    near_middle = np.exp(-0.5 * (np.arange(-_SHIFT, _SHIFT + 1) / _SPREAD) ** 2)
    best = (depth[window].mean(1) * near_middle).argmax() + middle - _SHIFT
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
    """How far from ``at`` the gray is halfway up to the edge's crest, between pixels; None where it never is.

    The crest is the first place after which the gray falls by a fifth of the gap's depth, or the brightest.
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
