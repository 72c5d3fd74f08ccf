"""Path lengths through one body, from a coarse grid of distances that is enlarged slice by slice.

``projection.project`` asks the shapes at every sample of every ray. A pelvic film has five times the rays of a
limb's, and what is asked for is smooth: here a bone's signed distance, cortical thickness and trabecular fraction are
computed on a grid of about 2 mm and interpolated to the pixels of each slice. A signed distance is linear near
its surface, so that interpolation misplaces the surface of a bone of radius R by about h^2 / (8 R): 0.05 mm for
h = 2 mm and R = 10 mm. Fracture surfaces are rough and are evaluated at every pixel of every slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.simulate.geometry import compose, inverse, transform
from fracture.simulate.projection import Body, Camera, Cut
from fracture.simulate.shapes import Bone, Field, carve, merge

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

_FAR = np.float32(30.0)  # mm, the distance where no part of the bone is near


@dataclass(frozen=True, eq=False)
class Layer:
    """Path lengths in mm through one body within a window of the film.

    Attributes:
        rows, columns: The window.
        bone: Everything inside the body, float32 (rows, columns).
        cortex: Its cortical shell.
        spongy: The rest, times the trabecular fraction.
        surface: bool, the rays that meet the body's fracture surface inside it.
    """

    rows: slice
    columns: slice
    bone: Array
    cortex: Array
    spongy: Array
    surface: NDArray[np.bool_]


def trace(body: Body, camera: Camera, *, grid: float = 2.0, step: float = 1.8) -> Layer | None:
    """The path lengths of ``body``, or ``None`` where no ray meets it.

    Args:
        body: A bone, a fragment or an implant, with its motion.
        camera: The rays; a mirroring ``to_image`` is allowed.
        grid: About how far in mm the rays are apart on which distances are computed.
        step: Depth in mm between slices.
    """
    to_image = compose(camera.to_image, body.motion)
    solid = np.concatenate([transform(to_image, p.shape.bounds()) for p in body.bone.parts if not p.carve])
    spacing = camera.spacing
    stride = max(1, round(grid / spacing))
    low, high = solid.min(axis=0), solid.max(axis=0)
    j0, i0 = (max(0, int(np.floor(v / spacing)) - stride) for v in low[:2])
    j1 = min(camera.width, int(np.ceil(high[0] / spacing)) + stride)
    i1 = min(camera.height, int(np.ceil(high[1] / spacing)) + stride)
    if j1 <= j0 or i1 <= i0:
        return None
    nx, ny = -(-(j1 - j0) // stride), -(-(i1 - i0) // stride)
    nw = max(4, int(np.ceil((high[2] - low[2]) / step)) + 1)
    x = ((j0 + (np.arange(nx) + 0.5) * stride) * spacing).astype(np.float32)
    y = ((i0 + (np.arange(ny) + 0.5) * stride) * spacing).astype(np.float32)
    w = np.linspace(low[2], high[2], nw, dtype=np.float32)
    field = _grid(body.bone, to_image, x, y, w)
    near = field.distance < np.float32(0.8 * stride * spacing + 0.5 * float(w[1] - w[0]))
    if body.cut is not None and not body.cut.crack:
        m = compose(body.cut.to_local, inverse(to_image)).astype(np.float32)
        xs, ys, ws = x[None, None, :], y[None, :, None], w[:, None, None]
        a, b, c = (m[k, 0] * xs + (m[k, 1] * ys + (m[k, 2] * ws + m[k, 3])) for k in range(3))
        near &= body.cut.signed(a, b, c) < np.float32(grid + step + 2.0)
    if not near.any():
        return None
    ky, kx, kw = (np.nonzero(near.any(axis=axes))[0] for axes in ((0, 2), (0, 1), (1, 2)))
    part = (
        slice(max(int(kw[0]) - 1, 0), int(kw[-1]) + 2),
        slice(int(ky[0]), int(ky[-1]) + 1),
        slice(int(kx[0]), int(kx[-1]) + 1),
    )
    origin = (i0 + part[1].start * stride, j0 + part[2].start * stride)
    cropped = Field(*(np.ascontiguousarray(np.broadcast_to(f, near.shape)[part], dtype=np.float32) for f in field))
    return _gather(body, camera, cropped, w[part[0]], origin, stride, inverse(to_image))


def _grid(bone: Bone, to_image: NDArray[np.float64], x: Array, y: Array, w: Array) -> Field:
    """The bone's field (slices, rows, columns); each part is evaluated in its own box only."""
    back = inverse(to_image)
    shape = (w.size, y.size, x.size)
    distance = np.full(shape, _FAR, np.float32)
    cortex, trabecular = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for part in bone.parts:
        corners = transform(to_image, part.shape.bounds())
        room = max(part.blend, 4.0) + 2.0
        lo, hi = corners.min(axis=0) - room, corners.max(axis=0) + room
        box = tuple(slice(*np.searchsorted(v, (lo[k], hi[k]))) for k, v in ((2, w), (1, y), (0, x)))
        if any(s.start >= s.stop for s in box):
            continue
        m = compose(part.shape.to_local, back).astype(np.float32)
        xs, ys, ws = x[box[2]][None, None, :], y[box[1]][None, :, None], w[box[0]][:, None, None]
        s, u, v = (m[k, 0] * xs + (m[k, 1] * ys + (m[k, 2] * ws + m[k, 3])) for k in range(3))
        here = part.shape.field(s, u, v)
        before = Field(distance[box], cortex[box], trabecular[box])
        after = carve(before, here) if part.carve else merge(before, here, part.blend)
        distance[box], cortex[box], trabecular[box] = after.distance, after.cortex, after.trabecular
    return Field(distance, cortex, trabecular)


