"""Implicit solids: tubes with a profile, blobs, and bones made of both.

A shape answers, for points in its own frame, an approximate signed distance in mm (negative inside). A bone answers
besides how thick its cortex is there and how much of the space beneath the cortex is trabecular bone. Distances
are first-order (value over gradient), which is what the sub-millimeter shell near a surface needs; far from the
surface only their sign is used. The family of shapes and all dimensions are our choice, after what textbooks of
radiographic anatomy show; no measured population is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from fracture.simulate.geometry import inverse, pose_along, transform

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

_TABLE_STEP = 0.2  # mm between rows of a tube's profile table: below a third of the finest pixel used here


class Field(NamedTuple):
    """What a solid is at some points: three float32 arrays of one shape.

    ``distance`` mm (negative inside), ``cortex`` mm of cortical thickness, ``trabecular`` the volume fraction of
    mineralized bone beneath the cortex (0..1).
    """

    distance: Array
    cortex: Array | float
    trabecular: Array | float


@dataclass(frozen=True)
class Cap:
    """The end of a tube: a paraboloid with a tilt and a groove, all in mm over the local (u, v).

    ``s_end(u, v) = end - curve_u u^2 - curve_v v^2 + tilt_u u + tilt_v v - groove / (1 + (u / width)^2)``,
    read outward. Positive curves are convex (a metacarpal head), negative ones concave (a phalangeal base);
    a positive groove is a notch between two condyles, a negative one a spine (the tibial eminence).
    """

    curve_u: float = 0.0
    curve_v: float = 0.0
    tilt_u: float = 0.0
    tilt_v: float = 0.0
    groove: float = 0.0
    width: float = 3.0

    def outward(self, u: Array, v: Array) -> Array:
        """What is added to ``s - end`` to give the distance beyond the end surface."""
        out = u * np.float32(-self.tilt_u)
        if self.tilt_v:
            out -= v * np.float32(self.tilt_v)
        if self.curve_u:
            out += u * u * np.float32(self.curve_u)
        if self.curve_v:
            out += v * v * np.float32(self.curve_v)
        if self.groove:
            ratio = u * np.float32(1.0 / self.width)
            out += np.float32(self.groove) / (1.0 + ratio * ratio)
        return out


@dataclass(frozen=True, eq=False)
class Tube:
    """A generalized cylinder: an elliptical section whose center, radii, cortex and marrow vary along s.

    Attributes:
        to_local: (4, 4), limb frame to (s, u, v).
        length: mm from the first to the last knot.
        table: float32 (rows, 8), one row per ``_TABLE_STEP``: center u, center v, 1/radius u, 1/radius v, cortex mm,
            trabecular fraction, 1 / sqrt(1 + slope^2), amplitude of the three-cornered section.
        start, end: The two end surfaces.
        corner: Radius in mm of the rounding between wall and end.
        turn: Degrees by which the three corners of the section are turned from +u.
    """

    to_local: NDArray[np.float64]
    length: float
    table: Array
    start: Cap
    end: Cap
    corner: float
    turn: float = 0.0

    @cached_property
    def columns(self) -> list[Array]:
        """The table's columns, each contiguous."""
        return [np.ascontiguousarray(self.table[:, i]) for i in range(self.table.shape[1])]

    @cached_property
    def three_cornered(self) -> bool:
        """Whether the section departs from an ellipse anywhere."""
        return bool(np.any(self.table[:, 7] != 0.0))

    def bounds(self) -> NDArray[np.float64]:
        """The eight corners (8, 3) of a box in the limb frame that holds the tube."""
        radius_u, radius_v = 1.2 / self.table[:, 2], 1.2 / self.table[:, 3]
        low = (float((self.table[:, 0] - radius_u).min()), float((self.table[:, 1] - radius_v).min()))
        high = (float((self.table[:, 0] + radius_u).max()), float((self.table[:, 1] + radius_v).max()))
        wide = max(abs(low[0]), abs(high[0]))
        over = [max(0.0, _reach(c, wide, max(abs(low[1]), abs(high[1])))) for c in (self.start, self.end)]
        s = (-over[0] - 0.5, self.length + over[1] + 0.5)
        box = [(a, b, c) for a in s for b in (low[0], high[0]) for c in (low[1], high[1])]
        return transform(inverse(self.to_local), box)

    def field(self, s: Array, u: Array, v: Array) -> Field:
        """The field at local points of one common shape, float32 mm."""
        cu, cv, ru, rv, cortex, trabecular, slope, corners = self.columns
        index = np.clip((s * np.float32(1.0 / _TABLE_STEP)).astype(np.intp), 0, cu.size - 1)
        u = u - cu.take(index)
        v = v - cv.take(index)
        ru_here, rv_here = ru.take(index), rv.take(index)
        x, y = u * ru_here, v * rv_here
        squared = x * x + y * y
        squared += np.float32(1e-6)
        rho = np.sqrt(squared)
        gx, gy = x * ru_here, y * rv_here
        gradient = np.sqrt(gx * gx + gy * gy + np.float32(1e-9))
        level = rho - 1.0
        if self.three_cornered:
            angle = np.deg2rad(3.0 * self.turn)
            cosine = x * (x * x - 3.0 * y * y) * np.float32(np.cos(angle))
            cosine += y * (3.0 * x * x - y * y) * np.float32(np.sin(angle))
            level -= corners.take(index) * cosine / (squared * rho)
        wall = level * rho / gradient * slope.take(index)
        beyond = np.maximum(self.start.outward(u, v) - s, self.end.outward(u, v) + s - np.float32(self.length))
        near = np.maximum(np.float32(self.corner) - np.abs(wall - beyond), 0.0)
        distance = np.maximum(wall, beyond) + near * near * np.float32(0.25 / self.corner)
        return Field(distance, cortex.take(index), trabecular.take(index))


