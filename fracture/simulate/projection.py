"""Path lengths of cortex, trabecular bone and marrow along parallel rays through implicit bones.

Each body (a bone, or a fragment of one) is found on a coarse grid of rays first; the rays that meet it are then
sampled between their own entry and exit only. Within an interval the signed distance is taken as linear, so
that a surface is met at its true depth and not at the nearest sample: some twelve samples per bone suffice. The
rays are parallel: magnification is taken as constant over the object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fracture.simulate.geometry import compose, inverse, transform
from fracture.simulate.shapes import Blob, Bone, Field, Part, Tube, carve, merge

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

_CHUNK = 2048  # rays per block: a block of (2048, 16) float32 stays in a core's second-level cache
_GRAIN_CELLS = 64  # edge of the periodic block of trabecular noise


class Cut(Protocol):
    """The side of a fracture surface that a fragment keeps."""

    @property
    def to_local(self) -> NDArray[np.float64]:
        """(4, 4), limb frame to the cut's frame."""
        ...

    @property
    def gap(self) -> float:
        """Opening between the pieces, mm."""
        ...

    @property
    def crack(self) -> bool:
        """Whether both sides are drawn at once with the gap between them."""
        ...

    def signed(self, a: Array, b: Array, c: Array) -> Array:
        """Signed distance in mm to the fracture surface at points of the cut's frame, negative in the fragment."""
        ...

    def depth(self, a: Array, b: Array, c: Array) -> Array:
        """How much of the bone is broken there, 0..1: an incomplete crack ends inside the bone."""
        ...


@dataclass(frozen=True, eq=False)
class Body:
    """A bone or one fragment of it, moved rigidly.

    Attributes:
        bone: The bone at rest.
        motion: (4, 4), from its place at rest to its place on the film, both in the limb frame.
        cut: The fracture surface that bounds the fragment, or the crack through it; ``None`` for a whole bone.
        fracture: Index of the fracture that the surface belongs to, -1 for none.
    """

    bone: Bone
    motion: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    cut: Cut | None = None
    fracture: int = -1


@dataclass(frozen=True, eq=False)
class Camera:
    """Parallel rays: ``to_image`` (4, 4) maps limb mm to image mm (x right, y down, w along the ray).

    The pixel (row i, column j) covers ``[j, j + 1) x [i, i + 1)`` times ``spacing`` mm.
    """

    to_image: NDArray[np.float64]
    spacing: float
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Materials:
    """Path lengths in mm, float32 (height, width), and one mask (height, width) per fracture.

    ``bone`` is everything inside bones (cortex, trabeculae and marrow), ``mineral`` the path through mineralized
    bone: the cortex, plus the trabeculae by their volume fraction.
    """

    bone: Array
    mineral: Array
    surfaces: NDArray[np.bool_]


@lru_cache(maxsize=1)
def grain_noise() -> Array:
    """A periodic block of band-limited Gaussian noise of unit variance, float32 (64 * 64 * 64,), always the same.

    Fixed, so that a film needs only a random offset into it.
    """
    rng = np.random.default_rng(20231)
    block = rng.standard_normal((_GRAIN_CELLS,) * 3).astype(np.float32)
    block = ndimage.gaussian_filter(block, 0.7, mode="wrap")
    block -= block.mean()
    block /= block.std()
    return np.ascontiguousarray(block.reshape(-1))


@dataclass(frozen=True, eq=False)
class _Line:
    """Image rays written in a local frame: ``local_i = x * m[i,0] + y * m[i,1] + w * m[i,2] + m[i,3]``."""

    matrix: NDArray[np.float32]

    def at(self, x: Array, y: Array, w: Array) -> tuple[Array, Array, Array]:
        m = self.matrix
        out = []
        for i in range(3):
            base = x * m[i, 0] + (y * m[i, 1] + m[i, 3])
            out.append(base + w * m[i, 2])
        return out[0], out[1], out[2]


