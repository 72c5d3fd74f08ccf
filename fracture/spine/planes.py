"""How a volume lies in the patient: its plane, and its axes put into the order in which people look at it.

Only axes are exchanged and turned around, never a value computed: every voxel keeps its value and its place in
millimeters.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from fracture.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.wing.volume import Volume


Plane: TypeAlias = Literal["sagittal", "coronal", "axial"]
PLANES: dict[Plane, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "sagittal": ((0, 1), (2, -1), (1, 1)),
    "coronal": ((1, 1), (2, -1), (0, 1)),
    "axial": ((2, 1), (1, 1), (0, 1)),
}
"""Patient axis (0 x to the left, 1 y to the back, 2 z to the head) and sign of slices, rows and columns.

Sagittal slices run from the patient's right to the left, the head up and the front to the left of the picture; axial
ones from the feet to the head, the front up and the patient's right to the left of the picture; coronal ones from front
to back, the head up and the patient's right to the left of the picture.
"""


def normal_plane(normal: NDArray[np.float64]) -> Plane:
    """The plane whose normal is nearest to a direction in patient space."""
    axis = int(np.argmax(np.abs(normal)))
    return ("sagittal", "coronal", "axial")[axis]


def plane_of(volume: Volume) -> Plane:
    """The plane that the volume's slices lie in, by the normal of their rows and columns."""
    return normal_plane(np.cross(volume.affine[:3, 0], volume.affine[:3, 1]))


def oriented(volume: Volume, plane: Plane | None = None) -> Volume:
    """The same voxels at the same places, axes as :data:`PLANES` has them.

    Args:
        volume: In any order of axes.
        plane: What slices shall be; None keeps those that they are.

    Raises:
        ConfigurationError: An unknown plane.
    """
    if plane is not None and plane not in PLANES:
        raise ConfigurationError("an unknown plane", got=repr(plane), allowed=tuple(PLANES))
    # Columns of the affine are the directions of columns, rows, slices: axes 2, 1, 0 of the array.
    cosines = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[axis, k]) for k, axis in enumerate(axes)))
    of_patient = {axis: 2 - k for k, axis in enumerate(best)}  # patient axis to axis of the array
    signs = {axis: float(np.sign(cosines[axis, k])) for k, axis in enumerate(best)}
    if plane is None:
        plane = {0: "sagittal", 1: "coronal", 2: "axial"}[best[2]]  # type: ignore[assignment]
    order = [of_patient[axis] for axis, _ in PLANES[plane]]  # type: ignore[index]
    affine = volume.affine[:, [*(2 - axis for axis in reversed(order)), 3]]
    voxels = volume.voxels.transpose(order)
    for place, (axis, sign) in enumerate(PLANES[plane]):  # type: ignore[index]
        if sign * signs[axis] < 0:
            voxels = np.flip(voxels, place)
            affine[:, 3] += affine[:, 2 - place] * (voxels.shape[place] - 1)
            affine[:, 2 - place] *= -1
    return replace(volume, voxels=np.ascontiguousarray(voxels), affine=affine)
