"""Windows of a film for the first epochs: a fracture that fills a crop is learned sooner than one in a whole film.

Ours; Jones et al. 2020 train on whole films and have 715,343 of them. A fracture covers about one part in a hundred of
a film, so with a few thousand films and a network that starts from photographs the score learns little for many
epochs; a crop shows the same pixels at the same scale for a quarter of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fracture.models.spec import MAP_STRIDE
from fracture.training.config import CropsConfig

_BONE = 75.0  # percentile of the valid pixels: bone is the brighter part of a film
_TRIES = 16  # draws for a window away from every fracture


class Window(NamedTuple):
    """A part of a film on the grid of the map.

    Attributes:
        x: Left edge in network pixels, a multiple of the map's stride.
        y: Upper edge, likewise.
        width: Pixels, a multiple of the map's stride.
        height: Likewise.
        shows_fracture: Whether the window was laid around a fracture.
    """

    x: int
    y: int
    width: int
    height: int
    shows_fracture: bool


def choose_window(
    rings: Sequence[NDArray[np.float64]],
    pixels: NDArray[np.float32],
    mask: NDArray[np.bool_],
    config: CropsConfig,
    rng: np.random.Generator,
) -> Window:
    """A window around one of the fractures, or around bone that shows none.

    A window around a fracture always holds a random point of the fracture's bounding box, up to 0.3 sides from its
    middle, so that the fracture's place in the window says nothing. With probability ``config.elsewhere`` a fractured
    film gives a window that touches none of its fractures instead (as far as one is found), so that plates, casts and
    the other looks of injured patients are seen without a fracture too.

    Args:
        rings: Outlines of the film's fractures in network pixels, (points, 2) each; empty for a normal film.
        pixels: float32 (H, W), in [0, 1].
        mask: bool (H, W), True where the pixel is image.
        config: The settings.
        rng: Draws the window.
    """
    # Rotation and zoom may have carried a fracture out of the film, partly or whole.
    inside = [box for ring in rings if (box := _visible(ring, pixels.shape)) is not None]
    if rings and (not inside or rng.random() < config.elsewhere):
        bone = _bone(pixels, mask)
        for _ in range(_TRIES):
            window = _around(_pick(bone, rng), pixels.shape, config.size, shows_fracture=False)
            if not any(_touches(window, ring) for ring in rings):
                return window
    if inside:
        x0, y0, x1, y1 = inside[rng.integers(len(inside))]
        shift = rng.uniform(-0.3, 0.3, 2) * config.size
        center = (float(rng.uniform(x0, x1) + shift[0]), float(rng.uniform(y0, y1) + shift[1]))
        return _around(center, pixels.shape, config.size, shows_fracture=True)
    return _around(_pick(_bone(pixels, mask), rng), pixels.shape, config.size, shows_fracture=False)


def _visible(ring: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[float, float, float, float] | None:
    """The box around the part of a ring that lies on the film; None where that is less than half of it."""
    low, high = ring.min(axis=0), ring.max(axis=0)
    limit = np.array([shape[1], shape[0]], np.float64)
    kept_low, kept_high = np.clip(low, 0, limit), np.clip(high, 0, limit)
    if np.prod(kept_high - kept_low) < 0.5 * np.prod(high - low) or np.prod(high - low) == 0:
        return None
    return float(kept_low[0]), float(kept_low[1]), float(kept_high[0]), float(kept_high[1])


def _bone(pixels: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n, 2) rows and columns of the brighter pixels, of every fourth in both directions."""
    some, valid = pixels[::4, ::4], mask[::4, ::4]
    if not valid.any():
        return np.zeros((1, 2), np.int64)
    return np.argwhere(valid & (some >= np.percentile(some[valid], _BONE))) * 4


def _pick(places: NDArray[np.int64], rng: np.random.Generator) -> tuple[float, float]:
    row, column = places[rng.integers(len(places))]
    return float(column), float(row)


def _around(center: tuple[float, float], shape: tuple[int, ...], size: int, *, shows_fracture: bool) -> Window:
    """The window nearest to a center that lies on the film and on the map's grid."""
    height, width = min(size, shape[0]), min(size, shape[1])
    x = int(np.clip(center[0] - width / 2, 0, shape[1] - width)) // MAP_STRIDE * MAP_STRIDE
    y = int(np.clip(center[1] - height / 2, 0, shape[0] - height)) // MAP_STRIDE * MAP_STRIDE
    return Window(x, y, width, height, shows_fracture)


def _touches(window: Window, ring: NDArray[np.float64]) -> bool:
    (x0, y0), (x1, y1) = ring.min(axis=0), ring.max(axis=0)
    return bool(x0 < window.x + window.width and x1 > window.x and y0 < window.y + window.height and y1 > window.y)
