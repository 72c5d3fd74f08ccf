"""How a hand, a forefoot or a joint is turned and cut, for training and use alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError
from fracture.joints.layout import AXES, MIDDLE, POINTS, Kind, Point, axis_of, is_mirrored, unit_length
from fracture.joints.networks import CHANNELS, PLACE_SIZE, POINT_COUNT
from fracture.preprocess.similarity import Similarity, fit_place

CROP_SIZE: Final = 224
"""Side of a joint's crop in pixels, as team Alpine Lads cut them."""
UNIT: Final[Mapping[Kind, float]] = {"hand": 66.0, "forefoot": 100.0}
"""Crop pixels of the unit length in the placer's crop; ours: all 26 points, the finger tips, and room for errors."""


def rows_of(points: Mapping[str, Point], names: Sequence[str]) -> NDArray[np.float64]:
    """(n, 2): points in the order of ``names``, NaN where one is unknown."""
    return np.array([points.get(name, (np.nan, np.nan)) for name in names], np.float64)


def joint_place(points: Mapping[str, Point], name: str, scale: float, size: int = CROP_SIZE) -> Similarity:
    """The crop of a joint: its point in the middle, its digit pointing up, the thumb's or big toe's side to the right.

    Args:
        points: All points of the hand or forefoot that are known, by name, in source pixels.
        name: Of the point.
        scale: Crop pixels per source pixel; 1 is the film's own resolution.
        size: Side of the crop in pixels.

    Raises:
        ConfigurationError: The point is not among ``points``.
    """
    if name not in points:
        raise ConfigurationError("the point of a crop", got=name, allowed=", ".join(points) or "no points")
    return Similarity(points[name], direction(points, name), scale, size, is_mirrored(points))


def direction(points: Mapping[str, Point], name: str) -> Point:
    """The direction of a point's digit, outwards, of length 1; of the whole where the digit's points are unknown."""
    ends = AXES.get(name)
    if ends is not None and all(end in points for end in ends):
        (x0, y0), (x1, y1) = (points[end] for end in ends)
        length = math.hypot(x1 - x0, y1 - y0)
        if length > 0:
            return (x1 - x0) / length, (y1 - y0) / length
    return axis_of(points)


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
    seen = rows_of(points, POINTS[kind])
    known = ~np.isnan(seen).any(-1)
    return fit_place(template[CHANNELS[kind]][known], seen[known], PLACE_SIZE, mirrored=mirrored)


def template_of(known: Sequence[tuple[Kind, Mapping[str, Point]]]) -> NDArray[np.float64]:
    """Where points lie on average in the placer's crop, (32, 2), from annotated hands and forefeet.

    Each is first turned by its own axis and scaled by its unit length, then fitted to the mean so found.
    """
    template = np.full((POINT_COUNT, 2), PLACE_SIZE / 2, np.float64)
    for turn in range(2):
        placed = np.full((len(known), POINT_COUNT, 2), np.nan)
        for rows, (kind, points) in zip(placed, known, strict=True):
            place = _own_frame(kind, points) if turn == 0 else fit_frame(points, kind, template)[0]
            rows[CHANNELS[kind]] = place.to_crop(rows_of(points, POINTS[kind]))
        counts = np.count_nonzero(~np.isnan(placed), axis=0)
        template = np.where(counts > 0, np.nansum(placed, axis=0) / np.maximum(counts, 1), template)
    return template


def _own_frame(kind: Kind, points: Mapping[str, Point]) -> Similarity:
    x, y = np.nanmean(rows_of(points, MIDDLE[kind]), 0).tolist()
    scale = UNIT[kind] / max(unit_length(points), 1e-6)
    return Similarity((x, y), axis_of(points), scale, PLACE_SIZE, is_mirrored(points))
