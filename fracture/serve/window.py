"""A film under another window, from the values that its file stores: a picture of 8 bits has lost what the first window
cut off, and the steps within it."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fracture.io.reading import read
from fracture.serve.readings import png_of
from fracture.wing.scene import as_gray

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INNER = (0.02, 0.98)  # what the first window does not cut off, with a margin (ours)
_STRAIGHT = 0.005  # half a step of 8 bits: as far as a line may be from what is shown (ours)
_SAMPLES = 100_000


def windowed(path: Path, picture: bytes, low: float, wide: float, *, max_pixels: int) -> bytes:
    """A film as gray PNG, ``low`` black and ``low + wide`` white, on the scale of the film as it is shown at first:
    0 is black and 1 is white there, and the file may hold values beyond both.

    Args:
        path: The film.
        picture: The PNG that is shown at first; what it holds is windowed where the file has no more than that.
        low: What becomes black.
        wide: Above 0.
        max_pixels: Larger films are refused.

    Raises:
        FileNotFoundError: The film is gone.
        FractureError: It cannot be read.
    """
    stored = _stored(path, path.stat().st_mtime_ns, max_pixels)
    with Image.open(io.BytesIO(picture)) as image:
        eight = np.asarray(image.convert("L"), np.float32) / np.float32(255)
    values = eight if stored is None or stored.shape != eight.shape else stored
    return png_of(as_gray((values - np.float32(low)) / np.float32(wide)))


@functools.lru_cache(maxsize=1)  # who windows asks for one film again and again
def _stored(path: Path, _stamp: int, max_pixels: int) -> NDArray[np.float32] | None:
    """The stored values on the scale of what is shown; None where they are of 8 bits.

    Where the first window is no straight line (a table, a sigmoid), what it gives stands, in all of its steps.
    """
    shown = read(path, allow=("*",), max_pixels=max_pixels)
    if shown.bits <= 8:
        return None
    raw = read(path, allow=("*",), window="raw", max_pixels=max_pixels).pixels
    inner = (shown.pixels > _INNER[0]) & (shown.pixels < _INNER[1])
    x, y = raw[inner].astype(np.float64), shown.pixels[inner].astype(np.float64)
    step = 1 + len(x) // _SAMPLES
    if len(x) < 2 or np.ptp(x[::step]) == 0:
        return shown.pixels
    slope, first = np.polyfit(x[::step], y[::step], 1)
    if np.abs(slope * x + first - y).max() > _STRAIGHT:
        return shown.pixels
    return np.asarray(slope * raw + first, np.float32)
