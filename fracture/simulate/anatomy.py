"""What every limb model is made of, and the small helpers that build one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from fracture.simulate.geometry import compose, inverse, pose_along, rotation, translation
from fracture.simulate.shapes import Blob, Bone, Cap, Part, Tube, tube
from fracture.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fracture.simulate.fractures import Site
    from fracture.simulate.projection import Body, Camera

    Array = NDArray[np.float32]
    Place = Sequence[float] | NDArray[np.float64]

Point = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class SoftPart:
    """A piece of the soft-tissue envelope, merged with the others over ``blend`` mm."""

    shape: Tube | Blob
    blend: float = 10.0


class FlatBones(Protocol):
    """Bones that a frontal view draws in its plane; see ``thigh.Pelvis``."""

    def draw(self, camera: Camera, pieces: Sequence[Body]) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Bone and mineral path lengths, and where the fracture surface of ``pieces`` runs."""
        ...

    def gas(self, camera: Camera) -> Array:
        """Millimeters of soft tissue that bowel gas takes the place of."""
        ...


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Everything that lies in a limb frame, at rest and unbroken.

    Attributes:
        bones: In drawing order. One without parts is drawn by ``flat``; it is there to be broken.
        soft: The soft-tissue envelope.
        sites: Where it breaks.
        fat: Thickness in mm of the subcutaneous fat.
        flat: Flat bones, in frontal views of the hip.
    """

    bones: tuple[Bone, ...]
    soft: tuple[SoftPart, ...]
    sites: tuple[Site, ...]
    fat: float
    flat: FlatBones | None = None


class Build:
    """Makes bones of one person: a common size, cortical thickness, mineral content, and small individual jitter.

    Args:
        rng: The stream for this person.
        scale: Size of the skeleton relative to the drawn adult.

    Osteopenia is drawn here: the cortex is thinned to as little as 0.6 and the trabecular fraction to 0.45 of the
    normal value (our choice).
    """

    def __init__(self, rng: np.random.Generator, scale: float) -> None:
        self.rng = rng
        self.scale = scale
        bone_loss = float(np.clip(rng.beta(1.3, 2.6), 0.0, 0.9))
        self.cortex = (1.12 - 0.58 * bone_loss) * float(rng.normal(1.0, 0.04))
        self.trabecular = 0.30 * (1.15 - 0.75 * bone_loss)
        self.stout = float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12))

    def jitter(self, amount: float) -> float:
        """A factor around 1 with relative standard deviation ``amount``, cut at two deviations."""
        return 1.0 + amount * float(np.clip(self.rng.normal(), -2.0, 2.0))

    def point(self, p: Place) -> Point:
        """A point of the drawn adult, scaled to this person."""
        return (p[0] * self.scale, p[1] * self.scale, p[2] * self.scale)

    def tube(
        self,
        start: Place,
        end: Place,
        knots: Sequence[Sequence[float]],
        *,
        roll: float = 0.0,
        caps: tuple[Cap, Cap] = (Cap(), Cap()),
        corner: float = 2.0,
        turn: float = 0.0,
        wobble: float = 0.015,
    ) -> Tube:
        """A bony tube; see ``shapes.tube``. The trabecular column is relative to this person's bone fraction."""
        k, width = self.scale, self.scale * self.stout * self.jitter(0.02)
        rows = []
        for knot in knots:
            f, a, b, cortex, spongy, *rest = knot
            center = [c * k for c in rest[:2]]
            rows.append(
                (f, a * width, b * width, cortex * k * self.cortex, spongy * self.trabecular, *center, *rest[2:])
            )
        sized = tuple(Cap(c.curve_u / k, c.curve_v / k, c.tilt_u, c.tilt_v, c.groove * k, c.width * k) for c in caps)
        return tube(
            self.point(start),
            self.point(end),
            rows,
            roll=roll,
            caps=(sized[0], sized[1]),
            corner=corner * k,
            turn=turn,
            rng=self.rng,
            wobble=wobble,
        )

    def blob(
        self,
        center: Sequence[float],
        radii: tuple[float, float, float],
        *,
        axis: Sequence[float] = (0.0, 1.0, 0.0),
        cortex: float = 0.8,
        spongy: float = 1.0,
        boxy: float = 0.3,
        bump: float = 0.35,
    ) -> Blob:
        """A bony blob with semi-axes along ``axis``, across (u) and deep (v)."""
        k = self.scale
        c = np.asarray(center, dtype=np.float64)
        frame, _ = pose_along(self.point(c), self.point(c + np.asarray(axis, dtype=np.float64)))
        size = float(np.mean(radii)) * k
        bumps = tuple(
            (
                bump * k * float(self.rng.uniform(0.5, 1.0)),
                *(float(x) for x in self.rng.normal(0.0, 1.6 / size, 3)),
                float(self.rng.uniform(0, 2 * np.pi)),
            )
            for _ in range(3 if bump else 0)
        )
        a, b, d = (r * k * self.jitter(0.03) for r in radii)
        return Blob(frame, (a, b, d), cortex * k * self.cortex, spongy * self.trabecular, boxy, bumps)  # type: ignore[arg-type]

    def flesh(self, start: Place, end: Place, knots: Sequence[Sequence[float]], *, blend: float = 10.0) -> SoftPart:
        """Soft tissue from knots ``(fraction, radius u, radius v[, center u, center v])``."""
        k = self.scale
        rows = [(f, a * k, b * k, 0.0, 0.0, *(c * k for c in rest)) for f, a, b, *rest in knots]
        shape = tube(
            self.point(start),
            self.point(end),
            rows,
            corner=6.0 * k,
            rng=self.rng,
            wobble=0.012,
            caps=(Cap(curve_u=0.01, curve_v=0.01), Cap(curve_u=0.01, curve_v=0.01)),
        )
        return SoftPart(shape, blend * k)

    def pad(self, center: Sequence[float], radii: tuple[float, float, float], *, blend: float = 10.0) -> SoftPart:
        """An ellipsoid of soft tissue, semi-axes along (y, x, z)."""
        k = self.scale
        frame, _ = pose_along(self.point(center), self.point((center[0], center[1] + 1.0, center[2])))
        return SoftPart(Blob(frame, (radii[0] * k, radii[1] * k, radii[2] * k), 0.0, 0.0), blend * k)


