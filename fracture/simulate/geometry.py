"""Rigid motions as 4 x 4 float64 matrices acting on millimeter points, right-handed, column vectors.

The *limb frame* of every anatomy here: x to the lateral or radial side, y from proximal to distal, z to the
front (anterior, palmar). The *image frame*: x right, y down, w along the ray.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def smooth(share: Array) -> Array:
    """0 below 0, 1 above 1, smooth between (Hermite's cubic)."""
    t = np.clip(share, 0, 1)
    return t * t * (3 - 2 * t)


def unit(vector: ArrayLike) -> NDArray[np.float64]:
    """The vector scaled to length 1; shape is kept, a zero vector stays zero."""
    v = np.asarray(vector, dtype=np.float64)
    return v / max(float(np.linalg.norm(v)), 1e-12)


def translation(offset: ArrayLike) -> NDArray[np.float64]:
    """Move by ``offset`` (3,) mm."""
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def rotation(axis: ArrayLike, degrees: float) -> NDArray[np.float64]:
    """Turn by ``degrees`` around ``axis`` (3,) through the origin (Rodrigues' formula)."""
    x, y, z = unit(axis)
    angle = np.deg2rad(degrees)
    k = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) + np.sin(angle) * k + (1.0 - np.cos(angle)) * (k @ k)
    return matrix


def compose(*matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """The product; the last matrix acts first."""
    result = np.eye(4)
    for matrix in matrices:
        result = result @ matrix
    return result


def about(point: ArrayLike, turn: NDArray[np.float64], shift: ArrayLike = (0, 0, 0)) -> NDArray[np.float64]:
    """Turn around ``point`` (3,) mm, then move by ``shift`` (3,) mm."""
    p = np.asarray(point, dtype=np.float64)
    return compose(translation(p + np.asarray(shift, dtype=np.float64)), turn, translation(-p))


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse motion."""
    return np.asarray(np.linalg.inv(matrix))


def transform(matrix: NDArray[np.float64], points: ArrayLike) -> NDArray[np.float64]:
    """Points (..., 3) mm moved by ``matrix``."""
    p = np.asarray(points, dtype=np.float64)
    return np.asarray(p @ matrix[:3, :3].T + matrix[:3, 3])


def pose_along(start: ArrayLike, end: ArrayLike, *, roll: float = 0.0) -> tuple[NDArray[np.float64], float]:
    """The motion from limb frame to the local frame (s, u, v) of a bone that runs from ``start`` to ``end``.

    s runs along the bone from 0 at ``start``; u is the direction across it nearest to limb x, v the one nearest
    to limb z, both turned around s by ``roll`` degrees.

    Returns:
        The matrix (4, 4) and the length in mm.
    """
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    s = unit(b - a)
    across = np.array([1.0, 0.0, 0.0]) if abs(s[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    u = unit(across - s * float(across @ s))
    v = np.cross(u, s)
    c, d = np.cos(np.deg2rad(roll)), np.sin(np.deg2rad(roll))
    u, v = c * u + d * v, c * v - d * u
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([s, u, v])
    matrix[:3, 3] = -matrix[:3, :3] @ a
    return matrix, float(np.linalg.norm(b - a))
