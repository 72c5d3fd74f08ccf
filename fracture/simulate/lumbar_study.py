"""Whole MR studies of a drawn lumbar spine with 25 known grades: sagittal T2, sagittal T1, axial T2 along the discs.

The column of :mod:`fracture.simulate.lumbar` is drawn slice by slice from the patient's right to the left, so that the
slices together are a volume: bodies round off to the sides, the canal narrows at each disc to a given width and a given
depth of its recesses, and beside it pedicles leave foramina of a given area, each with fat and a nerve root. The three
series are cut out of the volume as scanners cut them. Grades follow from these measures by :data:`THRESHOLDS`, which
are ours; brightness is that of the 2D phantoms. Phantoms do not look like patients: what a grader scores on them
says nothing about one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from fracture.simulate.lumbar import CONTRASTS, FINE, LEVELS, Canvas, Column, across, right, smooth, up
from fracture.simulate.series import SimulatedBlock

MEASURES = ("canal_mm", "left_foramen_mm2", "right_foramen_mm2", "left_recess_mm", "right_recess_mm")
"""What each of the challenge's five conditions is graded by, in its order."""
THRESHOLDS = {"canal_mm": (10.0, 7.0), "foramen_mm2": (70.0, 40.0), "recess_mm": (4.0, 2.0)}
"""Below the first a level is moderate, below the second severe: the canal's width at the disc from front to back, the
foramen's area, the depth of the lateral recess. Ours, near the limits that textbooks give."""
_WIDEST = {"canal_mm": 16.0, "foramen_mm2": 125.0, "recess_mm": 6.5}
_LEAST = {"canal_mm": 2.0, "foramen_mm2": 14.0, "recess_mm": 0.0}
_STEP, _REACH = 1.5, 30.0  # mm between drawn slices, and how far they go to either side
_CANAL, _BEHIND, _WIDE = 11.0, 24.0, 25.0  # mm from the middle: the canal's wall, the foramina's end, the bodies' side


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedStudy:
    """A study.

    Attributes:
        series: Blocks of slices by the challenge's name of a series; the axial one has a tilted block for each disc.
        places: Disc centers by level, millimeters of the patient.
        measures: By level, the five of :data:`MEASURES`, and ``disc_mm``, the disc's height.
        grades: By level, 0, 1 or 2 for each condition in the challenge's order.
        seed: It was drawn by.
    """

    series: dict[str, tuple[SimulatedBlock, ...]]
    places: dict[str, tuple[float, float, float]]
    measures: dict[str, dict[str, float]]
    grades: dict[str, tuple[int, ...]]
    seed: int


def grade_of(measure: str, value: float) -> int:
    """0, 1 or 2 of a measure by :data:`THRESHOLDS`; sides are alike."""
    return sum(value < limit for limit in THRESHOLDS[_plain(measure)])


def lumbar_study(
    seed: int,
    *,
    shares: tuple[float, float, float] = (0.55, 0.25, 0.2),
    measures: Mapping[str, Mapping[str, float]] | None = None,
    side: int = 256,
) -> SimulatedStudy:
    """Draw a study; equal arguments give equal voxels.

    Args:
        seed: Of everything that is not set.
        shares: Of the three grades, for each condition and level by itself; measures are uniform within a grade.
        measures: Sets some of :data:`MEASURES`, or ``disc_mm``, by level.
        side: Pixels of a sagittal slice.
    """
    draw = np.random.default_rng([seed, 31])
    column = Column(draw, 5, 0.4)
    spacing = float(draw.uniform(225, 265)) / side
    levels: dict[str, dict[str, float]] = {}
    for disc in column.discs[: len(LEVELS)]:
        found = {name: _drawn(name, shares, draw) for name in MEASURES} | {"disc_mm": float(disc["height"])}
        levels[disc["level"]] = found | dict((measures or {}).get(disc["level"], {}))
        disc["front"] = float(draw.uniform(0.2, 0.45) if disc["bulge"] < 2 else draw.uniform(0.5, 0.8))
        disc["measures"] = levels[disc["level"]]
    made = {
        name: _Volume(column, CONTRASTS[name], side, spacing, np.random.default_rng([seed, 32, k]), seed)
        for k, name in enumerate(("T2", "T1"))
    }
    blocks = tuple(made["T2"].axial(disc) for disc in column.discs[: len(LEVELS)])
    return SimulatedStudy(
        {
            "Sagittal T2/STIR": (made["T2"].sagittal(),),
            "Sagittal T1": (made["T1"].sagittal(),),
            "Axial T2": blocks,
        },
        {disc["level"]: (0.0, *_patient(disc["center"])) for disc in column.discs[: len(LEVELS)]},
        levels,
        {level: tuple(grade_of(name, found[name]) for name in MEASURES) for level, found in levels.items()},
        seed,
    )


def _plain(measure: str) -> str:
    return measure.removeprefix("left_").removeprefix("right_")


