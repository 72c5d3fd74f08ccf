"""Square cuts out of a film, turned, scaled and mirrored: what the networks of joints see, and the way back.

A crop's pixels are related to the film's by one similarity transform, which is kept with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from fracture.errors import ConfigurationError
from fracture.joints.layout import AXES, Point, axis_of, is_mirrored

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CROP_SIZE", "Crop", "Similarity", "crop_at", "crop_joint", "direction"]

CROP_SIZE: Final = 224
"""Side of a joint's crop in pixels, as team Alpine Lads cut them."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """A crop's place on its film.

    Attributes:
        center: The crop's middle, (x, y) in source pixels (continuous pixel edges).
        up: Direction on the film that points up in the crop, length 1.
        scale: Crop pixels per source pixel.
        size: Side of the crop in pixels.
        mirrored: Whether left and right are exchanged.
    """

    center: Point
    up: Point
    scale: float
    size: int
    mirrored: bool = False

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3): source coordinates to crop coordinates, both as continuous pixel edges."""
        ux, uy = self.up
        across = (uy, -ux) if self.mirrored else (-uy, ux)
        linear = self.scale * np.array([across, (-ux, -uy)], np.float64)
        return np.column_stack([linear, self.size / 2 - linear @ np.asarray(self.center, np.float64)])

    def to_crop(self, points: Any) -> NDArray[np.float64]:
        """Source coordinates (..., 2), order (x, y), to crop coordinates."""
        matrix = self.matrix
        return np.asarray(np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2], np.float64)

    def to_source(self, points: Any) -> NDArray[np.float64]:
        """Crop coordinates to source coordinates; the inverse of :meth:`to_crop`."""
        matrix = self.matrix
        moved = np.asarray(points, np.float64) - matrix[:, 2]
        return np.asarray(moved @ np.linalg.inv(matrix[:, :2]).T, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A cut and its place.

    Attributes:
        pixels: float32, shape (size, size), in [0, 1]; 0 outside the film.
        mask: bool, the same shape; True where the pixel lies on the film.
        place: Where it was.
    """

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    place: Similarity


def crop_at(pixels: NDArray[np.float32], place: Similarity) -> Crop:
    """Cut ``place`` out of a film, linearly interpolated; a film much finer than the crop is averaged first.

    Args:
        pixels: float32, shape (height, width), in [0, 1], square pixels.
        place: What to cut.
    """
    shrink = 2 ** max(0, math.floor(math.log2(1 / place.scale) + 0.25)) if place.scale < 1 else 1
    height, width = pixels.shape
    matrix = place.matrix
    if shrink > 1:  # area averages of shrink x shrink pixels; the last, incomplete ones are of what there is
        reach = shrink * math.hypot(place.size, place.size) / 2 / (place.scale * shrink) + shrink
        x0 = int(min(max(0, (place.center[0] - reach) // shrink * shrink), width - 1))
        y0 = int(min(max(0, (place.center[1] - reach) // shrink * shrink), height - 1))
        x1, y1 = math.ceil(place.center[0] + reach), math.ceil(place.center[1] + reach)
        part = pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
        rows, columns = part.shape
        small = max(1, columns // shrink), max(1, rows // shrink)
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
        factor = np.array([columns / small[0], rows / small[1]])
        matrix = np.column_stack([matrix[:, :2] * factor, matrix[:, :2] @ (x0, y0) + matrix[:, 2]])
    else:
        part = pixels
    # From edges to OpenCV's pixel middles.
    centers = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ (0.5, 0.5) - 0.5])
    size = (place.size, place.size)
    cut = cv2.warpAffine(np.ascontiguousarray(part), centers, size, flags=cv2.INTER_LINEAR)
    at = place.to_source(np.stack(np.meshgrid(np.arange(place.size) + 0.5, np.arange(place.size) + 0.5), -1))
    mask = (at >= 0).all(-1) & (at[..., 0] < width) & (at[..., 1] < height)
    return Crop(np.asarray(np.clip(cut, 0, 1), np.float32), mask, place)


def crop_joint(
    pixels: NDArray[np.float32],
    points: Mapping[str, Point],
    name: str,
    *,
    size: int = CROP_SIZE,
    scale: float = 1.0,
) -> Crop:
    """Cut a joint out: its point in the middle, its digit pointing up, the thumb's or big toe's side to the right.

    Args:
        pixels: float32, shape (height, width), in [0, 1], square pixels.
        points: All points of the hand or forefoot that are known, by name, in source pixels.
        name: Of the point.
        size: Side of the crop in pixels.
        scale: Crop pixels per source pixel; 1 is the film's own resolution.

    Raises:
        ConfigurationError: The point is not among ``points``, or the scale is not positive.
    """
    if name not in points:
        raise ConfigurationError("the point of a crop", got=name, allowed=", ".join(points) or "no points")
    if not scale > 0:
        raise ConfigurationError("the scale of a crop", got=scale, allowed="more than 0")
    return crop_at(pixels, Similarity(points[name], direction(points, name), scale, size, is_mirrored(points)))


def direction(points: Mapping[str, Point], name: str) -> Point:
    """The direction of a point's digit, outwards, of length 1; of the whole where the digit's points are unknown."""
    ends = AXES.get(name)
    if ends is not None and all(end in points for end in ends):
        (x0, y0), (x1, y1) = (points[end] for end in ends)
        length = math.hypot(x1 - x0, y1 - y0)
        if length > 0:
            return (x1 - x0) / length, (y1 - y0) / length
    return axis_of(points)
