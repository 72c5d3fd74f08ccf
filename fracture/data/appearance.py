"""How a film of another hospital would look: gray curve, sharpness, noise, compression, resolution, marks, casts.

Ours, for weights that are to be used elsewhere than where their films were taken. Shapes stay where they are, so that
boxes and maps need not follow. Each change is drawn by itself; most films get one or two. JPEG, noise, sharpening and
coarse pixels are albumentations' functional layer.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fracture.data.augment import albumentations_layer
from fracture.schema import Record, Share
from fracture.simulate.casts import somewhere

_LARGEST_GAMMA, _LARGEST_CONTRAST = 3.0, 2.0
_Deviation = Annotated[float, Field(gt=0, le=0.5)]


@dataclass(frozen=True, slots=True)
class AppearanceSpec(Record):
    """Probabilities (0 to 1) and magnitudes; all are ours.

    Attributes:
        tone: Of gamma, contrast and brightness.
        gamma: Standard deviation of the exponent's logarithm. 0.3: two films in three between 0.74 and 1.35.
        contrast: Standard deviation of the factor's logarithm.
        brightness: Standard deviation of what is added.
        curve: Of an S-shaped gray curve, as a sigmoid look-up table makes it.
        inverted: Of exchanged black and white, which a file does not always declare.
        blurred, sharpened, noisy, compressed, coarse: Of each.
        noise: Least and largest standard deviation of the noise, as a share of the full range; evenly by logarithm.
        collimated: Of dark shutters along some sides.
        lettered: Of a bright letter.
        cast: Of a painted cast over a part of it; 0 unless asked for.
    """

    tone: Share = 0.8
    gamma: Share = 0.3
    contrast: Share = 0.15
    brightness: Share = 0.05
    curve: Share = 0.15
    inverted: Share = 0.15
    blurred: Share = 0.15
    sharpened: Share = 0.1
    noisy: Share = 0.25
    noise: tuple[_Deviation, _Deviation] = (0.005, 0.061)
    compressed: Share = 0.15
    coarse: Share = 0.1
    collimated: Share = 0.1
    lettered: Share = 0.1
    cast: Share = 0.0


def change_appearance(
    pixels: NDArray[np.float32], spec: AppearanceSpec, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Another look of a film or a part of it.

    Args:
        pixels: float32 (height, width), in [0, 1].
        spec: Probabilities and magnitudes.
        rng: Draws everything.

    Returns:
        float32 of the same shape, in [0, 1].
    """
    import cv2

    layer = albumentations_layer()
    out = pixels
    if spec.cast and rng.random() < spec.cast:  # no draw without it: seeds keep their pictures
        out = somewhere(out, rng)
    if rng.random() < spec.coarse:
        factor = rng.uniform(0.45, 0.8)
        size = (max(8, round(out.shape[1] * factor)), max(8, round(out.shape[0] * factor)))
        small = cv2.resize(out, size, interpolation=cv2.INTER_AREA)
        out = np.asarray(cv2.resize(small, out.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    if rng.random() < spec.blurred:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.2)), np.float32)
    if rng.random() < spec.sharpened:
        out = layer.unsharp_mask(out, ksize=0, sigma=rng.uniform(0.7, 2.5), alpha=rng.uniform(0.3, 0.8), threshold=0)
    if rng.random() < spec.tone:
        out = np.asarray(np.clip(out, 0.0, 1.0), np.float32) ** np.float32(
            _limited(rng.normal(0.0, spec.gamma), _LARGEST_GAMMA)
        )
        factor = _limited(rng.normal(0.0, spec.contrast), _LARGEST_CONTRAST)
        out = (out - 0.5) * np.float32(factor) + np.float32(0.5 + rng.normal(0.0, spec.brightness))
    if rng.random() < spec.curve:
        out = _s_curve(np.clip(out, 0.0, 1.0), rng.uniform(0.35, 0.65), rng.uniform(4.0, 9.0))
    out = np.asarray(np.clip(out, 0.0, 1.0), np.float32)
    if rng.random() < spec.lettered:
        out = _letter(out, rng)
    if rng.random() < spec.inverted:
        out = 1.0 - out
    if rng.random() < spec.collimated:
        out = _shutters(out, rng)
    if rng.random() < spec.noisy:
        strength = math.exp(rng.uniform(math.log(spec.noise[0]), math.log(spec.noise[1])))
        noise = rng.standard_normal(out.shape, dtype=np.float32) * np.float32(strength)
        if rng.random() < 0.5:  # quantum noise has a grain of more than a pixel after scaling
            noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.7), np.float32) * np.float32(2.0)
        out = layer.add_noise(out, noise)
    out = np.asarray(np.clip(out, 0.0, 1.0), np.float32)
    if rng.random() < spec.compressed:
        coded = layer.image_compression(np.rint(out * 255).astype(np.uint8), int(rng.integers(20, 90)), ".jpg")
        out = np.asarray(coded, np.float32).reshape(out.shape) / np.float32(255)
    return np.ascontiguousarray(out, np.float32)


def _limited(logarithm: float, largest: float) -> float:
    limit = math.log(largest)
    return math.exp(min(limit, max(-limit, logarithm)))


def _s_curve(pixels: NDArray[np.float32], middle: float, slope: float) -> NDArray[np.float32]:
    ends = 1.0 / (1.0 + np.exp(-slope * (np.array([0.0, 1.0]) - middle)))
    curve = 1.0 / (1.0 + np.exp(-slope * (pixels - np.float32(middle))))
    return np.asarray((curve - ends[0]) / (ends[1] - ends[0]), np.float32)


def _shutters(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Up to four dark margins, each at most a sixth of the side, as collimation leaves them."""
    out = pixels.copy()
    height, width = map(int, np.shape(pixels))
    value = np.float32(rng.uniform(0.0, 0.1))
    margins = (rng.random(4) < 0.5) * rng.uniform(0.02, 1 / 6, 4)
    top, bottom = round(margins[0] * height), round(margins[1] * height)
    left, right = round(margins[2] * width), round(margins[3] * width)
    out[:top], out[height - bottom :] = value, value
    out[:, :left], out[:, width - right :] = value, value
    return out


def _letter(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A bright letter or two, as side markers are."""
    import cv2

    drawn = np.zeros(pixels.shape, np.uint8)
    text = "".join(rng.choice(list(string.ascii_uppercase + string.digits), rng.integers(1, 4)))
    height, width = map(int, np.shape(pixels))
    place = (int(rng.uniform(0, 0.9) * width), int(rng.uniform(0.08, 1.0) * height))
    size, value = float(rng.uniform(0.6, 1.8)), float(rng.uniform(0.75, 1.0))
    cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, 255, int(rng.integers(1, 5)), cv2.LINE_AA)
    share = drawn.astype(np.float32) / 255
    return np.asarray(pixels + share * (np.float32(value) - pixels), np.float32)
