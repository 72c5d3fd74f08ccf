"""Fracture surfaces and what they do to a bone: cut it in 3D, move the pieces.

A fracture is a rough surface through a bone at rest. Everything beyond it, with the bones that hang on it, may
move rigidly; the lucent line, the step-off and the dense band of overlap then follow from projection alone.
Ranges of angles, shifts and gaps are our choice, wide enough for both subtle and gross findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fracture.simulate.geometry import about, compose, inverse, pose_along, rotation, transform, translation, unit
from fracture.simulate.projection import Body
from fracture.simulate.shapes import Bone
from fracture.tables import table

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

Point = tuple[float, float, float]
Partner = tuple[str, Point, Point, float]

KINDS = ("transverse", "oblique", "spiral", "comminuted", "hairline")
"""The fracture types. A hairline is incomplete or complete, under half a millimeter wide, and never displaced."""

_ROUGH_CELLS, _ROUGH_STEP = 128, np.float32(1.0 / 0.35)


@dataclass(frozen=True)
class Site:
    """A place where a bone breaks.

    Attributes:
        bone: Its name.
        point: On the bone's axis, limb mm.
        axis: Along the bone toward the moving end, limb frame.
        radius: About the bone's half width there, mm.
        kinds: Relative frequencies of fracture types.
        carries: Bones that move with the distal fragment, by the beginnings of their names.
        partners: Other bones that may break with it, as ``(bone, point, axis, radius)``.
        partner_rate: How often they do.
        bends: Whether the limb's soft tissue follows the distal fragment.
        weight: Relative frequency of the site on a film of the region.
        reach: Scale of the displacement, 1 for a shaft.
        steep: Scale of the surface's tilt: 1 for a shaft, less where a steep cut would run into the rest of the bone.
    """

    bone: str
    point: Point
    axis: Point
    radius: float
    kinds: Mapping[str, float]
    carries: tuple[str, ...] = ()
    partners: tuple[Partner, ...] = ()
    partner_rate: float = 0.0
    bends: bool = False
    weight: float = 1.0
    reach: float = 1.0
    steep: float = 1.0


def site(name: str, point: Point, axis: Point, *, partners: tuple[Partner, ...] = (), **changes: Any) -> Site:
    """The site ``name`` of ``sites.toml`` at a point of one person's bone; ``changes`` replace numbers of the file."""
    return Site(point=point, axis=axis, partners=partners, **table("sites")[name] | changes)


@lru_cache(maxsize=1)
def _roughness() -> Array:
    """A periodic patch of rough surface of unit variance, float32 (128 * 128,): noise at four scales."""
    rng = np.random.default_rng(733)
    total = np.zeros((_ROUGH_CELLS, _ROUGH_CELLS))
    for sigma, weight in ((12.0, 1.0), (5.0, 0.8), (2.2, 0.5), (1.0, 0.22)):
        layer = ndimage.gaussian_filter(rng.standard_normal(total.shape), sigma, mode="wrap")
        total += weight * layer / layer.std()
    return np.ascontiguousarray((total / total.std()).reshape(-1), dtype=np.float32)


