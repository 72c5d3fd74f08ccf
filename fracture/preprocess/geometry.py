"""Where a network pixel lies on the source image, and back, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Geometry:
    """The affine map between source pixels and network pixels (crop, anisotropic rounding of the scale, padding).

    Coordinates are continuous, x right and y down, and refer to pixel edges: pixel (row i, column j) covers
    [j, j + 1) x [i, i + 1). Padding stands right and below, so network = (source - crop origin) * scale.

    Attributes:
        source_size: (width, height) of the source image in pixels.
        crop: (x0, y0, x1, y1) of the part that was kept, in whole source pixels.
        scaled_size: (width, height) of that part after resizing, in whole network pixels.
        network_size: (width, height) after padding.
    """

    source_size: tuple[int, int]
    crop: tuple[int, int, int, int]
    scaled_size: tuple[int, int]
    network_size: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Network pixels per source pixel, (x, y).

        They differ by the rounding to whole pixels, and where
        the film's own pixels are not square."""
        x0, y0, x1, y1 = self.crop
        return self.scaled_size[0] / (x1 - x0), self.scaled_size[1] / (y1 - y0)

    def to_network(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points (..., 2) as (x, y) from source to network pixels, float64; whole numbers are edges of pixels."""
        return (np.asarray(points, np.float64) - self.crop[:2]) * self.scale

    def to_source(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points (..., 2) as (x, y) from network to source pixels, float64; undoes :meth:`to_network`."""
        return np.asarray(points, np.float64) / self.scale + self.crop[:2]

    def boxes_to_network(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map boxes (..., 4) as (x0, y0, x1, y1), float64, from source to network pixels, without clipping."""
        array = np.asarray(boxes, np.float64)
        return self.to_network(array.reshape(*array.shape[:-1], 2, 2)).reshape(array.shape)

    def boxes_to_source(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map boxes (..., 4) as (x0, y0, x1, y1), float64, from network to source pixels, without clipping."""
        array = np.asarray(boxes, np.float64)
        return self.to_source(array.reshape(*array.shape[:-1], 2, 2)).reshape(array.shape)

    def grid_to_source(self, stride: float) -> tuple[float, float, float, float]:
        """(scale_x, scale_y, offset_x, offset_y) from cells of a map with ``stride`` network pixels to source.

        A point u in cell units lies at ``u * scale + offset`` in source pixels.
        """
        scale_x, scale_y = self.scale
        return stride / scale_x, stride / scale_y, float(self.crop[0]), float(self.crop[1])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy."""
        return {key: list(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Sequence[int]]) -> Geometry:
        """The inverse of :meth:`to_dict`."""
        return cls(**{key: tuple(int(v) for v in value) for key, value in data.items()})  # type: ignore[arg-type]
