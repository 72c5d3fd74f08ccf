"""The person on a pelvic film, the proximal femur as a solid, and the course of its trabeculae.

Every hip is built as a right one in the *hip frame*: the center of the femoral head at
the origin, x medial, y distal, z to the front, mm, the neck in the frontal plane. The left hip is its mirror
image by the camera. Dimensions of the drawn adult are our choice after textbook radiographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.simulate.anatomy import Build, Point, profile, whole
from fracture.simulate.geometry import compose, translation
from fracture.simulate.shapes import Bone, Cap, Part

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

HEAD = 24.0
"""Radius of the drawn adult's femoral head, mm."""

_NECK = 50.0  # from the center of the head to the axis of the shaft, along the neck


@dataclass(frozen=True)
class Person:
    """Who lies on the table; drawn once per film.

    Attributes:
        sex: ``"female"`` or ``"male"``.
        age: Years, 18 to 98.
        scale: Size of the skeleton relative to the drawn adult.
        half: Distance in mm from the midline to the center of a femoral head.
        angle: Neck-shaft angle in degrees.
        cortex, trabecular: Cortical thickness relative to the drawn adult, and the trabecular volume fraction.
        stout: Relative thickness of the soft tissue.
        arthritis: 0..1, how far the joint space is lost.
    """

    sex: str
    age: float
    scale: float
    half: float
    angle: float
    cortex: float
    trabecular: float
    stout: float
    arthritis: float

    def build(self, rng: np.random.Generator) -> Build:
        """Makes bones and flesh of this person, with small jitter from ``rng``."""
        made = Build(rng, self.scale)
        made.cortex, made.trabecular = self.cortex, self.trabecular
        return made

    @property
    def mirror(self) -> NDArray[np.float64]:
        """The left side's hip frame to the right side's, (4, 4)."""
        return compose(translation((2.0 * self.half, 0, 0)), np.diag([-1.0, 1.0, 1.0, 1.0]))


def draw_person(rng: np.random.Generator) -> Person:
    """A person; bone is lost with age, faster in women. All distributions are our choice."""
    sex = "female" if rng.random() < 0.55 else "male"
    age = float(np.clip(rng.choice([rng.normal(42, 15), rng.normal(76, 10)], p=[0.35, 0.65]), 18, 98))
    scale = float(np.clip(rng.normal(0.955 if sex == "female" else 1.03, 0.035), 0.86, 1.13))
    loss = float(np.clip((age - 40.0) / 55.0 * (0.95 if sex == "female" else 0.65) + rng.normal(0, 0.16), 0.0, 1.0))
    old = np.clip((age - 45.0) / 40.0, 0.0, 1.0)
    arthritis = float(np.clip(rng.beta(0.8, 3.0) * old * 1.3, 0.0, 1.0))
    return Person(
        sex=sex,
        age=age,
        scale=scale,
        half=float(np.clip(rng.normal(92.0 if sex == "female" else 90.0, 2.5), 84, 99)) * scale,
        angle=float(np.clip(rng.normal(128.0, 4.5), 117.0, 140.0)),
        cortex=(1.12 - 0.5 * loss) * float(rng.normal(1.0, 0.04)),
        trabecular=0.30 * (1.12 - 0.7 * loss),
        stout=float(np.clip(np.exp(rng.normal(0.0, 0.13)), 0.82, 1.45)),
        arthritis=arthritis,
    )


@dataclass(frozen=True, eq=False)
class Femur:
    """A proximal femur at rest in the hip frame, with the places that fractures and implants need (mm).

    Attributes:
        bone: The solid, head to the lower shaft.
        scale: Size relative to the drawn adult.
        neck: Unit vector from the head's center toward the trochanters.
        root: Where the neck's axis meets the shaft's.
        shaft: Unit vector down the shaft.
        tip: Tip of the greater trochanter.
        lesser: Center of the lesser trochanter.
        head: Radius of the head.
        outer, canal: Radius of the shaft below the lesser trochanter and of its canal.
    """

    bone: Bone
    scale: float
    neck: Point
    root: Point
    shaft: Point
    tip: Point
    lesser: Point
    head: float
    outer: float
    canal: float

    def down(self, distance: float) -> Point:
        """The point of the shaft's axis ``distance`` mm below ``root``."""
        return (
            self.root[0] + self.shaft[0] * distance,
            self.root[1] + self.shaft[1] * distance,
            self.root[2] + self.shaft[2] * distance,
        )

    def along(self, distance: float, depth: float = 0.0) -> Point:
        """The point of the neck's axis ``distance`` mm from the head's center, ``depth`` mm to the front."""
        return (self.neck[0] * distance, self.neck[1] * distance, depth)


