"""From path lengths to a 12-bit film: Beer-Lambert, scatter, heel effect, blur, quantum noise, tone, furniture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.simulate.materials import attenuation

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

MAXIMUM = 4095
"""Largest pixel value of a 12-bit film."""


@dataclass(frozen=True, eq=False)
class Paths:
    """Path lengths in mm, float32 (height, width): envelope and muscle of the soft tissue, bone, mineral.

    ``metal`` is the optical thickness of implants at the exposure's energy, where there are any.
    """

    envelope: Array
    muscle: Array
    bone: Array
    mineral: Array
    metal: Array | None = None


@dataclass(frozen=True)
class Exposure:
    """How the film is taken and shown; all of it is drawn once per film and independent of any fracture.

    Attributes:
        energy: Effective energy in keV.
        photons: Expected quanta per 0.5 mm x 0.5 mm behind the limb's thick parts (automatic exposure control).
        scatter: Scattered part of the signal behind the thickest tissue.
        heel: Relative fall of the beam across the film (heel effect), along ``heel_angle`` radians.
        blur: Standard deviation of the detector's blur in mm.
        detail: Strength of edge enhancement, as medical film processors apply it.
        flatten: Strength of the compression of the soft tissue's slow variation.
        contrast: Slope of the tone curve at thick soft tissue, gray level (0..1) per unit of optical thickness.
        open_field: Gray level of air, 0..1.
        tissue: Gray level of the thick soft tissue, 0..1.
        table: Position (0..1 of the height), angle (radians) and optical thickness of a table edge; thickness 0: none.
        collimation: Margins left, top, right, bottom as a fraction of the size, and rotation in radians.
        outside: ``"black"`` (shuttered), ``"white"`` (unexposed) or ``"none"``.
        marker: The side letter's center (fractions of width and height), height in mm and angle in degrees.
        streaks: Amplitude of line noise of a plate reader.
    """

    energy: float
    photons: float
    scatter: float
    heel: float
    heel_angle: float
    blur: float
    detail: float
    flatten: float
    contrast: float
    open_field: float
    tissue: float
    table: tuple[float, float, float]
    collimation: tuple[float, float, float, float, float]
    outside: str
    marker: tuple[float, float, float, float]
    streaks: float


def draw_exposure(rng: np.random.Generator, energy: float, bone: float) -> Exposure:
    """Draw the circumstances of one film around ``energy`` keV; its cortex adds about ``bone`` of optical thickness."""
    margins = tuple(float(m) for m in rng.uniform(0.0, 0.05, 4) * (rng.random(4) < 0.7))
    outside = str(rng.choice(["black", "white", "none"], p=[0.45, 0.2, 0.35]))
    tilted = float(rng.normal(0.0, 0.008))
    return Exposure(
        energy=energy * float(rng.uniform(0.93, 1.07)),
        photons=float(np.exp(rng.uniform(np.log(2000.0), np.log(12000.0)))),
        scatter=float(rng.uniform(0.08, 0.3)),
        heel=float(rng.uniform(0.0, 0.22)),
        heel_angle=float(rng.uniform(0, 2 * np.pi)),
        blur=float(rng.uniform(0.09, 0.16)),
        detail=float(rng.uniform(0.35, 1.3)),
        flatten=float(rng.uniform(0.45, 0.8)),
        contrast=float(rng.uniform(0.40, 0.60)) / bone,
        open_field=float(rng.uniform(0.03, 0.14)),
        tissue=float(rng.uniform(0.24, 0.38)),
        table=(
            float(rng.uniform(0.86, 0.98)),
            float(rng.normal(0.0, 0.01)),
            float(rng.uniform(0.1, 1.2)) if rng.random() < 0.3 else 0.0,
        ),
        collimation=(margins[0], margins[1], margins[2], margins[3], tilted),
        outside=outside,
        marker=(
            float(rng.uniform(0.09, 0.17)),
            float(rng.uniform(0.10, 0.9)),
            float(rng.uniform(8.0, 12.0)),
            float(rng.normal(0.0, 6.0)),
        ),
        streaks=float(rng.uniform(0.0, 0.006)),
    )


def line_integral(paths: Paths, energy: float) -> Array:
    """The exponent of Beer and Lambert, float32 (height, width): sum of attenuation times path over materials.

    Bone takes the place of soft tissue: its path is subtracted from the muscle's.
    """
    mu = attenuation(energy)
    muscle = np.maximum(paths.muscle - paths.bone, 0.0)
    fat = np.maximum(paths.envelope - paths.muscle, 0.0)
    marrow = np.maximum(paths.bone - paths.mineral, 0.0)
    total = muscle * np.float32(mu.soft) + fat * np.float32(mu.fat)
    total += paths.mineral * np.float32(mu.mineral) + marrow * np.float32(mu.marrow)
    if paths.metal is not None:
        total += paths.metal
    return np.asarray(total, dtype=np.float32)


def expose(
    paths: Paths, exposure: Exposure, spacing: float, rng: np.random.Generator, *, letter: str, marker_right: bool
) -> NDArray[np.uint16]:
    """The film.

    1. attenuate along the rays, with the lead letter and the table in the beam
    2. heel effect and scatter
    3. the detector's blur
    4. quantum noise: normal with the variance of a Poisson count, which above some 30 quanta it matches, and which
       leaves all pixels but the changed ones alone when a count changes
    5. logarithm, tissue equalization, edge enhancement, tone curve
    6. collimation

    Scatter and tissue equalization are computed from the soft tissue alone, so that a fracture changes its surroundings
    only.

    Args:
        paths: What the rays cross.
        exposure: How the film is taken.
        spacing: mm per pixel.
        rng: The stream of the noise.
        letter: ``"L"`` or ``"R"``.
        marker_right: Whether the letter stands at the right edge.

    Returns:
        uint16 (height, width) in 0..4095, bright = dense.
    """
    height, width = paths.bone.shape
    mu = attenuation(exposure.energy)
    soft = paths.muscle * np.float32(mu.soft) + (paths.envelope - paths.muscle) * np.float32(mu.fat)
    total = line_integral(paths, exposure.energy)
    extra = _marker(exposure, paths.envelope, spacing, letter, marker_right)
    extra += _table(exposure, (height, width))
    field = _heel(exposure, (height, width))
    primary = np.exp(-(total + extra)) * field
    open_soft = np.exp(-soft) * field
    wide = _smooth(open_soft, 14.0 / spacing)
    scattered = np.float32(exposure.scatter) * wide * (1.0 - np.exp(-_smooth(soft, 14.0 / spacing)))
    signal = _smooth(primary + scattered, max(exposure.blur / spacing, 0.35))
    thick = _reference(soft)
    quanta = np.float32(exposure.photons * (spacing / 0.5) ** 2 * np.exp(min(thick, 8.0)))
    counts = signal * quanta
    noise = rng.standard_normal((height, width), dtype=np.float32)
    counts = np.maximum(counts + noise * np.sqrt(counts), np.float32(0.5))
    density = -np.log(counts / quanta)
    if exposure.streaks:
        density += np.float32(exposure.streaks) * rng.standard_normal((1, width), dtype=np.float32)
    high = thick
    slow = _smooth(np.minimum(soft, np.float32(1.6 * high)), 9.0 / spacing)
    shown = density - np.float32(exposure.flatten) * slow
    high *= 1.0 - exposure.flatten
    sigma = 1.6 / spacing
    shown = shown + np.float32(exposure.detail) * (shown - _smooth(shown, sigma))
    gray = _tone(shown - np.float32(high), high, exposure)
    gray = _collimate(gray, exposure)
    return np.clip(np.round(gray * MAXIMUM), 0, MAXIMUM).astype(np.uint16)


def _reference(soft: Array) -> float:
    """The optical thickness of the limb's thick parts: 80th percentile where there is tissue."""
    inside = soft[::4, ::4]
    inside = inside[inside > 0.05]
    return float(np.percentile(inside, 80)) if inside.size else 1.0


