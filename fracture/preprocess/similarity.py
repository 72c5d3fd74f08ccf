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

__all__ = ["CROP_SIZE", "Crop", "Similarity", "crop_at", "crop_joint", "direction", "warp"]

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


def warp(
    pixels: NDArray[np.float32], matrix: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pixels through an affine map, and which of them lie on the film. Coordinates are continuous pixel edges.

    A film that shrinks by more than a half is halved by area averages first.

    Args:
        pixels: float32, (height, width).
        matrix: (2, 3), source to target.
        size: (width, height) of the target.
    """
    while math.sqrt(abs(float(np.linalg.det(matrix[:, :2])))) < 0.6 and min(pixels.shape) > 2:
        height, width = pixels.shape
        half = (width + 1) // 2, (height + 1) // 2
        pixels = np.asarray(cv2.resize(pixels, half, interpolation=cv2.INTER_AREA), np.float32)
        matrix = np.column_stack([matrix[:, :2] * (width / half[0], height / half[1]), matrix[:, 2]])
    shifted = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ (0.5, 0.5) - 0.5])
    cut = cv2.warpAffine(pixels, shifted, size, flags=cv2.INTER_LINEAR)
    mask = cv2.warpAffine(np.ones(pixels.shape, np.uint8), shifted, size, flags=cv2.INTER_NEAREST)
    return np.asarray(cut, np.float32), mask.astype(np.bool_)


def crop_at(pixels: NDArray[np.float32], place: Similarity) -> Crop:
    """Cut ``place`` out of a film, float32 (height, width) in [0, 1] with square pixels; see :func:`warp`."""
    return Crop(*warp(pixels, place.matrix, (place.size, place.size)), place)


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
