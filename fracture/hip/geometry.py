"""Boxes and windows around hips. Continuous pixel-edge coordinates, x right and y down, as everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fracture.wing.result import GridToSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Box", "CropGeometry", "touched_edges"]

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels, x1 > x0 and y1 > y0."""


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """Where a crop's pixels lie on the film: a window of whole source pixels, resized, perhaps mirrored.

    Attributes:
        window: (x0, y0, x1, y1) in whole source pixels; it may reach beyond the film.
        size: Side of the crop in pixels.
        flipped: Whether the crop is mirrored left to right.
    """

    window: tuple[int, int, int, int]
    size: int
    flipped: bool

    @property
    def scale(self) -> tuple[float, float]:
        """Crop pixels per source pixel, (x, y)."""
        x0, y0, x1, y1 = self.window
        return self.size / (x1 - x0), self.size / (y1 - y0)

    def to_crop(self, points: Any) -> NDArray[np.float64]:
        """Source coordinates (..., 2), order (x, y), to crop coordinates."""
        mapped = (np.asarray(points, np.float64) - self.window[:2]) * self.scale
        if self.flipped:
            mapped[..., 0] = self.size - mapped[..., 0]
        return mapped

    def to_source(self, points: Any) -> NDArray[np.float64]:
        """Crop coordinates to source coordinates; the inverse of :meth:`to_crop`."""
        mapped = np.array(points, np.float64)
        if self.flipped:
            mapped[..., 0] = self.size - mapped[..., 0]
        return np.asarray(mapped / self.scale + self.window[:2], np.float64)

    def grid_to_source(self, cells: int) -> GridToSource:
        """Where the cells of a ``cells`` x ``cells`` map of the crop lie, once the map is mirrored back."""
        x0, y0, x1, y1 = self.window
        return GridToSource((x1 - x0) / cells, (y1 - y0) / cells, float(x0), float(y0))


def touched_edges(box: Box, size: tuple[int, int], *, within: float = 0.005) -> tuple[str, ...]:
    """The film's edges that a box reaches to ``within`` a share of the film's side: the hip may go on beyond.

    The bottom edge is no finding on an AP pelvis, where the femoral shafts always leave the film.
    """
    width, height = size
    reached = {
        "left": box[0] <= within * width,
        "top": box[1] <= within * height,
        "right": box[2] >= (1 - within) * width,
        "bottom": box[3] >= (1 - within) * height,
    }
    return tuple(edge for edge, touches in reached.items() if touches)