def _tone(level: Array, air: float, exposure: Exposure) -> Array:
    """A sigmoid around thick soft tissue (level 0), where its slope is the contrast: a toe that reaches the
    gray of the open field at ``-air``, and a shoulder toward dense bone, both exponential."""
    toe = np.float32(exposure.tissue - exposure.open_field)
    rest = np.float32(1.0 - exposure.tissue)
    slope = np.float32(exposure.contrast)
    bend = np.float32(max(0.6 * float(slope / toe), 1e-3))
    reach = np.float32(1.0 - np.exp(-max(air, 0.05) * float(bend)))
    below = np.maximum(toe * (np.exp(np.minimum(level, 0.0) * bend) - 1.0) / reach, -1.15 * toe)
    above = rest * (1.0 - np.exp(-np.maximum(level, 0.0) * slope / rest))
    return np.asarray(np.float32(exposure.tissue) + below + above, dtype=np.float32)


def _smooth(plane: Array, sigma: float) -> Array:
    """Gaussian blur; wide ones are done on a reduced grid."""
    factor = int(sigma // 4)
    if factor >= 2:
        height, width = plane.shape
        small = cv2.resize(plane, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REPLICATE)
        out = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        out = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(out, dtype=np.float32)


def _grid(shape: tuple[int, int]) -> tuple[Array, Array]:
    y = ((np.arange(shape[0], dtype=np.float32) + 0.5) / shape[0])[:, None]
    x = ((np.arange(shape[1], dtype=np.float32) + 0.5) / shape[1])[None, :]
    return np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.float32)


