"""The map that a network is to predict: fractures drawn on the grid of its cells.

Jones et al. 2020 train on maps made from the annotators' boxes; how a box meets the grid of a map with
stride 8 they do not say. Ours: the covered fraction of each cell, so that a fracture of 4 pixels does not
vanish or grow to 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracture.data.records import Film
from fracture.errors import ConfigurationError
from fracture.preprocess import Geometry

Shape = Literal["box", "polygon", "ellipse"]
Mode = Literal["coverage", "max"]
_ELLIPSE_POINTS = 32


def fracture_rings(film: Film, geometry: Geometry | None = None, *, shape: Shape = "box") -> list[NDArray[np.float64]]:
    """Outlines of a film's fractures in network pixels (in source pixels without ``geometry``).

    Args:
        film: The film.
        geometry: The letterbox that the film went through.
        shape: ``"box"`` (the paper's); ``"polygon"`` takes the outline where there is one, else the box;
            ``"ellipse"`` the ellipse inscribed in the box, since corners of a box are rarely bone (ours).

    Returns:
        One float64 array (points, 2) of (x, y) per ring.

    Raises:
        ConfigurationError: An unknown shape.
    """
    if shape not in ("box", "polygon", "ellipse"):
        raise ConfigurationError("shape of a target", got=shape, allowed=("box", "polygon", "ellipse"))
    rings: list[ArrayLike] = []
    for i, (x0, y0, x1, y1) in enumerate(film.boxes):
        outlines = film.polygons[i] if film.polygons and shape == "polygon" else ()
        if outlines:
            rings.extend(outlines)
        elif shape == "ellipse":
            angle = np.linspace(0.0, 2.0 * np.pi, _ELLIPSE_POINTS, endpoint=False)
            center, radius = ((x0 + x1) / 2, (y0 + y1) / 2), ((x1 - x0) / 2, (y1 - y0) / 2)
            rings.append(center + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius)
        else:
            rings.append(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
    arrays = [np.asarray(ring, np.float64) for ring in rings]
    return arrays if geometry is None else [geometry.to_network(ring) for ring in arrays]


def fracture_outlines(film: Film, geometry: Geometry | None = None) -> list[NDArray[np.float64]]:
    """The points of each fracture's outline in network pixels (in source pixels without ``geometry``): polygons, where
    there are any, else the box. One (points, 2) array per fracture, of all its parts.

    The box around a turned outline is tighter than that around a turned box.
    """
    found = []
    for i, (x0, y0, x1, y1) in enumerate(film.boxes):
        parts = film.polygons[i] if film.polygons else ()
        corners: list[ArrayLike] = [((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
        found.append(np.concatenate([np.asarray(part, np.float64) for part in (parts or corners)]))
    return found if geometry is None else [geometry.to_network(points) for points in found]


def draw_target(
    rings: Sequence[ArrayLike], size: tuple[int, int], *, stride: int = 8, mode: Mode = "coverage"
) -> NDArray[np.float32]:
    """Draw outlines on the grid of a map.

    A network pixel belongs to a fracture when its center lies inside any of the rings (even-odd rule per
    ring); a cell of the map covers ``stride`` x ``stride`` network pixels.

    Args:
        rings: Number arrays (points, 2) of (x, y) in network pixels, edges of pixels at whole numbers.
        size: (width, height) of the network's input.
        stride: Network pixels per cell and side.
        mode: ``"coverage"``: the fraction of the cell's pixels that belong. ``"max"``: 1 if any does; a ring
            so small that it holds no pixel center marks the cell of its middle.

    Returns:
        float32, shape (height / stride, width / stride), in [0, 1].

    Raises:
        ConfigurationError: A size that the stride does not divide, or an unknown mode.
    """
    width, height = size
    if stride < 1 or width % stride or height % stride:
        raise ConfigurationError(
            "the stride of a target must divide the network's input", got=f"stride {stride}, input {size}"
        )
    if mode not in ("coverage", "max"):
        raise ConfigurationError("mode of a target", got=mode, allowed=("coverage", "max"))
    target = np.zeros((height // stride, width // stride), np.float32)
    if not rings:
        return target
    inside = np.zeros((height, width), np.bool_)
    for ring in rings:
        points = np.asarray(ring, np.float64)
        _fill(inside, points)
        if mode == "max":
            column, row = (int(v) for v in np.floor((points.min(axis=0) + points.max(axis=0)) / 2 / stride))
            if 0 <= row < target.shape[0] and 0 <= column < target.shape[1]:
                target[row, column] = 1.0
    cells = inside.reshape(height // stride, stride, width // stride, stride)
    if mode == "max":
        np.maximum(target, cells.any(axis=(1, 3)), out=target)
        return target
    return np.asarray(cells.mean(axis=(1, 3), dtype=np.float32))


def _fill(inside: NDArray[np.bool_], ring: NDArray[np.float64]) -> None:
    """Mark the pixels whose center lies inside the ring, row by row (even-odd)."""
    height, width = inside.shape
    low, high = ring.min(axis=0), ring.max(axis=0)
    x0, x1 = max(0, int(np.floor(low[0]))), min(width, int(np.ceil(high[0])))
    y0, y1 = max(0, int(np.floor(low[1]))), min(height, int(np.ceil(high[1])))
    if x0 >= x1 or y0 >= y1:
        return
    rows = np.arange(y0, y1) + 0.5
    start, end = ring, np.roll(ring, -1, axis=0)
    crosses = (start[:, 1] <= rows[:, None]) != (end[:, 1] <= rows[:, None])  # (rows, edges)
    row, edge = np.nonzero(crosses)
    along = (rows[row] - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
    x = start[edge, 0] + along * (end[edge, 0] - start[edge, 0])
    # Every pixel center to the right of a crossing changes sides: count crossings per column, then run along.
    first = np.clip(np.ceil(x - 0.5), x0, x1).astype(np.int64) - x0
    changes = np.zeros((len(rows), x1 - x0 + 1), np.int32)
    np.add.at(changes, (row, first), 1)
    inside[y0:y1, x0:x1] |= np.cumsum(changes[:, :-1], axis=1) % 2 == 1