def _rough(b: Array, c: Array, offset: tuple[float, float]) -> Array:
    mask = _ROUGH_CELLS - 1
    i = (b * _ROUGH_STEP + np.float32(offset[0] + 4096.0)).astype(np.int32) & mask
    j = (c * _ROUGH_STEP + np.float32(offset[1] + 4096.0)).astype(np.int32) & mask
    return np.asarray(_roughness().take((i << 7) | j), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class SurfaceCut:
    """One rough surface ``a = h(b, c)`` across the bone: tilted, or wound around the axis by ``pitch`` mm a turn.

    Attributes:
        to_local: (4, 4), limb frame to (a along the bone, b, c).
        side: 1 keeps the proximal piece, -1 the distal one.
        tilt: Rise over run along b and c.
        pitch: mm along the bone per turn; 0 for a plane.
        start: Angle in radians where the winding jumps back (the fissure that joins its two ends).
        radius: mm, for the slope of the winding.
        rough: Roughness in mm (standard deviation).
        gap: Opening between the pieces, mm.
        offset: Where in the patch of roughness.
        crack: Draw both sides at once with the gap between them: an undisplaced fracture.
        extent: How far along ``direction`` the crack reaches, in mm from the axis; infinite where complete.
        direction: Unit vector in (b, c).
    """

    to_local: NDArray[np.float64]
    side: int
    tilt: tuple[float, float]
    pitch: float
    start: float
    radius: float
    rough: float
    gap: float
    offset: tuple[float, float]
    crack: bool = False
    extent: float = np.inf
    direction: tuple[float, float] = (1.0, 0.0)

    def signed(self, a: Array, b: Array, c: Array) -> Array:
        """Signed distance in mm to the surface, negative in the piece kept."""
        height = b * np.float32(self.tilt[0]) + c * np.float32(self.tilt[1])
        slope = self.tilt[0] ** 2 + self.tilt[1] ** 2
        if self.pitch:
            cosine, sine = np.float32(np.cos(self.start)), np.float32(np.sin(self.start))
            angle = np.arctan2(sine * b + cosine * c, cosine * b - sine * c)
            height = height + angle * np.float32(self.pitch / (2.0 * np.pi))
            slope += (self.pitch / (2.0 * np.pi * self.radius)) ** 2
        height = height + np.float32(self.rough) * _rough(b, c, self.offset)
        return np.asarray((a - height) * np.float32(self.side / np.sqrt(1.0 + slope)), dtype=np.float32)

    def depth(self, a: Array, b: Array, c: Array) -> Array:  # noqa: ARG002 (one signature for all cuts)
        """1 where the crack runs, fading to 0 beyond its extent and 2.2 radii off the axis."""
        away = np.sqrt(b * b + c * c)
        full = np.clip((np.float32(2.2 * self.radius) - away) * np.float32(0.5), 0.0, 1.0)
        if not np.isfinite(self.extent):
            return np.asarray(full, dtype=np.float32)
        run = b * np.float32(self.direction[0]) + c * np.float32(self.direction[1])
        share = np.clip((np.float32(self.extent) - run) * np.float32(0.5), 0.0, 1.0)
        return np.asarray(full * share, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class CellCut:
    """One piece of a comminuted fracture: a rough Voronoi cell among seeds (pieces, 3) in the cut's frame."""

    to_local: NDArray[np.float64]
    seeds: NDArray[np.float64]
    index: int
    rough: float
    gap: float
    offset: tuple[float, float]
    crack: bool = False

    def signed(self, a: Array, b: Array, c: Array) -> Array:
        """Signed distance in mm to the walls of the cell, negative within."""
        own = self.seeds[self.index]
        result: Array | None = None
        # One displacement of space for all pieces, so that neighbors still fit together.
        a = a + np.float32(self.rough) * _rough(b, c, self.offset)
        for number, seed in enumerate(self.seeds):
            if number == self.index:
                continue
            normal = seed - own
            length = float(np.linalg.norm(normal))
            middle = float(normal @ (seed + own)) / (2.0 * length)
            n = (normal / length).astype(np.float32)
            level = a * n[0] + b * n[1] + c * n[2] - np.float32(middle)
            result = level if result is None else np.maximum(result, level)
        return np.zeros_like(a) if result is None else result

    def depth(self, a: Array, b: Array, c: Array) -> Array:  # noqa: ARG002 (one signature for all cuts)
        """1: the pieces are free."""
        return np.ones(np.broadcast_shapes(a.shape, b.shape), np.float32)


@dataclass(frozen=True, eq=False)
class Plan:
    """One fracture as decided: where, which type, how the distal piece moves; and the direction (3,) of the rays."""

    site: Site
    kind: str
    displaced: bool
    motion: NDArray[np.float64]
    breaks: tuple[Partner, ...]
    seed: int
    ray: NDArray[np.float64]


def draw_plan(
    rng: np.random.Generator,
    sites: Sequence[Site],
    ray: NDArray[np.float64],
    *,
    kind: str | None,
    displaced: bool | None,
) -> Plan:
    """Choose a site, a type and a displacement; given ones are kept, the rest follows the site's frequencies."""
    possible = [s for s in sites if kind is None or kind in s.kinds] or list(sites)
    weights = np.array([s.weight for s in possible])
    site = possible[int(rng.choice(len(possible), p=weights / weights.sum()))]
    names = [k for k in site.kinds if not (displaced and k == "hairline")]
    odds = np.array([site.kinds[k] for k in names])
    drawn = names[int(rng.choice(len(names), p=odds / odds.sum()))]
    chosen = kind or drawn
    moves = bool(rng.random() < 0.6) if displaced is None else displaced
    moves = moves and chosen != "hairline"
    axis = unit(site.axis)
    turn_axis = rng.normal(size=3)
    turn_axis -= axis * float(turn_axis @ axis)
    angle = site.reach * abs(rng.normal(0.0, 9.0)) + 2.0
    side = rng.normal(size=3)
    side -= axis * float(side @ axis)
    side[2] *= 0.7
    shift = unit(side) * site.radius * site.reach * float(rng.uniform(0.2, 0.95))
    shorten = site.reach * float(rng.choice([rng.uniform(-1.5, 0.0), rng.uniform(0.0, 0.5 * site.radius)]))
    twist = site.reach * float(rng.normal(0.0, 12.0 if chosen == "spiral" else 4.0))
    motion = np.eye(4)
    if moves:
        turn = compose(rotation(axis, float(np.clip(twist, -20, 20))), rotation(turn_axis, min(angle, 24.0)))
        motion = about(site.point, turn, shift - axis * shorten)
    both = bool(site.partners) and bool(rng.random() < site.partner_rate) and chosen != "hairline"
    breaks = ((site.bone, site.point, site.axis, site.radius), *(site.partners if both else ()))
    return Plan(site, chosen, moves, motion, breaks, int(rng.integers(1 << 31)), ray)


def break_bones(bones: Sequence[Bone], plan: Plan | None) -> list[Body]:
    """The bodies of a film: whole bones where they are, carried ones moved, broken ones in pieces.

    The k-th entry of ``plan.breaks`` becomes fracture number k.
    """
    if plan is None:
        return [Body(bone) for bone in bones]
    rng = np.random.default_rng(plan.seed)
    pieces = {entry[0]: (k, entry) for k, entry in enumerate(plan.breaks)}
    bodies: list[Body] = []
    for bone in bones:
        if bone.name in pieces:
            number, (_, point, axis, radius) = pieces[bone.name]
            bodies += _pieces(bone, plan, number, point, axis, radius, rng)
        elif bone.name.startswith(plan.site.carries) and plan.site.carries:
            bodies.append(Body(bone, plan.motion))
        else:
            bodies.append(Body(bone))
    return bodies


def _pieces(
    bone: Bone,
    plan: Plan,
    number: int,
    point: Point,
    axis: Point,
    radius: float,
    rng: np.random.Generator,
) -> list[Body]:
    frame, _ = pose_along(point, np.asarray(point) + unit(axis))
    offset = (float(rng.uniform(0, 128)), float(rng.uniform(0, 128)))
    if plan.kind == "comminuted":
        return _comminuted(bone, plan, number, frame, radius, rng, offset)
    steep = {"transverse": (0.0, 0.22), "oblique": (0.75, 1.6), "spiral": (0.0, 0.3), "hairline": (0.0, 0.9)}
    rise = float(rng.uniform(*steep[plan.kind])) * plan.site.steep
    # The surface rises mostly across the film: seen face on, an oblique fracture vanishes (and is left unmarked on
    # real films, while here every fracture is known). Our choice.
    ray = frame[:3, :3] @ plan.ray
    around = float(np.arctan2(ray[1], -ray[2])) + float(rng.choice([0.0, np.pi])) + float(rng.normal(0.0, 0.35))
    tilt = (float(rise * np.cos(around)), float(rise * np.sin(around)))
    pitch = float(rng.choice([-1.0, 1.0])) * radius * float(rng.uniform(4.0, 6.5)) if plan.kind == "spiral" else 0.0
    hair = plan.kind == "hairline"
    gap = float(rng.uniform(0.28, 0.45) if hair else rng.uniform(0.5, 1.0))
    partial = hair and rng.random() < 0.6
    towards = float(rng.uniform(0, 2 * np.pi))
    common = {
        "tilt": tilt,
        "pitch": pitch,
        "start": float(rng.uniform(-np.pi, np.pi)),
        "radius": radius,
        "rough": min(1.1, 0.09 * radius) * float(rng.uniform(0.5, 1.0)),
        "offset": offset,
        "extent": radius * float(rng.uniform(0.1, 0.6)) if partial else np.inf,
        "direction": (float(np.cos(towards)), float(np.sin(towards))),
    }
    if not plan.displaced:
        return [Body(bone, np.eye(4), SurfaceCut(frame, 1, gap=gap, crack=True, **common), number)]  # type: ignore[arg-type]
    gap = min(gap, 0.4)
    return [
        Body(bone, motion, SurfaceCut(frame, side, gap=gap, **common), number)  # type: ignore[arg-type]
        for side, motion in ((1, np.eye(4)), (-1, plan.motion))
    ]


def _comminuted(
    bone: Bone,
    plan: Plan,
    number: int,
    frame: NDArray[np.float64],
    radius: float,
    rng: np.random.Generator,
    offset: tuple[float, float],
) -> list[Body]:
    middle = int(rng.integers(2, 4))
    zone = radius * float(rng.uniform(0.7, 1.2))
    around = float(rng.uniform(0, 2 * np.pi)) + 2 * np.pi * np.arange(middle) / middle
    free = np.column_stack(
        [
            rng.uniform(-0.6, 0.6, middle) * zone,
            radius * 0.6 * np.cos(around),
            radius * 0.6 * np.sin(around),
        ]
    )
    far = zone * 1.3
    seeds: NDArray[np.float64] = np.concatenate([[[-far, 0.0, 0.0]], [[far, 0.0, 0.0]], free])
    seeds[:2, 1:] += rng.normal(0.0, 0.25 * radius, (2, 2))
    rough = min(1.2, 0.1 * radius)
    gap = float(rng.uniform(0.5, 0.9))
    back = inverse(frame)
    bodies = []
    for index in range(len(seeds)):
        motion = np.eye(4)
        if index == 1:
            motion = plan.motion
        elif index > 1:
            center = transform(back, seeds[index])
            size = (0.28 if plan.displaced else 0.05) * radius
            away = seeds[index] * [0.3, 1.0, 1.0]
            outward = unit(frame[:3, :3].T @ away) * abs(rng.normal(0.0, 1.0)) + 0.4 * rng.normal(0.0, 1.0, 3)
            spin = float(rng.normal(0.0, 14.0 if plan.displaced else 1.5))
            own = about(center, rotation(rng.normal(size=3), spin), size * outward)
            halfway = translation(0.5 * (transform(plan.motion, center) - center))
            motion = compose(halfway, own)
        bodies.append(Body(bone, motion, CellCut(frame, seeds, index, rough, gap, offset), number))
    return bodies