def femur(build: Build, angle: float) -> Femur:
    """Head, neck at the neck-shaft ``angle``, both trochanters, the intertrochanteric crest and the shaft."""
    lean = np.deg2rad(angle - 90.0)
    c, s = float(np.cos(lean)), float(np.sin(lean))
    rx, ry = -_NECK * c * build.jitter(0.03), _NECK * s
    length, foot = 420.0, -12.0
    head = build.blob((0, 0, 0), (HEAD, HEAD, HEAD), cortex=1.0, spongy=0.66, boxy=0.0, bump=0.12)
    neck = build.tube(
        (-5.0 * c, 5.0 * s, 0),
        (rx - 1, ry + 1, 0),
        profile("femur_neck"),
        corner=6.0,
    )
    shaft = build.tube(
        (rx, ry - 15, 0),
        (foot, length - 26, 6),
        profile("femur_shaft"),
        corner=6.0,
    )
    tip = (rx - 6.5, -4.5 * build.jitter(0.5), -9.0)
    greater = build.tube(
        (rx - 6, ry + 22, 0),
        tip,
        profile("greater_trochanter"),
        caps=(Cap(), Cap(curve_u=0.03, curve_v=0.03, tilt_u=0.35)),
        corner=4.0,
        wobble=0.03,
    )
    bulge = build.blob((rx - 14.5, ry - 11, 2), (15, 8.0, 13), axis=(0.18, 1, 0), cortex=1.0, spongy=0.5, bump=0.5)
    lesser_at = (rx + 17.0, ry + 36.0, -12.5)
    crest = build.tube(
        (rx - 4, 6, -15),
        lesser_at,
        profile("intertrochanteric_crest"),
        corner=3.0,
    )
    lesser = build.blob(lesser_at, (14.5, 8.8, 9.0), axis=(0.22, 1, 0), cortex=1.4, spongy=0.6, boxy=0.0, bump=0.3)
    fovea = build.blob((24.3, 4.0, -2), (4.5, 3.0, 4.5), cortex=0.9, bump=0.0)
    parts = (
        Part(shaft),
        Part(bulge, 9.0),
        Part(greater, 8.0),
        Part(crest, 7.0),
        Part(neck, 11.0),
        Part(head, 4.0),
        Part(lesser, 12.0),
        Part(fovea, carve=True),
    )
    p = build.point
    top, low = np.array(p((rx, ry, 0))), np.array(p((foot, length - 26, 6)))
    axis = (low - top) / float(np.linalg.norm(low - top))
    width = float(1.0 / shaft.table[int(0.3 * len(shaft.table)), 2])
    wall = float(shaft.table[int(0.3 * len(shaft.table)), 4])
    return Femur(
        bone=whole("femur", *parts),
        scale=build.scale,
        neck=(-c, s, 0.0),
        root=p((rx, ry, 0)),
        shaft=(float(axis[0]), float(axis[1]), float(axis[2])),
        tip=p(tip),
        lesser=p(lesser_at),
        head=HEAD * build.scale,
        outer=width,
        canal=width - wall,
    )


_TEXTURE_ORIGIN, _TEXTURE_STEP, _TEXTURE_SHAPE = (-85.0, -40.0), 0.4, (520, 320)


