"""Metal in and around the hip: screws, sliding hip screw, cephalomedullary nail, hemi- and total arthroplasty.

Dimensions are those of common implants (7.3 mm cannulated screws, 135 degree sliding hip screws, short nails, 28 to
36 mm heads), rounded; no maker's product is copied. All are solids in the hip frame at rest and move with the shaft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fracture.simulate.geometry import pose_along, rotation, unit
from fracture.simulate.hip_fractures import neck_surface, surface_across, trochanteric_surface
from fracture.simulate.pelvis_shapes import Femur
from fracture.simulate.projection import Body
from fracture.simulate.shapes import Blob, Bone, Part, Tube, tube

_SOLID = 99.0  # mm of "cortex": an implant is metal all through

Vector = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Hardware:
    """An operated hip.

    Attributes:
        bodies: The femur: whole, with a residual fracture line, or without its head.
        metal: Implants with their materials (names of ``materials.metal``, or ``"cement"``).
        fracture: Whether a fracture line is still to be seen.
    """

    bodies: tuple[Body, ...]
    metal: tuple[tuple[Body, str], ...]
    fracture: bool = False


def fit(femur: Femur, variant: str, pose: NDArray[np.float64], socket: float, rng: np.random.Generator) -> Hardware:
    """Operate on a femur.

    Args:
        femur: At rest.
        variant: An implant of ``hip_fractures.VARIANTS``.
        pose: (4, 4), how the leg lies.
        socket: Radius of the acetabular cavity, mm.
        rng: The stream of this hip's operation.
    """
    if variant in ("hemiarthroplasty", "total_arthroplasty"):
        return _arthroplasty(femur, variant == "total_arthroplasty", pose, socket, rng)
    build = {
        "cannulated_screws": _cannulated_screws,
        "sliding_hip_screw": _sliding_hip_screw,
        "cephalomedullary_nail": _nail,
    }[variant]
    material = str(rng.choice(["titanium", "steel"]))
    solids = build(femur, rng)
    residual = bool(rng.random() < 0.55)
    bone = Body(femur.bone, pose)
    if residual:
        gap = float(rng.uniform(0.4, 1.1))
        neck = variant == "cannulated_screws" or (variant == "sliding_hip_screw" and rng.random() < 0.3)
        cut, _ = (neck_surface if neck else trochanteric_surface)(femur, rng, gap=gap, crack=True, rough=0.9)
        bone = Body(femur.bone, pose, cut, 0)
    metal = tuple((Body(Bone("implant", parts), pose), material) for parts in solids)
    return Hardware((bone,), metal, residual)


def _rod(start: Vector, end: Vector, knots: Sequence[Sequence[float]], *, corner: float = 0.6) -> Tube:
    """A metal rod; knots (fraction, radius u, radius v[, center u, center v])."""
    rows = [(k[0], k[1], k[2], _SOLID, 1.0, *k[3:]) for k in knots]
    return tube(start, end, rows, corner=corner, wobble=0.0)


def _ball(center: Vector, radius: float) -> Blob:
    frame, _ = pose_along(center, center + np.array([0.0, 1.0, 0.0]))
    return Blob(frame, (radius, radius, radius), _SOLID, 1.0)


def _screw(
    start: Vector, end: Vector, core: float, outer: float, pitch: float, thread: float, cap: float
) -> tuple[Part, ...]:
    """A screw from its head at ``start`` to its tip: a shaft of radius ``core``, ``thread`` mm of thread."""
    length = float(np.linalg.norm(end - start))
    first = max(0.06, 1.0 - thread / length)
    knots: list[tuple[float, ...]] = [(0.0, core, core), (first - 0.01, core, core)]
    turns = max(2, round((1.0 - first) * length / pitch))
    for n in range(turns):
        at = first + (1.0 - first) * n / turns
        wide = outer if n < turns - 1 else 0.8 * outer
        knots += [(at, core, core), (at + 0.5 * (1.0 - first) / turns, wide, wide)]
    knots.append((1.0, 0.55 * core, 0.55 * core))
    along = unit(end - start)
    head = _rod(
        start - along * 1.4 * cap, start + along * 0.6, ((0.0, 0.8 * cap, 0.8 * cap), (0.4, cap, cap), (1.0, cap, cap))
    )
    return (Part(_rod(start, end, knots)), Part(head, 0.4))


def _lateral(femur: Femur, inward: float) -> Vector:
    """Where the neck's axis leaves the lateral cortex, ``inward`` mm inside it."""
    distance = float(np.linalg.norm(np.array(femur.root)))
    return np.array(femur.along(distance + 1.42 * femur.outer - inward))


