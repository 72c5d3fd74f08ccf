"""Path lengths through muscle and fat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.simulate.anatomy import SoftPart
from fracture.simulate.geometry import inverse, smooth, transform, unit
from fracture.simulate.projection import Camera

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

_STRIDE_MM = 1.6  # soft tissue is smooth: it is traced on every n-th ray and interpolated
_STEPS = 24
_BLOCK = 60_000  # samples


class Bend(NamedTuple):
    """How the soft tissue follows a displaced fragment: fully beyond the fracture, over ``width`` mm around it."""

    motion: NDArray[np.float64]
    point: NDArray[np.float64]
    axis: NDArray[np.float64]
    width: float


def soft_paths(parts: Sequence[SoftPart], camera: Camera, fat: float, bend: Bend | None = None) -> tuple[Array, Array]:
    """Path lengths in mm through the whole envelope and through its muscle (the envelope less ``fat`` mm of skin).

    Returns:
        Two float32 planes (height, width).
    """
    coarse = max(_STRIDE_MM, camera.height * camera.spacing / 180.0)
    stride = max(1, round(coarse / camera.spacing))
    shape = (camera.height, camera.width)
    ys = np.arange(0, camera.height + stride, stride)
    xs = np.arange(0, camera.width + stride, stride)
    y = (ys * camera.spacing).astype(np.float32)
    x = (xs * camera.spacing).astype(np.float32)
    corners = [transform(camera.to_image, p.shape.bounds()) for p in parts]
    everything = np.concatenate(corners)
    w0, w1 = float(everything[:, 2].min()) - fat - 2.0, float(everything[:, 2].max()) + fat + 2.0
    w = np.linspace(w0, w1, _STEPS + 1, dtype=np.float32)
    step = np.float32((w1 - w0) / _STEPS)
    distance = np.full((ys.size, xs.size, w.size), 40.0, np.float32)
    back = inverse(camera.to_image)
    pad = 14.0 if bend is None else 45.0
    for part, box in zip(parts, corners, strict=True):
        low, high = box.min(axis=0) - pad, box.max(axis=0) + pad
        i = slice(*np.searchsorted(y, (low[1], high[1])))
        j = slice(*np.searchsorted(x, (low[0], high[0])))
        if y[i].size == 0 or x[j].size == 0:
            continue
        lines = max(1, _BLOCK // (x[j].size * w.size))  # a block stays in the cache
        for top in range(i.start, i.stop, lines):
            rows = slice(top, min(top + lines, i.stop))
            _add(part, distance[rows, j], back, x[j], y[rows], w, bend)
    planes = []
    for level in (0.0, fat):
        a, b = distance[..., :-1] + np.float32(level), distance[..., 1:] + np.float32(level)
        low_, high_ = np.minimum(a, b), np.maximum(a, b)
        path = np.clip(-low_ / (high_ - low_ + np.float32(1e-6)), 0.0, 1.0).sum(axis=2) * step
        planes.append(_enlarge(path.astype(np.float32), stride, shape))
    return planes[0], planes[1]


def _add(
    part: SoftPart, distance: Array, back: NDArray[np.float64], x: Array, y: Array, w: Array, bend: Bend | None
) -> None:
    """Merge one part into the distances of a block of rays, in place."""
    m = part.shape.to_local
    if bend is None:
        points = _limb(m @ back, x, y, w)
    else:
        at_rest = _straighten(_limb(back, x, y, w), bend)
        n = m.astype(np.float32)
        points = [n[k, 0] * at_rest[0] + n[k, 1] * at_rest[1] + (n[k, 2] * at_rest[2] + n[k, 3]) for k in range(3)]
    here = part.shape.field(*points).distance
    blend = np.float32(part.blend)
    near = np.maximum(blend - np.abs(distance - here), 0.0)
    np.minimum(distance, here, out=distance)
    distance -= near * near * (np.float32(0.25) / blend)


def _limb(back: NDArray[np.float64], x: Array, y: Array, w: Array) -> list[Array]:
    m = back.astype(np.float32)
    return [
        m[k, 0] * x[None, :, None] + (m[k, 1] * y[:, None, None] + (m[k, 2] * w[None, None, :] + m[k, 3]))
        for k in range(3)
    ]


def _straighten(points: list[Array], bend: Bend) -> list[Array]:
    """Points on the film -> points at rest, blended from no motion to the fragment's motion along the axis."""
    axis, center = unit(bend.axis).astype(np.float32), bend.point.astype(np.float32)
    along = sum((points[k] - center[k]) * axis[k] for k in range(3))
    share = smooth(along * np.float32(0.5 / bend.width) + np.float32(0.5))
    m = inverse(bend.motion).astype(np.float32)
    moved = [m[k, 0] * points[0] + m[k, 1] * points[1] + (m[k, 2] * points[2] + m[k, 3]) for k in range(3)]
    return [points[k] + share * (moved[k] - points[k]) for k in range(3)]


def _enlarge(plane: Array, stride: int, shape: tuple[int, int]) -> Array:
    """Node k of ``plane`` sits at source coordinate k * stride; sampled at pixel centers, linear."""
    if stride == 1 and plane.shape == shape:
        return plane
    x = ((np.arange(shape[1], dtype=np.float32) + 0.5) / stride)[None, :].repeat(shape[0], 0)
    y = ((np.arange(shape[0], dtype=np.float32) + 0.5) / stride)[:, None].repeat(shape[1], 1)
    out = cv2.remap(plane, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.maximum(np.asarray(out, dtype=np.float32), 0.0)
