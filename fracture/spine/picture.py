"""A sagittal slice to what the network takes, and back: one scale, nothing cropped."""

from __future__ import annotations

import io
import os

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fracture.errors import ImageSizeError, PixelValueError, UnreadableFileError
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.images import MAX_PIXELS
from fracture.io.quiet import FAULTS, quiet
from fracture.spine.centers import SIDE
from fracture.wing.result import GridToSource


def read_picture(source: str | os.PathLike[str] | bytes) -> NDArray[np.float32]:
    """A picture that was exported from a viewer, as training sets have them: gray, whatever was drawn on it in color.

    Returns:
        float32 (rows, columns), 0 to 255.

    Raises:
        UnreadableFileError: No picture that Pillow opens.
        ImageSizeError: Larger than the limit of films.
    """
    data, name = open_bytes(source, MAX_BYTES)
    try:
        with quiet(), Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ImageSizeError(f"{name}: larger than the limit", got=f"{picture.width} x {picture.height}")
            return np.asarray(picture.convert("L"), np.float32)
    except (*FAULTS, Image.DecompressionBombError):
        raise UnreadableFileError(f"{name}: not a picture that is read here", allowed=("PNG", "JPEG")) from None


def fit(
    pixels: NDArray[np.float32], spacing: tuple[float, float] = (1.0, 1.0)
) -> tuple[NDArray[np.float32], GridToSource]:
    """A slice in the upper left of a square of ``SIDE`` pixels, its longer side filling it.

    Args:
        pixels: (rows, columns), of any scale; the 1st and 99.5th percentile become 0 and 1 (ours).
        spacing: From row to row and column to column, in any unit; pixels of the square are square.

    Returns:
        float32 (1, SIDE, SIDE) in [0, 1], 0 where there is no slice, and how its pixels lie on the slice.

    Raises:
        PixelValueError: A slice without contrast.
    """
    low, high = np.percentile(pixels, (1, 99.5))
    if not high > low:
        raise PixelValueError("a slice without contrast", got=f"1st and 99.5th percentile {low:g}")
    tall, wide = pixels.shape[0] * spacing[0], pixels.shape[1] * spacing[1]
    rows, columns = (max(1, round(SIDE * side / max(tall, wide))) for side in (tall, wide))
    whole = np.zeros((1, SIDE, SIDE), np.float32)
    shrinks = rows < pixels.shape[0] and columns < pixels.shape[1]
    small = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    whole[0, :rows, :columns] = np.clip((small - low) / (high - low), 0, 1)
    return whole, GridToSource(pixels.shape[1] / columns, pixels.shape[0] / rows)


def stretched(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of any scale with their 1st and 99.5th percentile at 0 and 1, and nothing beyond."""
    low, high = np.percentile(values, (1, 99.5)).tolist()
    return np.asarray(np.clip((values - low) / max(high - low, 1e-6), 0, 1), np.float32)