def _drawn(measure: str, shares: tuple[float, float, float], draw: np.random.Generator) -> float:
    name = _plain(measure)
    edges = (_WIDEST[name], *THRESHOLDS[name], _LEAST[name])
    grade = int(draw.choice(3, p=np.array(shares) / sum(shares)))
    return float(draw.uniform(edges[grade + 1], edges[grade]))


def _patient(point: NDArray[np.float64]) -> tuple[float, float]:
    """(to the back, to the feet) to the patient's y and z."""
    return float(point[0]), -float(point[1])


@dataclass
class _Volume:
    """The drawn slices of one weighting, and the series that are cut out of them."""

    column: Column
    tone: dict[str, float]
    side: int
    spacing: float
    draw: np.random.Generator
    seed: int
    voxels: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.sides = np.arange(-_REACH, _REACH + 0.1, _STEP)
        planes = []
        for lateral in self.sides.tolist():  # what is drawn by chance is the same on every slice
            slab = _Slab(self.side, self.spacing, np.random.default_rng([self.seed, 33]))
            slab.lateral = lateral
            slab.draw(self.column, self.tone)
            soft = cv2.GaussianBlur(slab.image, (0, 0), 0.7 * FINE)
            planes.append(cv2.resize(soft, (self.side, self.side), interpolation=cv2.INTER_AREA))
        self.voxels, self.origin = np.stack(planes), slab.origin / FINE

    def sagittal(self) -> SimulatedBlock:
        """Slices of 4 mm, a little aside from the middle, shaded and noisy as the scanner gives them."""
        first = -26.0 + float(self.draw.uniform(-1, 1))
        at = (first + 4.0 * np.arange(14)[:, None] + np.array([-1.35, 0.0, 1.35]) + _REACH) / _STEP
        low = np.floor(at).astype(np.int64)  # three places within the thickness of a slice
        share = (at - low)[..., None, None].astype(np.float32)
        planes = ((1 - share) * self.voxels[low] + share * self.voxels[low + 1]).mean(axis=1)
        y, z = _patient((0.5 - self.origin) * self.spacing)
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = (0, self.spacing, 0), (0, 0, -self.spacing)
        affine[:3, 2], affine[:3, 3] = (4.0, 0, 0), (first, y, z)
        return SimulatedBlock(self._scanned(planes), affine)

    def axial(self, disc: dict[str, Any]) -> SimulatedBlock:
        """Five slices of 4 mm along a disc, tilted with it."""
        size, step = 160, 0.75
        way = float(disc["angle"]) + float(self.draw.normal(0, 3))
        back, head = across(way), up(way)
        corner = np.array([-size / 2 * step, *(disc["center"] + back * (12 - size / 2 * step) - head * 8)])
        k, row, column = np.mgrid[:5, :size, :size]
        lateral = corner[0] + column * step
        flat = (
            corner[1:, None, None, None] + back[:, None, None, None] * row * step + head[:, None, None, None] * k * 4.0
        )
        x, y = flat / self.spacing + self.origin[:, None, None, None] - 0.5
        planes = map_coordinates(self.voxels, [(lateral + _REACH) / _STEP, y, x], order=1)
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = (step, 0, 0), np.array([0, *_patient(back)]) * step
        affine[:3, 2], affine[:3, 3] = np.array([0, *_patient(head)]) * 4.0, (corner[0], *_patient(corner[1:]))
        return SimulatedBlock(self._scanned(planes), affine)

    def _scanned(self, planes: NDArray[Any]) -> NDArray[np.int16]:
        draw, sigma = self.draw, float(self.draw.uniform(0.015, 0.045))
        along = np.linspace(0, 1, planes.shape[2])
        coil = np.exp(-((along - draw.uniform(0.5, 0.9)) ** 2) / draw.uniform(0.3, 0.9))
        image = planes * coil + draw.normal(0, sigma, planes.shape)
        noisy = np.hypot(image, draw.normal(0, sigma, planes.shape))
        return np.rint(noisy * draw.uniform(500, 1500)).astype(np.int16)


