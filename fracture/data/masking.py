"""Crops toned or partly hidden: three contrast changes, cutout, a mask of Gaussians (Krogue et al. 2020 name them);
films that end within what they show; and films taken otherwise: coarser, of another exposure, less sharp, noisier.

Only cutout has a published recipe; the others are our interpretations. All draws come from the generator given.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def contrast_curve(
    pixels: NDArray[np.float32], kind: str, most: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """``"gamma"``, ``"contrast"`` about the mean, or ``"equalized"`` (CLAHE on an 8 x 8 grid).

    Args:
        pixels: float32 (h, w) in [0, 1].
        kind: Which.
        most: Largest exponent or factor, log-uniform in [1/most, most]; for CLAHE the largest clip limit.
        rng: Draws the strength.
    """
    if kind == "equalized":
        limit = float(rng.uniform(1.0, max(1.0, most)))
        # 256 levels: with 65,536 bins a tile has fewer pixels than bins, and OpenCV's clip limit clips nothing.
        levels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        equalized = cv2.createCLAHE(clipLimit=limit, tileGridSize=(8, 8)).apply(levels)
        return (equalized.astype(np.float32) / np.float32(255)).astype(np.float32)
    strength = np.float32(math.exp(math.log(most) * float(rng.uniform(-1, 1))))
    if kind == "gamma":
        return np.asarray(np.power(pixels, strength), np.float32)
    mean = np.float32(pixels.mean())
    return np.asarray(np.clip(mean + strength * (pixels - mean), 0, 1), np.float32)


def cutout(pixels: NDArray[np.float32], share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A square of ``share`` of the side set to 0, its middle anywhere (DeVries and Taylor 2017)."""
    height, width = pixels.shape
    half = share * max(height, width) / 2
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    cut = pixels.copy()
    cut[max(0, round(y - half)) : max(0, round(y + half)), max(0, round(x - half)) : max(0, round(x + half))] = 0
    return cut


def gaussian_mask(pixels: NDArray[np.float32], most: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A soft cutout by a mixture of 1 to ``most`` Gaussians, filled with the picture's mean (our interpretation)."""
    height, width = pixels.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    weight = np.zeros_like(pixels)
    for _ in range(int(rng.integers(1, most + 1))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle, amplitude = rng.uniform(0, math.pi), rng.uniform(0.5, 1.0)
        a, b = rng.uniform(0.05, 0.2, 2) * max(height, width)
        along = (columns - x) * math.cos(angle) + (rows - y) * math.sin(angle)
        across = (rows - y) * math.cos(angle) - (columns - x) * math.sin(angle)
        bump = amplitude * np.exp(-0.5 * ((along / a) ** 2 + (across / b) ** 2))
        np.maximum(weight, bump.astype(np.float32), out=weight)
    masked: NDArray[np.float32] = pixels + weight * (np.float32(pixels.mean()) - pixels)
    return masked


def cut_film(mask: NDArray[np.bool_], points: NDArray[Any], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask (h, w) without what lies beyond a film's edge that is drawn through some points, (n, 2), NaN unknown.

    A third of them stay at least (ours).
    """
    known = points[~np.isnan(points).any(-1)]
    angle = rng.uniform(0, 2 * math.pi)
    normal = np.array([math.cos(angle), math.sin(angle)])
    edge = np.quantile(known @ normal, rng.uniform(0.35, 1.0)) + rng.uniform(0, 6)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    return np.asarray(mask & (x * normal[0] + y * normal[1] < edge))


def share_seen(mask: NDArray[np.bool_], points: NDArray[Any]) -> float:
    """The share of the known points (n, 2) that lie where the mask (h, w) is."""
    known = points[~np.isnan(points).any(-1)]
    x, y = (np.clip(known[:, k].astype(int), 0, mask.shape[1 - k] - 1) for k in (0, 1))
    return float(mask[y, x].mean())


def coarser(plane: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Four pictures of ten as a detector with 1.25 to 3 times larger pixels gives them, at their old size (ours)."""
    if rng.random() >= 0.4:
        return plane
    share = rng.uniform(0.35, 0.8)
    small = cv2.resize(plane, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, plane.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def exposed(plane: NDArray[np.float32], mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another exposure, sharpness and noise, and now and then a patch without information; all magnitudes are ours.

    Args:
        plane: float32 (h, w) in [0, 1].
        mask: bool, the same shape; where it is False, the picture becomes 0.
        rng: Draws everything.
    """
    plane = plane ** np.float32(2 ** rng.uniform(-0.7, 0.7))
    plane = plane * np.float32(rng.uniform(0.7, 1.15)) + np.float32(rng.uniform(-0.05, 0.1))
    if rng.random() < 0.3:
        plane = np.asarray(cv2.GaussianBlur(plane, (0, 0), rng.uniform(0.4, 1.2)), np.float32)
    plane = plane + rng.normal(0, rng.uniform(0, 0.03), plane.shape).astype(np.float32)
    if rng.random() < 0.25:  # a patch without information: a ring, a letter, a collimator's edge
        height, width = plane.shape
        y, x = rng.integers(0, height), rng.integers(0, width)
        side = rng.integers(6, 28, 2)
        plane[y : y + side[0], x : x + side[1]] = rng.random()
    return np.clip(np.where(mask, plane, 0), 0, 1).astype(np.float32)


def other_look(plane: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A picture (h, w) of mean 0 and spread 1, of another contrast, blur and noise (ours)."""
    x = plane * np.float32(np.exp(rng.normal(0, 0.15)))
    if rng.random() < 0.4:
        x = np.asarray(cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.5, 2.0))), np.float32)
    noise = rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.06))
    bent = x + np.float32(rng.normal(0, 0.06)) * np.clip(x, -3, 3) ** 2
    return np.asarray(bent + noise, np.float32)
