"""Hemipelvis, sacrum and lumbar spine in frontal projection.

A radiologist reads a pelvis by its lines: iliopectineal and ilioischial line, teardrop, roof, anterior and posterior
wall. They are drawn here from landmarks in 3D, so that rotation and tilt of the pelvis change them as they do on a
film: an outline is inflated to a rounded bone whose thickness along the ray varies from place to place, the
acetabular cavity is taken out of it as a sphere, and lines where a cortex is met edge-on are added. The landmarks
stand in ``pelvis.toml``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from fracture.simulate.geometry import transform
from fracture.simulate.planes import Plane, curve, noise_patch, sheet
from fracture.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fracture.simulate.pelvis_shapes import Person
    from fracture.simulate.projection import Camera

    Points = Sequence[Sequence[float]]

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class _Place(Protocol):
    """Frontal landmarks (x, y) at a depth z, to image mm (points, 2)."""

    def __call__(
        self, points: Sequence[tuple[float, float]] | NDArray[np.float64], depth: float | Sequence[float]
    ) -> NDArray[np.float64]: ...


class Warp:
    """Individual shape: a smooth displacement of all landmarks of one person, about 1.5 mm."""

    def __init__(self, rng: np.random.Generator, amount: float = 1.6) -> None:
        self.wave = rng.normal(0.0, 1.0 / 45.0, (5, 3))
        self.phase = rng.uniform(0, 2 * np.pi, 5)
        self.size = rng.normal(0.0, amount / np.sqrt(2.5), (5, 3))

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Landmarks (points, 3) mm, displaced."""
        return np.asarray(points + np.sin(points @ self.wave.T + self.phase) @ self.size)


def hemipelvis(
    camera: Camera,
    rng: np.random.Generator,
    person: Person,
    *,
    socket: float,
    arthritis: float,
    warp: Warp,
    texture: int,
) -> Plane:
    """The right half of the pelvis (the camera mirrors it for the left).

    Args:
        camera: From the hip frame.
        rng: The stream of this side.
        person: Whose it is; the pubis is fitted to the midline.
        socket: Radius of the acetabular cavity in mm.
        arthritis: 0..1; sclerosis of the roof grows with it.
        warp: Shape of this person.
        texture: Which patch of noise.
    """
    k, cortex = person.scale, person.cortex
    stretch = (person.half / k - 2.0) / 88.5

    def place(points: Points) -> NDArray[np.float64]:
        p = warp(np.array(points, dtype=np.float64)[:, :3])
        wide = np.clip((p[:, 0] - 25.0) / 45.0, 0.0, 1.0)
        p[:, 0] *= 1.0 + (stretch - 1.0) * wide
        return transform(camera.to_image, p * k)[:, :2]

    marks = table("pelvis")
    outline = curve(place(marks["outline"]), True)
    foramen = curve(place(marks["foramen"]), True)
    plane = Plane(camera, outline.min(axis=0) - 14.0, outline.max(axis=0) + 8.0)
    if plane.empty:
        return plane
    deep = plane.deep(outline, (foramen,))
    half = _thickness(plane, place(marks["thick"]), marks["thick"], k)
    plane.line(half, curve(place(marks["outline"][4:16]), False), 3.5 * k, 3.0 * k)
    grain = noise_patch(plane, texture)
    spongy = np.clip(person.trabecular * (0.78 + 0.11 * grain), 0.02, 1.0).astype(np.float32)
    shell = 1.1 * cortex * k
    outer = sheet(deep, half)
    inner = np.minimum(sheet(deep - np.float32(shell), half - np.float32(shell)), outer)
    # The acetabulum: a sphere is missing, and its floor and walls stay.
    hip = transform(camera.to_image, (0.0, 0.0, 0.0))[:2]
    dx, dy = plane.x - np.float32(hip[0]), plane.y - np.float32(hip[1])
    radius = np.sqrt(dx * dx + dy * dy)
    chord = np.sqrt(np.maximum(np.float32(socket) ** 2 - radius * radius, 0.0))
    medial = np.float32(np.sign(camera.to_image[0, 0]) or 1.0)
    rise = np.clip(deep / np.float32(16.0 * k), 0.0, 1.0)
    wall = sheet(deep, k * (0.9 + 2.4 * rise + 1.5 * np.clip(dx * medial / np.float32(20.0 * k), 0.0, 1.0)))
    hollow = radius < socket
    outer = np.where(hollow, np.maximum(outer - 0.92 * chord, np.minimum(wall, outer)), outer)
    inner = np.where(hollow, np.clip(inner - 0.92 * chord, np.maximum(wall - 2 * shell, 0.0) * 0.5, outer), inner)
    mineral = (outer - inner) + inner * spongy
    # The wing behind the sacrum runs out to a thin, rough edge.
    behind = place(((62, -98, -68),))[0]
    mineral *= 1.0 - 0.4 * np.exp(
        -((plane.x - np.float32(behind[0])) ** 2 + (plane.y - np.float32(behind[1])) ** 2) / np.float32((20 * k) ** 2)
    )
    # Subchondral bone of the roof, met edge-on; osteoarthritis thickens it.
    angle = np.degrees(np.arctan2(dx * medial, -dy))  # 0 up, positive medial
    roof = np.clip((angle + 62.0) / 25.0, 0.0, 1.0) * np.clip((95.0 - angle) / 45.0, 0.0, 1.0)
    weight = np.exp(-(((angle + 8.0) / 40.0) ** 2))
    beyond = np.maximum(radius - np.float32(socket), 0.0)
    sclerosis = (2.2 + 3.4 * weight * (1.0 + 1.5 * arthritis)) * np.exp(-beyond / np.float32(k * (1.5 + 2.2 * weight)))
    ramp = np.clip((radius - np.float32(socket)) / np.float32(plane.pixel) + 0.5, 0.0, 1.0)
    room = np.clip(deep / np.float32(0.8), 0.0, 1.0)
    mineral += roof * sclerosis * ramp * room * np.float32(cortex * k)
    outer, mineral = outer * 2.0, mineral * 2.0
    c = cortex * k
    lines = np.zeros_like(outer)
    brim = marks["brim"]
    plane.line(lines, curve(place(brim["points"]), False), _fade(brim["path"], c), brim["width"])
    for name, line in marks["lines"].items():
        if rng.random() < 0.93 or name == "teardrop":
            drawn = curve(place(line["points"]), False)
            plane.line(lines, drawn, _fade(line["path"], c * float(rng.uniform(0.7, 1.25))), line["width"])
    body = np.clip(deep / np.float32(0.6) + 0.2, 0.0, 1.0)
    plane.bone = np.asarray(np.maximum(outer, mineral), dtype=np.float32)
    plane.mineral = np.asarray(mineral + lines * body, dtype=np.float32)
    plane.bone = np.maximum(plane.bone, plane.mineral)
    # The joint space of the sacroiliac joint.
    gap = np.zeros_like(outer)
    plane.line(
        gap,
        curve(place(marks["lines"]["sacroiliac_front"]["points"]) + np.array([1.6 * k * float(medial), 0.0]), False),
        1.0,
        0.7,
    )
    plane.mineral *= 1.0 - np.clip(0.28 * gap, 0.0, 0.5)
    return plane


