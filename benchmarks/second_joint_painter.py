"""A second painter of joint damage, written apart from ``fracture.simulate.joints``: other shapes, textures, ranges.

Training never sees it. What a network scores on these lesions as on its own painter's is not a habit of one painter.
Narrowing: both bone ends slide rigidly toward each other and the rest of the gap is veiled. Erosion: angular pieces are
broken out of the margin and filled with a patch of the film's own soft tissue, or rounded pockets lie under the
cortex with an open neck. No shape, texture or range is shared with the first painter.
"""

from __future__ import annotations

import cv2
import numpy as np

LOSS = (0.0, 0.18, 0.40, 0.72, 1.0)  # of the joint space, by grade; a tenth more or less is drawn around it
AREA = (0.0, 0.035, 0.085, 0.15, 0.24, 0.34)  # eroded, of the square as wide as the bone; a fifth more or less


def paint(pixels, center, direction, space, half, *, narrowing=0, erosion=0, seed=0):
    """A film with one lesion of each kind; sizes and center in pixels, ``direction`` outwards along the digit."""
    rng = np.random.default_rng([seed, 77])
    film = np.array(pixels, np.float32)
    if narrowing or rng.random() < 0.5:
        film = _slide(film, center, direction, space, half, narrowing, rng)
    parts = [erosion] if erosion <= 5 else [5, erosion - 5]
    for end, part in zip(rng.permutation([-1.0, 1.0]), parts, strict=False):
        if part:
            _break_out(film, center, direction, (space, half), float(end), part, rng)
    return film


def _coordinates(shape, center, direction):
    rows, columns = np.indices(shape, dtype=np.float32)
    x, y = columns + 0.5 - center[0], rows + 0.5 - center[1]
    return x * direction[0] + y * direction[1], -x * direction[1] + y * direction[0]


def _slide(film, center, direction, space, half, grade, rng):
    """Each bone end moves half of the loss, rigidly over two bone widths, by a piecewise linear map of the axis."""
    loss = np.clip(LOSS[grade] + rng.uniform(-0.1, 0.1) * (0 < grade < 4) + rng.uniform(0, 0.04) * (grade == 0), 0, 1)
    t, s = _coordinates(film.shape, center, direction)
    move, far, edge = loss * space / 2, 4.5 * half, space / 2
    knots = np.array([-far, -2 * half - edge, -edge + move, edge - move, edge + 2 * half, far])
    sources = np.array([-far, -2 * half - edge - move, -edge, edge, edge + 2 * half + move, far])
    knots[3] = max(knots[3], knots[2] + 0.2)
    shift = np.interp(t.ravel(), knots, sources).reshape(t.shape).astype(np.float32) - t
    shift *= np.clip((1.9 * half - np.abs(s)) / (0.5 * half), 0, 1)
    rows, columns = np.indices(film.shape, dtype=np.float32)
    to = [np.float32(a + shift * d) for a, d in zip((columns, rows), direction, strict=True)]
    moved = cv2.remap(film, *to, cv2.INTER_LANCZOS4)
    if grade >= 3:  # bone ends overlap in projection: a veil over what is left of the gap
        veil = np.clip(1 - np.abs(t) / (0.45 * space + 0.6), 0, 1) * np.clip((1.1 * half - np.abs(s)) / 2, 0, 1)
        near = (np.abs(t) < 0.8 * half) & (np.abs(s) < 0.8 * half)
        level = np.percentile(moved[near], 60 if grade == 3 else 72) if near.any() else moved.mean()
        strength = 0.35 if grade == 3 else 0.9
        moved += np.maximum(level - moved, 0) * (veil * strength).astype(np.float32)
    return np.clip(moved, 0, 1).astype(np.float32)


def _break_out(film, center, direction, sizes, end, grade, rng):
    space, half = sizes
    area = AREA[grade] * rng.uniform(0.8, 1.2) * 4 * half * half
    pieces = int(rng.integers(1, 4))
    normal = np.array([-direction[1], direction[0]])
    sides = rng.choice([-1.0, 1.0], pieces)
    for piece in range(pieces):
        size = np.sqrt(area / pieces)
        along = end * (space / 2 + size * rng.uniform(0.4, 0.7))
        at = np.asarray(center) + along * np.asarray(direction) + sides[piece] * (half - 0.25 * size) * normal
        if rng.random() < 0.6:
            count = int(rng.integers(5, 9))
            angles = np.sort(rng.uniform(0, 2 * np.pi, count))
            radii = size * rng.uniform(0.45, 0.95, count)
            outline = at + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
            shape = _filled(film.shape, outline)
        else:  # a pocket and its neck through the cortex
            inner = at - sides[piece] * 0.35 * size * normal
            turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            ring = inner + 0.56 * size * np.stack([np.cos(turns), np.sin(turns)], 1)
            across, out = np.asarray(direction) * 0.18 * size, sides[piece] * 0.9 * size * normal
            neck = np.array([inner - across, inner + across, inner + across + out, inner - across + out])
            shape = np.maximum(_filled(film.shape, ring), _filled(film.shape, neck))
        shape = cv2.GaussianBlur(shape, (0, 0), float(rng.uniform(0.6, 1.1))) * float(rng.uniform(0.55, 1.0))
        donor = np.asarray(center) + along * np.asarray(direction) + sides[piece] * 1.55 * half * normal
        dx, dy = np.round(donor - at).astype(int)
        patch = cv2.warpAffine(
            film, np.float32([[1, 0, -dx], [0, 1, -dy]]), film.shape[::-1], borderMode=cv2.BORDER_REFLECT
        )
        np.copyto(film, film * (1 - shape) + np.minimum(film, patch) * shape)


def _filled(shape, outline):
    """An outline in pixel edges as a mask with soft pixels at its edge."""
    drawn = np.zeros(shape, np.uint8)
    points = np.round((outline - 0.5) * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.fillPoly(drawn, [points], 255, cv2.LINE_AA, shift=4)
    return (drawn / 255).astype(np.float32)
