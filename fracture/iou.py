"""Boxes as (x0, y0, x1, y1): intersection over union, cut to a film, grown about their middle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracture.errors import ConfigurationError

Box = tuple[float, float, float, float]


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union, box by box; leading axes broadcast as numpy's do.

    ``iou(a[:, None], b[None])`` is every box of (n, 4) with every box of (m, 4): (n, m).

    Args:
        a, b: (..., 4) as (x0, y0, x1, y1), in one unit, pixel-edge convention.

    Returns:
        float64 (...), in [0, 1]; 0 where both boxes are empty.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    # Side by side, not as pairs of sides: numpy's loops are then as long as the list of boxes.
    (a_x0, a_y0, a_x1, a_y1), (b_x0, b_y0, b_x1, b_y1) = _sides(a), _sides(b)
    across = np.minimum(a_x1, b_x1) - np.maximum(a_x0, b_x0)
    down = np.minimum(a_y1, b_y1) - np.maximum(a_y0, b_y0)
    shared = _area(across, down)
    union = _area(a_x1 - a_x0, a_y1 - a_y0) + _area(b_x1 - b_x0, b_y1 - b_y0) - shared
    return np.asarray(shared / np.where(union > 0, union, 1.0))


def _sides(boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _area(across: NDArray[np.float64], down: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(across, 0.0) * np.maximum(down, 0.0)


def clip_box(box: Sequence[float], size: tuple[int, int]) -> Box | None:
    """The part of a box on a film of (width, height) pixels; None where nothing of it lies there."""
    x0, y0 = max(0.0, float(box[0])), max(0.0, float(box[1]))
    x1, y1 = min(float(size[0]), float(box[2])), min(float(size[1]), float(box[3]))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def grow(box: Box, factor: float) -> Box:
    """The box with its sides ``factor`` times as long about the same middle.

    Raises:
        ConfigurationError: A factor that is not positive.
    """
    if not factor > 0:
        raise ConfigurationError("the factor of a box's sides", got=factor, allowed="a positive number")
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_x, half_y = factor * (box[2] - box[0]) / 2, factor * (box[3] - box[1]) / 2
    return middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y
