"""A plane of any dtype to float32 in [0, 1].

Look of the pixels (our choice, see ``scale_plane``): films published as JPEG were windowed before, so 8-bit images
are taken as they are; 16-bit images that use their top bit likewise; 16-bit containers of fewer bits hold
detector values that nobody windowed, so they get the percentile window that a DICOM file without one gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fracture.errors import PixelValueError

PERCENTILES = (0.5, 99.5)
"""Percentiles that become 0 and 1 where a file has no window (our choice)."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One decoded gray plane before scaling.

    Attributes:
        pixels: (height, width), any real dtype, bright = dense, orientation applied.
        bits: Significant bits of the stored values.
        warnings: What a user should know about the decoding.
    """

    pixels: NDArray[Any]
    bits: int
    warnings: tuple[str, ...] = ()


def by_rows(
    function: Callable[..., NDArray[Any]], *planes: NDArray[Any], dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """A function of planes pixel by pixel, in blocks of rows, so that what it needs in between stays small."""
    height, width = planes[0].shape
    out = np.empty((height, width), dtype)
    step = max(1, (1 << 20) // width)
    for first in range(0, height, step):
        out[first : first + step] = function(*(plane[first : first + step] for plane in planes))
    return out


def percentile_limits(pixels: NDArray[Any]) -> tuple[float, float]:
    """Robust lower and upper limits of a plane (or of a flat selection of its pixels).

    At most about a million pixels on a regular grid are looked at (our choice), so that large films stay fast.
    """
    if pixels.ndim == 2 and pixels.size > 1_000_000:
        step = int(np.ceil(np.sqrt(pixels.size / 1_000_000)))
        pixels = pixels[::step, ::step]
    elif pixels.size > 1_000_000:
        pixels = pixels[:: int(np.ceil(pixels.size / 1_000_000))]
    low, high = np.percentile(pixels, PERCENTILES)
    return float(low), float(high)


def scale_plane(plane: Plane, name: str, window: str | int = "auto") -> tuple[NDArray[np.float32], int, list[str]]:
    """Scale a plane to float32 in [0, 1].

    ==================  ===============================  =====================  ====================
    stored              ``"auto"`` (or an integer)       ``"raw"``              ``"percentile"``
    ==================  ===============================  =====================  ====================
    bool                0, 1                             0, 1                   0, 1
    uint8               v / 255                          v / 255                0.5 % to 99.5 %
    uint16              v / 65535 if any v >= 32768,     v / 65535              0.5 % to 99.5 %
                        else 0.5 % to 99.5 %
    other integers      0.5 % to 99.5 %                  the dtype's range      0.5 % to 99.5 %
    floating point      v if all in [0, 1],              v, which must be       0.5 % to 99.5 %
                        else 0.5 % to 99.5 %             in [0, 1]
    ==================  ===============================  =====================  ====================

    "0.5 % to 99.5 %" maps these percentiles of the plane to 0 and 1 and clips. Integers choose a DICOM window and
    mean ``"auto"`` here. All of this is our choice.

    Returns:
        The pixels, the significant bits, and what a user should know.

    Raises:
        PixelValueError: NaN or infinite pixels, or floats outside [0, 1] with ``window="raw"``.
    """
    pixels, bits, notes = plane.pixels, plane.bits, list(plane.warnings)
    kind = pixels.dtype.kind
    if kind == "b":
        return pixels.astype(np.float32), 1, notes
    if kind == "f":
        low, high = float(pixels.min()), float(pixels.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise PixelValueError(f"{name}: some pixels are NaN or infinite", hint="replace them first")
        inside = low >= 0.0 and high <= 1.0
        if window == "raw" and not inside:
            raise PixelValueError(
                f"{name}: floating point pixels outside [0, 1]",
                got=f"{low:g} .. {high:g}",
                allowed="[0, 1]",
                hint="scale them, or use window='auto'",
            )
        if inside and window != "percentile":
            return pixels.astype(np.float32), bits, notes
    elif window != "percentile":
        if pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and window == "raw"):
            return np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32), bits, notes
        if pixels.dtype == np.uint16:
            top = int(pixels.max())
            if top >= 1 << 15:
                return np.divide(pixels, 65535, dtype=np.float32), bits, notes
            bits = max(top.bit_length(), 1)
            notes.append(f"16-bit pixels that use {bits} bits: a percentile window was applied")
        elif window == "raw":
            span = np.iinfo(pixels.dtype)
            low, width = float(span.min), float(span.max) - float(span.min)
            return by_rows(lambda part: (part.astype(np.float64) - low) / width, pixels), bits, notes
        else:
            notes.append(f"{pixels.dtype} pixels: a percentile window was applied")
    if kind == "f":
        if window != "percentile":
            notes.append("floating point pixels outside [0, 1]: a percentile window was applied")
        if max(-low, high) > np.finfo(pixels.dtype).max / 4:
            pixels = pixels * pixels.dtype.type(0.25)  # so that no difference overflows; the window takes it out again
    return stretch(pixels, *percentile_limits(pixels), notes), bits, notes


def stretch(pixels: NDArray[Any], low: float, high: float, notes: list[str]) -> NDArray[np.float32]:
    """Map ``low`` to 0 and ``high`` to 1 and clip; equal limits fall back to the whole range of the values."""
    if not high > low:
        low, high = float(pixels.min()), float(pixels.max())
    if not high > low:
        notes.append("all pixels have the same value")
        return np.zeros(pixels.shape, np.float32)
    exact = np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64

    def unit(part: NDArray[Any]) -> NDArray[Any]:
        scaled: NDArray[Any] = np.subtract(part, exact(low), dtype=exact)
        scaled /= exact(high - low)
        return np.clip(scaled, 0.0, 1.0, out=scaled)

    with np.errstate(over="ignore"):  # far outside limits that lie next to each other; it is clipped
        return by_rows(unit, pixels)
