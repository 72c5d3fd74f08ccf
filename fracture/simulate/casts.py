"""Casts painted over limbs of real films, so that networks have seen bones through plaster. A painted cast is no cast.

A cast is a band along the limb: it adds its own gray, lets a part of the contrast through, is denser at its two edges,
where the beam meets it lengthwise, and has the grain of plaster or the windings of tape. All magnitudes are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.simulate.flaws import grain, places, turned
from fracture.simulate.geometry import smooth


def some_in_casts(
    pixels: NDArray[np.float32], limbs: Sequence[Sequence[NDArray[Any]]], share: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[bool]]:
    """A film on which each limb lies in a cast with a probability of ``share``: see :func:`over_limb`; and which do.

    Args:
        pixels: float32 (h, w) in [0, 1]; it is left as it is.
        limbs: Row and next joints of each.
        share: In [0, 1].
        rng: Draws which, and the casts.
    """
    covered = [bool(rng.random() < share) for _ in limbs]
    for (row, beyond), chosen in zip(limbs, covered, strict=True):
        if chosen:
            pixels = over_limb(pixels, row, beyond, rng)
    return pixels, covered


def somewhere(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A film, or a window of one, with a cast at any place and angle, over a limb or not: see :func:`over_limb`."""
    height, width = pixels.shape
    angle = rng.uniform(0, 2 * math.pi)
    ahead = np.array([math.cos(angle), math.sin(angle)])
    half = rng.uniform(0.1, 0.3) * max(height, width) * np.array([-ahead[1], ahead[0]])
    middle = rng.uniform(0.1, 0.9, 2) * (width, height) + ahead * rng.uniform(0, 0.5) * max(height, width)
    row = np.stack([middle - half, middle + half])
    return over_limb(pixels, row, row + ahead, rng)


def over_limb(
    pixels: NDArray[np.float32], row: NDArray[Any], beyond: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A film on which a limb lies in a cast that ends at a row of joints.

    Args:
        pixels: float32 (h, w) in [0, 1]; it is left as it is.
        row: Joints side by side, as the knuckles, (n, 2), x and y in continuous pixel edges, NaN where unknown.
        beyond: The next joint of each of them, away from the body, the same way; NaN where there is none.
        rng: Draws the cast.

    Returns:
        Another film; the same one where fewer than two joints of the row, or none beyond it, are known.
    """
    row, ways = row[~np.isnan(row).any(-1)], (beyond - row)[~np.isnan(beyond - row).any(-1)]
    if len(row) < 2 or not len(ways):
        return pixels
    ahead = ways.mean(0) / max(float(np.linalg.norm(ways.mean(0))), 1e-6)
    middle, width = row.mean(0), float(np.linalg.norm(np.ptp(row, axis=0)))
    place = places(pixels.shape, *middle.tolist())
    along, across = (each / np.float32(max(width, 1.0)) for each in turned(place, (float(ahead[0]), float(ahead[1]))))
    across = across - np.float32(rng.normal(0, 0.08))
    half = rng.uniform(0.6, 0.9) * (1 - np.float32(rng.uniform(0, 0.2)) * smooth(-along / np.float32(1.4)))
    end, start = rng.uniform(-0.5, 0.45), -rng.uniform(1.5, 6)
    soft = np.float32(rng.uniform(0.02, 0.12))
    inside = smooth((half - np.abs(across)) / soft + 0.5)
    inside *= smooth((np.float32(end) - along) / soft + 0.5) * smooth((along - np.float32(start)) / soft + 0.5)
    through = np.float32(rng.uniform(0.15, 0.75))
    calm = cv2.GaussianBlur(pixels, (0, 0), max(1.0, 0.3 * width))
    level = np.float32(rng.uniform(0.25, 0.8))
    rim = np.float32(rng.uniform(0, 0.2)) * np.clip(np.abs(across) / half, 0, 1) ** 6
    size, strength = width * rng.uniform(0.02, 0.3), np.float32(rng.uniform(0.005, 0.04))
    cast = level + rim + grain(pixels.shape, size, rng) * strength
    if rng.random() < 0.5:  # windings of tape
        lean, turns = rng.normal(0, 0.35), rng.uniform(1.5, 5) * 2 * math.pi
        windings = np.sin((along + across * np.float32(lean)) * np.float32(turns))
        cast = cast + np.sign(windings) * np.float32(rng.uniform(0, 0.03))
    covered = cast + (pixels - calm) * through + (calm - level) * np.float32(rng.uniform(0.1, 0.5))
    return np.asarray(np.clip(pixels + (covered - pixels) * inside, 0, 1), np.float32)