def _reach(cap: Cap, wide: float, deep: float) -> float:
    """How far an end surface can reach beyond the end, mm."""
    return (
        abs(cap.tilt_u) * wide
        + abs(cap.tilt_v) * deep
        + max(0.0, -cap.curve_u) * wide**2
        + max(0.0, -cap.curve_v) * deep**2
        + max(0.0, -cap.groove)
    )


def tube(
    start: ArrayLike,
    end: ArrayLike,
    knots: Sequence[Sequence[float]],
    *,
    roll: float = 0.0,
    caps: tuple[Cap, Cap] = (Cap(), Cap()),
    corner: float = 2.0,
    turn: float = 0.0,
    rng: np.random.Generator | None = None,
    wobble: float = 0.015,
) -> Tube:
    """A tube from knots ``(fraction, radius u, radius v, cortex mm, trabecular fraction[, center u, center v[,
    corners]])``, joined by monotone cubic curves (PCHIP, so that no radius overshoots).

    With ``rng``, radii and centers get smooth relative variation of ``wobble``: no two films have the same contour.
    """
    to_local, length = pose_along(start, end, roll=roll)
    rows = [tuple(k) + (0.0,) * (8 - len(k)) for k in knots]
    grid = np.arange(0.0, length + _TABLE_STEP, _TABLE_STEP)
    values = PchipInterpolator([r[0] for r in rows], np.asarray([r[1:] for r in rows]))(
        np.clip(grid / length, 0.0, 1.0)
    )
    radius = values[:, :2]
    center = values[:, 4:6]
    if rng is not None and wobble > 0.0:
        count = max(4, int(length / max(10.0, 3.0 * float(radius.mean()))) + 1)
        waves = PchipInterpolator(np.linspace(0.0, length, count), rng.normal(0.0, 1.0, (count, 4)))(
            np.clip(grid, 0.0, length)
        )
        radius = radius * (1.0 + wobble * waves[:, :2])
        center = center + wobble * waves[:, 2:] * radius.mean(axis=0)
    slope = np.gradient(radius.mean(axis=1), _TABLE_STEP)
    table = np.column_stack(
        [
            center,
            1.0 / np.maximum(radius, 0.3),
            values[:, 2:4],
            1.0 / np.sqrt(1.0 + np.clip(slope, -2.0, 2.0) ** 2),
            values[:, 6],
        ]
    )
    return Tube(to_local, length, table.astype(np.float32), caps[0], caps[1], corner, turn)


