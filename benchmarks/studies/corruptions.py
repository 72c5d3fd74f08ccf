"""What may happen to a film between the detector and us, as pure functions of its stored gray levels.

Each takes uint8 (height, width) and a random generator of its own, and gives uint8 of its own size; the input is left
as it is. The kinds and their strengths are ours: what happens between one department and the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

from fracture.errors import PixelValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CORRUPTIONS", "NOISE", "Corruption", "film_generator", "gray_levels", "remaining_center"]

Plane: TypeAlias = "NDArray[np.uint8]"

JPEG_QUALITY = 30
BORDER = 0.1  # of the side, on each side
LETTER = 0.08  # height as a share of the longer side; as lead letters on FracAtlas films (our choice)
_LETTERS = tuple(
    np.array([[mark == "#" for mark in row] for row in rows.split()])
    for rows in ("#.... #.... #.... #.... #.... #.... #####", "####. #...# #...# ####. #.#.. #..#. #...#")
)
NOISE = 0.05
"""Standard deviation of the noise as a share of the full range (our choice: plainly visible, bone still readable)."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to spoil a film.

    Attributes:
        name: Short, for JSON and command lines.
        words: For people, with the strength.
        apply: Plane and generator to plane.
    """

    name: str
    words: str
    apply: Callable[[Plane, np.random.Generator], Plane]

    def __call__(self, pixels: Plane, source: str, *, seed: int = 0) -> Plane:
        """The spoilt film; the same for the same pixels, source and seed.

        Args:
            pixels: uint8 (h, w).
            source: The film's name: random draws belong to it, not to its place in a list.
            seed: Of all draws.

        Raises:
            PixelValueError: Not a plane of bytes.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.size == 0:
            raise PixelValueError(
                f"{source}: corruptions take stored gray levels",
                got=f"{pixels.dtype} {pixels.shape}",
                allowed="uint8 (height, width)",
                hint="see gray_levels()",
            )
        return self.apply(pixels, film_generator(seed, self.name, source))


def film_generator(seed: int, name: str, source: str) -> np.random.Generator:
    """The generator of one film under one corruption (BLAKE2b of the three, PCG64)."""
    digest = hashlib.blake2b(f"{int(seed)}:{name}:{source}".encode(), digest_size=8).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def gray_levels(pixels: NDArray[np.float32]) -> Plane:
    """Pixels in [0, 1] as bytes, rounded; exact for films that were stored in 8 bits over the full range."""
    return np.round(pixels * 255.0).astype(np.uint8)


def remaining_center(box: tuple[float, float, float, float], width: int, height: int) -> bool:
    """Whether a box's center survives the cropped border."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    dx, dy = _margin(width), _margin(height)
    return dx <= x <= width - dx and dy <= y <= height - dy


def _margin(side: int) -> int:
    return min(round(BORDER * side), (side - 1) // 2)


def _jpeg(pixels: Plane, _: np.random.Generator) -> Plane:
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def _half(pixels: Plane, _: np.random.Generator) -> Plane:
    height, width = pixels.shape
    size = (max(1, round(width / 2)), max(1, round(height / 2)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _gamma(exponent: float) -> Callable[[Plane, np.random.Generator], Plane]:
    table = np.round(255.0 * (np.arange(256) / 255.0) ** exponent).astype(np.uint8)

    def apply(pixels: Plane, _: np.random.Generator) -> Plane:
        return np.asarray(table[pixels], np.uint8)

    return apply


def _inverted(pixels: Plane, _: np.random.Generator) -> Plane:
    return np.asarray(255 - pixels, np.uint8)


def _turned(pixels: Plane, _: np.random.Generator) -> Plane:
    return np.ascontiguousarray(np.rot90(pixels, -1))


def _letter(pixels: Plane, rng: np.random.Generator) -> Plane:
    """A white L or R as high as ``LETTER`` of the longer side, in one of the corners."""
    height, width = pixels.shape
    longer = max(height, width)
    shape = _LETTERS[int(rng.integers(len(_LETTERS)))]
    tall = max(shape.shape[0], round(LETTER * longer))
    wide = round(tall * shape.shape[1] / shape.shape[0])
    # Drawn from a bitmap: OpenCV's own letters look different from one version to the next.
    drawn = shape[np.arange(tall) * shape.shape[0] // tall][:, np.arange(wide) * shape.shape[1] // wide]
    gap = max(2, round(0.03 * longer))
    y = gap if rng.integers(2) else max(gap, height - gap - tall)
    x = gap if rng.integers(2) else max(gap, width - gap - wide)
    marked = pixels.copy()
    window = marked[y : y + tall, x : x + wide]
    window[drawn[: window.shape[0], : window.shape[1]]] = 255
    return marked


def _cropped(pixels: Plane, _: np.random.Generator) -> Plane:
    height, width = pixels.shape
    dy, dx = _margin(height), _margin(width)
    return np.ascontiguousarray(pixels[dy : height - dy, dx : width - dx])


def _noisy(pixels: Plane, rng: np.random.Generator) -> Plane:
    drawn = rng.standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(np.round(pixels + np.float32(255.0 * NOISE) * drawn), 0, 255).astype(np.uint8)


CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption("jpeg_30", f"JPEG, quality {JPEG_QUALITY}", _jpeg),
    Corruption("half_size", "half the size", _half),
    Corruption("gamma_0.5", "gamma 0.5 (brighter)", _gamma(0.5)),
    Corruption("gamma_2", "gamma 2 (darker)", _gamma(2.0)),
    Corruption("inverted", "inverted polarity, undetected", _inverted),
    Corruption("turned_90", "turned by 90 degrees", _turned),
    Corruption("letter", "a burnt-in letter", _letter),
    Corruption("cropped", f"border cut, {BORDER:.0%} on each side", _cropped),
    Corruption("noise", f"Gaussian noise, sd {NOISE:.0%} of the range", _noisy),
)
"""All of them, in the order of the table."""
