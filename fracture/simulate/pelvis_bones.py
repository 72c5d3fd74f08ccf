"""Hemipelvis, sacrum and lumbar spine in frontal projection.

A radiologist reads a pelvis by its lines: iliopectineal and ilioischial line, teardrop, roof, anterior and posterior
wall. They are drawn here from landmarks in 3D, so that rotation and tilt of the pelvis change them as they do on a
film: an outline is inflated to a rounded bone whose thickness along the ray varies from place to place, the
acetabular cavity is taken out of it as a sphere, and lines where a cortex is met edge-on are added. Landmarks (mm of
a medium adult, hip frame of a right hip: x medial, y distal, z to the front) are our choice after textbook
films.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

from fracture.simulate.geometry import transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fracture.simulate.projection import Camera

__all__ = ["Plane", "hemipelvis", "sacrum_and_spine"]

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Points = tuple[tuple[float, float, float], ...]

_FINE = 2  # outlines are drawn at twice the resolution

_OUTLINE: Points = (
    (-25, -16, 2), (-23, -25, 14), (-24, -36, 28), (-27, -48, 30), (-34, -62, 40), (-43, -76, 50), (-50, -93, 38),
    (-52, -111, 26), (-47, -129, 14), (-34, -144, 2), (-14, -154, -10), (8, -157, -22), (28, -152, -36),
    (46, -141, -50),
    (58, -125, -62), (64, -106, -70), (63, -90, -68), (58, -77, -58), (49, -64, -44), (40, -50, -26), (32, -34, -6),
    (28, -18, 4), (30, -3, 14), (42, 8, 26), (58, 16, 36), (74, 21, 42), (86, 24, 45), (88.5, 30, 46), (88.5, 44, 44),
    (87, 58, 40), (80, 67, 32), (68, 76, 14), (54, 85, -8), (40, 90, -28), (27, 86, -38), (18, 74, -38), (12, 60, -34),
    (8, 47, -30), (3, 35, -26), (-5, 25, -24), (-13, 13, -24), (-20, -1, -20), (-25, -11, -10),
)  # fmt: skip
_FORAMEN: Points = (
    (43, 26, 14), (52, 23, 22), (63, 26, 32), (72, 33, 36), (76, 43, 36), (74, 54, 30), (67, 65, 14), (57, 72, -6),
    (48, 73, -16), (42, 63, -20), (38, 49, -14), (38, 35, 2),
)  # fmt: skip
# Half thickness along the ray (mm) near landmarks, with the reach of each.
_THICK: tuple[tuple[float, float, float, float, float], ...] = (
    (-8, -122, 10, 2.6, 30), (-25, -100, 25, 3.2, 22), (10, -95, -20, 2.4, 22), (-45, -95, 35, 6.5, 10),
    (-44, -128, 12, 5.5, 12), (0, -152, -18, 6.0, 12), (38, -142, -44, 7.0, 12), (58, -110, -62, 11.0, 12),
    (44, -90, -45, 10.0, 12), (30, -62, -18, 11.0, 12), (-20, -55, 25, 8.5, 10), (0, -50, 8, 10.5, 14),
    (0, -32, 4, 18.0, 12), (20, -26, 2, 16.0, 12), (24, 8, 0, 12.0, 10), (34, 14, 8, 8.5, 8), (50, 17, 28, 6.5, 9),
    (66, 24, 38, 5.8, 9), (82, 36, 42, 7.5, 9), (82, 58, 36, 6.0, 8), (66, 70, 14, 4.2, 9), (42, 80, -22, 10.0, 10),
    (26, 70, -32, 14.0, 12), (24, 44, -20, 13.0, 12), (14, 34, -20, 9.0, 9), (-14, 2, -20, 5.0, 10),
)  # fmt: skip
_CREST: Points = _OUTLINE[4:16]
_BRIM: Points = (
    (52, -74, -52), (44, -58, -36), (36, -43, -18), (30, -28, 0), (28.5, -14, 10), (32, -2, 18), (43, 8, 26),
    (58, 15, 36),
    (74, 20, 42), (86, 24, 45),
)  # fmt: skip
_ILIOISCHIAL: Points = (
    (33, -44, -38), (31, -26, -34), (31.5, -8, -32), (33, 8, -30), (35, 24, -28), (37, 40, -28), (41, 56, -30),
    (44, 66, -30),
)  # fmt: skip
_TEARDROP: Points = ((27.5, 2, 6), (27.5, 10, 7), (28.5, 17, 8), (31, 21.5, 8), (34, 18, 8), (34.5, 9, 7), (33, 0, 6))
_ANTERIOR_WALL: Points = (
    (-25, -15, 4), (-17, -11, 14), (-8, -4, 20), (2, 4, 23), (12, 11, 24), (24, 16, 24), (36, 22, 26), (46, 25, 28),
)  # fmt: skip
_POSTERIOR_WALL: Points = ((-25, -13, -8), (-21, -1, -20), (-14, 12, -24), (-6, 23, -25), (2, 33, -26), (8, 44, -28))
_SPINE: Points = ((35, -12, -52), (42, -2, -56), (44.5, 3, -57), (40, 8, -54), (35, 14, -48))
_SI_FRONT: Points = ((38, -128, -38), (43, -116, -36), (48, -102, -36), (53, -90, -40), (58, -80, -46))
_SI_BACK: Points = ((46, -126, -60), (52, -112, -62), (56, -98, -60), (58, -86, -54), (59, -79, -48))
_GLUTEAL: Points = ((-2, -150, -14), (14, -128, -22), (26, -104, -24), (34, -80, -24), (36, -62, -20))


class Plane:
    """A window of the film in which bone is drawn, at twice the resolution.

    Attributes:
        rows, columns: The window in film pixels.
        x, y: Image mm of the fine pixels, (1, w) and (h, 1).
        bone, mineral: Path lengths in mm, float32, fine.
    """

    def __init__(self, camera: Camera, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        self.camera = camera
        first = np.clip(np.floor(low / camera.spacing).astype(int), 0, (camera.width, camera.height))
        last = np.clip(np.ceil(high / camera.spacing).astype(int) + 1, 0, (camera.width, camera.height))
        last = np.maximum(last, first)
        self.columns, self.rows = slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))
        size = (int(last[1] - first[1]) * _FINE, int(last[0] - first[0]) * _FINE)
        self.size = size
        self.pixel = camera.spacing / _FINE
        self.x = ((int(first[0]) * _FINE + np.arange(size[1], dtype=np.float32) + 0.5) * np.float32(self.pixel))[
            None, :
        ]
        self.y = ((int(first[1]) * _FINE + np.arange(size[0], dtype=np.float32) + 0.5) * np.float32(self.pixel))[
            :, None
        ]
        self.bone = np.zeros(size, np.float32)
        self.mineral = np.zeros(size, np.float32)

    @property
    def empty(self) -> bool:
        """Whether the window lies off the film."""
        return 0 in self.size

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Image mm (points, 2) to fine pixels of the window."""
        return np.asarray(points / self.pixel - (self.columns.start * _FINE, self.rows.start * _FINE))

    def window(self, points: NDArray[np.float64], margin: float) -> tuple[slice, slice]:
        """Fine rows and columns around image mm points; empty where they lie off the film."""
        p = self.pixels(points)
        room = margin / self.pixel
        low = np.clip(np.floor(p.min(axis=0) - room), 0, self.size[::-1]).astype(int)
        high = np.clip(np.ceil(p.max(axis=0) + room) + 1, 0, self.size[::-1]).astype(int)
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))

    def deep(
        self,
        outline: NDArray[np.float64],
        holes: Sequence[NDArray[np.float64]] = (),
        window: tuple[slice, slice] | None = None,
    ) -> Array:
        """Distance in mm from each fine pixel of a window to the outline, 0 outside; image mm polygons."""
        rows, columns = window or (slice(0, self.size[0]), slice(0, self.size[1]))
        around = 36  # so that an outline cut by the window's edge does not get a rim there
        canvas = np.zeros((rows.stop - rows.start + 2 * around, columns.stop - columns.start + 2 * around), np.uint8)
        corner = (columns.start - around, rows.start - around)
        for polygon, value in [(outline, 1), *((h, 0) for h in holes)]:
            drawn = np.round((self.pixels(polygon) - corner) * 16 - 8).astype(np.int32)
            cv2.fillPoly(canvas, [drawn.reshape(-1, 1, 2)], value, shift=4)
        found = cv2.distanceTransform(canvas, cv2.DIST_L2, 5)[around:-around, around:-around]
        return np.asarray(np.maximum(found - 0.5, 0.0), dtype=np.float32) * np.float32(self.pixel)

    def line(
        self, target: Array, points: NDArray[np.float64], strength: float | Sequence[float], width: float = 0.7
    ) -> None:
        """Add a soft line along image mm points: ``strength`` mm of path (one or per point), sigma ``width`` mm."""
        rows, columns = self.window(points, 4.0 * width + 2.0 * self.pixel)
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return
        canvas = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        p = np.round((self.pixels(points) - (columns.start, rows.start)) * 16 - 8).astype(np.int32)
        values = np.broadcast_to(np.asarray(strength, dtype=np.float64), (len(p),))
        thick = max(1, round(1.2 * width / self.pixel))
        for k in range(len(p) - 1):
            cv2.line(canvas, p[k].tolist(), p[k + 1].tolist(), float(values[k : k + 2].mean()), thick, cv2.LINE_8, 4)
        sigma = width / self.pixel
        soft = cv2.GaussianBlur(canvas, (0, 0), sigma)
        target[rows, columns] += soft * np.float32(min(2.2, 2.6 * sigma / thick))

    def solid(
        self, outline: NDArray[np.float64], half: float, cortex: float, trabecular: Array, share: float = 1.0
    ) -> None:
        """Draw a small bone on top: where it meets another of this plane, both count by ``share``."""
        window = self.window(outline, 1.0)
        if window[0].stop <= window[0].start or window[1].stop <= window[1].start:
            return
        bone, mineral = self.inflate(self.deep(outline, (), window), half, cortex, trabecular[window])
        for plane, path in ((self.bone, bone), (self.mineral, mineral)):
            here = plane[window]
            plane[window] = np.maximum(here + np.float32(share) * path, path)

    def inflate(
        self, deep: Array, half: Array | float, cortex: float, trabecular: Array | float
    ) -> tuple[Array, Array]:
        """Path lengths of a rounded bone ``deep`` mm within its outline: everything, and mineral."""
        outer = _sheet(deep, half)
        inner = np.minimum(_sheet(deep - np.float32(cortex), np.asarray(half - cortex, np.float32)), outer)
        mineral = (outer - inner) + inner * trabecular
        return outer * np.float32(2.0), np.asarray(mineral * np.float32(2.0), dtype=np.float32)

    def add_to(self, bone: Array, mineral: Array) -> None:
        """Add the window to planes of the whole film; a side of the pelvis that lies off the film adds nothing."""
        size = (self.columns.stop - self.columns.start, self.rows.stop - self.rows.start)
        if min(size) <= 0:
            return
        window = (self.rows, self.columns)
        bone[window] += cv2.resize(self.bone, size, interpolation=cv2.INTER_AREA)
        mineral[window] += cv2.resize(np.maximum(self.mineral, 0.0), size, interpolation=cv2.INTER_AREA)