def _fade(values: Sequence[float], factor: float, per: int = 6) -> list[float]:
    t = np.arange(len(values))
    return [
        float(v) * factor for v in np.interp(np.linspace(0, len(values) - 1, per * (len(values) - 1) + 1), t, values)
    ]


def _thickness(plane: Plane, anchors: NDArray[np.float64], marks: Points, scale: float) -> Array:
    """Half thickness in mm over the window: landmarks' values, weighted by distance, on a reduced grid."""
    less = 8
    height, width = max(2, plane.size[0] // less), max(2, plane.size[1] // less)
    x = cv2.resize(np.repeat(plane.x, 2, 0), (width, 2), interpolation=cv2.INTER_AREA)[:1]
    y = cv2.resize(np.repeat(plane.y, 2, 1), (2, height), interpolation=cv2.INTER_AREA)[:, :1]
    total, weights = np.full((height, width), 1e-6 * 6.0, np.float32), np.full((height, width), 1e-6, np.float32)
    for (px, py), (_, _, _, value, reach) in zip(anchors, marks, strict=True):
        r2 = np.float32((reach * scale) ** 2)
        near = np.exp(-((x - np.float32(px)) ** 2 + (y - np.float32(py)) ** 2) / r2)
        total += near * np.float32(value * scale)
        weights += near
    big = cv2.resize(total / weights, (plane.size[1], plane.size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.maximum(big, 0.8), dtype=np.float32)


def sacrum_and_spine(camera: Camera, rng: np.random.Generator, person: Person, *, texture: int) -> Plane:
    """Sacrum, coccyx and the lowest lumbar vertebrae, from the pelvic frame (x = 0 in the midline)."""
    k, cortex = person.scale, person.cortex
    warp = Warp(rng, 1.0)

    def place(
        points: Sequence[tuple[float, float]] | NDArray[np.float64], depth: float | Sequence[float]
    ) -> NDArray[np.float64]:
        p = np.asarray(points, dtype=np.float64)
        full = warp(np.column_stack([p, np.broadcast_to(np.asarray(depth, dtype=np.float64), (len(p),))]))
        return transform(camera.to_image, full * k)[:, :2]

    corners = transform(camera.to_image, np.array([(-62, -330, 0), (62, -330, 0), (-62, 20, 0), (62, 20, 0)]) * k)[
        :, :2
    ]
    plane = Plane(camera, corners.min(axis=0), corners.max(axis=0))
    if plane.empty:
        return plane
    grain = noise_patch(plane, texture)
    spongy = np.clip(person.trabecular * (0.5 + 0.12 * grain), 0.02, 1.0).astype(np.float32)
    half_outline = [(0, -143), (16, -141), (27, -135), (40, -138), (53, -131), (56, -118), (52, -102),
                    (44, -88), (38, -74),
                    (33, -60), (27, -47), (18, -38), (10, -33), (0, -31)]  # fmt: skip
    depth = [-20, -22, -30, -38, -44, -46, -50, -56, -60, -62, -64, -64, -62, -62]
    both = half_outline + [(-x, y) for x, y in half_outline[-2:0:-1]]
    outline = curve(place(both, depth + depth[-2:0:-1]), True)
    bone, mineral = plane.inflate(plane.deep(outline), 11.0 * k, 0.55 * cortex * k, spongy * 0.85)
    thin = np.ones_like(bone)
    arcs = np.zeros_like(bone)
    for x, y, r, z in ((21, -118, 6.5, -40), (18.5, -98, 6.0, -50), (16, -78, 5.5, -58), (13.5, -60, 4.5, -62)):
        for s in (-1.0, 1.0):
            a = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            hole = np.column_stack([s * x + r * np.cos(a), y + 0.75 * r * np.sin(a)])
            hole += rng.normal(0, 0.5, hole.shape)
            ring = curve(place(hole, z), True, 3)
            window = plane.window(ring, 4.0)
            inside = (plane.deep(ring, (), window) > 0).astype(np.float32)
            if inside.size:
                thin[window] -= 0.42 * cv2.GaussianBlur(inside, (0, 0), 0.9 / plane.pixel)
            top = np.array([(s * (x + 1.2 * r * np.cos(t)), y + 1.0 * r * np.sin(t)) for t in np.linspace(3.3, 6.1, 7)])
            plane.line(arcs, place(top, z), [0.6, 1.6, 2.2, 2.4, 2.2, 1.6, 0.6], 0.7)
    median = np.array([(0, y) for y in np.linspace(-136, -60, 6)])
    plane.line(arcs, place(median + rng.normal(0, 0.8, median.shape), -80), 1.2, 2.4)
    plane.bone = np.asarray(bone * np.maximum(thin, 0.3), dtype=np.float32)
    plane.mineral = np.asarray(
        mineral * np.maximum(thin, 0.3) + arcs * np.float32(cortex * k) * (bone > 0), dtype=np.float32
    )
    for n, (y, w) in enumerate(((-27, 9.0), (-19, 7.0), (-11, 5.0))):
        bead = [(w * np.cos(t) * 0.8, y + 4.0 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 8, endpoint=False)]
        plane.solid(curve(place(bead, -58 + 4 * n), True, 4), 3.5 * k, 0.5 * cortex, spongy)
    bend = float(rng.normal(0.0, 5.0))
    for n in range(5):
        _vertebra(plane, place, (bend * (n / 4.0) ** 2, -163.0 - 37.0 * n), cortex * k, spongy, k)
    plane.bone = np.maximum(plane.bone, plane.mineral)
    return plane


def _vertebra(plane: Plane, place: _Place, at: tuple[float, float], cortex: float, spongy: Array, k: float) -> None:
    """One lumbar vertebra: body with end plates, transverse processes, pedicles, facets, spinous process."""
    cx, cy = at

    def moved(points: Sequence[tuple[float, float]], sign: float = 1.0) -> list[tuple[float, float]]:
        return [(cx + sign * x, cy + y) for x, y in points]

    body = moved([(-25, -14), (-13, -13), (0, -12.5), (13, -13), (25, -14), (26, -12), (22, 0), (26, 12),
                  (25, 14), (13, 13),
                  (0, 12.5), (-13, 13), (-25, 14), (-26, 12), (-22, 0), (-26, -12)])  # fmt: skip
    for s in (-1.0, 1.0):
        wing = moved([(20, -7), (38, -11), (50, -9), (49, -3), (36, -1), (22, 2)], s)
        plane.solid(curve(place(wing, -18.0), True, 4), 3.2 * k, 0.6 * cortex, spongy, 0.3)
    plane.solid(curve(place(body, 10.0), True, 5), 14.0 * k, 0.75 * cortex, 0.8 * spongy, 0.5)
    for edge in (-13.0, 13.0):
        ends = moved([(-24, edge), (-8, edge * 0.93), (8, edge * 0.93), (24, edge)])
        plane.line(plane.mineral, curve(place(ends, 10.0), False), 2.6 * cortex, 0.7)
    for s in (-1.0, 1.0):
        ring = [(cx + s * 15 + 5.5 * np.cos(t), cy - 4 + 7.5 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 11)]
        plane.line(plane.mineral, place(ring, -14.0), 2.3 * cortex, 0.7)
        facet = moved([(19, 9), (16, 15), (15, 22)], s)
        plane.line(plane.mineral, curve(place(facet, -34.0), False), 2.0 * cortex, 1.0)
    tail = moved([(0, 2), (3.0, 8), (3.6, 17), (0, 22), (-3.6, 17), (-3.0, 8)])
    plane.solid(curve(place(tail, -60.0), True, 4), 9.0 * k, 0.8 * cortex, spongy, 0.6)