class _Traced:
    """One body prepared for a camera."""

    def __init__(self, body: Body, camera: Camera) -> None:
        self.body = body
        to_rest = inverse(compose(camera.to_image, body.motion))  # image mm -> limb mm at rest
        self.parts: list[tuple[Part, _Line, NDArray[np.float64]]] = []
        back = compose(camera.to_image, body.motion)
        corners = []
        for part in body.bone.parts:
            line = _Line(compose(part.shape.to_local, to_rest).astype(np.float32))
            box = transform(back, part.shape.bounds())
            extent = np.stack([box.min(axis=0) - part.blend, box.max(axis=0) + part.blend])
            self.parts.append((part, line, extent))
            if not part.carve:
                corners.append(box)
        box = np.concatenate(corners)
        self.low, self.high = box.min(axis=0), box.max(axis=0)
        self.grain = _Line(compose(body.bone.axis, to_rest).astype(np.float32))
        self.cut = None
        if body.cut is not None:
            self.cut = _Line(compose(body.cut.to_local, to_rest).astype(np.float32))

    def field(self, x: Array, y: Array, w: Array) -> Field | None:
        """The bone's field; parts that no ray of this block can meet are left out."""
        lo = (float(x.min()), float(y.min()))
        hi = (float(x.max()), float(y.max()))
        result: Field | None = None
        for part, line, extent in self.parts:
            if extent[0, 0] > hi[0] or extent[1, 0] < lo[0] or extent[0, 1] > hi[1] or extent[1, 1] < lo[1]:
                continue
            shape: Tube | Blob = part.shape
            here = shape.field(*line.at(x, y, w))
            if result is None:
                if part.carve:
                    continue
                result = here
            elif part.carve:
                result = carve(result, here)
            else:
                result = merge(result, here, part.blend)
        return result

    def signed(self, x: Array, y: Array, w: Array) -> tuple[Array, Array] | None:
        """Signed distance to the cut and how deep the break goes there."""
        if self.cut is None or self.body.cut is None:
            return None
        a, b, c = self.cut.at(x, y, w)
        return self.body.cut.signed(a, b, c), self.body.cut.depth(a, b, c)