def _perpendicular(femur: Femur) -> Vector:
    """Across the neck in the frontal plane, upward."""
    up = np.array([-femur.neck[1], femur.neck[0], 0.0])
    return up if up[1] < 0 else -up


def _cannulated_screws(femur: Femur, rng: np.random.Generator) -> list[tuple[Part, ...]]:
    up, k = _perpendicular(femur), femur.scale
    neck = np.array(femur.neck)
    tilt = rotation((0, 0, 1), float(rng.normal(0.0, 2.5)))[:3, :3]
    thread = float(rng.choice([16.0, 16.0, 32.0]))
    washer = bool(rng.random() < 0.3)
    places = [(-7.0, 0.0), (4.5, -6.5), (4.5, 6.5)]
    if rng.random() < 0.3:
        places = [(-p[0], p[1]) for p in places]
    solids = []
    for rise, depth in places:
        across = up * (rise + float(rng.normal(0, 0.8))) * k + np.array([0.0, 0.0, depth * k])
        tip = -neck * (femur.head - float(rng.uniform(6.0, 12.0)) * k) + across
        # A steeper place of the lateral cortex lies farther along the neck for a lower screw.
        out = _lateral(femur, 0.0) + across + neck * (-rise * 0.55 * k + float(rng.normal(0.0, 1.2)))
        turned = [tilt @ p for p in (out, tip)]
        parts = _screw(turned[0], turned[1], 2.4, 3.65, 2.75, thread, 4.1)
        if washer:
            along = unit(turned[1] - turned[0])
            parts += (
                Part(_rod(turned[0] - along * 0.9, turned[0] + along * 0.7, ((0, 6.5, 6.5), (1, 6.5, 6.5))), 0.3),
            )
        solids.append(parts)
    return solids


def _lag_axis(femur: Femur, rng: np.random.Generator) -> tuple[Vector, Vector]:
    """Entry at the lateral cortex and tip in the head of a lag screw, a little low and back as taught."""
    up, k = _perpendicular(femur), femur.scale
    low = up * -float(rng.uniform(-1.0, 5.0)) * k + np.array([0.0, 0.0, float(rng.normal(0.0, 2.0))]) * k
    tip = -np.array(femur.neck) * (femur.head - float(rng.uniform(7.0, 13.0)) * k) + low
    return _lateral(femur, 0.0) + low, tip


def _lag_screw(entry: Vector, tip: Vector, core: float, outer: float, thread: float) -> tuple[Part, ...]:
    return _screw(entry, tip, core, outer, 3.0, thread, core * 0.98)


def _sliding_hip_screw(femur: Femur, rng: np.random.Generator) -> list[tuple[Part, ...]]:
    entry, tip = _lag_axis(femur, rng)
    along, shaft = unit(tip - entry), np.array(femur.shaft)
    out = unit(np.array([-1.0, 0.0, 0.0]) - shaft * float(-shaft[0]))
    holes = int(rng.choice([2, 3, 4, 4, 5]))
    wide = femur.outer + 2.2
    level = float((entry - np.array(femur.root)) @ shaft)
    top = np.array(femur.down(level - 14.0)) + out * (wide + 2.0)
    end_level = level + 10.0 + 17.0 * holes
    end = np.array(femur.down(end_level)) + out * wide
    plate = _rod(top, end, ((0.0, 2.6, 6.5), (0.1, 3.3, 9.0), (0.9, 3.0, 9.0), (1.0, 2.2, 6.0)), corner=1.2)
    seat = entry - along * 3.5
    barrel = _rod(
        seat, seat + along * float(rng.choice([26.0, 38.0, 38.0])), ((0.0, 7.5, 7.5), (0.15, 6.4, 6.4), (1.0, 6.2, 6.2))
    )
    solids: list[tuple[Part, ...]] = [(Part(plate), Part(barrel, 1.5))]
    solids.append(_lag_screw(entry + along * float(rng.uniform(0.0, 6.0)), tip, 4.0, 6.3, 23.0))
    for n in range(holes):
        at = level + 17.0 + 17.0 * n
        start = np.array(femur.down(at)) + out * (wide + 2.2)
        far = np.array(femur.down(at + float(rng.normal(0, 1.2)))) - out * (femur.outer + float(rng.uniform(0.0, 3.0)))
        solids.append(_screw(start, far, 1.75, 2.35, 1.8, 200.0, 3.9))
    return solids