@lru_cache(maxsize=8)
def _texture(number: int) -> tuple[Array, Array]:
    """Trabecular streaks (unit variance, zero mean) and density (about 1) over the hip frame's x and y.

    The principal compressive group fans out from the calcar to the roof of the head, the tensile group arches from
    the lateral cortex through the upper neck; Ward's triangle lies between them (Singh et al., JBJS Am 52:457, 1970).
    """
    rng = np.random.default_rng([9_117, number])
    x = (np.arange(_TEXTURE_SHAPE[1], dtype=np.float32) * np.float32(_TEXTURE_STEP) + _TEXTURE_ORIGIN[0])[None, :]
    y = (np.arange(_TEXTURE_SHAPE[0], dtype=np.float32) * np.float32(_TEXTURE_STEP) + _TEXTURE_ORIGIN[1])[:, None]
    x, y = np.broadcast_to(x, _TEXTURE_SHAPE), np.broadcast_to(y, _TEXTURE_SHAPE)

    def streaks(across: Array, along: Array, pitch: float) -> Array:
        noise = rng.standard_normal((512, 512)).astype(np.float32)
        u, v = np.asarray(across / pitch, dtype=np.float32), np.asarray(along / (9.0 * pitch), dtype=np.float32)
        out = cv2.remap(noise, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
        return np.asarray(out / out.std(), dtype=np.float32)

    dx, dy = x + 34.0, y - 78.0
    fan = streaks(np.arctan2(dx, -dy) * 85.0 + 200.0, np.hypot(dx, dy) + 100.0, 0.75)
    dx, dy = x + 12.0, y - 45.0
    radius = np.hypot(dx, dy)
    arch = streaks(radius + 100.0, np.arctan2(dx, -dy) * 50.0 + 300.0, 0.85)
    grain = cv2.GaussianBlur(rng.standard_normal(_TEXTURE_SHAPE).astype(np.float32), (0, 0), 1.3)
    grain = grain / grain.std()
    line = (x + 29.0) * 0.85 + (y - 38.0) * 0.53  # across the compressive group
    bundle = np.exp(-((line / 11.0) ** 2)) * (y < 60.0)
    band = np.exp(-(((radius - 50.0) / 8.0) ** 2)) * (y < 46.0)
    in_head = np.clip((29.0 - np.hypot(x, y)) / 12.0, 0.0, 1.0)
    arch *= 1.0 - 0.75 * in_head
    total = (
        (0.7 + 0.4 * in_head) * grain + (0.3 + 0.5 * bundle) * (1.0 - 0.4 * in_head) * fan + (0.2 + 0.5 * band) * arch
    )
    ward = np.exp(-(((x + 31.0) / 9.0) ** 2 + ((y - 20.0) / 9.0) ** 2))
    trochanter = np.exp(-(((x + 55.0) / 14.0) ** 2 + ((y - 20.0) / 20.0) ** 2))
    density = 0.9 + 0.3 * bundle + 0.12 * band - 0.4 * ward - 0.35 * trochanter
    return np.asarray(total / total.std(), dtype=np.float32), np.asarray(np.clip(density, 0.3, 1.6), dtype=np.float32)


def trabeculae(
    to_rest: NDArray[np.float64], scale: float, spacing: float, window: tuple[slice, slice], number: int
) -> Array:
    """The factor on a femur's trabecular path within a window of the film, float32, about 1.

    Args:
        to_rest: (4, 4), image mm to the hip frame at rest: texture stays with a fragment that moves.
        scale: Size of the femur relative to the drawn adult.
        spacing: mm per pixel.
        window: Rows and columns.
        number: Which of eight textures.
    """
    rows, columns = window
    x = ((np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5) * np.float32(spacing))[None, :]
    y = ((np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) * np.float32(spacing))[:, None]
    m = (to_rest / (scale * _TEXTURE_STEP)).astype(np.float32)
    # The neck's plane is where the texture lies: follow the ray to z = 0 of the rest frame where it is not too steep.
    lift = np.zeros(2, np.float32)
    if abs(to_rest[2, 2]) > 0.5:
        lift = (to_rest[:2, 2] / to_rest[2, 2]).astype(np.float32)
    z = m[2, 0] * x + m[2, 1] * y + m[2, 3]
    u, v = (
        m[k, 0] * x + m[k, 1] * y + (m[k, 3] - np.float32(_TEXTURE_ORIGIN[k] / _TEXTURE_STEP)) - lift[k] * z
        for k in range(2)
    )
    streaks, density = _texture(number % 8)
    blurred = streaks if spacing < 0.6 else cv2.GaussianBlur(streaks, (0, 0), 0.45 * spacing / _TEXTURE_STEP)
    t = cv2.remap(blurred, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    d = cv2.remap(density, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(np.maximum(d * (1.0 + np.float32(0.10) * t), 0.05), dtype=np.float32)