def _heel(exposure: Exposure, shape: tuple[int, int]) -> Array:
    x, y = _grid(shape)
    along = np.float32(np.cos(exposure.heel_angle)) * (x - 0.5) + np.float32(np.sin(exposure.heel_angle)) * (y - 0.5)
    return np.asarray(1.0 - np.float32(exposure.heel) * (along + 0.7 * along * along), dtype=np.float32)


def _table(exposure: Exposure, shape: tuple[int, int]) -> Array:
    """Optical thickness of the table beyond its edge, with a denser rail along the edge."""
    place, angle, thickness = exposure.table
    if thickness == 0.0:
        return np.zeros(shape, np.float32)
    x, y = _grid(shape)
    beyond = y - np.float32(place) + np.float32(angle) * (x - 0.5)
    inside = np.clip(beyond * shape[0] / 2.0, 0.0, 1.0)
    rail = np.clip(1.0 - np.abs(beyond - 0.006) * 180.0, 0.0, 1.0)
    return np.asarray(np.float32(thickness) * (inside + 0.6 * rail), dtype=np.float32)


def _marker(exposure: Exposure, envelope: Array, spacing: float, letter: str, right: bool) -> Array:
    """Optical thickness of a lead letter, put beside the limb where there is room."""
    shape = (int(envelope.shape[0]), int(envelope.shape[1]))
    canvas = np.zeros(shape, np.uint8)
    x, y, size, angle = exposure.marker
    pixels = max(9.0, size / spacing)
    pixels = min(pixels, 0.09 * min(shape))
    side = int(np.ceil(pixels * 1.8))
    patch: NDArray[np.uint8] = np.zeros((side * 4, side * 4), np.uint8)
    font, stroke = cv2.FONT_HERSHEY_SIMPLEX, max(2, int(pixels * 0.55))
    scale = pixels * 4 / 21.0
    (w, h), _ = cv2.getTextSize(letter, font, scale, stroke)
    cv2.putText(patch, letter, ((side * 4 - w) // 2, (side * 4 + h) // 2), font, scale, 255, stroke, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((side * 2.0, side * 2.0), angle, 1.0)
    turned = cv2.warpAffine(patch, turn, (side * 4, side * 4))
    small = np.asarray(cv2.resize(turned, (side, side), interpolation=cv2.INTER_AREA))
    best = (np.inf, 0, 0)
    for shift in range(8):  # eight heights, first on the wanted side, then on the other
        for other in (False, True):
            column = int((1.0 - x if right != other else x) * shape[1] - side / 2)
            row = int((0.1 + (y - 0.1 + shift * 0.1) % 0.8) * shape[0] - side / 2)
            column = int(np.clip(column, 0, shape[1] - side))
            row = int(np.clip(row, 0, shape[0] - side))
            covered = float(envelope[row : row + side, column : column + side].mean())
            best = min(best, (max(covered - 2.0, 0.0), row, column), key=lambda b: b[0])
    _, row, column = best
    canvas[row : row + side, column : column + side] = small
    return canvas.astype(np.float32) * np.float32(6.0 / 255.0)


def field_of_view(exposure: Exposure, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels (height, width) the collimator leaves open."""
    return np.asarray(_open(exposure, shape) > 0.5)


def _open(exposure: Exposure, shape: tuple[int, int]) -> Array:
    """1 inside the collimated field, 0 outside, a pixel-wide ramp between."""
    if exposure.outside == "none":
        return np.ones(shape, np.float32)
    left, top, right, bottom, angle = exposure.collimation
    x, y = _grid(shape)
    slant = np.float32(np.tan(angle))
    u, v = x + slant * (y - 0.5), y - slant * (x - 0.5)
    soft = np.float32(max(shape) / 2.0)
    big = np.float32(1e3)
    edges = [
        (u - left) if left else np.full_like(u, big),
        (1.0 - right - u) if right else np.full_like(u, big),
        (v - top) if top else np.full_like(v, big),
        (1.0 - bottom - v) if bottom else np.full_like(v, big),
    ]
    nearest = np.minimum(np.minimum(edges[0], edges[1]), np.minimum(edges[2], edges[3]))
    return np.asarray(np.clip(nearest * soft + 0.5, 0.0, 1.0), dtype=np.float32)


def _collimate(gray: Array, exposure: Exposure) -> Array:
    inside = _open(exposure, (gray.shape[0], gray.shape[1]))
    level = np.float32(0.0 if exposure.outside == "black" else 0.97)
    return np.asarray(gray * inside + level * (1.0 - inside), dtype=np.float32)
