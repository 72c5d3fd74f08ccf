"""Damage of rheumatoid arthritis painted into a film at known joints: the space narrowed, the margins eroded.

Grades are known by construction. They follow what the grades of Sharp/van der Heijde say (narrowing 1 focal or
doubtful, 2 more than half of the space left, 3 less, 4 ankylosis; erosion by its extent); the shares below are ours.
Everything around a lesion is the film's own. A painted lesion is no patient's: it proves nothing about patients.
"""

from __future__ import annotations

import cmath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fracture.digits import Points, direction, unit_length
from fracture.errors import ConfigurationError
from fracture.simulate import flaws
from fracture.simulate.flaws import places, turned
from fracture.tables import table

Array = NDArray[np.float32]

NARROWED = ((0.0, 0.05), (0.12, 0.25), (0.28, 0.48), (0.55, 0.92), (1.0, 1.0))
"""By grade 0 to 4, the share of the joint space that is lost; grade 4 is fused besides."""

ERODED = ((0.0, 0.0), (0.025, 0.05), (0.065, 0.10), (0.12, 0.17), (0.20, 0.27), (0.31, 0.40))
"""By grade 0 to 5 of one joint area, the eroded area as a share of a square as wide as the bone."""

MOST: Final[Mapping[str, tuple[int, int]]] = table("joints")["highest"]
"""The highest narrowing and erosion of a joint."""

_MIDDLES = ("mul", "nav", "lunate", "radius", "ulna")  # points that lie in a bone, not in a joint space
_REACH = 4.2  # of the bone's half width: how far from the joint a film is changed at most


@dataclass(frozen=True, slots=True)
class Joint:
    """A joint, or a carpal bone, on a film.

    Attributes:
        name: By the names of a hand's or forefoot's points: ``"mcp2"``, ``"pip3"``, ``"mtp1"``, ``"lunate"`` ...
        center: Middle of the joint space in pixels, (x, y), pixel-edge convention.
        direction: Outwards along the digit, length 1.
        unit: Pixels from MCP3 to DIP3 of the hand, or from MTP1 to MTP5 of the forefoot.
        space: Width of the joint space in pixels where it was measured; else as ``joints.toml`` says.
    """

    name: str
    center: tuple[float, float]
    direction: tuple[float, float]
    unit: float
    space: float | None = None

    @classmethod
    def of(cls, points: Points, name: str) -> Joint:
        """The joint at the point ``name`` of a hand's or forefoot's ``points``."""
        return cls(name, points[name], direction(points, name), unit_length(points))

    @property
    def sizes(self) -> tuple[float, float]:
        """Joint space and half the width of the bone, in pixels."""
        sizes = table("joints")
        key = self.name if self.name in sizes else self.name.rstrip("12345")
        key = "forearm" if key in ("radius", "ulna") else key if key in sizes else "carpal"
        return (self.space or sizes[key]["space"] * self.unit), sizes[key]["half"] * self.unit

    @property
    def among_bones(self) -> bool:
        """Whether it lies in the wrist, where other bones lie beside it."""
        return not self.foot and not self.name.startswith(("mcp", "pip", "dip", "ip"))

    @property
    def foot(self) -> bool:
        """Whether erosion counts on both sides of the joint, up to 10."""
        return self.name.startswith("mtp") or self.name == "ip"


@dataclass(frozen=True, slots=True)
class Lesion:
    """What is painted at a joint.

    Attributes:
        narrowing: 0 to 4.
        erosion: 0 to 5; 0 to 10 of a forefoot's joint.
    """

    narrowing: int = 0
    erosion: int = 0


def draw_lesion(rng: np.random.Generator, most: Iterable[int], healthy: float = 0.4) -> Lesion:
    """A lesion, each damage 0 with probability ``healthy``, else 1 to its highest grade ``most`` alike (drawn by
    ``rng``); 0 where that is 0."""
    return Lesion(*(0 if not top or rng.random() < healthy else int(rng.integers(1, top + 1)) for top in most))


def paint_joints(
    pixels: Array, joints: Mapping[str, Joint] | Sequence[Joint], lesions: Mapping[str, Lesion], seed: int = 0,
    traces: Array | None = None,
) -> Array:  # fmt: skip
    """A copy of a film with lesions.

    Grade 0 is painted too: the joint's space changes by at most 5 %, and it gets a faint shade that touches no margin,
    so that neither resampling nor smoothness tells a lesion from a control.

    Args:
        pixels: float32 (height, width) in [0, 1], bright = dense.
        joints: Those of the film.
        lesions: By the joint's name; joints without an entry stay as they are.
        seed: Equal seeds paint equally.
        traces: float32 (2, height, width), filled with where a wrist lost space (its share) and bone.

    Returns:
        float32, the same shape.

    Raises:
        ConfigurationError: A joint that is not given, or a grade that does not exist.
    """
    known = joints if isinstance(joints, Mapping) else {joint.name: joint for joint in joints}
    film = np.array(pixels, np.float32)
    for number, (name, lesion) in enumerate(sorted(lesions.items())):
        joint = known.get(name)
        if joint is None:
            raise ConfigurationError("no such joint on this film", got=name, allowed=sorted(known))
        if not (0 <= lesion.narrowing <= 4 and 0 <= lesion.erosion <= (10 if joint.foot else 5)):
            raise ConfigurationError(f"no such grade at {name}", got=lesion, allowed="narrowing 0 to 4, erosion 0 to 5")
        part = _Part(*spaced(film, joint), np.random.default_rng([seed, number]))
        if part.window.size and joint.among_bones:
            for one, place in zip(part.among(lesion), () if traces is None else traces, strict=False):
                np.copyto(spaced(place, joint)[0], one)
        elif part.window.size:
            part.narrow(lesion.narrowing)
            part.erode(lesion.erosion)
    return np.clip(film, 0, 1)  # interpolation overshoots at sharp edges


