"""How a hand, a forefoot or a joint is turned and cut, for training and use alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fracture.digits import Points, axis_of, direction, is_mirrored, unit_length
from fracture.errors import ConfigurationError
from fracture.joints.layout import MIDDLE, POINTS, Kind
from fracture.joints.networks import CHANNELS, PLACE_SIZE, POINT_COUNT
from fracture.preprocess.similarity import Similarity, fit_place, mean_shape

CROP_SIZE: Final = 224
"""Side of a joint's crop in pixels, as team Alpine Lads cut them."""
UNIT: Final[Mapping[Kind, float]] = {"hand": 66.0, "forefoot": 100.0}
"""Crop pixels of the unit length in the placer's crop; ours: all 26 points, the finger tips, and room for errors."""


def rows_of(points: Points, names: Sequence[str]) -> NDArray[np.float64]:
    """(n, 2): points in the order of ``names``, NaN where one is unknown."""
    return np.array([points.get(name, (np.nan, np.nan)) for name in names], np.float64)


def joint_place(points: Points, name: str, scale: float, size: int = CROP_SIZE) -> Similarity:
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


def fit_frame(
    points: Points, kind: Kind, template: NDArray[np.float64], mirrored: bool | None = None
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


def template_of(known: Sequence[tuple[Kind, Points]]) -> NDArray[np.float64]:
    """Where points lie on average in the placer's crop, (32, 2), from annotated hands and forefeet.

    Each is first turned by its own axis and scaled by its unit length, then fitted to the mean so found.
    """
    template = np.full((POINT_COUNT, 2), PLACE_SIZE / 2, np.float64)
    for kind, channels in CHANNELS.items():
        shapes = [(rows_of(points, POINTS[kind]), _own_frame(kind, points)) for k, points in known if k == kind]
        mean = mean_shape(shapes, PLACE_SIZE) if shapes else template[channels]
        template[channels] = np.where(np.isnan(mean), template[channels], mean)
    return template


def _own_frame(kind: Kind, points: Points) -> Similarity:
    x, y = np.nanmean(rows_of(points, MIDDLE[kind]), 0).tolist()
    scale = UNIT[kind] / max(unit_length(points), 1e-6)
    return Similarity((x, y), axis_of(points), scale, PLACE_SIZE, is_mirrored(points))
