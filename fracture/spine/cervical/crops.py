"""A vertebra as the judge of fractures sees it: planes around its level's point, and its mask on the same grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fracture.spine.cervical.levels import scaled
from fracture.spine.cervical.metric import LEVELS
from fracture.spine.cervical.spec import CROP, CROP_SPACING
from fracture.spine.resample import sampled
from fracture.wing.volume import Volume

# Millimeters from the point to the crop's middle: the arches lie behind the body, the odontoid above C2's.
_OFFSET = {"C1": (0.0, 20.0, 0.0), "C2": (0.0, 16.0, 6.0)}
_USUAL = (0.0, 18.0, -3.0)


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """The seven vertebrae of one neck.

    Attributes:
        values: uint8 (7, planes, rows, columns), 255 for 1 of the bone window; 0 of a level that is not there.
        masks: uint8 of the same shape, 255 for a probability of 1.
        seen: bool (7,).
    """

    values: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    seen: NDArray[np.bool_]


def crop_affine(level: str, place: tuple[float, float, float]) -> NDArray[np.float64]:
    """(column, row, plane, 1) of a level's crop to millimeters of the patient."""
    step, pixel = CROP_SPACING
    affine = np.diag([pixel, pixel, step, 1.0])
    middle = np.add(place, _OFFSET.get(level, _USUAL))
    affine[:3, 3] = middle - (np.array(CROP[::-1]) - 1) / 2 * (pixel, pixel, step)
    return affine


def crops_of(
    volume: Volume, places: Mapping[str, tuple[float, float, float]], shares: NDArray[np.float32], grid: Volume
) -> Crops:
    """Crops of the levels that have a place.

    Args:
        volume: Hounsfield units.
        places: Level to (x, y, z) in millimeters.
        shares: (7, ...) on ``grid``, see :class:`fracture.spine.cervical.levels.Levels`.
        grid: Where they lie.
    """
    values, masks = (np.zeros((len(LEVELS), *CROP), np.uint8) for _ in range(2))
    for k, level in enumerate(LEVELS):
        if level in places:
            affine = crop_affine(level, places[level])
            values[k] = np.rint(scaled(sampled(volume, affine, CROP)) * 255)
            masks[k] = np.rint(np.clip(sampled(replace(grid, voxels=shares[k]), affine, CROP, fill=0), 0, 1) * 255)
    return Crops(values, masks, np.array([level in places for level in LEVELS]))
