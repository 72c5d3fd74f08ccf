"""A vertebra as the judge of fractures sees it: planes around its level's point, and its mask on the same grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fracture.spine.cervical.levels import scaled
from fracture.spine.cervical.metric import LEVELS
from fracture.spine.cervical.spec import CROP, CROP_SPACING
from fracture.spine.crops import Place
from fracture.spine.resample import sampled
from fracture.wing.volume import Volume

# Millimeters from the point to the crop's middle: the arches lie behind the body, the odontoid above C2's.
_OFFSET = {"C1": (0.0, 20.0, 0.0), "C2": (0.0, 16.0, 6.0)}
_USUAL = (0.0, 18.0, -3.0)


class Crops(NamedTuple):
    """The seven vertebrae of one neck.

    Attributes:
        values: uint8 (7, planes, rows, columns), 255 for 1 of the bone window; 0 of a level that is not there.
        masks: uint8 of the same shape, 255 for a probability of 1.
        seen: bool (7,).
    """

    values: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    seen: NDArray[np.bool_]


def crop_affine(level: str, place: Place, margin: Sequence[int] = (0, 0, 0)) -> NDArray[np.float64]:
    """(column, row, plane, 1) of a level's crop, with so many more planes, rows and columns to either side, to
    millimeters of the patient."""
    step, pixel = CROP_SPACING
    affine = np.diag([pixel, pixel, step, 1.0])
    middle = np.add(place, _OFFSET.get(level, _USUAL))
    affine[:3, 3] = middle - ((np.array(CROP[::-1]) - 1) / 2 + margin[::-1]) * (pixel, pixel, step)
    return affine


def cropped(
    volume: Volume | Sequence[Volume], places: Mapping[str, Place], margin: Sequence[int] = (0, 0, 0), **how: Any
) -> NDArray[np.float32]:
    """float32 (7, planes, rows, columns) of a volume, or of one for each level, around the places that are known; 0 of
    other levels. Options are those of :func:`fracture.spine.resample.sampled`."""
    shape: Any = tuple(n + 2 * m for n, m in zip(CROP, margin, strict=True))
    found = np.zeros((len(LEVELS), *shape), np.float32)
    for k, level in enumerate(LEVELS):
        if level in places:
            own = volume if isinstance(volume, Volume) else volume[k]
            found[k] = sampled(own, crop_affine(level, places[level], margin), shape, **how)
    return found


def window_of(volume: Volume, places: Mapping[str, Place], margin: Sequence[int] = (0, 0, 0)) -> NDArray[np.uint8]:
    """Crops in the bone window, times 255."""
    there = np.array([level in places for level in LEVELS])[:, None, None, None]
    shown: NDArray[np.float32] = np.where(there, scaled(cropped(volume, places, margin)), 0)
    return np.rint(shown * 255).astype(np.uint8)


def masks_of(
    shares: NDArray[np.float32], grid: Volume, places: Mapping[str, Place], margin: Sequence[int] = (0, 0, 0)
) -> NDArray[np.uint8]:
    """Crops of each level's share (7, ...) of its grid (:class:`fracture.spine.cervical.levels.Levels`), times 255."""
    own = [replace(grid, voxels=one) for one in shares]
    return np.rint(np.clip(cropped(own, places, margin, fill=0), 0, 1) * 255).astype(np.uint8)
