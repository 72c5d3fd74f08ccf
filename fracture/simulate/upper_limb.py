"""Forearm, wrist and hand of a right arm seen from the back of the hand.

The thumb lies at +x, the fingers toward +y, y = 0 is the wrist joint. Dimensions in mm of a medium adult are our choice
after textbook radiographs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.simulate.anatomy import Anatomy, Build, SoftPart, profile, whole, widened
from fracture.simulate.fractures import Site, site
from fracture.simulate.geometry import unit
from fracture.simulate.shapes import Bone, Cap, Part

Vector = NDArray[np.float64]

_RAYS = (
    # name, carpometacarpal joint, direction in degrees toward the thumb, metacarpal length, phalanges, width
    ("1", (22.5, 32.1, 5.0), 38.0, 44.0, (31.0, 23.0), 1.06),
    ("2", (10.5, 33.1, -1.0), 8.0, 66.0, (40.0, 24.0, 17.5), 0.97),
    ("3", (1.0, 34.6, -2.0), 0.5, 63.5, (44.0, 28.5, 18.5), 0.98),
    ("4", (-7.5, 33.6, -1.0), -7.0, 57.0, (41.0, 27.0, 18.0), 0.91),
    ("5", (-15.0, 31.1, 1.0), -15.0, 52.5, (33.0, 19.5, 16.5), 0.84),
)

_OUT = 0.8  # mm or so from a bone's end to the middle of the joint space, where only one end is known

_SEGMENTS = ("metacarpal", "proximal_phalanx", "middle_phalanx", "distal_phalanx")

_HEAD = Cap(curve_u=0.065, curve_v=0.075)
_BASE = Cap(curve_u=-0.035, curve_v=-0.035)
_CONDYLES = Cap(curve_u=0.03, curve_v=0.11, groove=0.9, width=1.8)
_SADDLE = Cap(curve_u=-0.02, curve_v=0.02)


def arm(rng: np.random.Generator, *, stout: float, flexed: float = 0.0) -> Anatomy:
    """A forearm with elbow and hand.

    Args:
        rng: The stream of this person.
        stout: Relative thickness of the soft tissue.
        flexed: 0 keeps the fingers flat, 1 fans them out for a lateral view.
    """
    build = Build(rng, float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)))
    bones, sites, soft = _forearm(build, stout)
    bones += _carpus(build)
    hand, hand_sites, hand_soft = _hand(build, flexed, stout)
    wrist_soft = [
        build.flesh(
            (1, -30, 0),
            (2, 112, 0),
            (
                (0, 25 * stout**0.5, 18 * stout),
                (0.22, 27, 19 * stout),
                (0.40, 31, 18.5 * stout),
                (0.60, 39, 17 * stout),
                (0.80, 43, 14.5 * stout),
                (1.0, 42, 9.5 * stout),
            ),
            blend=9.0,
        ),
        build.flesh(
            (13, 14, 7), (40, 74, 8), ((0, 15, 14 * stout), (0.45, 18, 16 * stout), (1.0, 12, 11 * stout)), blend=12.0
        ),
    ]
    return Anatomy(
        tuple(bones + hand),
        tuple(soft + wrist_soft + hand_soft),
        tuple(sites + hand_sites),
        float(rng.uniform(1.5, 4.0)) * stout,
    )


def _forearm(build: Build, stout: float) -> tuple[list[Bone], list[Site], list[SoftPart]]:
    bow = build.jitter(0.25)
    variance = float(np.clip(build.rng.normal(-2.5, 1.3), -5.0, 0.5))  # ulnar variance, mm
    # The radius bows between its tuberosity and its distal end.
    bowed = [(*k[:5], k[5] * bow) if 0.3 < k[0] < 0.8 else k for k in profile("radius")]
    radius = build.tube(
        (10, -238, 0),
        (6, 0, 0),
        bowed,
        caps=(Cap(curve_u=-0.02, curve_v=-0.02), Cap(curve_u=-0.014, curve_v=-0.016, tilt_u=0.40, tilt_v=-0.2)),
        corner=2.2,
    )
    styloid = build.blob((19.2, 2.5, 0), (7.5, 3.4, 5.5), axis=(0.2, 1, 0), cortex=0.8, bump=0.2)
    lister = build.blob((7, -9, -9.5), (7, 3, 2.5), cortex=1.0, bump=0.0)
    ulna_end = -3.0 + variance
    ulna = build.tube(
        (-7, -262, -4),
        (-16.5, ulna_end, -1),
        profile("ulna"),
        caps=(Cap(curve_u=0.03), Cap(curve_u=0.05, curve_v=0.05, tilt_u=0.0)),
        corner=3.5,
    )
    ulna_styloid = build.tube(
        (-22.0, ulna_end - 6, -2),
        (-23.0, ulna_end + 4.5, -2.5),
        profile("ulna_styloid"),
        caps=(Cap(), Cap(curve_u=0.2, curve_v=0.2)),
        corner=1.0,
    )
    humerus = build.tube(
        (-2, -345, 0),
        (-1, -243, 2),
        profile("humerus"),
        caps=(Cap(), Cap(curve_u=0.002, curve_v=0.05, groove=2.5, width=4.0, tilt_u=-0.03)),
        corner=3.0,
    )
    trochlea = build.blob((-9, -247, 3), (9, 12, 10.5), cortex=1.0, bump=0.3)
    capitellum = build.blob((11, -248.5, 5), (9.5, 10.5, 10), cortex=1.0, boxy=0.0, bump=0.2)
    fossa = build.blob((-1, -262, -6), (8, 9, 7), cortex=0.6, bump=0.0)
    bones = [
        whole("humerus", Part(humerus), Part(trochlea, 4.0), Part(capitellum, 4.0), Part(fossa, carve=True)),
        whole("ulna", Part(ulna), Part(ulna_styloid, 2.0)),
        whole("radius", Part(radius), Part(styloid, 4.0), Part(lister, 3.0)),
    ]
    p = build.point
    down = (0.0, 1.0, 0.0)
    distal_ulna = ("ulna", p((-16.2, -26 + float(build.rng.uniform(-8, 12)), -1)), down, 6.0)
    colles = float(build.rng.uniform(-30, -17))
    shaft = float(build.rng.uniform(-165, -75))
    ulna_shaft = ("ulna", p((-13.5, shaft + float(build.rng.uniform(-12, 12)), -2)), down, 6.5)
    sites = [
        site("radius_distal", p((7, colles, 0)), down, partners=(distal_ulna,)),
        site("radius_proximal", p((10, shaft * 0.5 - 20, 0)), down, partners=(ulna_shaft,)),
        site("radius_shaft", p((13.5, shaft, 0)), down, partners=(ulna_shaft,)),
        site("ulna_shaft", p((-13.5, shaft, -2)), down),
        site("ulna_distal", distal_ulna[1], down),
        site("scaphoid", p((12.8, 11.5, 4)), (0.55, 0.75, 0.3)),
    ]
    flesh = build.flesh(
        (0, -350, 0),
        (-1, 45, 0),
        (
            (0.0, 44 * stout, 46 * stout),
            (0.22, 46 * stout, 40 * stout),
            (0.36, 47 * stout, 40 * stout, 2),
            (0.54, 41 * stout, 34 * stout, 2),
            (0.72, 32 * stout**0.8, 25 * stout**0.8),
            (0.84, 28 * stout**0.5, 20 * stout**0.7),
            (0.90, 27.5 * stout**0.5, 19 * stout**0.7),
            (1.0, 28 * stout**0.5, 17 * stout**0.7),
        ),
    )
    return bones, sites, [flesh]


def _carpus(build: Build) -> list[Bone]:
    j = float(build.rng.normal(0.0, 0.4))
    rows = (
        # name, center, radii (along axis, across, deep), axis, boxy
        ("scaphoid", (12.6, 13.2 + j, 3.0), (12.2, 6.0, 6.0), (0.66, 0.72, 0.30), 0.35),
        ("lunate", (-1.0, 7.6, 0.0), (6.4, 7.8, 8.6), (-0.15, 1.0, 0.0), 0.35),
        ("triquetrum", (-13.6, 11.2, -2.0), (7.8, 6.0, 7.0), (-0.75, 0.7, 0.0), 0.5),
        ("pisiform", (-14.5, 14.6, 10.0), (5.6, 4.8, 5.0), (0.2, 1.0, 0.0), 0.0),
        ("trapezium", (20.0, 24.0, 6.0), (6.2, 7.8, 6.5), (0.45, 0.9, 0.0), 0.7),
        ("trapezoid", (10.4, 25.6, -2.0), (5.4, 5.6, 7.0), (0.15, 1.0, 0.0), 0.8),
        ("capitate", (0.8, 22.6, -1.0), (10.6, 6.6, 8.5), (-0.03, 1.0, 0.0), 0.65),
        ("hamate", (-10.6, 23.2, 0.0), (9.0, 7.4, 7.5), (-0.28, 0.95, 0.0), 0.7),
    )
    bones = []
    for name, center, radii, axis, boxy in rows:
        body = build.blob(center, radii, axis=axis, boxy=boxy, cortex=0.6, spongy=1.1, bump=0.7)
        parts = [Part(body)]
        if name == "capitate":
            parts.append(Part(build.blob((0.2, 15.2, -1.0), (4.8, 5.2, 6.0), boxy=0.0, cortex=0.75, bump=0.0), 3.0))
        if name == "lunate":  # its distal face holds the head of the capitate
            cup = build.blob((0.2, 16.2, -1.0), (6.4, 7.0, 7.6), boxy=0.0, cortex=0.8, bump=0.0)
            parts.append(Part(cup, carve=True))
        if name == "hamate":  # the hook, seen end on
            parts.append(Part(build.blob((-9.0, 25.5, 9.0), (3.2, 2.2, 6.0), cortex=0.9, bump=0.0), 3.0))
        bones.append(whole(name, *parts, texture=0.5))
    return bones


def _hand(build: Build, flexed: float, stout: float) -> tuple[list[Bone], list[Site], list[SoftPart]]:
    bones: list[Bone] = []
    sites: list[Site] = []
    soft: list[SoftPart] = []
    spread = build.jitter(0.35)
    for number, (name, joint, degrees, length, phalanges, width) in enumerate(_RAYS):
        lean = np.deg2rad(degrees * (1.0 if name == "1" else spread) + build.rng.normal(0.0, 1.2))
        direction = np.array([np.sin(lean), np.cos(lean), 0.0])
        bend = np.deg2rad(flexed * (8.0 + 14.0 * (number - 1)) if number else 12.0)
        roll = 62.0 if name == "1" else 0.0
        start = np.asarray(joint)
        path = [start]
        kinds = [kind for kind in _SEGMENTS if number or kind != "middle_phalanx"]
        for k, (size, kind) in enumerate(zip((length, *phalanges), kinds, strict=True)):
            size = size * build.jitter(0.02)
            end = start + direction * size
            caps = (
                _BASE if k else _SADDLE,
                _HEAD if k == 0 else _CONDYLES if kind != "distal_phalanx" else Cap(curve_u=0.12),
            )
            knots = widened(profile(kind), width)
            shape = build.tube(start, end, knots, roll=roll, caps=caps, corner=2.9)
            # Named from the distal part on, so that what a fracture carries is one prefix.
            full = f"{kind}_{name}" if kind == "metacarpal" else f"phalanx_{name}_{kind.split('_')[0]}"
            bones.append(whole(full, Part(shape), texture=0.5))
            sites += _ray_sites(build, full, start, direction, size, kind, name)
            path.append(end)
            bend_here = bend * (0.7 if k else 0.6)
            turned = np.arctan2(direction[2], np.hypot(direction[0], direction[1])) + bend_here
            flat = unit([direction[0], direction[1], 0.0])
            if name == "1" and k == 0:
                flat = np.array([np.sin(lean * 0.75), np.cos(lean * 0.75), 0.0])
            direction = np.array([flat[0] * np.cos(turned), flat[1] * np.cos(turned), np.sin(turned)])
            start = end + direction * (1.7 if k == 0 else 1.3)
        thick = width * stout**0.4
        first = path[1] - (path[1] - path[0]) * (0.25 if number else 0.5)
        for a, b, r0, r1 in _fleshy(first, path, thick):
            soft.append(build.flesh(a, b, ((0.0, r0, r0 * 0.92), (1.0, r1, r1 * 0.9)), blend=4.0))
    return bones, sites, soft


def _fleshy(first: Vector, path: Sequence[Vector], thick: float) -> list[tuple[Vector, Vector, float, float]]:
    points = [first, *path[2:]]
    radii = [10.0, 9.4, 8.3, 6.4] if len(points) == 4 else [11.0, 10.0, 7.4]
    rows = []
    for k in range(len(points) - 1):
        a, b = points[k], points[k + 1]
        along = unit(b - a)
        # Segments reach into each other, so that the skin has no notch at a joint; the last one covers the tuft.
        before, after = 5.0, 3.5 if k == len(points) - 2 else 5.0
        rows.append((a - along * before, b + along * after, radii[k] * thick, radii[k + 1] * thick))
    return rows


def _ray_sites(
    build: Build, full: str, start: Vector, direction: Vector, size: float, kind: str, ray: str
) -> list[Site]:
    axis = (float(direction[0]), float(direction[1]), float(direction[2]))

    def at(fraction: float) -> tuple[float, float, float]:
        return build.point(start + direction * size * fraction)

    own: dict[str, Any] = {"bone": full, "carries": (f"phalanx_{ray}",)}
    if kind == "metacarpal":
        return [
            site("metacarpal_neck", at(0.80), axis, weight=1.6 if ray in "45" else 0.4, **own),
            site("metacarpal_shaft", at(float(build.rng.uniform(0.35, 0.6))), axis, **own),
            site("metacarpal_base", at(0.12), axis, weight=0.9 if ray in "15" else 0.2, **own),
        ]
    later = _SEGMENTS[_SEGMENTS.index(kind) + 1 :]
    own["carries"] = tuple(f"phalanx_{ray}_{name.split('_')[0]}" for name in later)
    return [site(kind, at(float(build.rng.uniform(0.25, 0.7))), axis, **own)]


def hand_points(ends: Mapping[str, Vector]) -> dict[str, tuple[float, float]]:
    """The 26 points of a hand, see :mod:`fracture.digits`, out of the ends of its bones: middles of joint spaces, of
    carpal bones, and of the distal ends of radius and ulna.

    Args:
        ends: Of every bone of :func:`arm` by name, float64 (2, 2): the (x, y) of its near and of its far end in pixels.
    """
    start, end = ({name: at[k] for name, at in ends.items()} for k in (0, 1))
    found: dict[str, Vector] = {}
    for k in "12345":
        chain = [f"metacarpal_{k}", *(f"phalanx_{k}_{part}" for part in ("proximal", "middle", "distal"))]
        chain = [name for name in chain if name in ends]
        names = ("mcp1", "ip1") if k == "1" else (f"mcp{k}", f"pip{k}", f"dip{k}")
        for name, near, far in zip(names, chain, chain[1:], strict=False):
            found[name] = (end[near] + start[far]) / 2
    out = (start["metacarpal_3"] - start["capitate"]) / np.linalg.norm(start["metacarpal_3"] - start["capitate"])
    gap = _OUT / 25 * np.linalg.norm(start["metacarpal_3"] - start["lunate"])
    found |= {f"cmc{k}": start[f"metacarpal_{k}"] - gap * out for k in "345"}
    found["mc1"] = start["metacarpal_1"] - gap * out
    found["mul"], found["nav"], found["lunate"] = (
        (start["trapezium"] + start["trapezoid"]) / 2, start["scaphoid"], start["lunate"],
    )  # fmt: skip
    found["mna"] = (found["mul"] + found["nav"]) / 2
    found["capnlun"] = (start["capitate"] + start["scaphoid"] + start["lunate"]) / 3
    found["radius"], found["ulna"] = end["radius"] - 4 * gap * out, end["ulna"] - 3 * gap * out
    found["radcar"] = end["radius"] + 0.35 * (start["lunate"] - end["radius"])
    return {name: (float(x), float(y)) for name, (x, y) in found.items()}
