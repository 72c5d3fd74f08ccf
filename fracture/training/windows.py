"""Windows of films at many sizes, for networks with a feature pyramid: geometry, then appearance, in one resampling.

Ours. A window of fixed size is cut from the film at a long side drawn between two limits, so that a network sees bone
at many magnifications and each step costs the same. Nine in ten windows of a fractured film hold a fracture. A turned
fracture's box is the mean of the box around its turned outline and of that around the turned ellipse in its box: the
former is right for slender outlines, the latter for the box of an annotator who drew it around the middle of a break.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.data.appearance import change_appearance
from fracture.data.records import Film
from fracture.data.targets import fracture_outlines
from fracture.preprocess import Letterboxed
from fracture.training.config import WindowsConfig

_LEAST_SIDE = 6.0  # network pixels: a smaller rest of a box teaches nothing


@dataclass(frozen=True, slots=True, eq=False)
class FilmWindow:
    """A window of a film.

    Attributes:
        pixels: float32 (size, size), in [0, 1]; 0 outside the film.
        mask: bool (size, size), True where the pixel is image.
        matrix: float64 (2, 3), letterboxed network pixels to window pixels, in edge coordinates.
        boxes: float32 (n, 4), fractures that are mostly inside, cut at the window, in window pixels.
        ignored: float32 (m, 4), what is seen of fractures that are mostly outside.
    """

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    matrix: NDArray[np.float64]
    boxes: NDArray[np.float32]
    ignored: NDArray[np.float32]


def cut_window(boxed: Letterboxed, film: Film, config: WindowsConfig, rng: np.random.Generator) -> FilmWindow:
    """A window of a letterboxed film, turned, scaled, mirrored and with another look.

    Args:
        boxed: The film, not enlarged.
        film: Its annotation.
        config: The settings.
        rng: Draws everything.
    """
    outlines = fracture_outlines(film, boxed.geometry)
    width, height = boxed.geometry.scaled_size
    linear = _linear(config, max(width, height), rng)
    if outlines and rng.random() < config.near:
        points = outlines[rng.integers(len(outlines))]
        wanted = (points.min(axis=0) + points.max(axis=0)) / 2
    else:
        wanted = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    shift = _shift(linear, wanted, (width, height), config.size, rng)
    matrix = np.concatenate([linear, shift[:, None]], axis=1)
    pixels, mask = _resampled(boxed, matrix, config.size)
    if config.appearance is not None:
        pixels = change_appearance(pixels, config.appearance, rng)
    boxes, ignored = boxes_within(outlines, matrix, (config.size, config.size), config.visible)
    return FilmWindow(pixels * mask, mask, matrix, boxes, ignored)


def _linear(config: WindowsConfig, long_side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 2): rotation, scale, aspect, mirror."""
    low, high = config.long_side
    scale = math.exp(rng.uniform(math.log(low), math.log(high))) / long_side
    angle = math.radians(rng.normal(0.0, config.rotation)) if rng.random() < 0.8 else 0.0
    if config.turned and rng.random() < config.turned:  # no draw without it: seeds keep their windows
        angle += math.copysign(math.pi / 2, rng.random() - 0.5)
    flip_x, flip_y = 1 - 2 * (rng.random() < 0.5), 1 - 2 * (rng.random() < config.upside_down)
    aspect = math.exp(rng.uniform(-config.aspect, config.aspect))
    cos, sin = math.cos(angle), math.sin(angle)
    turned = np.array([[cos * aspect, -sin / aspect], [sin * aspect, cos / aspect]])
    return turned * scale @ np.diag([float(flip_x), float(flip_y)])


def _shift(
    linear: NDArray[np.float64],
    wanted: NDArray[np.float64],
    size: tuple[int, int],
    side: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Where the window lies: the wanted point anywhere in it but its rim, as far as the film reaches."""
    middle = linear @ wanted - rng.uniform(-0.42, 0.42, 2) * side
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size], np.float64) @ linear.T
    first, last = corners.min(axis=0) + side / 2, corners.max(axis=0) - side / 2
    middle = np.clip(middle, np.minimum(first, last), np.maximum(first, last))
    return np.asarray(side / 2 - middle)


def _resampled(
    boxed: Letterboxed, matrix: NDArray[np.float64], side: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cubic where the film grows, as in use (:func:`fracture.preprocess.letterbox`), else linear; beyond the film's rim
    its last pixels go on, masked, so that no dark seam appears."""
    width, height = boxed.geometry.scaled_size
    centered = matrix.copy()  # OpenCV counts from pixel centers
    centered[:, 2] += 0.5 * matrix[:, :2].sum(axis=1) - 0.5
    part, valid = boxed.pixels[:height, :width], boxed.mask[:height, :width]
    size = (side, side)
    grows = abs(float(np.linalg.det(matrix[:, :2]))) > 1.0
    kernel = cv2.INTER_CUBIC if grows else cv2.INTER_LINEAR
    pixels = cv2.warpAffine(part, centered, size, flags=kernel, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(valid.astype(np.uint8), centered, size, flags=cv2.INTER_NEAREST, borderValue=0)
    return np.clip(np.asarray(pixels, np.float32), 0.0, 1.0), mask.astype(np.bool_)  # cubic interpolation overshoots


def boxes_within(
    outlines: Sequence[NDArray[np.float64]], matrix: NDArray[np.float64], size: tuple[int, int], visible: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The boxes of fractures in a picture that a film was carried into, cut at its edges.

    Args:
        outlines: Of the film's fractures, (points, 2) each, in letterboxed network pixels.
        matrix: float64 (2, 3), network pixels to the picture's, in edge coordinates.
        size: Width and height of the picture.
        visible: Share of a box that must lie inside to count.

    Returns:
        float32 (n, 4) and (m, 4), in pixels of the picture: boxes that count, and what is seen of the others.
    """
    linear, shift = matrix[:, :2], matrix[:, 2]
    boxes, ignored = [], []
    for points in outlines:
        moved = points @ linear.T + shift
        low, high = points.min(axis=0), points.max(axis=0)
        middle, radius = linear @ ((low + high) / 2) + shift, (high - low) / 2
        reach = np.sqrt(((linear * radius) ** 2).sum(axis=1))
        box = np.concatenate([moved.min(axis=0) + middle - reach, moved.max(axis=0) + middle + reach]) / 2
        seen = np.clip(box, 0, np.array([*size, *size]))
        share = np.prod(seen[2:] - seen[:2]) / max(float(np.prod(box[2:] - box[:2])), 1e-6)
        if share > visible and (seen[2:] - seen[:2]).min() > _LEAST_SIDE:
            boxes.append(seen)
        elif share > 0.02:
            ignored.append(seen)
    return tuple(np.array(part, np.float32).reshape(-1, 4) for part in (boxes, ignored))  # type: ignore[return-value]