def _sheet(deep: Array, half: Array | float) -> Array:
    """Half thickness of a rounded sheet ``deep`` mm inside its outline."""
    h = np.maximum(np.asarray(half, dtype=np.float32), np.float32(0.05))
    ratio = np.clip(1.0 - deep / h, 0.0, 1.0)
    return np.asarray(np.where(deep > 0.0, h * np.sqrt(1.0 - ratio * ratio), 0.0), dtype=np.float32)


def _curve(points: NDArray[np.float64], closed: bool, per: int = 6) -> NDArray[np.float64]:
    """A smooth curve (points, k) through landmarks."""
    if closed:
        t = np.arange(len(points) + 1)
        spline = CubicSpline(t, np.concatenate([points, points[:1]]), bc_type="periodic")
        return np.asarray(spline(np.linspace(0, len(points), per * len(points), endpoint=False)))
    t = np.arange(len(points))
    return np.asarray(CubicSpline(t, points)(np.linspace(0, len(points) - 1, per * (len(points) - 1) + 1)))


@lru_cache(maxsize=4)
def bone_noise(number: int) -> Array:
    """A periodic patch of trabecular noise, float32 (512, 512), unit variance: fine grain drawn out along y."""
    rng = np.random.default_rng([5_501, number])
    white = rng.standard_normal((512, 512)).astype(np.float32)
    total = np.zeros_like(white)
    for sx, sy, weight in ((0.9, 2.2, 1.0), (2.0, 2.0, 0.8), (5.0, 6.0, 0.6)):
        layer = cv2.GaussianBlur(np.roll(white, (97, 31), (0, 1)), (0, 0), sx, sigmaY=sy, borderType=cv2.BORDER_REFLECT)
        total += np.float32(weight) * layer / layer.std()
        white = np.ascontiguousarray(white[::-1])
    return np.asarray(total / total.std(), dtype=np.float32)


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
        return np.asarray(points + np.sin(points @ self.wave.T + self.phase) @ self.size)


