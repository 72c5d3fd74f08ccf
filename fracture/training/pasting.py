"""Fractures of other films pasted into windows of normal ones (after Ghiasi et al. 2021, copy-paste; details ours).

A fracture is cut out of a window of its film with a rim of what is around it, its grays are brought to those of the
place that it goes to, and it fades out over the rim. It goes to a place that looks like what was around it (by their
correlation), so that bone lands on bone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.training.windows import FilmWindow

_RIM: Final = 0.5  # of the box's sides, on each side: what is cut out around a fracture
_LEAST_RIM: Final = 8  # pixels
_CONTRAST: Final = (0.6, 1.6)  # least and greatest contrast of a place against that around the fracture
_LIKE: Final = 0.3  # least correlation of a place with what is around the fracture
_AMONG: Final = 0.1  # places that are less like by so much are as good as the likest


@dataclass(frozen=True, slots=True, eq=False)
class Pasted:
    """A window with a fracture that is not its own.

    Attributes:
        window: The window, with the fracture's box among its boxes.
        shift: (x, y) whole pixels from the fracture's place in its own window to where it is now.
    """

    window: FilmWindow
    shift: tuple[int, int]


def paste_fracture(window: FilmWindow, donor: FilmWindow, number: int, rng: np.random.Generator) -> Pasted | None:
    """A window with one of another window's fractures.

    Args:
        window: Of a normal film.
        donor: Of a fractured one, of the same size.
        number: Which of the donor's boxes.
        rng: Draws one of the places that are like enough.

    Returns:
        None where the fracture lies too near to a rim, or the window has no place for it.
    """
    x0, y0, x1, y1 = donor.boxes[number].tolist()
    rim = [max(_LEAST_RIM, _RIM * side) for side in (x1 - x0, y1 - y0)]
    left, top = (int(np.floor(low - more)) for low, more in ((x0, rim[0]), (y0, rim[1])))
    right, bottom = (int(np.ceil(high + more)) for high, more in ((x1, rim[0]), (y1, rim[1])))
    height, width = donor.pixels.shape
    if min(left, top) < 0 or right > width or bottom > height or not donor.mask[top:bottom, left:right].all():
        return None
    patch = donor.pixels[top:bottom, left:right]
    fade = _fade(patch.shape, (x0 - left, y0 - top, x1 - left, y1 - top))
    found = _place(window, patch, fade, rng)
    if found is None:
        return None
    x, y, matched = found
    h, w = patch.shape
    pixels = window.pixels.copy()
    under = pixels[y : y + h, x : x + w]
    pixels[y : y + h, x : x + w] = under + fade * (matched - under)
    shift = x - left, y - top
    box = donor.boxes[number] + np.array([*shift, *shift], np.float32)
    return Pasted(replace(window, pixels=pixels, boxes=np.concatenate([window.boxes, box[None]])), shift)


def _fade(shape: tuple[int, ...], box: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """1 inside the box, falling to 0 at the patch's rim, smooth."""
    height, width = shape
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    x0, y0, x1, y1 = box
    across = np.minimum(x / max(x0, 1.0), (width - x) / max(width - x1, 1.0)).clip(0, 1)
    down = np.minimum(y / max(y0, 1.0), (height - y) / max(height - y1, 1.0)).clip(0, 1)
    share = np.minimum(across[None, :], down[:, None])
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _place(
    window: FilmWindow, patch: NDArray[np.float32], fade: NDArray[np.float32], rng: np.random.Generator
) -> tuple[int, int, NDArray[np.float32]] | None:
    """x and y of a place that looks like what was around the fracture, and the patch in the grays of it."""
    height, width = patch.shape
    if height > window.mask.shape[0] or width > window.mask.shape[1]:
        return None
    around = np.asarray(fade < 0.5, np.float32)
    likeness = cv2.matchTemplate(window.pixels, patch, cv2.TM_CCOEFF_NORMED, mask=around)
    mean, spread = (_over(window.pixels, around, power) for power in (1, 2))
    contrast = np.sqrt(np.maximum(spread - mean**2, 0)) / (float(patch[around > 0].std()) + 1e-3)
    whole = _over(window.mask.astype(np.float32), np.ones_like(around), 1) > 1 - 1e-4
    fits = whole & (contrast > _CONTRAST[0]) & (contrast < _CONTRAST[1]) & np.isfinite(likeness) & (likeness > _LIKE)
    if not fits.any():
        return None
    near = np.argwhere(fits & (likeness >= likeness[fits].max() - _AMONG))
    y, x = near[int(rng.integers(len(near)))].tolist()
    gain = float(contrast[y, x])
    offset = float(mean[y, x]) - gain * float(patch[around > 0].mean())
    return x, y, np.asarray(np.clip(gain * patch + offset, 0, 1), np.float32)


def _over(pixels: NDArray[np.float32], kernel: NDArray[np.float32], power: int) -> NDArray[np.float32]:
    """The mean of a power of the pixels under a kernel, at every place where the kernel lies within."""
    found = cv2.matchTemplate(pixels**power, kernel / kernel.sum(), cv2.TM_CCORR)
    return np.asarray(found, np.float32)