def _nail(femur: Femur, rng: np.random.Generator) -> list[tuple[Part, ...]]:
    entry, tip = _lag_axis(femur, rng)
    along, shaft = unit(tip - entry), np.array(femur.shaft)
    width = float(np.clip(femur.canal * 0.95, 4.6, 6.0))
    proud = float(rng.uniform(-2.0, 7.0))
    bend = np.array(femur.down(float(rng.uniform(26.0, 34.0))))
    top = np.array(femur.tip) * (1.0, 1.0, 0.0) + np.array([4.0, -proud, -2.0])
    long = bool(rng.random() < 0.35)
    low = np.array(femur.down(330.0 if long else float(rng.uniform(128.0, 165.0))))
    upper = _rod(
        top, bend, ((0.0, 7.8, 7.8), (0.05, 8.2, 8.2), (0.75, 8.0, 8.0), (1.0, width + 0.4, width + 0.4)), corner=1.0
    )
    lower = _rod(
        bend - shaft * 2.0,
        low,
        ((0.0, width + 0.3, width + 0.3), (0.9, width, width), (1.0, 0.55 * width, 0.55 * width)),
        corner=2.0,
    )
    solids: list[tuple[Part, ...]] = [(Part(upper), Part(lower, 2.0))]
    lag = entry - along * float(rng.uniform(2.0, 8.0))
    if rng.random() < 0.4:  # a helical blade
        blade = _rod(
            lag,
            tip,
            ((0.0, 5.2, 5.2), (0.55, 5.2, 5.2), (0.6, 4.4, 5.8), (0.75, 6.2, 4.6), (0.9, 4.6, 6.0), (1.0, 3.0, 3.0)),
        )
        solids.append((Part(blade),))
    else:
        solids.append(_lag_screw(lag, tip, 5.1, 5.4, 24.0))
    if rng.random() < 0.25:  # a second, thinner one against rotation
        up = _perpendicular(femur) * 11.5
        solids.append(_screw(lag + up - along * -4.0, tip + up - along * 12.0, 2.6, 3.0, 2.5, 18.0, 2.6))
    if not long:
        at = float((low - np.array(femur.root)) @ shaft) - float(rng.uniform(18.0, 32.0))
        out = unit(np.array([-1.0, 0.0, 0.0]) + shaft * float(shaft[0]))
        middle = np.array(femur.down(at))
        solids.append(
            _screw(middle + out * (femur.outer + 1.5), middle - out * (femur.outer + 1.0), 2.0, 2.45, 1.8, 200.0, 3.6)
        )
    return solids