class _Slab(Canvas):
    """A sagittal slice so far to the patient's left of the middle."""

    lateral = 0.0

    def draw(self, column: Column, tone: dict[str, float]) -> None:
        """As for the middle slice, but everything as wide as it is there."""
        aside, rng = abs(self.lateral), self.rng
        tone = {name: value * float(rng.uniform(0.85, 1.15)) for name, value in tone.items()}
        wall = smooth(np.array(column.back), 240)
        self.flesh(wall[::4] + right(column.width + 4), tone)
        self.belly(wall[::4], column, tone)
        if _CANAL - 1 < aside < _BEHIND:
            self.fill(np.concatenate([wall, (wall + right(column.width + 4))[::-1]]), tone["body"] * 0.9)
        round_off = float(np.sqrt(max(0.0, 1 - (aside / _WIDE) ** 2)))
        front, deep = self._canal(column, wall)
        self._fluid(wall, front, deep, tone)
        for body in (*column.sacral, *column.bodies):
            shade = tone["body"] * float(rng.uniform(0.9, 1.1))
            if round_off > 0.3:
                squeezed = _squeezed(body, round_off)
                self.fill(squeezed, shade)
                self.line(squeezed, 1.4, tone["annulus"] * 0.7, closed=True)
        for disc in column.discs:
            if round_off > 0.3:
                at = int(np.argmin(np.linalg.norm(wall - disc["back"], axis=1)))
                flat = _flattened(disc, column.depth, round_off, front[at] if deep[at] > 0 else 2.0)
                self.disc(flat, column.depth * round_off, tone)
            if _CANAL < aside < _BEHIND - 2:
                self._foramen(disc, column, tone)

    def _canal(self, column: Column, wall: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Along the wall: how far behind it the canal begins here, and how deep it is; 0 beside it."""
        aside, side = abs(self.lateral), "left" if self.lateral > 0 else "right"
        deep = np.full(len(wall), column.width * np.sqrt(max(0.0, 1 - (aside / _CANAL) ** 2)))
        front = 2 + (column.width - deep) / 2
        for disc in column.discs:
            if (given := disc.get("measures")) is None or aside >= _CANAL:
                continue
            along = (wall + right(2 + column.width / 2) - disc["back"]) @ up(disc["angle"])  # as axial slices see it
            near = np.exp(-((along / 6.0) ** 2))
            canal, recess = given["canal_mm"], given[f"{side}_recess_mm"]
            here = float(np.interp(aside, (0, 4, 6.5, 9, _CANAL), (canal, 0.95 * canal, recess, 0.8 * recess, 0)))
            front += near * (2 + disc["front"] * max(column.width - here, 0) - front)
            deep += near * (here - deep)
        return front, deep

    def _fluid(
        self, wall: NDArray[np.float64], front: NDArray[np.float64], deep: NDArray[np.float64], tone: dict[str, float]
    ) -> None:
        aside = abs(self.lateral)
        if aside >= _CANAL:
            return
        ahead = wall + np.stack([front, np.zeros(len(wall))], 1)
        behind = ahead + np.stack([deep, np.zeros(len(wall))], 1)
        self.fill(np.concatenate([wall, (behind + right(2.0))[::-1]]), tone["annulus"])  # ligaments around it
        self.fill(np.concatenate([ahead, behind[::-1]]), tone["fluid"])
        if aside < 4:
            cord = (ahead + behind)[len(wall) * 55 // 100 :] / 2
            self.line(cord, 7.0, tone["cord"])
            roots = 0.25 * ahead + 0.75 * behind
            for begin in range(0, len(wall) - 8, 8):  # thinner where it is narrow
                width = min(2.5, 0.4 * float(deep[begin : begin + 9].min()))
                if width > 0.4:
                    self.line(roots[begin : begin + 9], width, (tone["cord"] + tone["fluid"]) / 2)

    def _foramen(self, disc: dict[str, Any], column: Column, tone: dict[str, float]) -> None:
        """Fat around a nerve root, in a dark rim; of the area that is given, else a wide one."""
        name = f"{'left' if self.lateral > 0 else 'right'}_foramen_mm2"
        area = float(disc.get("measures", {}).get(name, 110.0))
        wide = float(np.sqrt(area / np.pi / 1.6))
        middle = disc["back"] + up(disc["angle"]) * 4.0 + across(disc["angle"]) * (2 + column.width / 2)
        for half, tall, value in ((wide + 1.2, 1.6 * wide + 1.2, "annulus"), (wide, 1.6 * wide, "fat")):
            self._oval(middle, half, tall, disc["angle"], tone[value])
        root = middle + up(disc["angle"]) * 0.5 * wide
        self._oval(root, min(2.4, 0.9 * wide), min(2.4, 1.2 * wide), disc["angle"], tone["muscle"] * 1.3)

    def _oval(self, at: NDArray[np.float64], wide: float, tall: float, angle: float, value: float) -> None:
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)[:, None]
        self.fill(at + across(angle) * wide * np.cos(turn) + up(angle) * tall * np.sin(turn), value)


def _squeezed(body: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """A body's outline with its front wall drawn back to a share of its depth."""
    way = body[1] - body[0]
    way = way / np.linalg.norm(way)
    along = body @ way
    moved: NDArray[np.float64] = body + np.outer((along.max() - along) * (1 - share), way)
    return moved


def _flattened(disc: dict[str, Any], depth: float, share: float, bulge: float) -> dict[str, Any]:
    """A disc as it is on a slice aside: its front drawn back, its back bulging so far."""
    way = across(disc["angle"])
    outline = _squeezed(np.delete(disc["outline"], 2, axis=0), share)
    outline = np.insert(outline, 2, disc["back"] + way * bulge, axis=0)
    return {**disc, "outline": outline, "center": disc["center"] + way * (depth / 2) * (1 - share)}
