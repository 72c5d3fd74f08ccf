"""How a hand, a forefoot or a joint is turned and cut, and the grays that networks see; for training and use alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError
from fracture.joints.layout import AXES, MIDDLE, POINTS, Kind, Point, axis_of, is_mirrored, unit_length
from fracture.joints.networks import CHANNELS, PLACE_SIZE, POINT_COUNT
from fracture.preprocess.similarity import Crop, Similarity, crop_at, fit_place
from fracture.simulate.joints import Joint

CROP_SIZE: Final = 224
"""Side of a joint's crop in pixels, as team Alpine Lads cut them."""


GAMMA: Final = 0.7
"""Of the stretched grays: what the landmark network read radiographs best with."""
_PERCENTILES: Final = (1.0, 99.5)
UNIT: Final[Mapping[Kind, float]] = {"hand": 66.0, "forefoot": 100.0}
"""Crop pixels of the unit length in the placer's crop; ours: all 26 points, the finger tips, and room for errors."""


def tone(pixels: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Grays stretched between their 1st and 99.5th percentiles, then to the power of 0.7; 0 where not ``mask``."""
    some = pixels[::2, ::2] if mask is None else pixels[::2, ::2][mask[::2, ::2]]
    if not some.size:
        return np.zeros_like(pixels)
    low, high = np.percentile(some, _PERCENTILES)
    stretched = np.clip((pixels - np.float32(low)) / np.float32(max(high - low, 1e-3)), 0, 1) ** np.float32(GAMMA)
    return np.asarray(stretched if mask is None else np.where(mask, stretched, 0), np.float32)


def crop_joint(
    pixels: NDArray[np.float32],
    points: Mapping[str, Point],
    name: str,
    *,
    size: int = CROP_SIZE,
    scale: float = 1.0,
) -> Crop[Similarity]:
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


def joint_at(points: Mapping[str, Point], name: str) -> Joint:
    """A film's joint, one of ``points``, as the painter takes it."""
    return Joint(name, points[name], direction(points, name), unit_length(points))


def fit_frame(
    points: Mapping[str, Point], kind: Kind, template: NDArray[np.float64], mirrored: bool | None = None
) -> tuple[Similarity, float]:
    """The placer's crop that puts points nearest to where they lie on average, mirrored where that fits better.

    Args:
        points: At least two of the kind's points, in source pixels.
        kind: ``"hand"`` or ``"forefoot"``.
        template: Of the placer.
        mirrored: Whether the crop is mirrored; None: as it fits.

    Returns:
        The crop's place, and what is left of the points' spread.
    """
    order = POINTS[kind]
    names = [name for name in order if name in points]
    model = template[CHANNELS[kind]][[order.index(name) for name in names]]
    return fit_place(model, np.array([points[name] for name in names]), PLACE_SIZE, mirrored=mirrored)


def template_of(known: Sequence[tuple[Kind, Mapping[str, Point]]]) -> NDArray[np.float64]:
    """Where points lie on average in the placer's crop, (32, 2), from annotated hands and forefeet.

    Each is first turned by its own axis and scaled by its unit length, then fitted to the mean so found.
    """
    template = np.full((POINT_COUNT, 2), PLACE_SIZE / 2, np.float64)
    for turn in range(2):
        sums, counts = np.zeros_like(template), np.zeros(len(template))
        for kind, points in known:
            place = _own_frame(kind, points) if turn == 0 else fit_frame(points, kind, template)[0]
            for index, name in enumerate(POINTS[kind], CHANNELS[kind].start):
                if name in points:
                    sums[index] += place.to_crop(points[name])
                    counts[index] += 1
        template = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], template)
    return template


def _own_frame(kind: Kind, points: Mapping[str, Point]) -> Similarity:
    row = [points[name] for name in (MIDDLE[kind]) if name in points]
    center = (sum(x for x, _ in row) / len(row), sum(y for _, y in row) / len(row))
    scale = UNIT[kind] / max(unit_length(points), 1e-6)
    return Similarity(center, axis_of(points), scale, PLACE_SIZE, is_mirrored(points))
