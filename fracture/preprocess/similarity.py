"""Square cuts out of a film, turned, scaled and mirrored, and the way back.

A crop's pixels are related to the film's by one similarity transform, which is kept with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Point: TypeAlias = tuple[float, float]
Place = TypeVar("Place")
"""How a crop lies on its film."""


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

    def turned(self, degrees: float, scale: float = 1.0) -> Similarity:
        """The same about its center, clockwise on the film, so many times as large in the crop."""
        turn = complex(*self.up) * complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
        return replace(self, up=(turn.real, turn.imag), scale=self.scale * scale)

    def disturbed(self, rng: np.random.Generator, shift: float, degrees: float, zoom: float) -> Similarity:
        """The same with errors: shifted in source pixels, turned and scaled by about so much, mirrored or not."""
        dx, dy = rng.normal(0, shift, 2).tolist()
        turned = self.turned(rng.normal(0, degrees), float(np.exp(rng.normal(0, zoom))))
        center, flip = (self.center[0] + dx, self.center[1] + dy), rng.random() < 0.5
        return replace(turned, center=center, mirrored=self.mirrored != flip)

    def to_crop(self, points: Any) -> NDArray[np.float64]:
        """Source coordinates (..., 2), order (x, y), to crop coordinates."""
        return through(self.matrix, points)

    def to_source(self, points: Any) -> NDArray[np.float64]:
        """Crop coordinates to source coordinates; the inverse of :meth:`to_crop`."""
        matrix = self.matrix
        moved = np.asarray(points, np.float64) - matrix[:, 2]
        return np.asarray(moved @ np.linalg.inv(matrix[:, :2]).T, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Crop(Generic[Place]):
    """A cut and its place.

    Attributes:
        pixels: float32, shape (size, size), in [0, 1]; 0 outside the film.
        mask: bool, the same shape; True where the pixel lies on the film.
        place: Where it was.
    """

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    place: Place

    def standardized(self) -> NDArray[np.float32]:
        """float32 (size, size): the film's part with mean 0 and spread 1; 0 beyond the film."""
        seen = self.pixels[self.mask]
        if not seen.size:
            return np.zeros_like(self.pixels)
        return np.where(self.mask, (self.pixels - seen.mean()) / max(float(seen.std()), 1e-3), 0).astype(np.float32)


def through(matrix: NDArray[np.float64], points: Any) -> NDArray[np.float64]:
    """Points (..., 2), order (x, y), through an affine map (2, 3)."""
    return np.asarray(np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2], np.float64)


def varied_affine(
    matrix: NDArray[np.float64], middle: float, rng: np.random.Generator, *, angle: float, flip: bool,
    zoom: tuple[float, float], shift: float,
) -> NDArray[np.float64]:  # fmt: skip
    """An affine map (2, 3) followed by a turn, stretch and shift about the middle of a square, for training.

    Args:
        matrix: The map, to the square.
        middle: Half of its side.
        rng: Draws scale, stretch and shear (up to a tenth, ours), and shift.
        angle: The turn in radians.
        flip: Whether left and right are exchanged first.
        zoom: Least and largest factor, log-uniform.
        shift: At most, in pixels of the square.
    """
    c, s = math.cos(angle), math.sin(angle)
    scale, ratio = math.exp(rng.uniform(*np.log(zoom))), math.exp(rng.uniform(-0.1, 0.1))
    linear = scale * np.array([[c, -s], [s, c]]) @ np.diag([ratio, 1 / ratio])
    linear = linear @ np.array([[1, rng.uniform(-0.08, 0.08)], [0, 1]]) @ np.diag([-1.0 if flip else 1.0, 1.0])
    move = middle - linear @ (middle, middle) + rng.uniform(-shift, shift, 2)
    return np.column_stack([linear @ matrix[:, :2], linear @ matrix[:, 2] + move])


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


def crop_at(pixels: NDArray[np.float32], place: Similarity) -> Crop[Similarity]:
    """Cut ``place`` out of a film, float32 (height, width) in [0, 1] with square pixels; see :func:`warp`."""
    return Crop(*warp(pixels, place.matrix, (place.size, place.size)), place)


def letterbox_matrix(width: int, height: int, size: int, zoom: float = 1.0) -> NDArray[np.float64]:
    """(2, 3): a film's coordinates to those of a square, the film in its middle.

    ``zoom`` is the film's longer side by the square's.
    """
    scale = zoom * size / max(width, height)
    return np.array([[scale, 0, (size - scale * width) / 2], [0, scale, (size - scale * height) / 2]])


def fit_place(
    model: NDArray[np.float64], seen: NDArray[np.float64], size: int, *, mirrored: bool | None = None
) -> tuple[Similarity, float]:
    """The crop that puts seen points nearest to where a model has them.

    Args:
        model: (n, 2), in pixels of the crop, n at least 2.
        seen: (n, 2), in source pixels.
        size: Side of the crop in pixels.
        mirrored: Whether it is mirrored; None: as it fits better.

    Returns:
        The crop's place, and the root mean square of what is left over the spread of ``seen``.
    """
    fits = []
    for flip in (False, True) if mirrored is None else (mirrored,):
        a, b, left = _fit(model * (-1, 1) + (size, 0) if flip else model, seen)
        center = a * complex(size / 2, size / 2) + b
        a = a if abs(a) > 1e-3 else complex(1e-3)  # points that lie on one another give neither turn nor scale
        up = -1j * a / abs(a)
        fits.append((Similarity((center.real, center.imag), (up.real, up.imag), 1 / abs(a), size, flip), left))
    return min(fits, key=lambda fit: fit[1])


def mean_shape(examples: Sequence[tuple[NDArray[np.float64], Similarity]], size: int) -> NDArray[np.float64]:
    """Where the points of a shape lie on average when examples of it are laid on one another (Procrustes analysis after
    Gower 1975, in two turns: first as they are given, then on the mean so found).

    Args:
        examples: One at least; of each its points (n, 2) in source pixels, NaN where unknown, two known at least, and
            the crop that it is looked at in first.
        size: Side of the crop in pixels.

    Returns:
        float64 (n, 2), in pixels of the crop; NaN where no example has a point.
    """
    mean = np.full(np.shape(examples[0][0]), np.nan)
    for turn in range(2):
        placed = []
        for points, place in examples:
            known = ~np.isnan(points).any(-1)
            place = fit_place(mean[known], points[known], size)[0] if turn else place
            placed.append(place.to_crop(points))
        counts = np.count_nonzero(~np.isnan(placed), axis=0)
        mean = np.where(counts > 0, np.nansum(placed, axis=0) / np.maximum(counts, 1), np.nan)
    return mean


def _fit(model: NDArray[np.float64], seen: NDArray[np.float64]) -> tuple[complex, complex, float]:
    """a and b of ``seen = a * model + b`` in complex numbers, without mirroring, by least squares; and what is left."""
    z, w = model[:, 0] + 1j * model[:, 1], seen[:, 0] + 1j * seen[:, 1]
    share = 1 / len(z)
    mean_z, mean_w = (share * z).sum(), (share * w).sum()
    dz, dw = z - mean_z, w - mean_w
    a = (share * dz.conj() * dw).sum() / max(float((share * abs(dz) ** 2).sum()), 1e-12)
    left = float((share * abs(dw - a * dz) ** 2).sum()) / max(float((share * abs(dw) ** 2).sum()), 1e-12)
    return complex(a), complex(mean_w - a * mean_z), math.sqrt(left)