def hemipelvis(
    camera: Camera,
    rng: np.random.Generator,
    *,
    scale: float,
    midline: float,
    cortex: float,
    trabecular: float,
    socket: float,
    arthritis: float,
    warp: Warp,
    texture: int,
) -> Plane:
    """The right half of the pelvis (the camera mirrors it for the left).

    Args:
        camera: From the hip frame.
        rng: The stream of this side.
        scale: Size relative to the drawn adult.
        midline: mm from the head's center to the midline; the pubis is fitted to it.
        cortex, trabecular: Relative cortical thickness and trabecular volume fraction.
        socket: Radius of the acetabular cavity in mm.
        arthritis: 0..1; sclerosis of the roof grows with it.
        warp: Shape of this person.
        texture: Which patch of noise.
    """
    k = scale
    stretch = (midline / k - 2.0) / 88.5

    def place(points: Points | NDArray[np.float64]) -> NDArray[np.float64]:
        p = warp(np.array(points, dtype=np.float64)[:, :3])
        wide = np.clip((p[:, 0] - 25.0) / 45.0, 0.0, 1.0)
        p[:, 0] *= 1.0 + (stretch - 1.0) * wide
        return transform(camera.to_image, p * k)[:, :2]

    outline = _curve(place(_OUTLINE), True)
    foramen = _curve(place(_FORAMEN), True)
    plane = Plane(camera, outline.min(axis=0) - 14.0, outline.max(axis=0) + 8.0)
    if plane.empty:
        return plane
    deep = plane.deep(outline, (foramen,))
    half = _thickness(plane, place(np.array(_THICK)), k)
    plane.line(half, _curve(place(_CREST), False), 3.5 * k, 3.0 * k)
    grain = _patch(plane, texture)
    spongy = np.clip(trabecular * (0.78 + 0.11 * grain), 0.02, 1.0).astype(np.float32)
    shell = 1.1 * cortex * k
    outer = _sheet(deep, half)
    inner = np.minimum(_sheet(deep - np.float32(shell), half - np.float32(shell)), outer)
    # The acetabulum: a sphere is missing, and its floor and walls stay.
    hip = transform(camera.to_image, (0.0, 0.0, 0.0))[:2]
    dx, dy = plane.x - np.float32(hip[0]), plane.y - np.float32(hip[1])
    radius = np.sqrt(dx * dx + dy * dy)
    chord = np.sqrt(np.maximum(np.float32(socket) ** 2 - radius * radius, 0.0))
    medial = np.float32(np.sign(camera.to_image[0, 0]) or 1.0)
    rise = np.clip(deep / np.float32(16.0 * k), 0.0, 1.0)
    wall = _sheet(deep, k * (0.9 + 2.4 * rise + 1.5 * np.clip(dx * medial / np.float32(20.0 * k), 0.0, 1.0)))
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
    plane.line(lines, _curve(place(_BRIM), False), _fade((3.4, 3.6, 4.4, 5.2, 5.0, 4.0, 3.0, 2.2, 1.4, 0.6), c), 0.75)
    for points, fade, width in (
        (_ILIOISCHIAL, (0.4, 2.0, 3.2, 3.6, 3.4, 2.4, 1.4, 0.4), 0.65),
        (_TEARDROP, (1.6, 3.2, 4.2, 4.4, 3.6, 2.6, 0.8), 0.6),
        (_ANTERIOR_WALL, (0.8, 1.3, 1.5, 1.6, 1.8, 1.8, 1.4, 0.6), 0.6),
        (_POSTERIOR_WALL, (0.8, 1.6, 2.2, 2.2, 1.6, 0.4), 0.6),
        (_SPINE, (0.8, 1.8, 2.2, 1.8, 0.8), 0.8),
        (_SI_FRONT, (1.2, 2.0, 2.6, 3.0, 2.2), 0.8),
        (_SI_BACK, (0.8, 1.4, 1.6, 1.4, 0.8), 0.9),
        (_GLUTEAL, (0.2, 1.0, 1.3, 1.0, 0.2), 1.6),
    ):
        if rng.random() < 0.93 or points is _TEARDROP:
            jittered = _curve(place(points), False)
            plane.line(lines, jittered, _fade(fade, c * float(rng.uniform(0.7, 1.25))), width)
    body = np.clip(deep / np.float32(0.6) + 0.2, 0.0, 1.0)
    plane.bone = np.asarray(np.maximum(outer, mineral), dtype=np.float32)
    plane.mineral = np.asarray(mineral + lines * body, dtype=np.float32)
    plane.bone = np.maximum(plane.bone, plane.mineral)
    # The joint space of the sacroiliac joint.
    gap = np.zeros_like(outer)
    plane.line(gap, _curve(place(_SI_FRONT) + np.array([1.6 * k * float(medial), 0.0]), False), 1.0, 0.7)
    plane.mineral *= 1.0 - np.clip(0.28 * gap, 0.0, 0.5)
    return plane


