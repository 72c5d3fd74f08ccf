"""Fractures of the neck: rough planes that part a vertebra, pieces that move, bodies that lose height.

A cut is a plane in the vertebra's coordinates. What lies beyond it moves by the displacement; the bone is then the
union of what stayed and what moved, so that a gap opens or the pieces overlap as the displacement says. A crack is a
cut that ends within the bone: it opens and nothing moves. Shares of kinds and sizes are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fracture.simulate.cervical_shapes import Bone
from fracture.simulate.solids import Array

FRACTURES: dict[str, tuple[str, ...]] = {
    "C1": ("jefferson", "posterior_arch", "lateral_mass"),
    "C2": ("odontoid_2", "odontoid_2", "odontoid_3", "hangman", "lateral_mass"),
    **dict.fromkeys(("C3", "C4", "C5"), ("compression", "burst", "teardrop", "lateral_mass", "lamina")),
    "C6": ("compression", "burst", "teardrop", "lateral_mass", "lamina", "spinous_process", "transverse_process"),
    "C7": ("compression", "teardrop", "lateral_mass", "lamina", "spinous_process", "transverse_process"),
}
"""Kinds by level; a kind that is listed twice is drawn twice as often."""

_ZONE = 2.0  # mm to either side of a fracture that count as its place


@dataclass(frozen=True, slots=True)
class Cut:
    """A rough plane.

    Attributes:
        center: A point of it, in the vertebra's millimeters.
        normal: Points to the piece that moves.
        shift: How that moves, in millimeters; all 0 for a crack.
        gap: Millimeters that open.
        reach: Radius around the center within which it lies.
        half: Half its width along x.
    """

    center: tuple[float, float, float]
    normal: tuple[float, float, float]
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gap: float = 0.6
    reach: float = 14.0
    half: float = 99.0


@dataclass(frozen=True, slots=True)
class Break:
    """What happened to one vertebra.

    Attributes:
        kind: Of :data:`FRACTURES`.
        displacement: Millimeters: of the piece, of the gap where nothing moved, or of lost height.
        cuts: Planes.
        loss: Share of the body's height that is lost at its front.
        wave: Phases of the planes' roughness.
    """

    kind: str
    displacement: float
    cuts: tuple[Cut, ...]
    loss: float = 0.0
    wave: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def applied(self, bone: Bone, x: Array, y: Array, z: Array) -> tuple[Array, Array, NDArray[np.bool_], Array]:
        """The broken bone's signed distance; that to its old surface, since a fresh fracture has no cortex; where its
        fractures are; and where its marrow is pressed together (1, else 0)."""
        whole, dense = _pressed(bone, self.loss, x, y, z)
        found = bone.distance(x, y, whole)
        old = found
        zone = dense & (found < 0.5)
        for cut in self.cuts:
            plane, near = self._plane(cut, x, y, z)
            inside = found < 1.0
            if any(cut.shift):
                dx, dy, dz = (np.float32(v) for v in cut.shift)
                beyond, near_moved = self._plane(cut, x - dx, y - dy, z - dz)
                shifted = bone.distance(x - dx, y - dy, _pressed(bone, self.loss, x - dx, y - dy, z - dz)[0])
                moved = np.maximum(shifted, np.where(near_moved, cut.gap / 2 - beyond, 100.0))
                stayed = np.where(near, np.maximum(found, plane + cut.gap / 2), found)
                old = np.where(moved < stayed, shifted, old)
                found = np.minimum(stayed, moved)
                zone |= near & inside & (np.abs(plane) < _ZONE)
            else:
                found = np.where(near, np.maximum(found, cut.gap / 2 - np.abs(plane)), found)
                zone |= near & inside & (np.abs(plane) < _ZONE)
        return np.asarray(found, np.float32), np.asarray(old, np.float32), zone, dense.astype(np.float32)

    def _plane(self, cut: Cut, x: Array, y: Array, z: Array) -> tuple[Array, NDArray[np.bool_]]:
        n = np.array(cut.normal) / np.linalg.norm(cut.normal)
        dx, dy, dz = x - cut.center[0], y - cut.center[1], z - cut.center[2]
        rough = 0.5 * np.sin(1.1 * x + self.wave[0]) + 0.4 * np.sin(0.9 * y + self.wave[1])
        rough = rough + 0.4 * np.sin(1.3 * z + self.wave[2])
        plane = dx * np.float32(n[0]) + dy * np.float32(n[1]) + dz * np.float32(n[2]) + rough
        near = (dx * dx + dy * dy + dz * dz < cut.reach**2) & (np.abs(dx) < cut.half)
        return np.asarray(plane, np.float32), near


def _pressed(bone: Bone, loss: float, x: Array, y: Array, z: Array) -> tuple[Array, NDArray[np.bool_]]:
    """z before the upper endplate sank, most at the front, and where the marrow below it is dense."""
    if not loss:
        return z, np.zeros(z.shape, bool)
    half = bone.height / 2
    front = np.clip((half + 2 - y) / bone.depth, 0, 1) * (np.abs(x) < bone.width + 2) * (y < bone.depth / 2 + 1)
    kept = 1 - 2 * loss * front
    top = half * kept
    dense = (z > top - 4.0) & (z < top + 0.5) & (front > 0.2)
    return np.asarray(np.where(z > 0, z / kept, z), np.float32), dense


def break_of(bone: Bone, draw: np.random.Generator, kind: str | None = None) -> Break:
    """A fracture of a vertebra C1 to C7; of a kind that its level has, drawn where none is given."""
    kind = kind or str(draw.choice(FRACTURES[bone.name]))
    far = float(np.exp(draw.uniform(np.log(0.5), np.log(4.0))))
    side = float(draw.choice((-1.0, 1.0)))
    behind, half = bone.depth / 2, bone.height / 2
    wave = tuple(float(v) for v in draw.uniform(0, 6.28, 3))
    tilt = [float(v) for v in draw.normal(0, 0.22, 3)]

    def cut(center: tuple[float, float, float], normal: tuple[float, float, float], **how: float) -> Cut:
        reach, moves = how.get("reach", 14.0), (how.get("dx", 0.0), how.get("dy", 0.0), how.get("dz", 0.0))
        n = (normal[0] + tilt[0], normal[1] + tilt[1], normal[2] + tilt[2])
        return Cut(center, n, moves, how.get("gap", max(0.5, min(far, 3.0))), reach, how.get("half", 99.0))

    cuts: tuple[Cut, ...] = ()
    loss, lift = 0.0, min(far, 2.5)
    if kind == "jefferson":
        front = (side * 5.0, 0.5, 0.0)
        cuts = (cut(front, (1, 0, 0), reach=9), cut((-side * 8.0, bone.back - 3, 0.0), (1, 0.4 * side, 0), reach=9))
        if draw.random() < 0.6:
            cuts += (cut((side * 10.0, bone.back - 4, 0.0), (1, -0.4 * side, 0), reach=9),)
    elif kind == "posterior_arch":
        cuts = tuple(cut((s * 11.0, bone.back - 5, 0.0), (1, 0.5 * s, 0), reach=9) for s in (-1.0, 1.0))
    elif kind == "odontoid_2":
        center = (0.0, -1.0, half + 1.0)
        cuts = (cut(center, (0, 0.2, 1), dy=far * float(draw.choice((-1, 1))), dz=0.3, gap=0.8, reach=22, half=7.5),)
    elif kind == "odontoid_3":
        cuts = (cut((0.0, 0.0, half - 6.0), (0, 0.25, 1), gap=max(0.7, lift), reach=13),)
    elif kind == "hangman":
        cuts = (cut((0.0, behind + 4.0, 0.0), (0, 1, 0.3), dy=far, gap=0.6, reach=60),)
    elif kind == "compression":
        loss = float(draw.uniform(0.12, 0.4))
        far = loss * bone.height
    elif kind == "burst":
        loss = float(draw.uniform(0.15, 0.4))
        cuts = (cut((side * 2.0, 0.0, 0.0), (1, 0, 0), gap=max(0.7, lift), reach=15),)
        cuts += (cut((0.0, behind - 5, half - 4), (0, 1, 0.6), dy=lift, gap=0.5, reach=9),)
    elif kind == "teardrop":
        cuts = (cut((0.0, -behind + 4.5, -half + 4.5), (0, -1, -1), dy=-far, dz=-far / 2, gap=0.4, reach=14),)
    elif kind == "lateral_mass":
        where = (side * bone.pillar, 10.0 if bone.name == "C1" else behind + 3.5, 0.0)
        cuts = (cut(where, (0.3, 0.5, 1), gap=max(0.7, lift), reach=10),)
    elif kind == "lamina":
        cuts = (cut((side * bone.pillar / 2, (behind + 4 + bone.back) / 2 + 2, -2.0), (1, -0.5 * side, 0), reach=10),)
    elif kind == "spinous_process":
        share = float(draw.uniform(0.35, 0.75))
        at = (0.0, bone.back + share * (bone.spinous[0] - bone.back), share * (bone.spinous[1] + 2) - 2)
        cuts = (cut(at, (0, 1, -0.3), dy=far, dz=-far, gap=0.5, reach=40),)
    elif kind == "transverse_process":
        at = (side * (bone.width + 0.65 * (bone.transverse - bone.width)), behind - 5, 0.0)
        cuts = (cut(at, (side, 0, 0), dx=side * lift, gap=0.5, reach=13),)
    return Break(kind, round(far, 2), cuts, loss, (wave[0], wave[1], wave[2]))
