"""Thigh and hip of a right limb: the same people, femora and pelves as on the films of ``pelvis``, and a knee.

Medial lies at +x, the front at +z, the center of the femoral head at the origin (the hip frame).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fracture.simulate.anatomy import Anatomy, Build, moved, moved_bone, profile, whole
from fracture.simulate.fractures import Site, site
from fracture.simulate.geometry import compose, translation
from fracture.simulate.lower_limb import distal_femur, patella, shank
from fracture.simulate.pelvis_bones import Warp, hemipelvis, sacrum_and_spine
from fracture.simulate.pelvis_shapes import Femur, Person, draw_person, femur
from fracture.simulate.pelvis_soft import bowel, envelope
from fracture.simulate.projection import Body, Camera
from fracture.simulate.shapes import Bone, Part

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

_KNEE, _LEG_KNEE = 420.0, -365.0  # y of the knee joint here and in the leg's frame, mm
_OVER_KNEE = (-12.0, 0.0, 0.0)  # the knee lies a little lateral of the hip
_RAMUS = "pubic_ramus"


@dataclass(frozen=True, eq=False)
class Pelvis:
    """Pelvis, sacrum and lower spine of a person, drawn in the plane of a frontal film.

    Attributes:
        person: Whose they are.
        socket: Radius of the acetabular cavity, mm.
        seed: Of shape and texture; the same bones at every drawing.
    """

    person: Person
    socket: float
    seed: int

    def draw(self, camera: Camera, pieces: Sequence[Body]) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Bone and mineral path lengths, float32 (height, width), and where a broken right side's surface runs.

        Args:
            camera: From the hip frame of the right limb.
            pieces: Fragments of the right side, by their cuts and motions; none for a whole pelvis.
        """
        shape = (camera.height, camera.width)
        bone, mineral, surface = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        warp = Warp(np.random.default_rng([self.seed, 1]))
        for side in (0, 1):
            here = camera if side == 0 else replace(camera, to_image=compose(camera.to_image, self.person.mirror))
            plane = hemipelvis(
                here,
                np.random.default_rng([self.seed, 2, side]),
                self.person,
                socket=self.socket,
                arthritis=self.person.arthritis,
                warp=warp,
                texture=self.seed % 4 + 4 * side,
            )
            if side == 0 and pieces and not plane.empty:
                surface[plane.rows, plane.columns] = plane.break_apart(pieces)
            plane.add_to(bone, mineral)
        axial = np.random.default_rng([self.seed, 3])
        sacrum_and_spine(self._middle(camera), axial, self.person, texture=self.seed % 4 + 8).add_to(bone, mineral)
        return bone, mineral, surface

    def gas(self, camera: Camera) -> Array:
        """Millimeters of soft tissue that bowel gas takes the place of, float32 (height, width)."""
        return bowel(self._middle(camera), np.random.default_rng([self.seed, 4]), self.person.scale)

    def _middle(self, camera: Camera) -> Camera:
        """The camera from the pelvic frame."""
        return replace(camera, to_image=compose(camera.to_image, translation((self.person.half, 0, 0))))


def thigh(rng: np.random.Generator, *, stout: float, pelvis: bool, knee: bool) -> Anatomy:
    """A thigh from pelvis to knee.

    Args:
        rng: The stream of this person.
        stout: Relative thickness of the soft tissue.
        pelvis: Whether the pelvis (and the other hip) is drawn: it has a frontal view only.
        knee: Whether the knee is drawn.
    """
    person = replace(draw_person(rng), stout=stout)
    build = person.build(rng)
    k = person.scale
    right = femur(build, person.angle)
    bones = [_thigh_bone(build, right, "femur", knee)]
    if knee:
        bones.append(moved_bone(patella(build, _KNEE), translation(build.point(_OVER_KNEE))))
        below = translation(build.point((_OVER_KNEE[0], _KNEE - _LEG_KNEE, 0.0)))
        bones += [moved_bone(bone, below) for bone in shank(build)]
    flat = None
    if pelvis:
        opposite = _thigh_bone(build, femur(build, person.angle), "femur_opposite", knee)
        bones += [moved_bone(opposite, person.mirror), Bone(_RAMUS, ())]
        socket = right.head + 3.7 * k * (1.0 - 0.6 * person.arthritis)
        flat = Pelvis(person, socket, int(rng.integers(1 << 31)))
    feet = tuple(np.array([side * (person.half + 12.0 * k), 520.0 * k, -4.0 * k]) for side in (-1.0, 1.0))
    soft = envelope(build, person, (feet[0], feet[1]))
    here = translation((person.half, 0, 0))
    return Anatomy(
        tuple(bones),
        tuple(moved(part, here) for part in (soft if pelvis else soft[:1])),
        tuple(_sites(build, right)),
        float(rng.uniform(6.0, 14.0)) * stout,
        flat,
    )


def _thigh_bone(build: Build, drawn: Femur, name: str, knee: bool) -> Bone:
    """A femur, with a broad end and condyles where the knee is on the film."""
    if not knee:
        return whole(name, *drawn.bone.parts, texture=0.5, grain=(0.8, 2.0))
    above = tuple(c / drawn.scale for c in drawn.down(290.0 * drawn.scale))
    flare = build.tube(
        above,
        (_OVER_KNEE[0], _KNEE - 17.0, 2.0),
        profile("femur_flare"),
        corner=8.0,
    )
    over = translation(build.point(_OVER_KNEE))
    condyles = [moved(part, over) for part in distal_femur(build, _KNEE).parts[1:]]
    return whole(name, *drawn.bone.parts, Part(flare, 4.0), *condyles, texture=0.5, grain=(0.8, 2.0))


def _sites(build: Build, bone: Femur) -> list[Site]:
    p, u, k = build.point, build.rng.uniform, build.scale
    neck = bone.along(float(u(0.42, 0.72)) * float(np.linalg.norm(bone.root)))
    shaft = bone.down(float(u(85, 245)) * k)
    distal = bone.down(float(u(285, 325)) * k)
    x, y, _ = bone.root
    tro = (x + 2.0 * k, y + 6.0 * k, 0.0)
    return [
        site("femur_neck", neck, bone.neck),
        site("femur_trochanteric", tro, (-0.62, 0.78, 0.0)),
        site("femur_subtrochanteric", bone.down(58.0 * k), bone.shaft),
        site("femur_shaft", shaft, bone.shaft),
        site("femur_distal", distal, bone.shaft),
        site("pubic_ramus", p((58, 20, 31)), (1.0, 0.3, 0.35)),
    ]