def profile(name: str) -> Sequence[Sequence[float]]:
    """The knots of a bone in ``profiles.toml``; see ``shapes.tube``."""
    knots: Sequence[Sequence[float]] = table("profiles")[name]
    return knots


def widened(knots: Sequence[Sequence[float]], factor: float) -> list[tuple[float, ...]]:
    """The same knots with both radii times ``factor``."""
    return [(f, a * factor, b * factor, *rest) for f, a, b, *rest in knots]


def whole(name: str, *parts: Part, texture: float = 0.55, grain: tuple[float, float] = (0.55, 1.3)) -> Bone:
    """A bone from its parts."""
    return Bone(name, parts, texture, grain)


Piece = TypeVar("Piece", Part, SoftPart)


def moved(piece: Piece, motion: NDArray[np.float64]) -> Piece:
    """The same part elsewhere; ``motion`` (4, 4) may mirror."""
    shape = replace(piece.shape, to_local=compose(piece.shape.to_local, inverse(motion)))
    return replace(piece, shape=shape)


def moved_bone(bone: Bone, motion: NDArray[np.float64]) -> Bone:
    """The same bone elsewhere; see ``moved``."""
    return replace(bone, parts=tuple(moved(part, motion) for part in bone.parts))


def camera_pose(
    center: Point, turn: float, tilt: float, spin: float, mirror: bool, middle: tuple[float, float]
) -> NDArray[np.float64]:
    """Limb frame to image frame: turn around y (view), tilt around x, mirror, spin in the plane, place.

    Args:
        center: Limb (x, y, z) mm that comes to the middle of the film.
        turn, tilt, spin: Degrees.
        mirror: Whether the other side of the body is shown.
        middle: Image (x, y) mm of the film's middle.
    """
    flip = np.diag([-1.0 if mirror else 1.0, 1.0, 1.0, 1.0])
    return compose(
        translation((middle[0], middle[1], 0.0)),
        rotation((0, 0, 1), spin),
        flip,
        rotation((1, 0, 0), tilt),
        rotation((0, 1, 0), turn),
        translation((-center[0], -center[1], -center[2])),
    )
