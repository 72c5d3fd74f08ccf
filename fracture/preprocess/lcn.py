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

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.errors import PixelValueError

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
    # Written in place throughout: at 1024 x 1024 a fresh array costs as much as filtering it.
    def blur(plane: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
        cv2.sepFilter2D(plane, cv2.CV_32F, kernel, kernel, dst=out, borderType=cv2.BORDER_CONSTANT)
        correct(out)
        return out

    if mask is None:
        valid = None
        correct = _border_correction(pixels.shape, kernel)
        # A plane far from zero would lose its contrast to float32 rounding; the result is shift-invariant.
        v = np.subtract(pixels, np.float32(cv2.mean(pixels)[0]))
    else:
        valid = mask.astype(np.float32)
        weight = cv2.sepFilter2D(valid, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
        # An invalid pixel may have no valid neighbor; its value is thrown away, so any divisor does.
        inverse = np.divide(np.float32(1), np.maximum(weight, np.float32(1e-12)))
        correct = partial(_multiply, by=inverse)
        v = np.subtract(pixels, np.float32(cv2.mean(pixels, mask.view(np.uint8))[0]))
        v *= valid
    work = np.empty_like(v)
    v -= blur(v, work)
    if valid is not None:
        v *= valid
    square = np.multiply(v, v)
    deviation = blur(square, work)
    np.maximum(deviation, 0.0, out=deviation)
    np.sqrt(deviation, out=deviation)
    c = float(cv2.mean(deviation, None if mask is None else mask.view(np.uint8))[0])
    if c < _SMALLEST_CONTRAST:
        return np.zeros_like(pixels)
    np.maximum(deviation, np.float32(c), out=deviation)
    v /= deviation
    if scaling is not None:
        limit = _limit(v, mask, scaling)
        if limit > 0:
            v *= np.float32(1.0 / limit)
            np.clip(v, -1.0, 1.0, out=v)
    return v


def _multiply(plane: NDArray[np.float32], by: NDArray[np.float32]) -> None:
    plane *= by


def _border_correction(shape: tuple[int, ...], kernel: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], None]:
    """Divide a filtered full rectangle by the window's weight inside it, which differs from 1 at the rim only."""
    reach = len(kernel) // 2
    inverse_y, inverse_x = (1.0 / _coverage(length, kernel) for length in shape)

    def correct(plane: NDArray[np.float32]) -> None:
        if min(plane.shape) < len(kernel):
            plane *= inverse_y[:, None] * inverse_x[None, :]
            return
        plane[:reach] *= inverse_y[:reach, None]
        plane[-reach:] *= inverse_y[-reach:, None]
        plane[:, :reach] *= inverse_x[:reach]
        plane[:, -reach:] *= inverse_x[-reach:]

    return correct


def _coverage(length: int, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weight of the window inside [0, length) for each center, one-dimensional."""
    full = np.convolve(np.ones(length), kernel.astype(np.float64), mode="full")
    return np.asarray(full[len(kernel) // 2 : len(kernel) // 2 + length], np.float32)


def _limit(y: NDArray[np.float32], mask: NDArray[np.bool_] | None, scaling: str) -> float:
    if scaling == "maximum":
        return float(np.abs(y).max())
    sample = y[::2, ::2] if mask is None else y[::2, ::2][mask[::2, ::2]]
    if sample.size == 0:
        return float(np.abs(y).max())
    magnitude = np.abs(sample).ravel()
    rank = min(magnitude.size - 1, int(magnitude.size * _CLIP_PERCENTILE / 100))
    return float(np.partition(magnitude, rank)[rank])
