"""Local contrast normalization (Jarrett et al. 2009), masked.

For one plane x, a Gaussian window w that sums to 1, and a mask of valid pixels m (1 inside, 0 outside)::

    blur(f) = (w * (f m)) / (w * m)          normalized convolution: only valid pixels take part
    v       = x - blur(x)                    subtractive normalization
    sigma   = sqrt(blur(v ** 2))
    c       = mean of sigma over valid pixels, one number per image
    y       = v / max(c, sigma)              divisive normalization

Outside the image m is 0 too, so film borders, letterbox padding and redaction rectangles are treated alike and
none of them makes an edge. The widely copied numpy code divides by c and by sigma and takes the larger quotient,
which is wrong wherever v is negative; here the divisor is the larger of the two, as in the paper.

y does not change when x is scaled by a positive factor or shifted, because c scales with x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from fracture.errors import PixelValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["gaussian_window", "local_contrast_normalization"]

# Contrast below this is rounding of float32, not image: a constant film normalizes to zero, not to noise.
_SMALLEST_CONTRAST = 1e-6
_CLIP_PERCENTILE = 99.5


def gaussian_window(window: int, sigma: float) -> NDArray[np.float32]:
    """The one-dimensional Gaussian of ``window`` samples that sums to 1; its outer product is Jarrett's w."""
    offsets = np.arange(window) - (window - 1) / 2
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


def local_contrast_normalization(
    pixels: NDArray[np.float32],
    mask: NDArray[np.bool_] | None = None,
    *,
    window: int = 9,
    sigma: float = 2.25,
    scaling: str | None = "maximum",
) -> NDArray[np.float32]:
    """Normalize one plane by its local mean and local standard deviation.

    Args:
        pixels: float32, shape (height, width), any range.
        mask: bool, the same shape, True where the pixel is image. ``None`` means everywhere.
        window: Side of the Gaussian window, odd (9 in Jarrett et al. 2009).
        sigma: Its standard deviation in pixels (2.25 = 9 / 4, the convention of Torch7).
        scaling: ``"maximum"`` divides by the largest magnitude, ``"percentile"`` by the 99.5th percentile of the
            magnitude over valid pixels (on every second row and column) and clips; ``None`` returns y itself.

    Returns:
        float32, shape (height, width); in [-1, 1] unless ``scaling`` is ``None``; 0 outside the mask.

    Raises:
        PixelValueError: Shapes or dtypes differ from the above.
    """
    if pixels.ndim != 2 or pixels.dtype != np.float32:
        raise PixelValueError(
            "local contrast normalization takes one plane",
            got=f"{pixels.dtype} {pixels.shape}",
            allowed="float32 (height, width)",
        )
    if mask is not None and (mask.shape != pixels.shape or mask.dtype != np.bool_):
        raise PixelValueError(
            "the mask must match the plane", got=f"{mask.dtype} {mask.shape}", allowed=f"bool {pixels.shape}"
        )
    kernel = gaussian_window(window, sigma)
    if mask is None or mask.all():
        return _normalize(pixels, None, kernel, scaling)
    # The letterbox pads right and below: work on the rectangle that holds the valid pixels.
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    result = np.zeros_like(pixels)
    if len(rows) == 0:
        return result
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inner = None if mask[part].all() else mask[part]
    result[part] = _normalize(np.ascontiguousarray(pixels[part]), inner, kernel, scaling)
    return result


def _normalize(
    pixels: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    kernel: NDArray[np.float32],
    scaling: str | None,
) -> NDArray[np.float32]:
    def filtered(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.sepFilter2D(plane, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_CONSTANT))

    if mask is None:
        valid = None
        # The window's weight inside a full rectangle is separable: two vectors instead of an image to filter.
        weight_y, weight_x = (_coverage(length, kernel) for length in pixels.shape)
        inverse = (1.0 / weight_y)[:, None] * (1.0 / weight_x)[None, :]
        # A plane far from zero would lose its contrast to float32 rounding; the result is shift-invariant.
        centered = pixels - np.float32(pixels.mean(dtype=np.float64))
    else:
        valid = mask.astype(np.float32)
        # An invalid pixel may have no valid neighbor; its value is thrown away, so any divisor does.
        inverse = 1.0 / np.maximum(filtered(valid), 1e-12)
        centered = (pixels - np.float32(pixels[mask].mean(dtype=np.float64))) * valid
    v = centered - filtered(centered) * inverse
    if valid is not None:
        v *= valid
    deviation = np.sqrt(np.maximum(filtered(v * v) * inverse, 0.0))
    c = float(deviation.mean(dtype=np.float64) if mask is None else deviation[mask].mean(dtype=np.float64))
    if c < _SMALLEST_CONTRAST:
        return np.zeros_like(pixels)
    y = np.asarray(v / np.maximum(deviation, np.float32(c)), np.float32)
    if scaling is not None:
        limit = _limit(y, mask, scaling)
        if limit > 0:
            y *= np.float32(1.0 / limit)
            np.clip(y, -1.0, 1.0, out=y)
    return y


def _coverage(length: int, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.convolve(np.ones(length), kernel.astype(np.float64), mode="full")[
        len(kernel) // 2 : len(kernel) // 2 + length
    ].astype(np.float32)


def _limit(y: NDArray[np.float32], mask: NDArray[np.bool_] | None, scaling: str) -> float:
    if scaling == "maximum":
        return float(np.abs(y).max())
    sample = y[::2, ::2] if mask is None else y[::2, ::2][mask[::2, ::2]]
    if sample.size == 0:
        return float(np.abs(y).max())
    magnitude = np.abs(sample).ravel()
    rank = min(magnitude.size - 1, int(magnitude.size * _CLIP_PERCENTILE / 100))
    return float(np.partition(magnitude, rank)[rank])
