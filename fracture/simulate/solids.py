"""Solids in three dimensions as signed distances in millimeters, and coarse grids at the voxels of fine ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Field = Callable[[Array, Array, Array], Array]
"""Signed distance in millimeters, negative inside, of points given as x, y and z."""


def bar(a: tuple[float, float, float], b: tuple[float, float, float], r: float, end: float, tall: float = 1.0) -> Field:
    """A rod from a to b whose radius goes from r to ``end``, stretched by ``tall`` along z."""
    way = np.subtract(b, a).astype(np.float32)
    way[2] /= tall
    length = float(way @ way)

    def distance(x: Array, y: Array, z: Array) -> Array:
        dx, dy, dz = x - a[0], y - a[1], (z - a[2]) / np.float32(tall)
        t = np.clip((dx * way[0] + dy * way[1] + dz * way[2]) / length, 0, 1)
        far = np.sqrt((dx - t * way[0]) ** 2 + (dy - t * way[1]) ** 2 + (dz - t * way[2]) ** 2)
        return np.asarray(far - (r + (end - r) * t), np.float32)

    return distance


def ellipsoid(center: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
    """An ellipsoid; the distance is right near its surface."""
    least = float(min(radii))

    def distance(x: Array, y: Array, z: Array) -> Array:
        away = ((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2 + ((z - center[2]) / radii[2]) ** 2
        return np.asarray((np.sqrt(away) - 1) * least, np.float32)

    return distance


def holed(part: Field, hole: Field) -> Field:
    """The part where the hole is not."""
    return lambda x, y, z: np.maximum(part(x, y, z), -hole(x, y, z))


def union(parts: Sequence[Field]) -> Field:
    """All parts together."""

    def distance(x: Array, y: Array, z: Array) -> Array:
        found = parts[0](x, y, z)
        for part in parts[1:]:
            np.minimum(found, part(x, y, z), out=found)
        return found

    return distance


def enlarged(small: Array, shape: tuple[int, int, int], factor: NDArray[Any]) -> Array:
    """A coarse grid at the voxels of a fine one, linear: pictures by OpenCV, then between them."""
    place = [np.arange(n, dtype=np.float32) / np.float32(f) for n, f in zip(shape, factor, strict=True)]
    across, down = np.meshgrid(place[2], place[1])
    planes = [cv2.remap(one, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for one in small]
    out = np.empty(shape, np.float32)
    for k, at in enumerate(place[0]):
        low = min(int(at), len(planes) - 2)
        share = np.float32(at - low)
        np.add(planes[low] * (1 - share), planes[low + 1] * share, out=out[k])
    return out