@dataclass(frozen=True, eq=False)
class Blob:
    """An ellipsoid that may be boxy and bumpy: carpal and tarsal bones, heads, condyles, trochanters.

    Attributes:
        to_local: (4, 4), limb frame to the axes of the blob.
        radii: Semi-axes in mm, (3,).
        cortex: mm of cortical shell.
        trabecular: Volume fraction of bone inside.
        boxy: 0 is an ellipsoid, 1 a fourth-power superellipsoid.
        bumps: Rows (amplitude mm, wave vector in 1/mm (3), phase), added to the distance.
    """

    to_local: NDArray[np.float64]
    radii: tuple[float, float, float]
    cortex: float
    trabecular: float
    boxy: float = 0.0
    bumps: tuple[tuple[float, float, float, float, float], ...] = field(default=())

    def bounds(self) -> NDArray[np.float64]:
        """The eight corners (8, 3) of a box in the limb frame that holds the blob."""
        a, b, c = (r * 1.05 + 0.5 for r in self.radii)
        box = [(x, y, z) for x in (-a, a) for y in (-b, b) for z in (-c, c)]
        return transform(inverse(self.to_local), box)

    def field(self, s: Array, u: Array, v: Array) -> Field:
        """The field at local points of one common shape, float32 mm."""
        a, b, c = (np.float32(1.0 / r) for r in self.radii)
        x, y, z = s * a, u * b, v * c
        x2, y2, z2 = x * x, y * y, z * z
        rho = np.sqrt(x2 + y2 + z2 + np.float32(1e-6))
        gradient = np.sqrt(x2 * (a * a) + y2 * (b * b) + z2 * (c * c) + np.float32(1e-9))
        scale = rho / gradient
        level = rho
        if self.boxy > 0.0:
            fourth = np.sqrt(np.sqrt(x2 * x2 + y2 * y2 + z2 * z2 + np.float32(1e-9)))
            level = rho + np.float32(self.boxy) * (fourth - rho)
        distance = (level - 1.0) * scale
        for amplitude, ks, ku, kv, phase in self.bumps:
            wave = s * np.float32(ks) + u * np.float32(ku) + v * np.float32(kv) + np.float32(phase)
            distance += np.float32(amplitude) * np.sin(wave)
        return Field(np.asarray(distance, dtype=np.float32), self.cortex, self.trabecular)


@dataclass(frozen=True, eq=False)
class Part:
    """One shape within a bone, merged over ``blend`` mm, or carved out of it."""

    shape: Tube | Blob
    blend: float = 3.0
    carve: bool = False


@dataclass(frozen=True, eq=False)
class Bone:
    """A bone: parts joined smoothly, in order; the first gives the direction of the trabeculae.

    Attributes:
        name: Such as ``"radius"`` or ``"metacarpal_5"``.
        parts: The shapes.
        texture: Relative amplitude of the trabecular texture.
        grain: Size in mm of the texture across and along the trabeculae.
    """

    name: str
    parts: tuple[Part, ...]
    texture: float = 0.5
    grain: tuple[float, float] = (0.55, 1.3)

    @property
    def axis(self) -> NDArray[np.float64]:
        """Limb frame to the frame of the first part."""
        return self.parts[0].shape.to_local

    def bounds(self) -> NDArray[np.float64]:
        """Corners (8 per part, 3) of boxes in the limb frame that hold the bone."""
        return np.concatenate([p.shape.bounds() for p in self.parts if not p.carve])


def merge(first: Field, second: Field, blend: float) -> Field:
    """The smooth union of two fields (polynomial smooth minimum over ``blend`` mm)."""
    share = np.clip(0.5 + (second.distance - first.distance) * np.float32(0.5 / blend), 0.0, 1.0)
    other = 1.0 - share
    distance = share * first.distance + other * second.distance - np.float32(blend) * share * other
    return Field(
        distance,
        share * first.cortex + other * second.cortex,
        share * first.trabecular + other * second.trabecular,
    )


def carve(first: Field, tool: Field) -> Field:
    """``first`` without ``tool``; the new surface gets the cortex of the tool."""
    outside = -tool.distance
    cut = outside > first.distance
    cortex = np.where(cut, np.float32(1.0) * tool.cortex, first.cortex).astype(np.float32)
    return Field(np.maximum(first.distance, outside), cortex, first.trabecular)
