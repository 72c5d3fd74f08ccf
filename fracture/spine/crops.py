"""What lies at a place in the patient: the slices of a volume that pass it, and crops of them in millimeters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fracture.io.dicom.frames import frames_of
from fracture.io.files import MAX_BYTES, open_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fracture.wing.volume import Volume


Place = tuple[float, float, float]
_OUTSIDE = 0.5  # slices beyond the first and the last that a place may lie at


@dataclass(frozen=True, slots=True)
class Match:
    """The slice that passes nearest to a place.

    Attributes:
        volume: Number of its volume among those given.
        slice: Its number there.
        distance: Millimeters of its plane from the place.
    """

    volume: int
    slice: int
    distance: float


def voxel_of(volume: Volume, place: Place) -> tuple[float, float, float]:
    """Millimeters of the patient to (slice, row, column)."""
    column, row, k, _ = np.linalg.solve(volume.affine, (*place, 1.0)).tolist()
    return k, row, column


def match(volumes: Sequence[Volume], places: Mapping[str, Place]) -> dict[str, Match]:
    """For each named place the slice that passes nearest to it, by geometry alone.

    A volume counts where the place lies within its pictures, and at most half a slice beyond its ends (ours). Axial MR
    often has one tilted block for each disc, and their slices cross behind it: the nearest plane wins.

    Returns:
        By name; places that no slice passes are left out.
    """
    found: dict[str, Match] = {}
    for name, place in places.items():
        for number, volume in enumerate(volumes):
            count, *size = volume.voxels.shape
            k, *inside = voxel_of(volume, place)
            if not -_OUTSIDE <= k <= count - 1 + _OUTSIDE:
                continue
            if not all(-0.5 <= at <= side - 0.5 for at, side in zip(inside, size, strict=True)):
                continue
            near = min(max(round(k), 0), count - 1)
            normal = np.cross(volume.affine[:3, 0], volume.affine[:3, 1])
            thick = abs(float(volume.affine[:3, 2] @ normal)) / float(np.linalg.norm(normal))
            one = Match(number, near, abs(k - near) * thick)
            if name not in found or one.distance < found[name].distance:
                found[name] = one
    return found


def crop(volume: Volume, place: Place, slices: Sequence[int], *, side: int, spacing: float) -> NDArray[np.float32]:
    """Squares of some slices around a place, in the slices' own planes.

    Args:
        volume: Of any orientation.
        place: What lies in the middle, projected to the slices along their step.
        slices: Their numbers; beyond the ends the outermost is repeated.
        side: Pixels of a square.
        spacing: Millimeters of its pixels.

    Returns:
        float32 (len(slices), side, side) in the volume's values, 0 outside.
    """
    _, row, column = voxel_of(volume, place)
    _, tall, wide = volume.spacing
    down, across = spacing / tall, spacing / wide
    middle = (side - 1) / 2
    matrix = np.array([[across, 0, column - middle * across], [0, down, row - middle * down]])
    found = np.zeros((len(slices), side, side), np.float32)
    for k, number in enumerate(slices):
        plane = volume.voxels[min(max(number, 0), len(volume.voxels) - 1)]
        cv2.warpAffine(plane, matrix, (side, side), found[k], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return found


def places_of(folder: Path, points: Mapping[str, tuple[str, float, float]]) -> dict[str, Place]:
    """Millimeters of the patient for points on slices: (file in the folder, x, y) by name, pixel edges.

    Raises:
        InputError: A slice that cannot be read.
    """
    found: dict[str, Place] = {}
    for name, (file, x, y) in points.items():
        data = open_bytes(folder / file, MAX_BYTES, formats=("dicom",))[0]
        frame = frames_of(data, file, max_bytes=MAX_BYTES)[0]
        across, down = np.array(frame.orientation).reshape(2, 3) * np.array(frame.spacing[::-1])[:, None]
        place = np.array(frame.position) + (x - 0.5) * across + (y - 0.5) * down
        found[name] = (float(place[0]), float(place[1]), float(place[2]))
    return found
