"""Soft tissue of a pelvic film: trunk, thighs, folds of skin, and gas and feces in the bowel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.simulate.anatomy import Build, SoftPart
from fracture.simulate.geometry import transform
from fracture.simulate.pelvis_shapes import Person
from fracture.simulate.projection import Camera

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def envelope(
    build: Build, person: Person, knees: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[SoftPart, ...]:
    """Trunk and thighs in the pelvic frame (x = 0 in the midline, y = 0 at the hips).

    Args:
        build: Makes tubes for this person.
        person: Whose build it is.
        knees: Where the right and the left knee lie (3,), mm.
    """
    t, half = person.stout, person.half / person.scale
    wide = 1.05 if person.sex == "female" else 0.97
    parts = []
    for side, knee in zip((-1.0, 1.0), knees, strict=True):
        end = knee / person.scale
        start = (side * (half + 2.0), -230.0, 0.0)
        parts.append(
            build.flesh(
                start,
                (float(end[0]), float(end[1]), float(end[2])),
                (
                    (0.0, 70 * t, 80 * t),
                    (0.18, 78 * t * wide, 90 * t),
                    (0.36, 92 * t * wide, 96 * t),
                    (0.47, 94 * t * wide, 94 * t),
                    (0.6, 84 * t, 86 * t),
                    (0.75, 62 * t, 66 * t),
                    (1.0, 54, 58),
                ),
                blend=14.0,
            )
        )
    parts.append(
        build.flesh(
            (0, -400, 6),
            (0, 100, 0),
            (
                (0.0, 148 * t, 96 * t),
                (0.35, 146 * t, 98 * t),
                (0.6, 160 * t * wide, 102 * t),
                (0.82, 158 * t * wide, 98 * t),
                (0.92, 130 * t, 86 * t),
                (1.0, 84 * t, 58 * t),
            ),
            blend=26.0,
        )
    )
    return tuple(parts)


def _noise(shape: tuple[int, int], cell: float, rng: np.random.Generator) -> Array:
    """Smooth noise of about unit variance with features of ``cell`` pixels."""
    rows, columns = max(3, int(shape[0] / cell) + 3), max(3, int(shape[1] / cell) + 3)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    big = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(big * np.float32(1.25), dtype=np.float32)


def _coordinates(camera: Camera, less: int) -> tuple[Array, Array, tuple[int, int]]:
    """Pelvic-frame x and y (mm, in the plane z = 0) of a grid ``less`` times coarser than the film."""
    shape = (-(-camera.height // less), -(-camera.width // less))
    back = np.linalg.inv(camera.to_image[:2, :2])
    x = ((np.arange(shape[1], dtype=np.float32) + 0.5) * np.float32(less * camera.spacing))[None, :]
    y = ((np.arange(shape[0], dtype=np.float32) + 0.5) * np.float32(less * camera.spacing))[:, None]
    x, y = x - np.float32(camera.to_image[0, 3]), y - np.float32(camera.to_image[1, 3])
    m = back.astype(np.float32)
    return (
        np.asarray(m[0, 0] * x + m[0, 1] * y, dtype=np.float32),
        np.asarray(m[1, 0] * x + m[1, 1] * y, dtype=np.float32),
        shape,
    )


def bowel(camera: Camera, rng: np.random.Generator, scale: float) -> Array:
    """Millimeters of soft tissue that gas takes the place of, float32 (height, width).

    Loops of bowel along the ascending and descending colon, the transverse loops above, and the rectum; part of them
    holds feces, a mottle of small bubbles.
    """
    less = 2
    x, y, shape = _coordinates(camera, less)
    k = scale
    pixel = less * camera.spacing
    total = np.zeros(shape, np.float32)
    amount = float(rng.beta(1.3, 1.3))
    mottle = np.clip(_noise(shape, 4.5 / pixel, rng) + 0.5 * _noise(shape, 9.0 / pixel, rng) - 0.1, 0.0, 1.6)
    warp_x, warp_y = 7.0 * _noise(shape, 26.0 / pixel, rng), 7.0 * _noise(shape, 26.0 / pixel, rng)
    xs, ys = x / np.float32(k) + warp_x, y / np.float32(k) + warp_y
    places: list[tuple[float, float, float, float, float]] = [
        (-1, 84, -128, 16, 34),
        (1, 86, -128, 14, 36),
        (0, 0, -62, 17, 24),
        (0, 0, -22, 13, 12),
    ]
    places += [
        (0, float(rng.uniform(-75, 75)), float(rng.uniform(-230, -85)), 16, 12) for _ in range(int(1 + 9 * amount))
    ]
    for side, px, py, rx, ry in places:
        if rng.random() > 0.25 + 0.65 * amount:
            continue
        cx = (side or 1) * px + float(rng.normal(0, 7))
        cy = py + float(rng.normal(0, 9))
        size = float(np.exp(rng.normal(-0.1, 0.28)))
        reach = ((xs - np.float32(cx)) / np.float32(rx * size)) ** 2 + (
            (ys - np.float32(cy)) / np.float32(ry * size)
        ) ** 2
        inside = np.clip((1.0 - reach) * np.float32(0.5 * rx * size / 5.0), 0.0, 1.0)
        depth = float(rng.uniform(6, 26)) * k
        fill = mottle if rng.random() < 0.5 else np.sqrt(np.clip(1.0 - 0.8 * reach, 0.0, 1.0))
        total = np.maximum(total, np.float32(depth) * inside * fill)
    soft = cv2.GaussianBlur(total, (0, 0), max(0.4, 0.9 / pixel))
    big = cv2.resize(soft, (shape[1] * less, shape[0] * less), interpolation=cv2.INTER_LINEAR)
    return np.asarray(big[: camera.height, : camera.width], dtype=np.float32)


def folds(camera: Camera, rng: np.random.Generator, person: Person) -> tuple[Array, Array]:
    """What folds of skin and planes of fat change: mm added to the envelope, and a factor on the muscle.

    Belly folds and the lower edges of the buttocks are steps of thickness along wide arcs; between muscles lie streaks
    of fat that run down and outward.
    """
    less = 4
    x, y, shape = _coordinates(camera, less)
    k = person.scale
    pixel = less * camera.spacing
    total = np.zeros(shape, np.float32)
    for _ in range(int(rng.poisson(0.5 + 1.6 * max(person.stout - 0.85, 0.0)))):  # a hanging belly
        low = float(rng.uniform(-110, 40)) * k
        bend = float(rng.uniform(0.0006, 0.0035))
        edge = np.float32(low) - np.float32(bend) * (x - np.float32(rng.normal(0, 12))) ** 2 - y
        total += np.float32(rng.uniform(5, 22)) * (1.0 / (1.0 + np.exp(-np.clip(edge / 2.2, -30, 30)))).astype(
            np.float32
        )
    for side in (-1.0, 1.0):  # the buttock's lower edge
        low = float(rng.normal(92, 12)) * k
        bend = float(rng.uniform(0.001, 0.004))
        edge = np.float32(low) - np.float32(bend) * (x - np.float32(side * rng.uniform(60, 100) * k)) ** 2 - y
        mine = np.clip(np.float32(side) * x / 14.0, 0.0, 1.0)
        total += np.float32(rng.uniform(1, 13)) * mine * (1.0 / (1.0 + np.exp(-np.clip(edge / 2.5, -30, 30))))
    for _ in range(int(rng.integers(0, 3))):  # creases of skin and clothing: thin bright arcs
        low, bend = float(rng.uniform(-150, 120)) * k, float(rng.normal(0, 0.003))
        edge = (np.float32(low) + np.float32(bend) * x**2 + np.float32(rng.normal(0, 0.25)) * x - y) / np.float32(2.5)
        total += np.float32(rng.uniform(1, 5)) * np.exp(-(np.clip(edge, -8, 8) ** 2))
    slant = x - 0.35 * np.sign(x) * y
    grid = rng.standard_normal((256, 256)).astype(np.float32)
    u = np.ascontiguousarray(np.broadcast_to(slant / np.float32(8.0) + 500.0, shape), dtype=np.float32)
    v = np.ascontiguousarray(np.broadcast_to(y / np.float32(60.0) + 500.0, shape), dtype=np.float32)
    streaks = cv2.remap(grid, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    lumps = _noise(shape, 30.0 / pixel, rng)
    factor = 1.0 + np.float32(0.03) * streaks + np.float32(0.035) * lumps

    def full(plane: Array) -> Array:
        big = cv2.resize(plane, (shape[1] * less, shape[0] * less), interpolation=cv2.INTER_LINEAR)
        return np.asarray(big[: camera.height, : camera.width], dtype=np.float32)

    return full(np.asarray(total, dtype=np.float32)), full(np.asarray(factor, dtype=np.float32))


def knee(motion: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Where the knee of a moved femur lies in the hip frame, mm (3,)."""
    return transform(motion, np.array([-12.0, 400.0, 6.0]) * scale)