def _fade(values: Sequence[float], factor: float, per: int = 6) -> list[float]:
    t = np.arange(len(values))
    return [
        float(v) * factor for v in np.interp(np.linspace(0, len(values) - 1, per * (len(values) - 1) + 1), t, values)
    ]


def _patch(plane: Plane, texture: int, step: float = 0.45) -> Array:
    """Trabecular noise over the fine pixels of a window."""
    u = np.broadcast_to(plane.x / np.float32(step) + np.float32(61 * (texture % 64)), plane.size)
    v = np.broadcast_to(plane.y / np.float32(step) + np.float32(37 * (texture % 64)), plane.size)
    noise = bone_noise(texture % 4)
    out = cv2.remap(
        noise, np.ascontiguousarray(u), np.ascontiguousarray(v), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return np.asarray(out, dtype=np.float32)


def _thickness(plane: Plane, anchors: NDArray[np.float64], scale: float) -> Array:
    """Half thickness in mm over the window: landmarks' values, weighted by distance, on a reduced grid."""
    less = 8
    height, width = max(2, plane.size[0] // less), max(2, plane.size[1] // less)
    x = cv2.resize(np.repeat(plane.x, 2, 0), (width, 2), interpolation=cv2.INTER_AREA)[:1]
    y = cv2.resize(np.repeat(plane.y, 2, 1), (2, height), interpolation=cv2.INTER_AREA)[:, :1]
    total, weights = np.full((height, width), 1e-6 * 6.0, np.float32), np.full((height, width), 1e-6, np.float32)
    for (px, py), (_, _, _, value, reach) in zip(anchors, _THICK, strict=True):
        r2 = np.float32((reach * scale) ** 2)
        near = np.exp(-((x - np.float32(px)) ** 2 + (y - np.float32(py)) ** 2) / r2)
        total += near * np.float32(value * scale)
        weights += near
    big = cv2.resize(total / weights, (plane.size[1], plane.size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.maximum(big, 0.8), dtype=np.float32)


def sacrum_and_spine(
    camera: Camera, rng: np.random.Generator, *, scale: float, cortex: float, trabecular: float, texture: int
) -> Plane:
    """Sacrum, coccyx and the lowest lumbar vertebrae, from the pelvic frame (x = 0 in the midline)."""
    k = scale
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
    grain = _patch(plane, texture)
    spongy = np.clip(trabecular * (0.5 + 0.12 * grain), 0.02, 1.0).astype(np.float32)
    half_outline = [(0, -143), (16, -141), (27, -135), (40, -138), (53, -131), (56, -118), (52, -102),
                    (44, -88), (38, -74),
                    (33, -60), (27, -47), (18, -38), (10, -33), (0, -31)]  # fmt: skip
    depth = [-20, -22, -30, -38, -44, -46, -50, -56, -60, -62, -64, -64, -62, -62]
    both = half_outline + [(-x, y) for x, y in half_outline[-2:0:-1]]
    outline = _curve(place(both, depth + depth[-2:0:-1]), True)
    bone, mineral = plane.inflate(plane.deep(outline), 11.0 * k, 0.55 * cortex * k, spongy * 0.85)
    thin = np.ones_like(bone)
    arcs = np.zeros_like(bone)
    for x, y, r, z in ((21, -118, 6.5, -40), (18.5, -98, 6.0, -50), (16, -78, 5.5, -58), (13.5, -60, 4.5, -62)):
        for s in (-1.0, 1.0):
            a = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            hole = np.column_stack([s * x + r * np.cos(a), y + 0.75 * r * np.sin(a)])
            hole += rng.normal(0, 0.5, hole.shape)
            ring = _curve(place(hole, z), True, 3)
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
        plane.solid(_curve(place(bead, -58 + 4 * n), True, 4), 3.5 * k, 0.5 * cortex, spongy)
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
        plane.solid(_curve(place(wing, -18.0), True, 4), 3.2 * k, 0.6 * cortex, spongy, 0.3)
    plane.solid(_curve(place(body, 10.0), True, 5), 14.0 * k, 0.75 * cortex, 0.8 * spongy, 0.5)
    for edge in (-13.0, 13.0):
        ends = moved([(-24, edge), (-8, edge * 0.93), (8, edge * 0.93), (24, edge)])
        plane.line(plane.mineral, _curve(place(ends, 10.0), False), 2.6 * cortex, 0.7)
    for s in (-1.0, 1.0):
        ring = [(cx + s * 15 + 5.5 * np.cos(t), cy - 4 + 7.5 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 11)]
        plane.line(plane.mineral, place(ring, -14.0), 2.3 * cortex, 0.7)
        facet = moved([(19, 9), (16, 15), (15, 22)], s)
        plane.line(plane.mineral, _curve(place(facet, -34.0), False), 2.0 * cortex, 1.0)
    tail = moved([(0, 2), (3.0, 8), (3.6, 17), (0, 22), (-3.6, 17), (-3.0, 8)])
    plane.solid(_curve(place(tail, -60.0), True, 4), 9.0 * k, 0.8 * cortex, spongy, 0.6)
