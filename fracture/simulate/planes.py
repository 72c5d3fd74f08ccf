"""Bone drawn in the plane of a film: outlines inflated to a rounded bone, soft lines where a cortex is met edge-on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from fracture.simulate.geometry import compose, inverse, transform
from fracture.simulate.projection import Body, Camera
from fracture.simulate.volume import inside_share, opening_share

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

_FINE = 2  # outlines are drawn at twice the resolution
_WIDE, _FADES = 15.5, 8.0  # mm off a cut's axis beyond which a flat bone stays whole, and over which that begins


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
        outer = sheet(deep, half)
        inner = np.minimum(sheet(deep - np.float32(cortex), np.asarray(half - cortex, np.float32)), outer)
        mineral = (outer - inner) + inner * trabecular
        return outer * np.float32(2.0), np.asarray(mineral * np.float32(2.0), dtype=np.float32)

    def break_apart(self, pieces: Sequence[Body]) -> NDArray[np.bool_]:
        """Break the bone of this window into pieces; which pixels of the film (rows, columns) their surfaces meet.

        Each piece is what lies on its side of its cut, moved within the film's plane by its motion as it is at the
        cut's own depth. The bone is taken as 12 mm thick there, and far off the cut's axis it stays whole.
        """
        x, y = (np.ascontiguousarray(v, dtype=np.float32) for v in np.broadcast_arrays(self.x, self.y))
        to_image = self.camera.to_image
        bone, mineral = np.zeros_like(self.bone), np.zeros_like(self.mineral)
        surface = np.zeros(self.size, np.bool_)
        for number, body in enumerate(pieces):
            cut = body.cut
            if cut is None:
                continue
            w = float(transform(compose(to_image, inverse(cut.to_local)), (0.0, 0.0, 0.0))[2])
            r = compose(to_image, inverse(body.motion), inverse(to_image)).astype(np.float32)
            u, v = (r[k, 0] * x + r[k, 1] * y + (r[k, 2] * np.float32(w) + r[k, 3]) for k in range(2))
            m = compose(cut.to_local, inverse(to_image)).astype(np.float32)
            local = [m[k, 0] * u + m[k, 1] * v + (m[k, 2] * np.float32(w) + m[k, 3]) for k in range(3)]
            deeper = [[at + m[k, 2] * np.float32(d) for k, at in enumerate(local)] for d in (-6.0, -3.0, 0.0, 3.0, 6.0)]
            levels = [cut.signed(*spot) for spot in deeper]
            off_axis = np.hypot(*(m[k, 0] * x + m[k, 1] * y + (m[k, 2] * np.float32(w) + m[k, 3]) for k in (1, 2)))
            depth = cut.depth(*local) * np.clip((np.float32(_WIDE) - off_axis) / np.float32(_FADES), 0.0, 1.0)
            paths: list[Array] = [self.bone, self.mineral]
            if not np.array_equal(body.motion, np.eye(4)):
                to = [self._fine(p + depth * (q - p), k) for k, (p, q) in enumerate(((x, u), (y, v)))]
                paths = [_sampled(path, to[0], to[1]) for path in paths]
            gap, pixel = np.float32(cut.gap), np.float32(self.pixel)
            if cut.crack:
                shares = [opening_share(a, b, gap, pixel) for a, b in pairwise(levels)]
                kept = 1.0 - depth * np.mean(shares, axis=0)
            else:
                half = np.float32(0.5) * gap
                share = np.mean([inside_share(a + half, b + half, pixel) for a, b in pairwise(levels)], axis=0)
                kept = 1.0 - depth * (1.0 - share) if number == 0 else depth * share
            near = np.abs(np.stack(levels)).min(axis=0) < max(0.6, 0.75 * self.camera.spacing)
            surface |= near & (depth > 0.25) & (paths[0] > 0.8)
            bone += paths[0] * kept
            mineral += paths[1] * kept
        self.bone, self.mineral = bone, mineral
        return surface[::_FINE, ::_FINE]

    def _fine(self, mm: Array, axis: int) -> Array:
        """Image mm along x (0) or y (1) as indices of fine pixels."""
        first = (self.columns.start, self.rows.start)[axis] * _FINE
        return np.asarray(mm / np.float32(self.pixel) - np.float32(first + 0.5), dtype=np.float32)

    def add_to(self, bone: Array, mineral: Array) -> None:
        """Add the window to planes of the whole film; a side of the pelvis that lies off the film adds nothing."""
        size = (self.columns.stop - self.columns.start, self.rows.stop - self.rows.start)
        if min(size) <= 0:
            return
        window = (self.rows, self.columns)
        bone[window] += cv2.resize(self.bone, size, interpolation=cv2.INTER_AREA)
        mineral[window] += cv2.resize(np.maximum(self.mineral, 0.0), size, interpolation=cv2.INTER_AREA)


def _sampled(plane: Array, x: Array, y: Array) -> Array:
    return np.asarray(cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)


def sheet(deep: Array, half: Array | float) -> Array:
    """Half thickness of a rounded sheet ``deep`` mm inside its outline."""
    h = np.maximum(np.asarray(half, dtype=np.float32), np.float32(0.05))
    ratio = np.clip(1.0 - deep / h, 0.0, 1.0)
    return np.asarray(np.where(deep > 0.0, h * np.sqrt(1.0 - ratio * ratio), 0.0), dtype=np.float32)


def curve(points: NDArray[np.float64], closed: bool, per: int = 6) -> NDArray[np.float64]:
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


def noise_patch(plane: Plane, texture: int, step: float = 0.45) -> Array:
    """Trabecular noise over the fine pixels of a window."""
    u = np.broadcast_to(plane.x / np.float32(step) + np.float32(61 * (texture % 64)), plane.size)
    v = np.broadcast_to(plane.y / np.float32(step) + np.float32(37 * (texture % 64)), plane.size)
    noise = bone_noise(texture % 4)
    out = cv2.remap(
        noise, np.ascontiguousarray(u), np.ascontiguousarray(v), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return np.asarray(out, dtype=np.float32)
