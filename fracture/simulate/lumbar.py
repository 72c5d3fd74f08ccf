"""Sagittal MR pictures of the lumbar spine as drawn phantoms: every disc's place, name and height is known.

A column of vertebrae is built upward from the sacrum in millimeters (x to the back, y to the feet), drawn at twice the
size as plain shapes, blurred, and given noise, a coil's shading and, often, burnt-in text. Brightness on T2 follows the
real volume of the Spinal Cord Toolbox (fluid 1, nucleus 0.7, body 0.5, annulus 0.07 there); that of T1 and STIR, and
all sizes, are ours, from textbook anatomy. The phantoms teach a finder where discs lie and how they follow each other.
They do not look like patients, and nothing measured on them says how well one is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError

LEVELS = ("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1")
"""The five discs of RSNA 2024, from the head to the feet."""
_ABOVE = ("T9/T10", "T10/T11", "T11/T12", "T12/L1")
CONTRASTS: dict[str, dict[str, float]] = {
    "T2": {"fluid": 1.0, "nucleus": 0.7, "annulus": 0.07, "body": 0.45, "fat": 0.95, "muscle": 0.15, "cord": 0.55},
    "T1": {"fluid": 0.12, "nucleus": 0.3, "annulus": 0.22, "body": 0.5, "fat": 1.0, "muscle": 0.25, "cord": 0.28},
    "STIR": {"fluid": 1.0, "nucleus": 0.65, "annulus": 0.1, "body": 0.16, "fat": 0.08, "muscle": 0.22, "cord": 0.5},
}
"""Brightness of tissues by weighting, of the brightest."""

FINE = 2  # pixels drawn for each of the picture's
_WEDGES = (15.0, 11.0, 8.0, 5.0, 2.0, -1.0, -3.0, -3.0, -3.0)  # degrees of lordosis at L5/S1 and upward
_HEIGHTS = (10.5, 11.5, 10.5, 9.5, 8.5, 7.0, 6.0, 5.5, 5.0)  # mm of these discs
_MARGIN = 7.0  # mm around a disc that its box takes in, as annotators of real pictures draw it

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SimulatedDisc:
    """A disc of a phantom.

    Attributes:
        level: ``"L5/S1"`` and so on, by the truth of the phantom.
        x, y: Center in pixels, edges as everywhere.
        box: Its extent with a margin of 7 mm, (x0, y0, x1, y1) in pixels.
        height, bulge, canal: Millimeters: of the disc, of its bulge to the back, and of the canal's width behind it.
        degenerated: Whether its nucleus has lost its water.
    """

    level: str
    x: float
    y: float
    box: tuple[float, float, float, float]
    height: float
    bulge: float
    canal: float
    degenerated: bool


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedLumbar:
    """A phantom's picture.

    Attributes:
        pixels: uint8 (side, side), the front to the left.
        spacing: Millimeters per pixel.
        contrast: One of :data:`CONTRASTS`.
        discs: Those within the picture, from the sacrum upward.
        lumbar: Vertebrae between the last rib and the sacrum: 5, or 4 or 6 where anatomy is transitional.
        seed: It was drawn by.
    """

    pixels: NDArray[np.uint8]
    spacing: float
    contrast: str
    discs: tuple[SimulatedDisc, ...]
    lumbar: int
    seed: int


def lumbar(
    seed: int, *, side: int = 320, contrast: str | None = None, transitional: float = 0.0, abnormal: float = 0.4
) -> SimulatedLumbar:
    """Draw a phantom; equal arguments give equal pixels.

    Args:
        seed: Of everything that is not set.
        side: Pixels of the square picture, 64 to 1024.
        contrast: ``"T2"``, ``"T1"`` or ``"STIR"``; None draws one (7, 2 and 1 of 10).
        transitional: Share of phantoms with 4 or 6 lumbar vertebrae.
        abnormal: Share of discs that are degenerated.

    Raises:
        ConfigurationError: Another size or contrast.
    """
    if not 64 <= side <= 1024 or contrast not in (None, *CONTRASTS):
        raise ConfigurationError(
            "a phantom that cannot be drawn",
            got=f"side {side}, contrast {contrast!r}",
            allowed=f"64 to 1024 pixels; {', '.join(CONTRASTS)}",
        )
    draw = np.random.default_rng(seed)
    contrast = contrast or str(draw.choice(list(CONTRASTS), p=(0.7, 0.2, 0.1)))
    count = 5 if draw.random() >= transitional else int(draw.choice([4, 6]))
    column = Column(draw, count, abnormal)
    canvas = Canvas(side, float(draw.uniform(270, 340)) / side, draw)
    canvas.draw(column, CONTRASTS[contrast])
    return SimulatedLumbar(canvas.finished(), canvas.spacing, contrast, tuple(_seen(column, canvas)), count, int(seed))


def _seen(column: Column, canvas: Canvas) -> list[SimulatedDisc]:
    """The discs whose box lies within the picture."""
    found = []
    for disc in column.discs:
        outline = canvas.pixel(disc["outline"]) / FINE
        margin = _MARGIN / canvas.spacing
        x0, y0, x1, y1 = (float(v) for v in (*(outline.min(axis=0) - margin), *(outline.max(axis=0) + margin)))
        if min(x0, y0) < 0 or max(x1, y1) > canvas.side:
            continue
        x, y = (canvas.pixel(disc["center"][None])[0] / FINE).tolist()
        plain = {key: disc[key] for key in ("level", "height", "bulge", "canal", "degenerated")}
        found.append(SimulatedDisc(x=x, y=y, box=(x0, y0, x1, y1), **plain))
    return found


class Column:
    """Bodies and discs from the sacrum upward, in millimeters around the center of L5/S1."""

    def __init__(self, draw: np.random.Generator, count: int, abnormal: float) -> None:
        size = float(draw.uniform(0.88, 1.12))
        angle = float(draw.uniform(25, 50))  # the sacral slope
        lordosis = float(draw.uniform(0.6, 1.3)) * angle / 38
        self.depth = 35 * size * float(draw.uniform(0.92, 1.08))
        self.bodies: list[Points] = []
        self.discs: list[dict[str, Any]] = []
        self.back: list[Points] = []  # the middle of each back wall, from below
        self._sacrum(angle, size, draw, count)
        at, names = np.zeros(2), _names(count)
        for k, name in enumerate(names):
            wedge = _WEDGES[min(k, len(_WEDGES) - 1)] * lordosis + float(draw.normal(0, 1.5))
            worn = bool(draw.random() < abnormal)
            height = _HEIGHTS[min(k, len(_HEIGHTS) - 1)] * size * float(draw.uniform(0.85, 1.15))
            height *= float(draw.uniform(0.35, 0.85)) if worn else 1.0
            bulge = float(draw.uniform(1.5, 7.0)) if worn and draw.random() < 0.8 else float(draw.uniform(0, 1.0))
            at = self._disc(at, angle, angle - wedge, height, bulge, name, worn)
            angle -= wedge
            self.bodies.append(_body(at, angle, angle, 27 * size * (1 - 0.025 * k), self.depth, draw))
            self.back.append(at + up(angle) * 13 * size + across(angle) * self.depth / 2)
            at = at + up(angle) * 27 * size * (1 - 0.025 * k)
        width = float(draw.uniform(13, 18)) * size
        for disc in self.discs:
            disc["canal"] = max(width + 2 - disc["bulge"], 1.0)
        self.width = width

    def _disc(self, at: Points, low: float, high: float, height: float, bulge: float, name: str, worn: bool) -> Points:
        """One disc above a place; gives the middle of the endplate above it."""
        middle = (low + high) / 2
        top = at + up(middle) * height
        half = self.depth / 2
        corners = [at - across(low) * half, at + across(low) * half, top + across(high) * half]
        front, back = top - across(high) * half, (corners[1] + corners[2]) / 2
        bulged = back + across(middle) * bulge
        outline = np.array([corners[0], corners[1], bulged, corners[2], front])
        self.discs.append(
            {
                "level": name,
                "center": (at + top) / 2,
                "outline": outline,
                "height": height,
                "bulge": bulge,
                "degenerated": worn,
                "angle": middle,
                "back": back,
            }
        )
        return top

    def _sacrum(self, angle: float, size: float, draw: np.random.Generator, count: int) -> None:
        """Five segments below, bending to the back; the uppermost disc is thick where S1 is half a lumbar vertebra."""
        at, depth, turn = np.zeros(2), self.depth, angle
        self.sacral: list[Points] = []
        for k in range(4):
            height = (25 - 3 * k) * size
            foot = at - up(turn) * height
            self.sacral.append(_body(foot, turn + 6, turn, height, depth * 0.92, draw))
            self.back.insert(0, foot + up(turn) * height / 2 + across(turn) * depth / 2)
            gap = (5.0 if count == 6 and k == 0 else 1.8) * size
            at, turn, depth = foot - up(turn) * gap, turn + float(draw.uniform(8, 16)), depth * 0.8


def _names(count: int) -> list[str]:
    """From the sacrum upward; with 4 or 6 lumbar vertebrae the last of them is still called by what lies above."""
    lumbar = [f"L{k}/L{k + 1}" for k in range(1, count)] + [f"L{count}/S1"]
    return [*lumbar[::-1], *_ABOVE[::-1]]


def right(far: float) -> Points:
    """So many millimeters to the back."""
    return np.array([far, 0.0])


def up(angle: float) -> Points:
    """One millimeter to the head where the spine leans so many degrees."""
    radians = np.radians(angle)
    return np.array([-np.sin(radians), -np.cos(radians)])


def across(angle: float) -> Points:
    """One millimeter to the back there."""
    radians = np.radians(angle)
    return np.array([np.cos(radians), -np.sin(radians)])


def _body(at: Points, low: float, high: float, height: float, depth: float, draw: np.random.Generator) -> Points:
    """A vertebral body with a waist, above the middle of its lower endplate."""
    top = at + up((low + high) / 2) * height
    middle, waist = (at + top) / 2, float(draw.uniform(0.42, 0.47)) * depth
    half, axis = depth / 2, (low + high) / 2
    return np.array(
        [
            at - across(low) * half,
            at + across(low) * half,
            middle + across(axis) * waist,
            top + across(high) * half,
            top - across(high) * half,
            middle - across(axis) * waist,
        ]
    )


class Canvas:
    """The picture at twice its size, and how millimeters lie on it."""

    def __init__(self, side: int, spacing: float, draw: np.random.Generator) -> None:
        self.side, self.spacing, self.rng = side, spacing, draw
        self.image = np.zeros((side * FINE, side * FINE), np.float32)
        # Where L5/S1 lies: in the lower third, left or right of the middle.
        self.origin = np.array([draw.uniform(0.42, 0.66), draw.uniform(0.66, 0.86)]) * side * FINE

    def pixel(self, points: Points) -> Points:
        """Millimeters (..., 2) to pixels of the canvas."""
        placed: Points = points / self.spacing * FINE + self.origin
        return placed

    def fill(self, points: Points, value: float) -> None:
        """A polygon."""
        cv2.fillPoly(self.image, [np.rint(self.pixel(points) * 16).astype(np.int32)], float(value), cv2.LINE_AA, 4)

    def line(self, points: Points, width: float, value: float, *, closed: bool = False) -> None:
        """A line of some millimeters."""
        thick = max(1, round(width / self.spacing * FINE))
        where = [np.rint(self.pixel(points) * 16).astype(np.int32)]
        cv2.polylines(self.image, where, closed, float(value), thick, cv2.LINE_AA, 4)

    def draw(self, column: Column, tone: dict[str, float]) -> None:
        """Everything from the skin to the discs."""
        rng = self.rng
        tone = {name: value * float(rng.uniform(0.8, 1.2)) for name, value in tone.items()}
        wall = smooth(np.array(column.back))
        behind = wall + right(column.width + 4)
        self.flesh(behind, tone)
        self.belly(wall, column, tone)
        front = wall + right(2.0)
        self.fill(np.concatenate([front, (wall + right(column.width + 2))[::-1]]), tone["fluid"])
        cord = wall[len(wall) * 55 // 100 :] + right(column.width / 2 + 2)
        self.line(cord, 7.0, tone["cord"])
        self.line(wall + right(column.width * 0.8), 2.5, (tone["cord"] + tone["fluid"]) / 2)
        for body in (*column.sacral, *column.bodies):
            self.fill(body, tone["body"] * float(rng.uniform(0.9, 1.1)))
            self.line(body, 1.4, tone["annulus"] * 0.7, closed=True)
        for disc in column.discs:
            self.disc(disc, column.depth, tone)

    def disc(self, disc: dict[str, Any], depth: float, tone: dict[str, float]) -> None:
        """A dark annulus and its nucleus."""
        self.fill(disc["outline"], tone["annulus"])
        bright = tone["nucleus"] * float(self.rng.uniform(0.15, 0.45) if disc["degenerated"] else 1.0)
        axes = np.maximum(np.array([depth * 0.33, disc["height"] * 0.34]) / self.spacing * FINE, 1)
        self.ellipse(self.pixel(disc["center"]), axes, -disc["angle"], max(bright, tone["annulus"]))

    def ellipse(self, at: Points, axes: Points, angle: float, value: float) -> None:
        """A filled one: center and half axes in whole pixels of the canvas, clockwise degrees."""
        (x, y), (wide, tall) = at.astype(int).tolist(), axes.astype(int).tolist()
        cv2.ellipse(self.image, (x, y), (wide, tall), angle, 0, 360, float(value), -1, cv2.LINE_AA)

    def flesh(self, behind: Points, tone: dict[str, float]) -> None:
        """Ligament, fat and spinous processes behind the canal, muscle, fat below the skin."""
        rng, skin = self.rng, float(self.rng.uniform(45, 75))
        thick = float(rng.uniform(6, 30))
        edge = behind + np.stack([skin + 8 * np.sin(np.linspace(0, 3, len(behind))), np.zeros(len(behind))], 1)
        ends = np.concatenate([edge[:1] + np.array([0.0, 60.0]), edge, edge[-1:] - np.array([0.0, 60.0])])
        self.fill(np.concatenate([behind[:1], ends, behind[-1:]]), tone["muscle"])
        inner = np.concatenate([behind, (behind + right(12))[::-1]])
        self.fill(inner, tone["fat"] * 0.6)
        outer = ends + right(thick)
        self.fill(np.concatenate([ends, outer[::-1]]), tone["fat"])
        for k in range(4, len(behind) - 2, max(1, len(behind) // 11)):
            size = np.array([rng.uniform(11, 17), rng.uniform(5, 9)]) / self.spacing * FINE
            self.ellipse(self.pixel(behind[k]) + right(size[0] * 1.3), size, 25, tone["body"] * 0.7)

    def belly(self, wall: Points, column: Column, tone: dict[str, float]) -> None:
        """Patches of gut and fat, and the great vessels as dark bands, in front."""
        rng, front = self.rng, wall - right(column.depth + 6)
        self.line(front - right(6), float(rng.uniform(6, 14)), tone["muscle"] * 0.3)
        for _ in range(int(rng.integers(6, 30))):
            place = front[rng.integers(len(front))] - (rng.uniform(12, 110), rng.uniform(-15, 15))
            size = np.array([rng.uniform(4, 22), rng.uniform(4, 14)]) / self.spacing * FINE
            value = float(rng.choice([tone["muscle"], tone["fat"] * 0.4, tone["fluid"] * 0.3]))
            self.ellipse(self.pixel(place), size + 1, float(rng.uniform(0, 180)), value)

    def finished(self) -> NDArray[np.uint8]:
        """Blurred, shaded, noisy, at its size, with text as screens burn it in."""
        rng = self.rng
        soft = cv2.GaussianBlur(self.image, (0, 0), float(rng.uniform(0.8, 1.8)) * FINE)
        image = cv2.resize(soft, (self.side, self.side), interpolation=cv2.INTER_AREA)
        grain = cv2.resize(
            rng.normal(0, 1, (self.side // 4, self.side // 4)).astype(np.float32),
            image.shape,
            interpolation=cv2.INTER_CUBIC,
        )
        y, x = np.mgrid[0 : 1 : 1j * self.side, 0 : 1 : 1j * self.side]
        coil = np.exp(-((x - rng.uniform(0.6, 0.95)) ** 2) / rng.uniform(0.12, 0.6))
        coil *= np.exp(-((y - rng.uniform(0.35, 0.65)) ** 2) / rng.uniform(0.3, 1.5))
        image = image * coil * (1 + 0.12 * grain) * float(rng.uniform(0.8, 1.5))
        sigma = float(rng.uniform(0.01, 0.05))
        image = np.hypot(image + rng.normal(0, sigma, image.shape), rng.normal(0, sigma, image.shape))
        picture: NDArray[np.uint8] = np.clip(image * 255, 0, 255).astype(np.uint8)
        if rng.random() < 0.6:
            for row in (*range(3), *range(7, 11)):
                text = "".join(rng.choice(list("SLT0123456789.: mE"), int(rng.integers(6, 18))))
                where = (2, int(self.side * (0.04 + 0.085 * row)))
                cv2.putText(picture, text, where, cv2.FONT_HERSHEY_SIMPLEX, self.side / 900, 230, 1, cv2.LINE_AA)
        return picture


def smooth(points: Points, count: int = 60) -> Points:
    """A curve through points from below, so many of them, extended at its upper end."""
    last = points[-1] + (points[-1] - points[-2])
    whole = np.concatenate([points, last[None]])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(whole, axis=0), axis=1))])
    even = np.linspace(0, along[-1], count)
    return np.stack([np.interp(even, along, whole[:, axis]) for axis in (0, 1)], 1)
