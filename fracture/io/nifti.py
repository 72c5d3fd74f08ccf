"""NIfTI-1 files written from voxels in DICOM's order of axes, with the extra ``spine`` (nibabel)."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.atomic import write_atomic
from fracture.errors import needing

TO_DICOM = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI counts x to the right and y to the front; the way back is the same."""


def write_nifti(path: str | os.PathLike[str], voxels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write a volume atomically; equal arguments give equal bytes.

    Args:
        path: Ends in ``.nii.gz`` or ``.nii``.
        voxels: (slices, rows, columns), of a type that NIfTI has.
        affine: (4, 4): (column, row, slice, 1) to millimeters of the patient as DICOM counts them.

    Raises:
        MissingDependencyError: nibabel is not installed.
        OutputError: It cannot be written.
    """
    with needing("spine"):
        import nibabel
    kind: Any = nibabel.Nifti1Image
    image = kind(np.ascontiguousarray(voxels.transpose(2, 1, 0)), TO_DICOM @ affine)
    image.header.set_xyzt_units("mm")
    data = image.to_bytes()
    if str(path).endswith(".gz"):
        data = gzip.compress(data, 1, mtime=0)
    write_atomic(Path(path), lambda part: part.write_bytes(data))
