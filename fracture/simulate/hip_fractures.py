"""What is the matter with a hip: six classes, their variants, and the pieces that a femur is in.

Motions are in the hip frame (x medial, y distal, z to the front), so that a turn about z that takes x toward y is
varus for the head and a negative turn about y is external rotation. Garden's stages: Garden, JBJS Br 43-B:647 (1961).
Angles, shifts and gaps are our choice, from subtle to gross.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.simulate.fractures import SurfaceCut
from fracture.simulate.geometry import about, compose, inverse, pose_along, rotation, transform, translation, unit
from fracture.simulate.pelvis_shapes import Femur
from fracture.simulate.projection import Body

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

VARIANTS = {
    "normal": ("normal",),
    "displaced_neck": ("garden_3", "garden_4"),
    "nondisplaced_neck": ("valgus_impacted", "lucent_line", "sclerotic_line"),
    "intertrochanteric": ("two_part", "lesser_trochanter_detached"),
    "internal_fixation": ("cannulated_screws", "sliding_hip_screw", "cephalomedullary_nail"),
    "arthroplasty": ("hemiarthroplasty", "total_arthroplasty"),
}
"""The variants of each class; no two classes share a name."""

HIP_CLASSES = tuple(VARIANTS)
"""The six classes of Krogue et al. 2020 (Radiology: AI 2:e190023), table 1."""


def hip_class(variant: str) -> str:
    """The class that a variant belongs to."""
    return next(label for label, names in VARIANTS.items() if variant in names)


@dataclass(frozen=True, eq=False)
class Wedge:
    """The piece that lies on the kept side of several fracture surfaces at once."""

    cuts: tuple[SurfaceCut, ...]
    gap: float
    crack: bool = False
    to_local: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    def signed(self, a: Array, b: Array, c: Array) -> Array:
        """Signed distance in mm to the nearest of the surfaces that bound the piece, negative inside."""
        result: Array | None = None
        for cut in self.cuts:
            m = cut.to_local.astype(np.float32)
            here = cut.signed(*(m[k, 0] * a + m[k, 1] * b + m[k, 2] * c + m[k, 3] for k in range(3)))
            result = here if result is None else np.maximum(result, here)
        return np.zeros_like(a) if result is None else result

    def depth(self, a: Array, b: Array, c: Array) -> Array:  # noqa: ARG002 (one signature for all cuts)
        """1: the piece is free."""
        return np.ones(np.broadcast_shapes(a.shape, b.shape), np.float32)


@dataclass(frozen=True, eq=False)
class Broken:
    """A femur as it lies on the film.

    Attributes:
        bodies: Its pieces; those with ``fracture`` 0 are bounded by the fracture.
        shaft: Motion (4, 4) of the piece that holds the shaft.
        kind: One of ``fracture.simulate.KINDS``, or ``None`` for a whole femur.
        displaced: Whether pieces have moved.
    """

    bodies: tuple[Body, ...]
    shaft: NDArray[np.float64]
    kind: str | None = None
    displaced: bool = False


def break_hip(
    femur: Femur, variant: str, pose: NDArray[np.float64], ray: NDArray[np.float64], rng: np.random.Generator
) -> Broken:
    """The pieces of a femur with one of the fractures of ``VARIANTS``, or the whole femur.

    Args:
        femur: At rest.
        variant: What happened to it; hardware leaves it whole here (see ``implants``).
        pose: (4, 4), how the leg lies: abduction and rotation about the head's center.
        ray: Direction of the rays in the hip frame.
        rng: The stream of this hip's fracture.
    """
    label = hip_class(variant)
    if label == "displaced_neck":
        return _displaced_neck(femur, variant, pose, rng)
    if label == "nondisplaced_neck":
        return _nondisplaced_neck(femur, variant, pose, ray, rng)
    if label == "intertrochanteric":
        return _intertrochanteric(femur, variant == "lesser_trochanter_detached", pose, ray, rng)
    return Broken((Body(femur.bone, pose),), pose)


def surface_across(
    point: NDArray[np.float64],
    axis: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    side: int,
    radius: float,
    rough: float,
    gap: float = 0.0,
    crack: bool = False,
    extent: float = np.inf,
    direction: tuple[float, float] = (1.0, 0.0),
) -> SurfaceCut:
    """A rough surface through ``point`` across ``axis``, drawn from ``rng``; see ``SurfaceCut`` for the rest."""
    frame, _ = pose_along(point, point + unit(axis))
    offset = (float(rng.uniform(0, 128)), float(rng.uniform(0, 128)))
    return SurfaceCut(frame, side, (0.0, 0.0), 0.0, 0.0, radius, rough, gap, offset, crack, extent, direction)


def _two(
    femur: Femur, cut: SurfaceCut, head: NDArray[np.float64], shaft: NDArray[np.float64], kind: str, displaced: bool
) -> Broken:
    """A femur in two pieces, moved as ``head`` and ``shaft`` say."""
    bodies = (Body(femur.bone, head, cut, 0), Body(femur.bone, shaft, _other(cut), 0))
    return Broken(bodies, shaft, kind, displaced)


def _other(cut: SurfaceCut) -> SurfaceCut:
    """The other side of the same surface."""
    return SurfaceCut(cut.to_local, -cut.side, cut.tilt, 0.0, 0.0, cut.radius, cut.rough, cut.gap, cut.offset)


def neck_surface(
    femur: Femur,
    rng: np.random.Generator,
    ray: NDArray[np.float64] | None = None,
    *,
    rough: float = 0.9,
    **cut: Any,
) -> tuple[SurfaceCut, NDArray[np.float64]]:
    """A subcapital to transcervical surface that keeps the head, and its middle.

    With ``ray`` the surface is turned nearly parallel to the rays: face on, an undisplaced break cannot be seen.
    """
    middle = np.array(femur.along(float(rng.uniform(16.0, 31.0)) * femur.scale))
    axis = rotation((0, 0, 1), float(rng.uniform(-22.0, 20.0)))[:3, :3] @ np.array(femur.neck)
    axis = unit(axis + np.array([0.0, 0.0, float(rng.normal(0.0, 0.12))]))
    if ray is not None:
        axis = unit(axis - 0.9 * ray * float(axis @ ray))
    direction = (1.0 if rng.random() < 0.5 else -1.0, 0.0)
    more = {"rough": rough, "direction": direction, **cut}
    return surface_across(middle, axis, rng, side=1, radius=16.0 * femur.scale, **more), middle


def _displaced_neck(femur: Femur, variant: str, pose: NDArray[np.float64], rng: np.random.Generator) -> Broken:
    cut, middle = neck_surface(femur, rng, rough=float(rng.uniform(0.8, 1.5)), gap=0.3)
    k = femur.scale
    if variant == "garden_3":
        head = rotation((0, 0, 1), float(rng.uniform(14.0, 40.0)))
        up, turn, out = rng.uniform(4.0, 14.0), rng.uniform(15.0, 38.0), rng.uniform(-4.0, 4.0)
    else:
        head = rotation((0, 0, 1), float(rng.uniform(-12.0, 14.0)))
        up, turn, out = rng.uniform(13.0, 32.0), rng.uniform(25.0, 62.0), rng.uniform(-3.0, 9.0)
    rolled = about(middle, rotation((0, 1, 0), -float(turn)))
    shift = np.array([-float(out), -float(up), -float(rng.uniform(0.0, 6.0))]) * k
    shaft = compose(translation(shift), pose, rolled)
    return _two(femur, cut, head, shaft, "transverse", True)


def _nondisplaced_neck(
    femur: Femur, variant: str, pose: NDArray[np.float64], ray: NDArray[np.float64], rng: np.random.Generator
) -> Broken:
    at_rest = unit(inverse(pose)[:3, :3] @ ray)
    k, neck = femur.scale, np.array(femur.neck)
    across = np.array([neck[1], -neck[0], 0.0])
    if variant == "valgus_impacted":
        cut, middle = neck_surface(femur, rng, at_rest, rough=0.7, gap=-0.3)
        head = compose(rotation((0, 0, 1), -float(rng.uniform(6.0, 17.0))), pose)
        moved = transform(head, middle) - transform(pose, middle)
        push = -neck * float(rng.uniform(1.6, 3.6)) * k
        shaft = compose(translation(0.75 * moved + push), pose)
        return _two(femur, cut, head, shaft, "hairline", False)
    if variant == "lucent_line" and rng.random() < 0.55:
        partial = float(rng.uniform(0.1, 0.8)) * 16.0 * k if rng.random() < 0.4 else np.inf
        gap = float(rng.uniform(0.6, 1.2))
        cut, _ = neck_surface(femur, rng, at_rest, rough=0.6, gap=gap, crack=True, extent=partial)
        return Broken((Body(femur.bone, pose, cut, 0),), pose, "hairline", False)
    lucent = variant == "lucent_line"
    cut, _ = neck_surface(femur, rng, at_rest, rough=0.6, gap=float(rng.uniform(0.5, 1.1)) if lucent else -0.2)
    along = float(rng.uniform(0.0, 0.4) if lucent else -rng.uniform(1.4, 2.8))
    step = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 1.9))
    tilt = about((0, 0, 0), rotation((0, 0, 1), float(rng.normal(0.0, 1.5))))
    shaft = compose(translation((neck * along + across * step) * k), pose)
    return _two(femur, cut, compose(tilt, pose), shaft, "hairline", False)


def trochanteric_surface(
    femur: Femur,
    rng: np.random.Generator,
    ray: NDArray[np.float64] | None = None,
    *,
    rough: float = 1.3,
    gap: float = 0.3,
    **cut: Any,
) -> tuple[SurfaceCut, NDArray[np.float64]]:
    """A surface from the greater to the lesser trochanter that keeps head and neck, and its middle."""
    k = femur.scale
    upper = np.array(femur.tip) + np.array([float(rng.uniform(-12, 1)), float(rng.uniform(4, 24)), 6.0]) * k
    lower = np.array(femur.lesser) + np.array([8.0, float(rng.uniform(-13, 4)), 8.0]) * k
    upper[2] = lower[2] = 0.0
    run = unit(lower - upper)
    axis = np.array([-run[1], run[0], float(rng.normal(0.0, 0.18))])
    if ray is not None:
        axis = unit(axis) - 0.8 * ray * float(unit(axis) @ ray)
    middle = 0.5 * (upper + lower)
    return surface_across(middle, unit(axis), rng, side=1, radius=26.0 * k, rough=rough, gap=gap, **cut), middle


def _intertrochanteric(
    femur: Femur, detached: bool, pose: NDArray[np.float64], ray: NDArray[np.float64], rng: np.random.Generator
) -> Broken:
    at_rest = unit(inverse(pose)[:3, :3] @ ray)
    cut, middle = trochanteric_surface(femur, rng, at_rest, rough=float(rng.uniform(0.6, 1.2)))
    k = femur.scale
    gross = float(rng.beta(1.6, 1.6))  # from hardly moved to far
    varus = 2.0 + 26.0 * gross * float(rng.uniform(0.6, 1.0))
    head = compose(rotation((0, 0, 1), varus), rotation((0, 1, 0), float(rng.uniform(-4.0, 12.0))), pose)
    turn = 6.0 + 34.0 * gross * float(rng.random())
    rolled = about(middle, rotation((0, 1, 0), -turn))
    follow = transform(head, middle) - transform(pose, middle)
    gap = np.array(
        [
            float(rng.uniform(-5.0, 4.0)) * (0.3 + gross),
            -float(rng.uniform(0.0, 7.0)) * gross,
            -float(rng.uniform(0, 4)),
        ]
    )
    out = np.array([-1.0, 0.4, 0.0]) * float(rng.uniform(0.4, 2.2 + 2.0 * gross))
    shaft = compose(translation(follow + (gap + out) * k), pose, rolled)
    other = _other(cut)
    if not detached:
        return _two(femur, cut, head, shaft, "oblique", True)
    lesser = np.array(femur.lesser)
    inward = unit(np.array(femur.down(float((lesser - femur.root) @ np.array(femur.shaft)))) - lesser)
    base = lesser + inward * float(rng.uniform(6.0, 13.0)) * k
    small = surface_across(
        base,
        unit(-inward - np.array(femur.shaft) * float(rng.uniform(0.35, 0.8))),
        rng,
        side=-1,
        radius=14.0 * k,
        rough=1.2,
        gap=0.4,
    )
    pull = np.array([float(rng.uniform(4.0, 14.0)), -float(rng.uniform(2.0, 20.0)), float(rng.uniform(0.0, 6.0))]) * k
    free = compose(
        translation(pull), about(transform(shaft, lesser), rotation((0, 0, 1), float(rng.normal(8.0, 16.0)))), shaft
    )
    bodies = (
        Body(femur.bone, head, cut, 0),
        Body(femur.bone, shaft, Wedge((other, _other(small)), 0.3), 0),
        Body(femur.bone, free, Wedge((other, small), 0.3), 0),
    )
    return Broken(bodies, shaft, "comminuted", True)
