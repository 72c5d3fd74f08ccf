"""Thigh and hip of a right limb seen from the front: femur, hemipelvis and its mirror image, sacrum, low vertebrae.

Medial lies at +x, the front at +z, the center of the femoral head at the origin. Dimensions in mm of a medium
adult are our choice after textbook radiographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline

from fracture.simulate.anatomy import Anatomy, Build, Plate, Point, whole
from fracture.simulate.fractures import Site
from fracture.simulate.geometry import compose, translation
from fracture.simulate.lower_limb import distal_femur, patella
from fracture.simulate.shapes import Blob, Bone, Cap, Part, Tube

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["thigh"]

_MIDLINE = 91.0
_KNEE = 420.0


def thigh(rng: np.random.Generator, *, stout: float, pelvis: bool, knee: bool) -> Anatomy:
    """A thigh from pelvis to knee.

    Args:
        rng: The stream of this person.
        stout: Relative thickness of the soft tissue.
        pelvis: Whether the pelvis (and the other hip) is drawn: it has a frontal view only.
        knee: Whether the knee is drawn.
    """
    build = Build(rng, float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12)))
    angle = float(np.clip(rng.normal(127.0, 4.0), 118.0, 136.0))
    bones = [_femur(build, angle, 1.0, "femur", knee)]
    plates: list[Plate] = []
    if knee:
        cap = patella(build, _KNEE)
        bones.append(whole("patella", *(_shifted(part, -12.0 * build.scale) for part in cap.parts), grain=cap.grain))
        bones += _shin(build)
    if pelvis:
        bones.append(_femur(build, angle, -1.0, "femur_opposite", knee))
        for side in (1.0, -1.0):
            bones += _pelvic_ring(build, side)
            plates += [_ilium(build, side)]
        plates += _axial(build)
    thick = 1.0 * stout
    soft = [
        build.flesh(
            (-14, -170 if pelvis else -330, 0),
            (0, 520, -4),
            (
                (0.0, 70 * thick, 70 * thick) if pelvis else (0.0, 118 * thick, 108 * thick),
                (0.2, 88 * thick, 84 * thick),
                (0.36, 91 * thick, 86 * thick),
                (0.48, 84 * thick, 80 * thick),
                (0.64, 70 * thick, 70 * thick, -1),
                (0.80, 58 * thick, 62 * thick, 2),
                (0.9, 56, 60),
                (1.0, 54, 58),
            ),
        ),
    ]
    if pelvis:
        soft.append(
            build.flesh(
                (2 * _MIDLINE + 14, -170, 0),
                (2 * _MIDLINE, 520, -4),
                (
                    (0.0, 70 * thick, 70 * thick),
                    (0.2, 88 * thick, 84 * thick),
                    (0.36, 91 * thick, 86 * thick),
                    (0.48, 84 * thick, 80 * thick),
                    (1.0, 56, 58),
                ),
            )
        )
        soft.append(
            build.flesh(
                (_MIDLINE, -330, 2),
                (_MIDLINE, 74, 0),
                (
                    (0.0, 158 * thick, 92 * thick),
                    (0.4, 165 * thick, 98 * thick),
                    (0.7, 176 * thick, 98 * thick),
                    (0.9, 165 * thick, 88 * thick),
                    (1.0, 140 * thick, 74 * thick),
                ),
                blend=30.0,
            )
        )
    gas = np.zeros((0, 5))
    if pelvis:
        count = int(rng.integers(0, 6))
        gas = (
            np.column_stack(
                [
                    rng.normal(_MIDLINE, 28, count),
                    rng.normal(-55, 40, count),
                    rng.uniform(6, 16, count),
                    rng.uniform(5, 13, count),
                    rng.uniform(5, 18, count),
                ]
            )
            * build.scale
        )
    return Anatomy(
        tuple(bones),
        tuple(soft),
        tuple(_sites(build, angle)),
        float(rng.uniform(6.0, 14.0)) * stout,
        tuple(plates),
        gas,
    )


def _mirrored(point: Point, side: float) -> Point:
    return point if side > 0 else (2 * _MIDLINE - point[0], point[1], point[2])


def _neck_end(angle: float) -> tuple[float, float, float]:
    lean = np.deg2rad(angle - 90.0)
    return (-46.0 * float(np.cos(lean)), 46.0 * float(np.sin(lean)), 0.0)


def _femur(build: Build, angle: float, side: float, name: str, knee: bool) -> Bone:
    """Head, neck at the drawn neck-shaft angle, both trochanters and the shaft, as one solid."""
    foot_x = -12.0
    root = _neck_end(angle)
    axis_x = root[0] - 4.0
    length = 420.0

    def m(p: Point) -> Point:
        return _mirrored(p, side)

    head = build.blob(m((0, 0, 0)), (23.6, 23.6, 23.6), cortex=1.0, spongy=1.25, boxy=0.0, bump=0.15)
    neck = build.tube(
        m((-6.0, root[1] * 0.13, 0)),
        m((root[0] - 2, root[1] + 2, 0)),
        (
            (0.0, 18.5, 17.5, 1.0, 1.1),
            (0.35, 15.8, 13.5, 1.5, 0.8),
            (0.65, 17.0, 14.0, 1.8, 0.6),
            (1.0, 20.5, 16.0, 1.6, 0.6),
        ),
        caps=(Cap(), Cap()),
        corner=6.0,
    )
    shaft = build.tube(
        m((axis_x + 2, root[1] - 20, 0)),
        m((foot_x, length - 26, 6)),
        (
            (0.0, 19.5, 18.0, 1.0, 0.75, -3),
            (0.06, 22.5, 18.5, 1.3, 0.65, 0),
            (0.12, 22.0, 18.0, 2.0, 0.45, 2),
            (0.17, 18.5, 16.5, 3.8, 0.15, 1),
            (0.25, 16.2, 15.6, 5.8, 0.03),
            (0.4, 15.0, 15.2, 7.2, 0.01, 0, 2),
            (0.6, 14.6, 15.2, 6.8, 0.01, 0, 3),
            (0.75, 16.2, 16.2, 4.6, 0.05, 0, 2),
            (0.87, 22.5, 18.0, 2.2, 0.3),
            (0.95, 33.5, 19.5, 1.0, 0.75),
            (1.0, 39.0, 21.0, 0.8, 0.95),
        ),
        caps=(Cap(curve_u=0.01, curve_v=0.02), Cap()),
        corner=6.0,
    )
    tip = (axis_x - 7.0, -4.0 + root[1] * 0.1, -6.0)
    greater = build.tube(
        m((axis_x - 4, root[1] + 22, -2)),
        m(tip),
        ((0.0, 14, 15, 1.2, 0.6), (0.5, 13.0, 15.5, 1.0, 0.65), (0.8, 10.0, 13.5, 0.9, 0.7), (1.0, 6.5, 9.0, 1.0, 0.8)),
        caps=(Cap(), Cap(curve_u=0.04, curve_v=0.03)),
        corner=4.0,
    )
    lesser = build.blob(
        m((axis_x + 23.5, root[1] + 36.0, -11.0)),
        (11.5, 8.0, 8.0),
        axis=(0.35 * side, 1, 0),
        cortex=1.2,
        spongy=0.7,
        boxy=0.0,
        bump=0.2,
    )
    fovea = build.blob(m((24.5, 4.0, -2)), (4.5, 3.0, 4.5), cortex=0.9, bump=0.0)
    parts = [
        Part(shaft),
        Part(greater, 8.0),
        Part(neck, 12.0),
        Part(head, 5.0),
        Part(lesser, 7.0),
        Part(fovea, carve=True),
    ]
    if knee:
        knee_x = foot_x if side > 0 else 2 * _MIDLINE - foot_x
        parts += [_shifted(p, knee_x * build.scale) for p in distal_femur(build, _KNEE)[0].parts[1:]]
    return whole(name, *parts, texture=0.5, grain=(0.8, 2.0))


def _shifted(part: Part, dx: float) -> Part:
    shape: Tube | Blob = replace(part.shape, to_local=compose(part.shape.to_local, translation((-dx, 0, 0))))
    return replace(part, shape=shape)


def _shin(build: Build) -> list[Bone]:
    y = _KNEE
    tibia = build.tube(
        (-10, y + 1, 0),
        (-12, y + 130, 0),
        (
            (0.0, 38.0, 24.5, 0.8, 1.0, 0, -2),
            (0.07, 38.5, 25.0, 0.7, 1.0, 0, -2),
            (0.17, 34.0, 24.0, 0.8, 0.9),
            (0.32, 26.0, 22.0, 1.4, 0.55),
            (0.55, 19.0, 19.5, 2.5, 0.2),
            (1.0, 15.0, 17.5, 4.2, 0.04),
        ),
        caps=(Cap(groove=-6.5, width=5.0), Cap()),
        corner=4.0,
    )
    fibula = build.tube(
        (-45, y + 19, -17),
        (-40, y + 130, -14),
        ((0.0, 9.5, 9.5, 0.7, 1.0), (0.1, 11, 10.5, 0.7, 0.9), (0.35, 6, 6.5, 2, 0.1), (1.0, 6.4, 7, 3, 0.02)),
    )
    return [whole("fibula", Part(fibula)), whole("tibia", Part(tibia), grain=(0.7, 1.7))]


def _pelvic_ring(build: Build, side: float) -> list[Bone]:
    """Acetabulum, rami and ischium."""

    def m(p: Point) -> Point:
        return _mirrored(p, side)

    block = build.blob(
        m((9, -9, 0)), (35, 31, 30), axis=(0.35 * side, 1, 0), cortex=1.1, spongy=0.7, boxy=0.15, bump=0.4
    )
    cup = build.blob(m((0, 0, 0)), (27.6, 27.6, 27.6), cortex=1.9, boxy=0.0, bump=0.0)
    mouth = build.tube(
        m((-2, 2, 0)), m((-60, 34, 6)), ((0, 25.5, 25.5, 1.0, 0.5), (1, 34, 34, 1.0, 0.5)), corner=2.0, wobble=0.0
    )
    superior = build.tube(
        m((20, 8, 10)),
        m((_MIDLINE - 3, 36, 26)),
        (
            (0.0, 16, 14, 1.4, 0.6),
            (0.3, 9.5, 9.5, 1.8, 0.4),
            (0.6, 7.8, 8.5, 1.7, 0.4),
            (0.85, 12, 8.0, 1.2, 0.7),
            (1.0, 16, 8, 1.0, 0.9),
        ),
        corner=4.0,
    )
    ischium = build.tube(
        m((16, 14, -14)),
        m((34, 78, -22)),
        ((0.0, 17, 16, 1.4, 0.6), (0.4, 12, 15, 1.7, 0.5), (0.75, 15.5, 15, 1.2, 0.7), (1.0, 14, 13, 1.1, 0.9)),
        caps=(Cap(), Cap(curve_u=0.02, curve_v=0.02)),
        corner=6.0,
    )
    inferior = build.tube(
        m((36, 79, -18)),
        m((_MIDLINE - 7, 50, 20)),
        ((0.0, 12, 10, 1.2, 0.7), (0.45, 7, 6, 1.5, 0.5), (1.0, 9, 7, 1.1, 0.8)),
        corner=4.0,
    )
    other = "" if side > 0 else "_opposite"
    return [
        whole(
            f"acetabulum{other}",
            Part(block),
            Part(superior, 8.0),
            Part(ischium, 8.0),
            Part(inferior, 6.0),
            Part(cup, carve=True),
            Part(mouth, carve=True),
            texture=0.5,
            grain=(0.8, 1.3),
        ),
    ]


def _smooth_outline(points: Sequence[tuple[float, float]], build: Build, amount: float = 1.2) -> NDArray[np.float64]:
    p = np.asarray(points, dtype=np.float64)
    p = p + build.rng.normal(0.0, amount, p.shape)
    t = np.arange(len(p) + 1)
    spline = CubicSpline(t, np.concatenate([p, p[:1]]), bc_type="periodic")
    return np.asarray(spline(np.linspace(0, len(p), 8 * len(p), endpoint=False))) * build.scale


def _ilium(build: Build, side: float) -> Plate:
    outline = [
        (-22, -18),
        (-30, -38),
        (-33, -60),
        (-46, -78),
        (-52, -98),
        (-46, -122),
        (-28, -145),
        (-2, -158),
        (24, -157),
        (46, -144),
        (62, -124),
        (66, -104),
        (60, -86),
        (50, -74),
        (46, -56),
        (44, -36),
        (38, -14),
        (20, 4),
        (-6, -2),
    ]
    p = _smooth_outline(outline, build)
    if side < 0:
        p[:, 0] = 2 * _MIDLINE * build.scale - p[:, 0]
    return Plate(
        f"ilium{'' if side > 0 else '_opposite'}", p, 6.5, 9.0, 9.0, 0.95 * build.cortex, 0.8 * build.trabecular
    )


def _axial(build: Build) -> list[Plate]:
    c = _MIDLINE
    sacrum = [
        (-52, -128),
        (-30, -136),
        (0, -140),
        (30, -136),
        (52, -128),
        (54, -108),
        (44, -86),
        (34, -62),
        (24, -38),
        (10, -20),
        (0, -14),
        (-10, -20),
        (-24, -38),
        (-34, -62),
        (-44, -86),
        (-54, -108),
    ]
    holes = tuple(
        _smooth_outline(
            [(c + s * x + r * np.cos(a), y + 0.75 * r * np.sin(a)) for a in np.linspace(0, 5.4, 7)], build, 0.5
        )
        for s in (-1, 1)
        for x, y, r in ((22, -117, 6.5), (19, -97, 6.0), (15.5, -77, 5.5), (12, -58, 4.5))
    )
    plates = [
        Plate(
            "sacrum",
            _smooth_outline([(c + x, y) for x, y in sacrum], build),
            20.0,
            3.0,
            8.0,
            0.6 * build.cortex,
            0.6 * build.trabecular,
            holes,
        )
    ]
    for k in range(4):
        y = -166 - 38 * k
        body = [
            (-27, -15),
            (-14, -14),
            (0, -13.5),
            (14, -14),
            (27, -15),
            (24, 0),
            (27, 15),
            (14, 14),
            (0, 13.5),
            (-14, 14),
            (-27, 15),
            (-24, 0),
        ]
        plates.append(
            Plate(
                f"vertebra_{k}",
                _smooth_outline([(c + x, y + yy) for x, yy in body], build, 0.6),
                30.0,
                5.0,
                6.0,
                1.0 * build.cortex,
                0.6 * build.trabecular,
            )
        )
        for s in (-1, 1):
            wing = [(24, -6), (44, -11), (54, -8), (50, 0), (36, 3), (24, 4)]
            plates.append(
                Plate(
                    "transverse_process",
                    _smooth_outline([(c + s * x, y + yy) for x, yy in wing], build, 0.6),
                    7.0,
                    1.0,
                    4.0,
                    0.9 * build.cortex,
                    0.4 * build.trabecular,
                )
            )
        plates.append(
            Plate(
                "pedicle",
                _smooth_outline(
                    [(c + 15 + 5 * np.cos(a), y - 3 + 7 * np.sin(a)) for a in np.linspace(0, 5.5, 8)], build, 0.2
                ),
                44.0,
                0.0,
                4.0,
                1.2,
                0.4,
            )
        )
        plates.append(
            Plate(
                "pedicle",
                _smooth_outline(
                    [(c - 15 + 5 * np.cos(a), y - 3 + 7 * np.sin(a)) for a in np.linspace(0, 5.5, 8)], build, 0.2
                ),
                44.0,
                0.0,
                4.0,
                1.2,
                0.4,
            )
        )
    return plates


def _sites(build: Build, angle: float) -> list[Site]:
    p, u = build.point, build.rng.uniform
    root = _neck_end(angle)
    to_shaft = (root[0], root[1], 0.0)
    f = float(u(0.42, 0.72))
    neck = p((root[0] * f, root[1] * f, 0))
    across = (-0.62, 0.78, 0.0)
    ax = root[0] - 4.0
    shaft = float(u(110, 270))
    long = {"transverse": 0.35, "oblique": 0.3, "spiral": 0.3, "comminuted": 0.3, "hairline": 0.1}
    down = (0.0, 1.0, 0.0)
    below = ("patella", "tibia", "fibula")
    x = ax + (shaft - root[1]) / (394 - root[1]) * (-12 - ax)
    return [
        Site(
            "femur",
            neck,
            to_shaft,
            16.0,
            {"transverse": 0.6, "oblique": 0.3, "hairline": 0.3},
            below,
            (),
            0.0,
            False,
            3.0,
            0.6,
            0.3,
        ),
        Site(
            "femur",
            p((ax + 6, root[1] + 6, 0)),
            across,
            19.0,
            {"transverse": 0.5, "oblique": 0.2, "comminuted": 0.4, "hairline": 0.2},
            below,
            (),
            0.0,
            False,
            2.5,
            0.45,
            0.25,
        ),
        Site(
            "femur",
            p((ax + 1, root[1] + 58, 0)),
            down,
            17.0,
            {"transverse": 0.3, "oblique": 0.5, "spiral": 0.3, "comminuted": 0.4},
            below,
            (),
            0.0,
            True,
            1.0,
            0.8,
        ),
        Site("femur", p((x, shaft, 2)), down, 15.0, long, below, (), 0.0, True, 2.5),
        Site(
            "femur",
            p((-12, 420 - float(u(62, 100)), 2)),
            down,
            19.0,
            {"transverse": 0.4, "oblique": 0.4, "spiral": 0.3, "comminuted": 0.4, "hairline": 0.1},
            below,
            (),
            0.0,
            True,
            1.2,
            0.6,
        ),
        Site(
            "acetabulum",
            p((58, 24, 19)),
            (1.0, 0.42, 0.25),
            8.0,
            {"transverse": 0.5, "oblique": 0.4, "hairline": 0.3},
            weight=0.6,
            reach=0.3,
            steep=0.4,
        ),
    ]
