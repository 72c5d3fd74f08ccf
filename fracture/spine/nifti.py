"""NIfTI files to volumes, with the extra ``spine`` (nibabel)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fracture.errors import ImageSizeError, SeriesError, UnreadableFileError, needing
from fracture.io.nifti import TO_DICOM
from fracture.io.quiet import FAULTS, quiet
from fracture.wing.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_nifti(data: bytes, name: str, *, max_voxels: int) -> Volume:
    """A NIfTI-1 or NIfTI-2 file (not gzipped) to a volume; its scaling is applied.

    Args:
        data: The file's bytes.
        name: How errors call the file.
        max_voxels: Limit, checked before a value is read.

    Returns:
        Slices lie across the axis with the widest spacing, of equal ones across that with the fewest voxels, since a
        NIfTI file does not say how it was scanned.

    Raises:
        MissingDependencyError: nibabel is not installed.
        UnreadableFileError: Truncated or damaged.
        SeriesError: Not one volume, or no place in the patient.
        ImageSizeError: More voxels than the limit.
    """
    with needing("spine"):
        import nibabel
    kind = nibabel.Nifti2Image if data[344:348] not in (b"n+1\0", b"ni1\0") else nibabel.Nifti1Image
    try:
        with quiet():
            image = kind.from_bytes(data)
            shape = tuple(int(n) for n in image.shape)
            affine = TO_DICOM @ np.asarray(image.affine, np.float64)
            placed = int(image.header["sform_code"]) > 0 or int(image.header["qform_code"]) > 0
    except (*FAULTS, nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError):
        raise UnreadableFileError(f"{name}: the NIfTI file is damaged", hint="copy the file again") from None
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or 0 in shape:
        raise SeriesError(f"{name}: not one volume", got=f"shape {shape}", allowed="three axes, a fourth of length 1")
    if (count := shape[0] * shape[1] * shape[2]) > max_voxels:
        raise ImageSizeError(f"{name}: larger than the limit", got=f"{count} voxels", allowed=f"at most {max_voxels}")
    try:
        with quiet():
            values = np.asarray(image.dataobj, np.float32).reshape(shape)
    except FAULTS:
        raise UnreadableFileError(f"{name}: the NIfTI file is truncated", hint="copy the file again") from None
    if not placed:
        raise SeriesError(
            f"{name}: the file does not say where it lies in the patient",
            got="sform_code 0 and qform_code 0",
            hint="convert the DICOM series again, or write an affine into the file",
        )
    axis = slice_axis(affine, shape)
    last = [one for one in range(3) if one != axis] + [axis]  # columns, rows, slices of the array
    return Volume(np.ascontiguousarray(values.transpose(last[::-1])), affine[:, [*last, 3]], name)


def slice_axis(affine: NDArray[np.float64], shape: tuple[int, ...]) -> int:
    """The axis that a volume was most likely cut across: widest spacing (by a tenth), then fewest voxels."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    order = np.argsort(-spacing, kind="stable")
    if spacing[order[0]] > 1.1 * spacing[order[1]]:
        return int(order[0])
    return int(np.argmin(shape))