def _arthroplasty(
    femur: Femur, total: bool, pose: NDArray[np.float64], socket: float, rng: np.random.Generator
) -> Hardware:
    k, neck = femur.scale, np.array(femur.neck)
    level = np.array(femur.along(float(rng.uniform(34.0, 40.0)) * k))
    axis = unit(np.array([-0.72, 0.72, 0.0]))
    resection = surface_across(level, axis, rng, side=-1, radius=20.0 * k, rough=0.15)
    bone = Body(femur.bone, pose, resection, -1)
    material = str(rng.choice(["titanium", "cobalt_chromium", "steel"]))
    cemented = bool(rng.random() < (0.35 if total else 0.6))
    length = float(rng.uniform(110.0, 150.0)) * k
    tip = np.array(femur.down(length))
    thick = femur.canal * (0.62 if cemented else 0.9)
    top = np.array(femur.down(-14.0 * k)) + np.array([3.0, 0.0, 0.0]) * k
    # Broad at the calcar, then a slender taper in the canal; the shoulder is lateral.
    knots = (
        (0.0, 3.0, 3.0, 1.0 * k),
        (0.06, 8.0 * k, 5.5 * k, 3.0 * k),
        (0.2, 11.5 * k, 6.8 * k, 4.0 * k),
        (0.35, 9.0 * k, 6.2 * k, 2.0 * k),
        (0.5, max(thick, 5.0), 5.8 * k, 0.5 * k),
        (0.85, 0.88 * thick, 5.0 * k, 0.0),
        (1.0, 0.55 * thick, 3.5 * k, 0.0),
    )
    stem = _rod(top, tip, knots, corner=2.0)
    head_center = np.zeros(3)
    taper_end = head_center + neck * 4.0
    taper = _rod(
        level + neck * 7.0 * k, taper_end, ((0.0, 8.5 * k, 6.5 * k), (0.35, 6.4, 5.8), (1.0, 5.8, 5.8)), corner=1.0
    )
    parts: tuple[Part, ...] = (Part(stem), Part(taper, 5.0))
    if rng.random() < 0.4:  # a collar on the calcar
        collar = level + np.array([5.0, 0.0, 0.0]) * k
        parts += (
            Part(_rod(collar - axis * 1.5, collar + axis * 1.5, ((0, 11.0 * k, 8.0 * k), (1, 11.0 * k, 8.0 * k))), 1.0),
        )
    metal: list[tuple[Body, str]] = [(Body(Bone("stem", parts), pose), material)]
    if cemented:
        low = np.array(femur.down(length + float(rng.uniform(8.0, 22.0))))
        fill = 0.97 * femur.canal
        mantle = (
            (0.0, 9.0 * k, 8.0 * k, 2.0 * k),
            (0.25, 12.5 * k, 9.0 * k, 3.0 * k),
            (0.5, fill, fill),
            (0.95, fill, fill),
            (1.0, 0.8 * fill, 0.8 * fill),
        )
        metal.append((Body(Bone("cement", (Part(_rod(top, low, mantle, corner=3.0)),)), pose), "cement"))
    if total:
        radius = float(rng.choice([14.0, 16.0, 16.0, 18.0]))
        metal.append((Body(Bone("head", (Part(_ball(head_center, radius)),)), pose), "cobalt_chromium"))
        metal += _cup(socket + 0.8, radius, rng)
    else:
        radius = femur.head + float(rng.uniform(0.0, 1.5))
        ball: tuple[Part, ...] = (Part(_ball(head_center, radius)),)
        if rng.random() < 0.75:  # bipolar: a shell, polyethylene, and a small head that turns inside
            axis = unit(np.array([-0.62, 0.78, 0.1]))
            mouth = _rod(axis * 0.32 * radius, axis * 60.0, ((0.0, 45.0, 45.0), (1.0, 45.0, 45.0)), corner=0.5)
            ball += (Part(_ball(head_center, radius - 3.6), carve=True), Part(mouth, carve=True))
            inner = Bone("inner_head", (Part(_ball(head_center + axis * 1.0, 13.0 if radius > 22 else 11.0)),))
            metal.append((Body(inner, pose), "cobalt_chromium"))
        metal.append((Body(Bone("head", ball)), "cobalt_chromium"))
    return Hardware((bone,), tuple(metal))


def _cup(radius: float, head: float, rng: np.random.Generator) -> list[tuple[Body, str]]:
    """A press-fit cup: hemispherical shell, opened outward and down, with up to two screws through its dome."""
    lean = np.deg2rad(float(np.clip(rng.normal(43.0, 6.0), 30.0, 60.0)))
    forward = float(np.tan(np.deg2rad(np.clip(rng.normal(15.0, 6.0), 0.0, 30.0))))
    axis = unit(np.array([-np.sin(lean), np.cos(lean), forward]))
    wall = float(rng.uniform(3.0, 4.5))
    inner = max(radius - wall, head + 3.0)
    mouth = _rod(axis * 1.0, axis * 70.0, ((0.0, 50.0, 50.0), (1.0, 50.0, 50.0)), corner=0.4)
    shell = (Part(_ball(np.zeros(3), radius)), Part(_ball(np.zeros(3), inner), carve=True), Part(mouth, carve=True))
    solids: list[tuple[Body, str]] = [(Body(Bone("cup", shell)), "titanium")]
    for _ in range(int(rng.choice([0, 1, 2], p=[0.5, 0.25, 0.25]))):
        way = unit(np.array([float(rng.uniform(-0.15, 0.5)), -1.0, float(rng.uniform(-0.5, 0.1))]))
        screw = _screw(way * (radius - 3.0), way * (radius + float(rng.uniform(18.0, 32.0))), 2.2, 3.2, 2.6, 200.0, 3.6)
        solids.append((Body(Bone("cup_screw", screw)), "titanium"))
    return solids
