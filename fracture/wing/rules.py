"""Rules on the pixels: a blank film; a page of text or a drawing. No network, no statistics, a few milliseconds.

The thresholds are our choice, set between what real films and what drawn pages and blank films measure
(``benchmarks/input_check.py`` prints both again). There is no rule for CT and MR slices: a round field of view on
black is seen only where the window is wide, and image intensifiers give it too; the features' distance finds them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from fracture.preprocess.crop import find_crop
from fracture.preprocess.percentiles import percentile_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.io.radiograph import Radiograph

WARNING_START: Final = "no musculoskeletal radiograph?"
"""How every warning of the input check begins."""

_CONSEQUENCE: Final = "the score means nothing if so"

_SMALL_SIDE = 96  # longest side of the copy on which a blank film is looked for; noise averages out
_LEAST_CONTRAST = 0.05  # of that copy, a smooth slope removed; the least of 1,135 real films was 0.18
_SECOND_ORDER = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]])  # of the nine products of powers of y and x, those kept
_PAGE_SIDE = 768  # longest side of the copy on which strokes are looked for
_STROKE = 0.025  # strokes are at most this wide, as a part of the longest side
_STROKE_DEPTH = 0.25  # and at least this much darker (or brighter) than the paper
_PAPER = 0.55  # paper is at least this bright (this dark, for white on black)
_PAPER_SPREAD = 0.3  # 5th to 95th percentile of the paper once the strokes are filled
_LEAST_INK = (0.02, 0.25)  # strokes' part of the page: at least this, plus this times the paper's spread


def check_pixels(radiograph: Radiograph, crop: tuple[int, int, int, int] | None = None) -> tuple[str, ...]:
    """Warnings about a picture that cannot be a radiograph, from its pixels alone; empty for a film.

    Args:
        radiograph: The film.
        crop: (x0, y0, x1, y1) of its image within the dark padding, in whole source pixels; found where left out.

    Raises:
        PixelValueError: The film is all padding.
    """
    x0, y0, x1, y1 = find_crop(radiograph.pixels, source=radiograph.source) if crop is None else crop
    small = _shrunk(radiograph.pixels, _PAGE_SIDE)
    across, down = small.shape[1] / radiograph.width, small.shape[0] / radiograph.height
    rows, columns = (slice(int(a * s), math.ceil(b * s)) for a, b, s in ((y0, y1, down), (x0, x1, across)))
    contrast = blank_contrast(small[rows, columns])
    if contrast < _LEAST_CONTRAST:
        return _warning(
            f"it looks blank: contrast {contrast:.3f} of 1 once a smooth slope is removed, "
            f"films have at least {_LEAST_CONTRAST}"
        )
    dark, bright = page_strokes(small)
    if max(dark, bright) > 0:
        return _warning(
            f"it looks like a page of text or a drawing: thin {'dark' if dark else 'bright'} strokes on "
            f"{100 * max(dark, bright):.0f} % of an even, {'bright' if dark else 'dark'} ground"
        )
    return ()


def distance_warning(distance: float, limit: float) -> tuple[str, ...]:
    """The warning about a picture whose features lie far from real films'; empty for one within the limit.

    Args:
        distance: From :meth:`FeatureDistribution.distance`, above 0.
        limit: The card's.
    """
    # `not <=` also catches a distance that is not a number.
    if not distance <= limit:
        return _warning(
            f"its features lie far from those of the films these weights were made with: "
            f"distance {distance:.2f}, limit {limit:.2f}"
        )
    return ()


def _warning(text: str) -> tuple[str, ...]:
    return (f"{WARNING_START} {text}; {_CONSEQUENCE}",)


def blank_contrast(pixels: NDArray[np.float32]) -> float:
    """Range of gray (1st to 99th percentile) of a cropped film, shrunk and without its smooth slope.

    The slope is the best polynomial of second order: an exposure without an object is uneven by the heel effect and
    by the distance to the tube, and that is no anatomy.

    Args:
        pixels: float32, (height, width), in [0, 1].
    """
    small = _shrunk(pixels, _SMALL_SIDE)
    if min(small.shape) >= 3:
        small = np.asarray(cv2.medianBlur(small, 3), np.float32)
    values = small.astype(np.float64)
    down, across = _orthogonal(small.shape[0]), _orthogonal(small.shape[1])
    fitted = down @ (_SECOND_ORDER * (down.T @ values @ across)) @ across.T
    rest = np.sort(values - fitted, axis=None)
    return percentile_of(rest, 99) - percentile_of(rest, 1)


def _orthogonal(length: int) -> NDArray[np.float64]:
    """(length, 3): a constant, a straight line and a parabola along an axis, orthogonal to one another and of length
    1, so that fitting products of them needs no equations; 0 where there are too few pixels for one."""
    line = np.arange(length) - (length - 1) / 2
    square = line * line
    terms = np.array([np.ones(length), line, square - square.sum() / length]).T
    norm = np.sqrt((terms * terms).sum(axis=0))
    return terms / np.where(norm > 1e-9, norm, np.inf)


def page_strokes(pixels: NDArray[np.float32]) -> tuple[float, float]:
    """The part of a picture that is thin dark strokes on paper, and the part that is bright ones on black; else 0.

    Closing with a square wider than a stroke fills the strokes and leaves the paper. A page is paper that is bright
    and even, and enough strokes for how even it is.

    Args:
        pixels: float32, (height, width), in [0, 1].

    Returns:
        (dark strokes on bright, bright strokes on dark), each in [0, 1], 0 where the picture is no such page.
    """
    # Of 256 grays: they decide nothing that the limits' distance from real films and pages does not, in a third of
    # the time.
    small = cv2.convertScaleAbs(_shrunk(pixels, _PAGE_SIDE), alpha=255.0)
    side = max(3, round(_STROKE * max(small.shape)) | 1)
    square = np.ones((side, side), np.uint8)
    found = []
    for picture in (small, 255 - small):
        paper = cv2.morphologyEx(picture, cv2.MORPH_CLOSE, square)  # nowhere darker than the picture
        some = np.sort(paper[::4, ::4], axis=None, kind="stable")  # paper is even: a sixteenth says enough
        low, middle, high = (percentile_of(some, percent) / 255 for percent in (5, 50, 95))
        spread = high - low
        page = middle >= _PAPER and spread <= _PAPER_SPREAD
        ink = float(np.mean(paper - picture > 255 * _STROKE_DEPTH)) if page else 0.0
        found.append(ink if ink >= _LEAST_INK[0] + _LEAST_INK[1] * spread else 0.0)
    return found[0], found[1]


def _shrunk(pixels: NDArray[np.float32], longest: int) -> NDArray[np.float32]:
    height, width = pixels.shape
    scale = longest / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)
