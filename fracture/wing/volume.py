"""A series of slices in patient space: what a wing that reads CT or MR takes in, as a ``Radiograph`` is for films."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fracture.errors import PixelValueError

__all__ = ["Volume"]


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels with their place in the patient.

    Attributes:
        voxels: float32 (slices, rows, columns), finite, in whatever unit the wing works in (Hounsfield units for CT).
        affine: float64 (4, 4): (column, row, slice, 1) to millimeters in DICOM's patient coordinates, x to the
            patient's left, y to the back, z to the head; whole numbers are voxel centers, as in DICOM (PS3.3 C.7.6.2).
        source: What results call it.
        warnings: Findings that a user should see.

    Raises:
        PixelValueError: Another shape or type, NaN or infinity, or an affine that does not span space.
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    source: str = "<array>"
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        voxels, affine = self.voxels, self.affine
        if voxels.ndim != 3 or voxels.dtype != np.float32 or 0 in voxels.shape or not np.isfinite(voxels).all():
            raise PixelValueError(
                f"{self.source}: the voxels of a series",
                got=f"{voxels.dtype} {voxels.shape}",
                allowed="finite float32 (slices, rows, columns)",
            )
        whole = affine.shape == (4, 4) and np.isfinite(affine).all() and (affine[3] == (0, 0, 0, 1)).all()
        if not whole or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise PixelValueError(
                f"{self.source}: the affine of a series",
                got=affine.tolist(),
                allowed="finite (4, 4), three independent directions, last row 0 0 0 1",
            )

    def __repr__(self) -> str:
        shape, spacing = tuple(self.voxels.shape), tuple(round(step, 3) for step in self.spacing)
        return f"Volume(source={self.source!r}, shape={shape}, spacing={spacing}, warnings={len(self.warnings)})"

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimeters from slice to slice, from row to row, from column to column."""
        columns, rows, slices = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return slices, rows, columns

    def place(self, voxel: tuple[float, float, float]) -> tuple[float, float, float]:
        """(slice, row, column) to (x, y, z) in millimeters of the patient."""
        x, y, z, _ = (self.affine @ (voxel[2], voxel[1], voxel[0], 1.0)).tolist()
        return x, y, z