def _gather(
    body: Body,
    camera: Camera,
    field: Field,
    w: Array,
    origin: tuple[int, int],
    stride: int,
    back: NDArray[np.float64],
) -> Layer:
    """Sum the slices at the film's own resolution."""
    distance, cortex, trabecular = (np.asarray(f, dtype=np.float32) for f in field)
    _, ny, nx = distance.shape
    height, width = min(ny * stride, camera.height - origin[0]), min(nx * stride, camera.width - origin[1])
    pixel = np.float32(camera.spacing)
    depth = np.float32(w[1] - w[0])

    def enlarged(plane: Array) -> Array:
        if stride == 1:
            return plane[:height, :width]
        big = cv2.resize(plane, (nx * stride, ny * stride), interpolation=cv2.INTER_LINEAR)
        return np.asarray(big, dtype=np.float32)[:height, :width]

    bone = np.zeros((height, width), np.float32)
    shell, spongy = np.zeros_like(bone), np.zeros_like(bone)
    surface = np.zeros(bone.shape, np.bool_)
    cutter = None if body.cut is None else _Cutter(body.cut, back, camera.spacing, origin, bone.shape)
    a = b = s = None
    for k in range(w.size):
        a1 = enlarged(distance[k])
        b1 = a1 + enlarged(cortex[k])
        if cutter is not None:
            s1, broken = cutter.at(float(w[k]))
            surface |= (np.abs(s1) < np.float32(max(0.6, 0.75 * camera.spacing))) & (a1 < 0.0) & (broken > 0.25)
        if a is not None and b is not None:
            outer, inner = inside_share(a, a1, pixel), inside_share(b, b1, pixel)
            if cutter is not None and s is not None:
                if cutter.cut.crack:
                    intact = 1.0 - broken * opening_share(s, s1, np.float32(cutter.cut.gap), pixel)
                    outer, inner = outer * intact, inner * intact
                else:
                    half = np.float32(0.5 * cutter.cut.gap)
                    kept = inside_share(s + half, s1 + half, pixel)
                    outer, inner = np.minimum(outer, kept), np.minimum(inner, kept)
            bone += outer
            shell += outer
            shell -= inner
            spongy += inner * enlarged(trabecular[k])
        a, b = a1, b1
        if cutter is not None:
            s = s1
    rows, columns = slice(origin[0], origin[0] + height), slice(origin[1], origin[1] + width)
    return Layer(rows, columns, bone * depth, np.maximum(shell, 0.0) * depth, spongy * depth, surface)


class _Cutter:
    """A cut evaluated at every pixel of a slice."""

    def __init__(
        self, cut: Cut, back: NDArray[np.float64], spacing: float, origin: tuple[int, int], shape: tuple[int, ...]
    ) -> None:
        self.cut = cut
        m = compose(cut.to_local, back).astype(np.float32)
        x = ((origin[1] + np.arange(shape[1], dtype=np.float32) + 0.5) * np.float32(spacing))[None, :]
        y = ((origin[0] + np.arange(shape[0], dtype=np.float32) + 0.5) * np.float32(spacing))[:, None]
        self.base = [m[k, 0] * x + (m[k, 1] * y + m[k, 3]) for k in range(3)]
        self.along = m[:3, 2]

    def at(self, w: float) -> tuple[Array, Array]:
        a, b, c = (self.base[k] + self.along[k] * np.float32(w) for k in range(3))
        return self.cut.signed(a, b, c), self.cut.depth(a, b, c)


def inside_share(a: Array, b: Array, pixel: np.float32) -> Array:
    """Share of an interval where a function, linear from ``a`` to ``b``, is negative; a surface that the rays graze is
    spread over one pixel."""
    run = np.abs(b - a)
    np.maximum(run, pixel, out=run)
    middle = (a + b) * np.float32(-0.5)
    middle /= run
    middle += np.float32(0.5)
    return np.asarray(np.clip(middle, 0.0, 1.0, out=middle), dtype=np.float32)


def opening_share(a: Array, b: Array, gap: np.float32, pixel: np.float32) -> Array:
    """Share of an interval, seen through one pixel, that a crack of width ``gap`` takes: two boxes' overlap."""
    run = np.maximum(np.abs(b - a), pixel)
    overlap = (gap + run) * np.float32(0.5) - np.abs(a + b) * np.float32(0.5)
    return np.asarray(np.clip(overlap, 0.0, np.minimum(gap, run)) / run, dtype=np.float32)
