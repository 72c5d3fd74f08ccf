"""What is eaten out of a thing on a film, gaps that have closed, and what only looks like it; of known size.

Nothing here knows an anatomy. Shapes, fills and warps are drawn as variously as possible, so that what is learned from
them is the change and not one way of drawing it (domain randomization, Tobin et al. 2017); all ranges are ours. The
film's own texture stays.
"""

from __future__ import annotations

import cmath
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.simulate.geometry import smooth

Array = NDArray[np.float32]


def places(shape: tuple[int, ...], x: float, y: float) -> tuple[Array, Array]:
    """Each pixel's place in pixels from a point in continuous pixel edges: to the right, and down."""
    down, right = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return right + np.float32(0.5 - x), down + np.float32(0.5 - y)


def turned(place: tuple[Array, Array], direction: tuple[float, float]) -> tuple[Array, Array]:
    """Places to the right and down as places along a direction of length 1 and across it."""
    (right, down), (ux, uy) = place, (np.float32(value) for value in direction)
    return right * ux + down * uy, down * ux - right * uy


def grain(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> Array:
    """Smooth noise of unit spread whose patches are about ``size`` pixels wide."""
    step = max(1, int(size))
    rows, columns = -(-shape[0] // step) + 2, -(-shape[1] // step) + 2
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    fine = cv2.resize(coarse, (columns * step, rows * step), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine[: shape[0], : shape[1]], np.float32)


def strip_edge(plane: Array, along: Array, across: Array, half: float) -> float:
    """How far from the axis of a strip its edge lies on the side of positive ``across``: the steepest fall of the mean
    gray of the pixels within a quarter of ``half`` of ``along`` 0; ``half`` where none is seen."""
    band = (np.abs(along) < 0.25 * half) & (across > 0)
    steps = np.arange(0.5, 1.5, max(0.06, 1.0 / half)) * half
    gray = plane[band]
    if gray.size < 8:
        return half
    place_of = np.digitize(across[band], steps)
    counts = np.bincount(place_of, minlength=steps.size + 1)[1:-1]
    sums = np.bincount(place_of, gray, steps.size + 1)[1:-1]
    if counts.size < 4 or (counts == 0).any():
        return half
    falls = -np.diff(sums / counts)
    best = int(falls.argmax())
    return float(steps[best + 1]) if falls[best] > 0.02 else half


def gray_beside(plane: Array, across: Array, half: float) -> np.float32:
    """The gray beside a strip, on the side of positive ``across``."""
    ring = plane[(across > 1.2 * half) & (across < 1.8 * half)]
    return np.float32(np.percentile(ring if ring.size else plane, 40))


def ray_edge(plane: Array, x: float, y: float, angle: float, half: float) -> float:
    """How far from a point the edge of what is bright lies in one direction: the steepest fall of the gray between
    0.45 and 1.6 times ``half``, along three rays side by side; ``half`` where none is seen."""
    steps = np.arange(0.45, 1.6, max(0.06, 1.0 / half)) * half
    ux, uy = math.cos(angle), math.sin(angle)
    gray = np.zeros(steps.size)
    for beside in (-0.15 * half, 0.0, 0.15 * half):
        to = (x + steps * ux - beside * uy - 0.5, y + steps * uy + beside * ux - 0.5)
        lines = [np.asarray(each, np.float32)[None] for each in to]
        gray += cv2.remap(plane, lines[0], lines[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0] / 3
    falls = gray[:-2] - gray[2:]
    best = int(falls.argmax())
    return float(steps[best + 1]) if falls[best] > 0.02 else half


def line_normal(plane: Array, right: Array, down: Array, size: float) -> tuple[float, float]:
    """The direction, of length 1, across the line that runs through the place where ``right`` and ``down`` are 0: the
    main axis of the gray's gradients within about ``size`` pixels."""
    calm = cv2.GaussianBlur(plane, (0, 0), max(0.8, 0.15 * size))
    gx, gy = cv2.Sobel(calm, cv2.CV_32F, 1, 0), cv2.Sobel(calm, cv2.CV_32F, 0, 1)
    near = np.exp((right * right + down * down) / np.float32(-2 * size * size))
    xx, xy, yy = (float((near * each).sum()) for each in (gx * gx, gx * gy, gy * gy))
    angle = 0.5 * math.atan2(2 * xy, xx - yy)
    return math.cos(angle), math.sin(angle)


def blob(right: Array, down: Array, area: float, rng: np.random.Generator) -> Array:
    """How many pixels each place lies within the edge of a random outline around 0 of known area in pixels: round or
    long, smooth or jagged."""
    turn, long = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(0, 0.6))
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    a, b = (right * c + down * s) / np.float32(long), (down * c - right * s) * np.float32(long)
    waves = np.arange(1, 9)
    sizes = rng.normal(0, 1, 8) * rng.uniform(0.05, 0.45) / waves ** rng.uniform(0.4, 1.6)
    around = np.linspace(0, 2 * np.pi, 257)
    radii = np.maximum(1 + sizes @ np.cos(waves[:, None] * around + rng.uniform(0, 2 * np.pi, (8, 1))), 0.25)
    radii *= np.sqrt(area / (np.pi * np.mean(radii[:-1] ** 2)))
    edge = np.interp(np.arctan2(b, a) % (2 * np.pi), around, radii)
    return np.asarray(edge - np.hypot(a, b), np.float32)


def shifted(
    plane: Array, shift: Array, toward: tuple[float, float], how: int = cv2.INTER_CUBIC, drift: tuple[Any, Any] = (0, 0)
) -> Array:
    """A film whose every pixel comes from ``shift`` pixels farther ``toward`` a direction, and ``drift`` away."""
    at, parts = places(plane.shape, 0.5, 0.5), zip(toward, drift, strict=True)
    x, y = (here + shift * np.float32(d) + more for here, (d, more) in zip(at, parts, strict=True))
    return np.asarray(cv2.remap(plane, x, y, interpolation=how, borderMode=cv2.BORDER_REPLICATE), np.float32)


def bite(
    plane: Array, along: Array, across: Array, radii: tuple[float, float], floor: Array, rims: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Array:  # fmt: skip
    """A film on which a rough ellipse is filled with ``floor`` where that is darker; one of three has healed, with a
    bright rim within ``rims``."""
    radius = float(np.sqrt(radii[0] * radii[1]))
    a, b = along / np.float32(radii[0]), across / np.float32(radii[1])
    rough = 1 + grain(plane.shape, max(3.0, radius / 2.0), rng) * np.float32(rng.uniform(0.08, 0.2))
    depth = (1 - np.sqrt(a * a + b * b) * rough) * np.float32(radius)
    bitten = smooth(depth / np.float32(rng.uniform(1.5, 3.0)) + 0.5) * np.float32(rng.uniform(0.5, 0.9))
    plane = plane * (1 - bitten) + np.minimum(plane, floor) * bitten
    if rng.random() < 0.35:
        plane = np.clip(plane + np.exp(-((depth + 1.2) ** 2) / 2.0) * rims * np.float32(rng.uniform(0.02, 0.07)), 0, 1)
    return plane


def hollowed(plane: Array, depth: Array, dark: float, contrast: float, size: float, rng: np.random.Generator) -> Array:
    """A film without what lies within an outline: a gray level, another place of the film, or what was there, darker.

    Args:
        plane: In [0, 1].
        depth: Pixels within the outline, as of :func:`blob`.
        dark: The gray of what lies around the thing.
        contrast: How much brighter the thing is.
        size: Half its width in pixels.
        rng: Draws fill, edge, strength and a bright rim.
    """
    within = smooth(depth / np.float32(rng.uniform(0.8, 3)) + 0.5) * np.float32(rng.uniform(0.55, 1))
    calm = cv2.GaussianBlur(plane, (0, 0), 1.5)
    texture = (plane - calm) * np.float32(rng.uniform(0.2, 1))
    floor, kind = np.float32(dark) + texture, int(rng.integers(3))
    if kind == 1:
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.9) * size
        move = np.array([[1, 0, far * np.cos(angle)], [0, 1, far * np.sin(angle)]], np.float32)
        other = np.asarray(cv2.warpAffine(plane, move, plane.shape[::-1], borderMode=cv2.BORDER_REFLECT), np.float32)
        if (plane - other)[depth > 0].sum() > 0.35 * contrast * (depth > 0).sum():  # else nothing would be seen
            floor = other
    elif kind == 2:
        floor = np.maximum(calm - np.float32(contrast * rng.uniform(0.6, 1.3)), np.float32(0.6 * dark)) + texture
    if rng.random() < 0.3:
        rim = np.exp(((depth + np.float32(rng.uniform(0.8, 2))) ** 2) / np.float32(-2))
        plane = plane + rim * np.float32(rng.uniform(0.01, 0.07))
    return np.asarray(plane * (1 - within) + np.minimum(plane, floor) * within, np.float32)


def eaten(
    plane: Array, middle: complex, half: float, area: float, count: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """A film with pieces eaten out around the margin of a thing, and where (the same shape, 0 to 1).

    Args:
        plane: In [0, 1].
        middle: Of the thing, x + iy in continuous pixel edges; its margin is looked for on the film.
        half: Half its width in pixels.
        area: Of all pieces in pixels; about a third of it lies beyond the margin.
        count: Of pieces.
        rng: Draws all else.
    """
    gone = np.zeros_like(plane)
    away = np.hypot(*places(plane.shape, middle.real, middle.imag))
    if not (away < 0.8 * half).any():
        return plane, gone
    dark = float(np.percentile(plane[away < 1.8 * half], rng.uniform(3, 25)))
    contrast = max(float(np.median(plane[away < 0.8 * half])) - dark, 0.04)
    first, spread = rng.uniform(0, 2 * np.pi), 0.5 if rng.random() < 0.4 else np.pi
    for part in (area * rng.dirichlet(np.full(count, 4.0))).tolist():
        angle = first + rng.normal(0, spread)
        edge = ray_edge(plane, middle.real, middle.imag, angle, half)
        edge = edge if rng.random() < 0.75 else half * rng.uniform(0.6, 1.2)
        inside = np.sqrt(part / np.pi) * rng.uniform(0, 0.6) + rng.normal(0, 0.06) * half
        at = middle + cmath.rect(max(edge - inside, 0.2 * half), angle)
        depth = blob(*places(plane.shape, at.real, at.imag), part, rng)
        plane = hollowed(plane, depth, dark, contrast, half, rng)
        gone = np.maximum(gone, smooth(depth + 0.5))
    return plane, gone


def distracted(plane: Array, x: float, y: float, size: float, rng: np.random.Generator) -> Array:
    """A film with up to two things around a point that are no flaw: denser spots, shades, lines, and holes farther than
    twice ``size`` away."""
    for _ in range(int(rng.integers(0, 3))):
        kind, angle = int(rng.integers(4)), rng.uniform(0, 2 * np.pi)
        far = size * (rng.uniform(2, 3) if kind == 3 else rng.uniform(0, 2.2))
        right, down = places(plane.shape, x + far * math.cos(angle), y + far * math.sin(angle))
        if kind in (0, 3):
            depth = blob(right, down, rng.uniform(0.12, 1.2) * size * size, rng)
            strength = rng.uniform(0.01, 0.07) if kind == 0 else -rng.uniform(0.02, 0.12)
            seen = smooth(depth / np.float32(rng.uniform(1.5, 5)) + 0.5)
        else:
            turn, strength = rng.uniform(0, np.pi), rng.uniform(-0.06, 0.055)
            long = size * rng.uniform(0.5, 1.5)
            wide = long if kind == 1 else rng.uniform(0.6, 1.2)
            c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            a, b = right * c + down * s, down * c - right * s
            seen = np.exp(-a * a / np.float32(2 * long * long) - b * b / np.float32(2 * wide * wide))
        plane = plane + seen * np.float32(strength)
    return np.asarray(plane, np.float32)


def closed(
    plane: Array, along: Array, across: Array, toward: tuple[float, float], gap: float, pull: Array, veil: float,
    size: float, rng: np.random.Generator,
) -> tuple[Array, Array]:  # fmt: skip
    """A film on which a gap between two things is narrower: one side, the other or both are drawn in.

    Args:
        plane: In [0, 1].
        along: Each pixel's place in pixels, across the gap.
        across: And along it.
        toward: The direction of ``along`` in the picture.
        gap: Its width in pixels.
        pull: By how much it narrows, at each pixel.
        veil: How much of what is left is covered by the gray beside it, 0 to 1: the things overlap, or have fused.
        size: Half the width of the things.
        rng: Draws which side moves, how far behind and beside the gap, and a drift of both that closes nothing.

    Returns:
        The film, and (the same shape) how near to the gap each pixel lies, 0 to 1.
    """
    drift = rng.normal(0, 0.5 * gap, 2) if rng.random() < 0.35 else np.zeros(2)
    far = np.exp((along**2 + across**2) / np.float32(-2 * (size * rng.uniform(1.2, 2)) ** 2))
    off, aside = (far * np.float32(d) for d in drift)
    along, across = along + off, across + aside  # first the gap closes, then all of it drifts
    outer = np.float32([1, 0, rng.uniform(0.2, 0.8)][int(rng.integers(3))])
    top, low = np.float32(gap / 2) - pull * outer, pull * (1 - outer) - np.float32(gap / 2)
    wide, soft = (np.float32(size * rng.uniform(*ends)) for ends in ((0.9, 1.8), (0.4, 1.0)))
    beside = 1 - smooth((np.abs(across) - wide) / soft)
    start, end = (np.float32(size * rng.uniform(*ends)) for ends in ((0.6, 1.3), (1.2, 2.8)))
    ahead, behind = (1 - smooth((sign * along - start) / end) for sign in (np.float32(1), np.float32(-1)))
    inside = np.clip((along - low) / np.maximum(top - low, 0.25), 0, 1)
    shift = off + beside * pull * (inside * outer * ahead - (1 - inside) * (1 - outer) * behind)
    how = (cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_LINEAR)[int(rng.integers(3))]
    ux, uy = (np.float32(d) for d in toward)
    moved = shifted(plane, shift, toward, how, (-aside * uy, aside * ux))
    off = along - (top + low) / 2
    if veil:
        near = (np.abs(along) < 0.8 * size) & (np.abs(across) < 0.8 * size)
        level = np.float32(np.percentile(moved[near] if near.any() else moved, rng.uniform(55, 75)))
        cover = cv2.GaussianBlur(moved, (0, 0), max(0.8, size / 2.2)) if rng.random() < 0.5 else level
        cover = cover * np.float32(rng.uniform(1, 1.06)) + grain(plane.shape, size / 6, rng) * np.float32(0.02)
        beam = np.exp(off**2 / np.float32(-2 * (rng.uniform(0.35, 0.6) * gap + 0.08 * size) ** 2)) * beside
        moved = moved + np.maximum(cover - moved, 0) * beam * np.float32(veil * rng.uniform(0.75, 0.95))
    line = np.exp(-((off / np.float32(0.5 * gap + 0.8)) ** 4) - (across / np.float32(0.8 * size)) ** 4)
    return np.clip(moved, 0, 1), np.asarray(line, np.float32)


def drawn_in(
    plane: Array, along: Array, across: Array, toward: tuple[float, float], gap: float, pull: Array, fused: bool,
    half: float, rng: np.random.Generator,
) -> Array:  # fmt: skip
    """A film on which the gap before a long thing is narrower: its end is drawn in whole, what lies behind drawn out.

    Args:
        plane: In [0, 1].
        along: Each pixel's place in pixels from the gap's middle, from one side to the other, (h, w) as ``plane``; the
            thing lies where it is positive.
        across: Its place along the gap.
        toward: The direction of ``along`` in the picture.
        gap: Its width in pixels.
        pull: By how much it narrows, at each pixel.
        fused: Whether the thing's gray grows across, where the gap was, without its dark line.
        half: Half the width of the thing.
        rng: Draws how dense that is, and its grain.

    Returns:
        float32 (h, w).
    """
    start, end = np.float32(-gap / 2), np.float32(gap / 2) - pull
    inside = np.clip((along - start) / np.maximum(end - start, 0.25), 0, 1)
    behind = 1 - smooth((along - np.float32(half)) / np.float32(2.4 * half))
    beside = 1 - smooth((np.abs(across) - np.float32(1.15 * half)) / np.float32(0.6 * half))
    moved = shifted(plane, pull * inside * behind * beside, toward)
    if fused:
        bone = cv2.GaussianBlur(moved, (0, 0), max(0.8, half / 2.2))
        beam = np.exp(-((along - start) ** 2) / np.float32(2 * (0.5 * gap + 0.08 * half) ** 2))
        share = np.float32(rng.uniform(0.75, 0.95)) * beam * beside
        bone = bone * np.float32(1.04) + grain(plane.shape, half / 6, rng) * np.float32(0.025)
        moved = moved * (1 - share) + np.maximum(moved, bone) * share
    return np.asarray(np.clip(moved, 0, 1), np.float32)


def bitten(
    plane: Array, along: Array, across: Array, gap: float, half: float, area: float, rng: np.random.Generator
) -> Array:
    """A film with one to three bites out of the corners of a long thing's end, beyond a gap on the side of positive
    ``along``; half of a bite lies outside the margin, more or less.

    Args:
        plane: In [0, 1].
        along, across: As for :func:`drawn_in`, (h, w).
        gap: Its width in pixels.
        half: Half the width of the thing.
        area: Of all bites in pixels.
        rng: Draws all else.

    Returns:
        float32 (h, w).
    """
    count = 1 + int(rng.random() < 0.5) + int(area > 0.8 * half * half)
    shares = rng.dirichlet(np.full(count, 4.0))
    margin = float(rng.choice([-1, 1]))
    texture = (plane - cv2.GaussianBlur(plane, (0, 0), 1.5)) * np.float32(0.5)
    for k, share in enumerate(shares.tolist()):
        flat = float(rng.uniform(0.7, 1.4))
        radius = float(np.sqrt(1.6 * area * share / np.pi))
        off, away = along - np.float32(gap / 2 + 0.35 * half), across * np.float32(margin)
        edge, gray = strip_edge(plane, off, away, half), gray_beside(plane, away, half)
        at = gap / 2 + min(float(rng.uniform(0.1, 0.5)) * half + 0.35 * radius, 0.9 * half)
        a, b = along - np.float32(at), across - np.float32(margin * (edge - 0.3 * radius))
        plane = bite(plane, a, b, (radius * flat, radius / flat), gray + texture, np.abs(across) < edge, rng)
        if k % 2 == 0:
            margin = -margin
    return plane