def spaced(film: Array, joint: Joint) -> tuple[Array, Joint]:
    """The part of a film around a joint, as a view that can be painted into, and the joint in its pixels."""
    reach = _REACH * joint.sizes[1] + 2
    x0, y0 = (max(0, int(value - reach)) for value in joint.center)
    x1, y1 = (int(value + reach) + 1 for value in joint.center)
    center = (joint.center[0] - x0, joint.center[1] - y0)
    return film[y0:y1, x0:x1], replace(joint, center=center)


class _Part:
    """The film around a joint, which is painted into.

    ``along`` and ``across`` are each pixel's place in the joint's frame, in pixels: along the digit outwards, and
    across it.
    """

    def __init__(self, window: Array, joint: Joint, rng: np.random.Generator) -> None:
        self.window, self.joint, self.rng = window, joint, rng
        self.space, self.half = joint.sizes
        self.along, self.across = turned(places(window.shape, *joint.center), joint.direction)

    def narrow(self, grade: int) -> None:
        """Pull the outer bone end in: the space shrinks, the end stays whole, the shaft behind it is drawn out."""
        place, pull = (self.along, self.across, self.joint.direction), self._pull(grade, self.space, self.across)[1]
        np.copyto(self.window, flaws.drawn_in(self.window, *place, self.space, pull, grade == 4, self.half, self.rng))

    def _pull(self, grade: int, space: float, across: Array) -> tuple[float, Array]:
        """The share of a space that is lost, and how many pixels of it are, here and there."""
        rng, share = self.rng, float(self.rng.uniform(*NARROWED[grade]))
        # Grade 1 may be focal: all of it on one side. Otherwise the space is lost a little unevenly.
        lean = float(rng.uniform(0.6, 1.0) if grade == 1 and rng.random() < 0.4 else rng.uniform(0, 0.25))
        lean *= float(rng.choice([-1, 1]))
        pull = np.float32(share * space) * (1 + np.float32(lean) * np.clip(across / np.float32(self.half), -1, 1))
        return share, np.minimum(pull, np.float32(space)) if grade > 1 else pull

    def among(self, lesion: Lesion) -> Array:
        """Both damages where other bones lie beside it, and (2, h, w) where. A space closes across its own line or the
        hand's axis; bites lie all around the margin, which is looked for on the film."""
        window, joint, half, rng = self.window, self.joint, self.half, self.rng
        around, traces = places(window.shape, *joint.center), np.zeros((2, *window.shape), np.float32)
        space = self.space * float(rng.uniform(0.85, 1.15))
        axis = joint.direction if rng.random() < 0.5 else flaws.line_normal(window, *around, 0.35 * half)
        turn = complex(*axis) * cmath.rect(1, rng.normal(0, 0.2))
        along, across = turned(around, toward := (turn.real, turn.imag))
        share, pull = self._pull(lesion.narrowing, space, across)
        overlap = float(rng.uniform(0.2, 0.6)) if lesion.narrowing == 3 and rng.random() < 0.6 else 0.0
        veil = 1.0 if lesion.narrowing == 4 else overlap
        film, line = flaws.closed(window, along, across, toward, space, pull, veil, half, rng)
        film, traces[0] = flaws.distracted(film, *joint.center, half, rng), line * np.float32(share)
        middle = complex(*joint.center)
        if joint.name not in _MIDDLES:
            middle += complex(*joint.direction) * rng.choice([-1, 1]) * (space / 2 + rng.uniform(0.6, 0.9) * half)
        if lesion.erosion:  # a third of it lies beyond the margin
            area = 6 * half * half * float(rng.uniform(*ERODED[lesion.erosion]))
            film, traces[1] = flaws.eaten(film, middle, half, area, int(rng.integers(1, 3 + (lesion.erosion > 1))), rng)
        np.copyto(window, np.clip(film, 0, 1))
        return traces

    def erode(self, grade: int) -> None:
        """Bites at the margins; of a forefoot's joint, grades above 5 lie on both sides of it."""
        rng, half = self.rng, self.half
        if grade == 0:  # a control's faint shade within the bone
            away = (self.along - np.float32(rng.choice([-1, 1]) * half)) ** 2 + self.across**2
            spot = np.exp(-away / np.float32(2 * (0.3 * half) * (0.3 * half)))
            np.copyto(self.window, np.clip(self.window + spot * np.float32(rng.uniform(-0.03, 0.03)), 0, 1))
            return
        parts = [grade]
        if self.joint.foot and grade > 1 and (grade > 5 or rng.random() < 0.5):
            first = int(rng.integers(max(1, grade - 5), min(5, grade - 1) + 1))
            parts = [first, grade - first]
        side = np.float32(rng.choice([-1, 1]))
        for part in parts:
            area = float(rng.uniform(*ERODED[part])) * 4 * half * half
            place = side * self.along, self.across, self.space, half
            np.copyto(self.window, flaws.bitten(self.window, *place, area, rng))
            side = -side
