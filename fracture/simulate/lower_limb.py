"""Leg of a right limb seen from the front: knee, tibia and fibula, ankle and foot.

Lateral lies at -x, the front at +z, y = 0 is the ankle joint and y = -365 the knee joint. Dimensions in mm of a medium
adult are our choice after textbook radiographs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fracture.simulate.anatomy import Anatomy, Build, Point, moved, moved_bone, profile, whole, widened
from fracture.simulate.fractures import Site, site
from fracture.simulate.geometry import about, rotation, transform
from fracture.simulate.shapes import Bone, Cap, Part


def leg(rng: np.random.Generator, *, stout: float, pointed: float) -> Anatomy:
    """A lower leg with the ends of the thigh and of the foot that a film of it shows."""
    build = Build(rng, float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)))
    turn = about(build.point((0.0, 14.0, -2.0)), rotation((1.0, 0.0, 0.0), -pointed))
    bones = [distal_femur(build, -365.0), *shank(build), *_foot(build, turn), patella(build, -365.0)]
    calf = stout
    sole = [
        build.flesh(
            (-2, 8, -52),
            (0, 62, 150),
            ((0.0, 31, 34), (0.25, 38, 46, 0, 4), (0.5, 40, 37, 0, 6), (0.75, 46, 24, 0, 2), (1.0, 45, 14)),
        ),
        build.pad((-1, 22, -30), (46, 35, 36), blend=14.0),
    ]
    soft = [
        build.flesh(
            (0, -560, -2),
            (0, 18, -4),
            (
                (0.0, 76 * calf, 80 * calf),
                (0.25, 63 * calf, 66 * calf),
                (0.35, 57 * calf**0.7, 62 * calf**0.7, 0, 3),
                (0.45, 56 * calf, 60 * calf, 0, -3),
                (0.56, 60 * calf, 64 * calf, 0, -11),
                (0.70, 52 * calf, 55 * calf, -2, -9),
                (0.84, 40 * calf**0.8, 43 * calf**0.8, -4, -4),
                (0.93, 36 * calf**0.6, 38 * calf**0.6, -4, -4),
                (1.0, 40, 42, -2, -6),
            ),
        ),
        *(moved(part, turn) for part in sole),
    ]
    return Anatomy(tuple(bones), tuple(soft), tuple(_sites(build, turn)), float(rng.uniform(2.5, 6.0)) * stout)


def distal_femur(build: Build, joint: float) -> Bone:
    """The lower half of a femur whose knee joint lies at y = ``joint``."""
    y = joint - 4.5
    shaft = build.tube(
        (-6, y - 230, 4),
        (0, y - 14, -2),
        profile("femur_distal"),
        caps=(Cap(), Cap()),
        corner=12.0,
    )
    medial = build.blob((21.0, y - 19, -6), (19.5, 17.5, 30), cortex=0.9, boxy=0.25, bump=0.3)
    lateral = build.blob((-21.5, y - 18.5, -4), (18.5, 17.5, 31), cortex=0.9, boxy=0.3, bump=0.3)
    notch = build.blob((0, y + 3, -14), (17, 8.5, 22), cortex=1.1, boxy=0.0, bump=0.0)
    parts = (Part(shaft), Part(medial, 6.0), Part(lateral, 6.0), Part(notch, carve=True))
    return whole("femur", *parts, grain=(0.7, 1.7))


def patella(build: Build, joint: float) -> Bone:
    """The kneecap in front of the femoral condyles."""
    body = build.blob((0, joint - 34, 36), (21.5, 21, 10.5), cortex=1.2, spongy=1.0, boxy=0.2, bump=0.5)
    return whole("patella", Part(body), grain=(0.65, 1.1))


def shank(build: Build) -> list[Bone]:
    """Fibula and tibia, the knee joint at y = -365, the ankle joint at y = 0."""
    slope = float(build.rng.normal(0.10, 0.03))
    tibia = build.tube(
        (4, -364, 0),
        (0, -1.5, 0),
        profile("tibia"),
        caps=(
            Cap(groove=-6.5, width=5.0, tilt_v=slope, curve_u=0.0),
            Cap(curve_v=-0.02, curve_u=0.0, groove=-0.8, width=9.0),
        ),
        corner=5.0,
        turn=90.0,
    )
    tuberosity = build.tube(
        (1, -345, 20),
        (1, -300, 15),
        profile("tibial_tuberosity"),
        corner=3.0,
    )
    malleolus = build.tube(
        (19.0, -24, 0),
        (19.8, 13.5, 3),
        profile("medial_malleolus"),
        caps=(Cap(), Cap(curve_u=0.06, curve_v=0.04)),
        corner=3.0,
    )
    spines = build.tube(
        (7, -358, -2),
        (6, -371, -2),
        profile("tibial_spines"),
        corner=1.2,
    )
    fibula = build.tube(
        (-33, -346, -17),
        (-28.5, 21, -8),
        profile("fibula"),
        caps=(Cap(curve_u=0.05, curve_v=0.04, tilt_u=-0.25), Cap(curve_u=0.05, curve_v=0.04)),
        corner=3.0,
    )
    return [
        whole("fibula", Part(fibula), grain=(0.7, 1.8)),
        whole("tibia", Part(tibia), Part(tuberosity, 6.0), Part(malleolus, 5.0), Part(spines, 3.0), grain=(0.7, 1.7)),
    ]


def _foot(build: Build, turn: NDArray[np.float64]) -> list[Bone]:
    """The foot, turned in the ankle."""
    dome = build.blob((-3.5, 16.5, -2), (14.5, 15.8, 21.5), cortex=0.8, spongy=0.9, boxy=0.7, bump=0.15)
    neck = build.blob((2, 20, 31), (10, 12.5, 15), cortex=0.7, spongy=0.8, boxy=0.3)
    heel = build.tube(
        (-5, 40, 28),
        (-4, 50, -60),
        profile("calcaneus"),
        caps=(Cap(), Cap(curve_u=0.015, curve_v=0.012)),
        corner=10.0,
    )
    facet = build.blob((-2, 33.5, -2), (8.5, 12, 14), cortex=0.9, boxy=0.2)
    sustentaculum = build.blob((12, 32, 8), (6, 9, 13), cortex=0.9)
    bones = [
        whole("talus", Part(dome), Part(neck, 6.0), texture=0.5, grain=(0.65, 1.1)),
        whole("calcaneus", Part(heel), Part(facet, 7.0), Part(sustentaculum, 5.0), texture=0.5, grain=(0.65, 1.3)),
        whole("navicular", Part(build.blob((9, 24, 53), (13, 17, 8.5), boxy=0.6, spongy=0.8))),
        whole("cuboid", Part(build.blob((-14, 40, 47), (11.5, 12.5, 18), boxy=0.8, spongy=0.8))),
        whole("cuneiform_1", Part(build.blob((18, 36, 72), (14, 7.5, 12.5), boxy=0.8, spongy=0.8))),
        whole("cuneiform_2", Part(build.blob((5, 29, 70), (10, 7, 10), boxy=0.8, spongy=0.8))),
        whole("cuneiform_3", Part(build.blob((-6, 33, 71), (11, 7, 12), boxy=0.8, spongy=0.8))),
    ]
    for k, (x, length) in enumerate(((20, 62), (9, 74), (-2, 70), (-13, 68), (-24, 66))):
        base = (x, 38.0 + 2.5 * k, 86.0 - 4.0 * max(0, k - 2) - (4 if k else 0))
        head = (x * 1.3, 64.0 + 1.0 * k, base[2] + length * 0.9)
        w = 1.35 if k == 0 else 0.92
        bone = widened(profile("metatarsal"), w)
        bones.append(
            whole(
                f"metatarsal_{k + 1}",
                Part(build.tube(base, head, bone, caps=(Cap(), Cap(curve_u=0.06, curve_v=0.06)))),
            )
        )
        toe = widened(profile("toe"), w)
        start = (head[0] * 1.02, head[1] - 1.0, head[2] + 8.0)
        bones.append(
            whole(f"toe_{k + 1}", Part(build.tube(start, (start[0] * 1.03, start[1] + 4, start[2] + 27), toe)))
        )
    return [moved_bone(bone, turn) for bone in bones]


def _sites(build: Build, turn: NDArray[np.float64]) -> list[Site]:
    p = build.point
    down = (0.0, 1.0, 0.0)
    u = build.rng.uniform
    shaft = float(u(-240, -95))
    low = float(u(-70, -40))
    fib = ("fibula", p((-27, shaft + float(u(-35, 35)), -12)), down, 6.6)

    def at(q: Point) -> Point:
        x, y, z = transform(turn, p(q))
        return float(x), float(y), float(z)

    def toward(q: Point) -> Point:
        x, y, z = turn[:3, :3] @ np.asarray(q)
        return float(x), float(y), float(z)

    fib_low = ("fibula", p((-26, low + float(u(-20, 25)), -9)), down, 7.0)
    return [
        site("tibia_shaft", p((1, shaft, 0)), down, partners=(fib,)),
        site("tibia_distal", p((1, low, 0)), down, partners=(fib_low,)),
        site("fibula_shaft", p((-27, float(u(-230, -80)), -12)), down),
        site("lateral_malleolus", p((-26, float(u(-32, 4)), -8)), down),
        site("medial_malleolus", p((19.5, float(u(-4, 2)), 2)), (0.3, 1.0, 0.0)),
        site("tibial_plateau", p((float(u(-24, -16)), -352, -2)), (-0.85, -0.5, 0.0)),
        site("tibia_proximal", p((2, float(u(-315, -290)), 0)), down),
        site("patella", p((0, -365 - 34 + float(u(-4, 4)), 36)), down),
        site("femur_supracondylar", p((0, -365 - float(u(62, 95)), 0)), (0.0, -1.0, 0.0)),
        site("metatarsal_base", at((-24.5, 49.0, 84)), toward((-0.1, 0.3, 1.0))),
        site("talus_neck", at((4, 18, 22)), toward((0.0, 0.1, 1.0))),
    ]
