"""The side of a limb by caller, header or the film's letter: a bright R or L, compared with drawn ones (ours).

Letters are read upright or in the mirror; a letter that lies on its side is not read, and the side then stays open.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fracture.errors import ConfigurationError

if TYPE_CHECKING:
    from fracture.io.radiograph import Radiograph

Sides: TypeAlias = str | Sequence[str | None] | None
"""What a caller says of the limbs on a film: one side of all, one for each from left to right, or nothing."""

_SIZE: Final = (16, 24)  # (width, height) of a glyph
_HEIGHTS: Final = (0.012, 0.07)  # of a letter by the film's longer side
_LEVELS: Final = (0.97, 0.85, 0.7, 0.55)  # of the film's brightest gray: letters are lead, or burned in
_LEAST: Final = 12  # pixels; smaller ones are not told from noise
_ALIKE: Final = {"R": 0.62, "L": 0.78}  # least correlation with a drawn letter; corners that look like an L are common
_CLEARER: Final = 0.25  # least lead over the other letter
_SHAPES: Final = {"R": (0.5, 1.05), "L": (0.4, 0.95)}  # width by height
_SIDES: Final = {"R": "right", "L": "left"}


class Side(NamedTuple):
    """A limb's side.

    Attributes:
        side: The patient's, ``"left"`` or ``"right"``; None: open.
        source: Who says so: ``"caller"``, ``"dicom"``, ``"letter"``, or None where it is open.
    """

    side: str | None = None
    source: str | None = None


def checked_sides(given: Sides) -> Sides:
    """The same.

    Raises:
        ConfigurationError: A side that there is not.
    """
    for one in (given,) if given is None or isinstance(given, str) else given:
        if one not in (None, *_SIDES.values()):
            raise ConfigurationError(
                "the side of a hand or foot", got=given, allowed="left, right, or one for each limb"
            )
    return given


def sides_of(
    film: Radiograph,
    pixels: NDArray[np.float32],
    limbs: Sequence[Mapping[str, tuple[float, float]]],
    given: Sides = None,
) -> list[Side]:
    """The side of each limb on a film: the caller's, or what the header says, or the letter beside a single limb.

    Args:
        film: With what its header says.
        pixels, limbs: As for :func:`side_of_letter`.
        given: Of all limbs, or one for each of the first; None: the caller says nothing.
    """
    if given is not None:
        named = [given] * len(limbs) if isinstance(given, str) else [*given, *[None] * len(limbs)]
        return [Side(side, side and "caller") for side in named[: len(limbs)]]
    if film.laterality in _SIDES.values():
        return [Side(film.laterality, "dicom")] * len(limbs)
    letter = side_of_letter(pixels, limbs) if len(limbs) == 1 else None  # of several limbs, which one it means is open
    return [Side(letter, letter and "letter")] * len(limbs)


def side_of_letter(pixels: NDArray[np.float32], limbs: Sequence[Mapping[str, tuple[float, float]]] = ()) -> str | None:
    """``"left"`` or ``"right"`` by the letter in the film; None where there is none, or both.

    Args:
        pixels: float32, (height, width), in [0, 1], bright = dense.
        limbs: Points of the hands and forefeet; what lies among them is bone.
    """
    found = {letter for letter, _ in _letters(pixels, limbs)}
    return _SIDES[found.pop()] if len(found) == 1 else None


def _letters(
    pixels: NDArray[np.float32], limbs: Sequence[Mapping[str, tuple[float, float]]]
) -> list[tuple[str, float]]:
    """Letters with their likeness."""
    longest = max(pixels.shape)
    low, high = _HEIGHTS[0] * longest, _HEIGHTS[1] * longest
    top = float(pixels.max())
    hulls = [cv2.convexHull(np.array(list(points.values()), np.float32)) for points in limbs if len(points) > 2]
    found = []
    for level in _LEVELS:
        count, labels, stats, middles = cv2.connectedComponentsWithStats((pixels >= level * top).astype(np.uint8))
        for index in range(1, count):
            x, y, width, height, area = (int(value) for value in stats[index])
            if not (max(low, _LEAST) <= height <= high and 0.3 <= width / height <= 1.2):
                continue
            if not 0.2 <= area / (width * height) <= 0.8:
                continue
            at = (float(middles[index][0]), float(middles[index][1]))
            if any(cv2.pointPolygonTest(hull, at, False) >= 0 for hull in hulls):
                continue
            glyph = _glyph((labels[y : y + height, x : x + width] == index).astype(np.float32))
            likeness = {letter: float((drawn @ glyph).max()) for letter, drawn in _drawn().items()}
            best = max(likeness, key=lambda letter: likeness[letter])
            lead = likeness[best] - min(likeness.values())
            narrow, wide = _SHAPES[best]
            if likeness[best] >= _ALIKE[best] and lead >= _CLEARER and narrow <= width / height <= wide:
                found.append((best, likeness[best]))
    return found


def _glyph(mask: NDArray[Any]) -> NDArray[np.float64]:
    """A mask at the glyphs' size, with mean 0 and length 1, flat."""
    flat = cv2.resize(np.asarray(mask, np.float32), _SIZE, interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    flat = flat - flat.mean()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-9), np.float64)


@functools.cache
def _drawn() -> dict[str, NDArray[np.float64]]:
    """Each letter drawn thin and bold, turned a little, and in the mirror: (n, 384)."""
    font = ImageFont.load_default(64)
    drawn: dict[str, NDArray[np.float64]] = {}
    for letter in _SIDES:
        rows = []
        for bold in (0, 3, 6):
            for turn in (-8, 0, 8):
                picture = Image.new("L", (128, 128))
                ImageDraw.Draw(picture).text((40, 24), letter, 255, font, stroke_width=bold)
                mask = np.asarray(picture.rotate(turn, Image.Resampling.BILINEAR)) > 127
                rows_on, columns_on = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                tight = mask[rows_on[0] : rows_on[-1] + 1, columns_on[0] : columns_on[-1] + 1]
                rows += [_glyph(tight), _glyph(tight[:, ::-1])]
        drawn[letter] = np.array(rows)
    return drawn
