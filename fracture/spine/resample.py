"""A volume on a grid of equal spacing along the patient's axes, and the patient without the table.

What networks in 3D take: a tilted gantry, an oblique scan and uneven spacing are all in ``Volume.affine``, so one
affine map undoes them, and places go back to the patient by the new volume's own ``place``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fracture.errors import ConfigurationError, ImageSizeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.wing.volume import Volume


AIR = -1024.0
"""Hounsfield units where nothing was scanned."""

_MAX_VOXELS = 2**27
_BODY = -400.0  # HU between air and everything of a patient (our choice)
_THIN = 6.0  # mm: what is thinner is taken for a table, a mask or a tube (our choice)


def resampled(volume: Volume, spacing: float = 2.0, *, fill: float = AIR) -> Volume:
    """The box around a volume, on a grid of equal spacing along x, y and z of the patient.

    Voxels much smaller than the new ones are averaged first, so that nothing is skipped; then linear interpolation.

    Args:
        volume: In any order of axes and with any shear.
        spacing: Millimeters.
        fill: Value outside the volume.

    Returns:
        Axial slices from the feet to the head, the front up and the patient's right to the left; the affine is
        diagonal.

    Raises:
        ConfigurationError: A spacing that is not positive.
        ImageSizeError: More than 2^27 voxels would come out.
    """
    if not (np.isfinite(spacing) and spacing > 0):
        raise ConfigurationError("the spacing of a grid", got=spacing, allowed="millimeters above 0")
    corners = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)
    corners = corners * np.array(volume.voxels.shape[::-1]) - 0.5  # edges of the outermost voxels
    places = corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    low, high = places.min(axis=0), places.max(axis=0)
    size = np.maximum(1, np.ceil((high - low) / spacing - 1e-6)).astype(int)
    if int(np.prod(size)) > _MAX_VOXELS:
        raise ImageSizeError(
            f"{volume.source}: too large at {spacing:g} mm", got=f"{size.tolist()} voxels", allowed="2^27 in all"
        )
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (low + high) / 2 - (size - 1) * spacing / 2
    voxels = sampled(volume, affine, (int(size[2]), int(size[1]), int(size[0])), fill=fill)
    return replace(volume, voxels=voxels, affine=affine)


def sampled(
    volume: Volume, affine: NDArray[np.float64], shape: tuple[int, int, int], *, fill: float = AIR, order: int = 1
) -> NDArray[np.float32]:
    """A volume's values on another grid.

    Args:
        volume: What is asked.
        affine: (4, 4) of the grid, as ``Volume.affine``.
        shape: (slices, rows, columns) of the grid.
        fill: Value outside the volume.
        order: 1 interpolates, after averaging voxels that are much smaller than the grid's; 0 takes the nearest.

    Returns:
        float32 of ``shape``.
    """
    voxels, own = _around(volume, affine, shape)
    if not voxels.size:
        return np.full(shape, fill, np.float32)
    if order:
        voxels, own = _averaged(voxels, own, np.linalg.norm(affine[:3, :3], axis=0))
    matrix = np.linalg.inv(own) @ affine  # (column, row, slice) of the grid to those of the volume
    turned = matrix[2::-1, 2::-1]  # the same for (slice, row, column)
    return np.asarray(
        ndimage.affine_transform(
            voxels, turned, matrix[2::-1, 3], shape, np.float32, order=order, mode="constant", cval=fill
        ),
        np.float32,
    )


def _around(
    volume: Volume, affine: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """What of a volume a grid needs: a small grid must not average a large volume."""
    corners = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64) * shape[::-1] - 0.5
    places = corners @ affine[:3, :3].T + affine[:3, 3] - volume.affine[:3, 3]
    cells = places @ np.linalg.inv(volume.affine[:3, :3]).T
    margin = 2 + np.ceil(np.linalg.norm(affine[:3, :3], axis=0).max() / np.linalg.norm(volume.affine[:3, :3], axis=0))
    size = np.array(volume.voxels.shape[::-1])
    first = np.clip(np.floor(cells.min(axis=0) - margin), 0, size).astype(int)
    last = np.clip(np.ceil(cells.max(axis=0) + margin) + 1, first, size).astype(int)
    own = volume.affine.copy()
    own[:3, 3] += own[:3, :3] @ first
    (x, y, z), (x1, y1, z1) = first.tolist(), last.tolist()
    return volume.voxels[z:z1, y:y1, x:x1], own


def _averaged(
    voxels: NDArray[np.float32], affine: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Blocks of whole voxels, as many along each axis as fit a voxel of the target; a rest at the far end is left."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    wanted = float(target.min())
    factors = [max(1, min(int(wanted / one + 0.01), n)) for one, n in zip(spacing, voxels.shape[::-1], strict=True)]
    if factors == [1, 1, 1]:
        return voxels, affine
    fx, fy, fz = factors
    nz, ny, nx = (n // f for n, f in zip(voxels.shape, (fz, fy, fx), strict=True))
    small = np.empty((nz, ny, nx), np.float32)
    for k in range(nz):  # slice by slice: no second copy of a large volume
        slab = voxels[k * fz : (k + 1) * fz, : ny * fy, : nx * fx]
        small[k] = slab.reshape(fz, ny, fy, nx, fx).mean(axis=(0, 2, 4))
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ ((np.array(factors) - 1) / 2)
    moved[:3, :3] = affine[:3, :3] * factors
    return small, moved


def body_mask(volume: Volume) -> NDArray[np.bool_]:
    """Where the patient is on a CT volume: the largest piece that is not air, thin shells cut off, its holes filled.

    A table, a head rest or a collar touches the patient along a thin shell at most, which an opening parts from it.

    Args:
        volume: Hounsfield units, of about equal spacing (:func:`resampled`).

    Returns:
        bool, of the voxels' shape; all False where everything is air.
    """
    solid = volume.voxels > _BODY
    steps = max(1, round(_THIN / 2 / min(volume.spacing)))
    # What was cut off at the volume's faces goes on beyond them.
    grown = np.pad(solid, steps, mode="edge")
    core = ndimage.binary_erosion(grown, iterations=steps)
    pieces, count = ndimage.label(core)
    if not count:
        return np.zeros_like(solid)
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    kept = ndimage.binary_dilation(largest, iterations=steps + 1, mask=grown)
    inside = slice(steps, -steps)
    mask = kept[inside, inside, inside]
    return np.stack([ndimage.binary_fill_holes(one) for one in mask])