def project(
    bodies: list[Body], camera: Camera, fractures: int, *, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Materials:
    """The path lengths of all bodies together.

    Args:
        bodies: Bones and fragments; where two overlap (a shortened fracture), both count, as impacted bone does.
        camera: The rays.
        fractures: How many fractures there are; ``surfaces`` has that many planes.
        offset: Where in the block of trabecular noise this film starts, in cells.
    """
    shape = (camera.height, camera.width)
    bone = np.zeros(shape, np.float32)
    mineral = np.zeros(shape, np.float32)
    surfaces = np.zeros((fractures, *shape), np.bool_)
    names: dict[str, int] = {}  # fragments of a bone share its texture
    for body in bodies:
        number = names.setdefault(body.bone.name, len(names))
        traced = _Traced(body, camera)
        rays = _rays(traced, camera)
        if rays is None:
            continue
        rows, columns, first, last = rays
        shift = np.float32(13.7 * number) + np.asarray(offset, np.float32)
        count = int(np.clip(np.ceil(float(np.percentile(last - first, 90)) / 1.6), 8, 26))
        for begin in range(0, rows.size, _CHUNK):
            block = slice(begin, begin + _CHUNK)
            i, j = rows[block], columns[block]
            paths = _march(traced, camera, i, j, first[block], last[block], count, shift)
            if paths is None:
                continue
            bone[i, j] += paths[0]
            mineral[i, j] += paths[1]
            if body.fracture >= 0:
                surfaces[body.fracture, i, j] |= paths[2]
    return Materials(bone, mineral, surfaces)


def _rays(traced: _Traced, camera: Camera) -> tuple[NDArray[np.intp], NDArray[np.intp], Array, Array] | None:
    """The pixels whose rays meet a body, in row order, with the depths where sampling starts and ends."""
    spacing = camera.spacing
    j0, i0 = (max(0, int(np.floor(v / spacing)) - 1) for v in traced.low[:2])
    j1 = min(camera.width, int(np.ceil(traced.high[0] / spacing)) + 1)
    i1 = min(camera.height, int(np.ceil(traced.high[1] / spacing)) + 1)
    if j1 <= j0 or i1 <= i0:
        return None
    w0, w1 = float(traced.low[2]), float(traced.high[2])
    coarse = float(np.clip((w1 - w0) / 18.0, 1.8, 3.5))  # mm; a thick bone bears a coarser search
    stride = max(2, round(coarse / spacing))
    ys = np.arange(i0, i1 + stride, stride)
    xs = np.arange(j0, j1 + stride, stride)
    steps = max(4, int(np.ceil((w1 - w0) / coarse)))
    w = np.linspace(w0, w1, steps, dtype=np.float32)
    step = (w1 - w0) / (steps - 1)
    x = ((xs + 0.5 * stride) * spacing).astype(np.float32)
    y = ((ys + 0.5 * stride) * spacing).astype(np.float32)
    margin = np.float32(0.75 * stride * spacing + 0.5 * step)
    cells = np.zeros((ys.size, xs.size), np.bool_)
    enter = np.full(cells.shape, np.inf, np.float32)
    leave = np.full(cells.shape, -np.inf, np.float32)
    lines = max(1, 60_000 // max(1, xs.size * steps))
    for top in range(0, ys.size, lines):
        part = slice(top, min(top + lines, ys.size))
        yy = y[part][:, None, None]
        xx = x[None, :, None]
        found = traced.field(xx, yy, w[None, None, :])
        if found is None:
            continue
        distance = found.distance
        cut = traced.signed(xx, yy, w[None, None, :])
        if cut is not None and traced.body.cut is not None and not traced.body.cut.crack:
            distance = np.maximum(distance, cut[0])
        near = np.broadcast_to(distance < margin, (yy.shape[0], xs.size, steps))
        hit = near.any(axis=2)
        cells[part] = hit
        enter[part] = np.where(hit, w[near.argmax(axis=2)] - step, np.inf)
        leave[part] = np.where(hit, w[steps - 1 - near[:, :, ::-1].argmax(axis=2)] + step, -np.inf)
    if not cells.any():
        return None
    enter = ndimage.minimum_filter(enter, 3, mode="nearest")
    leave = ndimage.maximum_filter(leave, 3, mode="nearest")
    fine = np.repeat(np.repeat(cells, stride, axis=0), stride, axis=1)[: i1 - i0, : j1 - j0]
    rows, columns = np.nonzero(fine)
    if rows.size == 0:
        return None
    a, b = rows // stride, columns // stride
    return rows + i0, columns + j0, enter[a, b], leave[a, b]


def _inside(f: Array) -> Array:
    """The fraction of each interval between two samples along the last axis where the linear function is < 0."""
    a, b = f[:, :-1], f[:, 1:]
    low, high = np.minimum(a, b), np.maximum(a, b)
    return np.clip(-low / (high - low + np.float32(1e-6)), 0.0, 1.0)


def _march(
    traced: _Traced,
    camera: Camera,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    first: Array,
    last: Array,
    count: int,
    shift: Array,
) -> tuple[Array, Array, NDArray[np.bool_]] | None:
    """Bone path, mineral path and 'the fracture surface is on this ray' for one block of rays."""
    x = ((columns + 0.5) * camera.spacing).astype(np.float32)[:, None]
    y = ((rows + 0.5) * camera.spacing).astype(np.float32)[:, None]
    step = (last - first) / np.float32(count)
    w: Array = (first[:, None] + step[:, None] * np.arange(count + 1, dtype=np.float32)).astype(np.float32)
    found = traced.field(x, y, w)
    if found is None:
        return None
    distance = found.distance
    inner = distance + found.cortex
    touched = np.zeros(rows.size, np.bool_)
    cut = traced.signed(x, y, w)
    body_cut = traced.body.cut
    if cut is None or body_cut is None:
        outer_part, inner_part = _inside(distance), _inside(inner)
    else:
        signed, depth = cut
        touched = _touched(distance, signed, depth, camera.spacing)
        if body_cut.crack:
            opening = _opening(signed, body_cut.gap, camera.spacing)
            intact = 1.0 - opening * (depth[:, :-1] + depth[:, 1:]) * np.float32(0.5)
            outer_part, inner_part = _inside(distance) * intact, _inside(inner) * intact
        else:
            # Where an interval meets the bone's surface and the cut, the smaller share stands for the intersection.
            kept = _inside(signed + np.float32(0.5 * body_cut.gap))
            outer_part = np.minimum(_inside(distance), kept)
            inner_part = np.minimum(_inside(inner), kept)
    trabecular = found.trabecular
    share = trabecular if isinstance(trabecular, float) else (trabecular[:, :-1] + trabecular[:, 1:]) * np.float32(0.5)
    grain = _grain(traced, x, y, w[:, :-1], shift)
    # One sample stands for a whole interval, over which noise of this grain would average out.
    relief = traced.body.bone.texture * np.sqrt(
        np.minimum(1.0, np.float32(traced.body.bone.grain[0]) / np.maximum(step, np.float32(0.1)))
    )
    spongy = inner_part * share * np.maximum(1.0 + relief[:, None].astype(np.float32) * grain, 0.0)
    bone = outer_part.sum(axis=1) * step
    mineral = (outer_part - inner_part + spongy).sum(axis=1) * step
    return bone.astype(np.float32), mineral.astype(np.float32), touched


def _opening(signed: Array, gap: float, pixel: float) -> Array:
    """The share of each interval that a crack of width ``gap`` takes, seen by pixels of size ``pixel`` (mm).

    The crack is averaged over the pixel's width exactly (a trapezoid of the distance to its middle) and over the
    interval exactly (the trapezoid's integral), so that a crack far thinner than a pixel removes its own volume.
    """
    g = np.clip(signed, -10.0, 10.0)
    a, b = g[:, :-1], g[:, 1:]
    half, q = np.float32(0.5 * gap), np.float32(0.5 * pixel)

    def clipped(x: Array) -> Array:
        return np.clip(x, -q, q)

    def integral(x: Array) -> Array:
        size = np.abs(x)
        return np.where(size < q, np.float32(0.5) * x * x, q * size - np.float32(0.5) * q * q)

    run = b - a
    flat = np.abs(run) < 0.05
    middle = (a + b) * np.float32(0.5)
    at_middle = clipped(middle + half) - clipped(middle - half)
    first, last = integral(a + half) - integral(a - half), integral(b + half) - integral(b - half)
    across = (last - first) / np.where(flat, np.float32(1.0), run)
    return np.asarray(np.where(flat, at_middle, across) / np.float32(pixel), dtype=np.float32)


def _touched(distance: Array, signed: Array, depth: Array, spacing: float) -> NDArray[np.bool_]:
    """Whether the fracture surface lies on a ray inside the bone."""
    near = np.float32(max(0.6, 0.75 * spacing))
    inside = (distance < 0.0) & (depth > 0.25)
    close = (np.abs(signed) < near) & inside
    crossed = (signed[:, :-1] * signed[:, 1:] < 0.0) & inside[:, :-1] & inside[:, 1:]
    # A spiral's level jumps along its fissure: only steps of the size of a fracture's own slope count.
    crossed &= np.abs(signed[:, :-1] - signed[:, 1:]) < 6.0
    return np.asarray(close.any(axis=1) | crossed.any(axis=1))


def _grain(traced: _Traced, x: Array, y: Array, w: Array, shift: Array) -> Array:
    """Trabecular noise at the points, fixed to the bone, drawn out along its axis."""
    across, along = traced.body.bone.grain
    s, u, v = traced.grain.at(x, y, w)
    mask = _GRAIN_CELLS - 1
    a = (s * np.float32(1.0 / along) + (shift[0] + 1024.0)).astype(np.int32) & mask
    b = (u * np.float32(1.0 / across) + (shift[1] + 1024.0)).astype(np.int32) & mask
    c = (v * np.float32(1.0 / across) + (shift[2] + 1024.0)).astype(np.int32) & mask
    return np.asarray(grain_noise().take((a << 12) | (b << 6) | c), dtype=np.float32)
