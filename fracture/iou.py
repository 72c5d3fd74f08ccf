"""Intersection over union of boxes: the one function that everything without gradients asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["iou"]


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union, box by box; leading axes broadcast as numpy's do.

    ``iou(a[:, None], b[None])`` is every box of (n, 4) with every box of (m, 4): (n, m).

    Args:
        a, b: (..., 4) as (x0, y0, x1, y1), in one unit, pixel-edge convention.

    Returns:
        float64 (...), in [0, 1]; 0 where both boxes are empty.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    shared = _area(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]))
    union = _area(a[..., 2:] - a[..., :2]) + _area(b[..., 2:] - b[..., :2]) - shared
    return np.asarray(shared / np.where(union > 0, union, 1.0))


def _area(sides: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.maximum(sides, 0.0)
    return sides[..., 0] * sides[..., 1]
