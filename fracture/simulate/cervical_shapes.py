"""Vertebrae of the neck as signed distances: body, odontoid, arches, pillars and processes, in millimeters.

A vertebra's own coordinates: x to the patient's left, y to the back, z to the head, the origin at the center of the
body (of C1, which has none, at its anterior arch). Sizes are ours, after textbook means; they vary by a tenth or so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fracture.simulate.solids import Array, Field, bar, ellipsoid, holed, union

BONES = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2")
"""What is drawn, from the head; the numbers of the labels are these from 1."""

# Half width, depth and height of the body, canal, spinous process (length, degrees down), transverse process.
_SIZES = {
    "C1": (17.0, 6.5, 11.0, 30.0, 3.0, 0.0, 37.0),
    "C2": (8.5, 15.0, 19.0, 17.0, 15.0, 12.0, 23.0),
    "C3": (9.0, 15.0, 13.0, 15.0, 11.0, 18.0, 24.0),
    "C4": (9.3, 15.2, 12.6, 14.5, 11.0, 20.0, 24.5),
    "C5": (9.8, 15.6, 12.2, 14.5, 13.0, 22.0, 25.5),
    "C6": (10.6, 16.0, 12.4, 14.5, 20.0, 24.0, 26.5),
    "C7": (11.6, 16.5, 13.8, 14.5, 30.0, 24.0, 30.0),
    "T1": (12.6, 17.0, 15.5, 14.5, 32.0, 28.0, 34.0),
    "T2": (13.0, 18.0, 16.5, 15.0, 30.0, 38.0, 33.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class Bone:
    """One vertebra.

    Attributes:
        name: Of :data:`BONES`.
        width, depth, height: Of the body (half the width); of C1 of its ring's half width, arch thickness and height.
        canal: Depth of the spinal canal.
        back: y of the lamina in the middle.
        pillar: x of the articular pillars.
        spinous: y and z of the spinous process's tip.
        transverse: x of the transverse process's tip.
        fields: Its parts.
        low, high: Corners of a box around it.
    """

    name: str
    width: float
    depth: float
    height: float
    canal: float
    back: float
    pillar: float
    spinous: tuple[float, float]
    transverse: float
    fields: tuple[Field, ...]
    low: tuple[float, float, float] = (-40.0, -14.0, -26.0)
    high: tuple[float, float, float] = (40.0, 54.0, 16.0)
    cortex: float = field(default=1.1)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Of the whole bone."""
        return union(self.fields)(x, y, z)


def _body(width: float, depth: float, height: float, waist: float, hooks: float) -> Field:
    """A waisted cylinder, flat behind, with a hollow upper endplate whose sides rise to the uncinate processes."""

    def distance(x: Array, y: Array, z: Array) -> Array:
        lean = 1 - waist * (1 - np.clip(np.abs(z) / (height / 2), 0, 1))
        front = np.where(y < 0, y, y * 0.92)
        radial = ((np.abs(x) / (width * lean)) ** 2.6 + (np.abs(front) / (depth / 2 * lean)) ** 2.6) ** (1 / 2.6) - 1
        side = np.clip(np.abs(x) / width, 0, 1.2)
        top = z - height / 2 - hooks * (side**4 - 0.25)
        bottom = -z - height / 2 + 0.6 * side**2
        return np.asarray(np.maximum(np.maximum(radial * (depth / 2), top), bottom), np.float32)

    return distance


def vertebra(name: str, size: float, draw: np.random.Generator, *, worn: float = 0.0) -> Bone:
    """A vertebra of a person.

    Args:
        name: Of :data:`BONES`.
        size: 1 for the mean.
        draw: For what varies between vertebrae.
        worn: 0 to 1: osteophytes at the endplates and thick facets.
    """
    width, depth, height, canal, spinous, slope, transverse = (
        one * size * float(draw.uniform(0.94, 1.06)) for one in _SIZES[name]
    )
    if name == "C1":
        return _atlas(width, depth, height, canal, transverse, draw)
    behind = depth / 2
    pillar, back = width + 9.5 * size, behind + canal + 2.0
    down = np.radians(slope)
    root = (0.0, back, -2.0)
    tip = (float(draw.normal(0, 1.0)), back + spinous * float(np.cos(down)), -2.0 - spinous * float(np.sin(down)))
    thick = 2.2 * size
    parts = [_body(width, depth, height, float(draw.uniform(0.06, 0.14)), 0.5 if name[0] == "T" else 3.0 * size)]
    facet = 1 + 0.25 * worn
    for side in (-1.0, 1.0):
        where = (side * pillar, behind + 3.5, 0.0)
        parts.append(bar((side * (width - 2), behind - 3.0, 1.0), where, 2.8 * size, 3.2 * size, 1.3))
        # The pillar leans: its upper facet lies in front of its lower one.
        upper, lower = (where[0], where[1] - 2.0, 6.5 * size), (where[0], where[1] + 3.0, -6.5 * size)
        parts.append(bar(lower, upper, 4.4 * size * facet, 4.0 * size * facet))
        parts.append(bar((where[0] - side * 2, where[1] + 2.5, -1.0), root, thick, thick, 2.6))
        end = (side * transverse, behind - 4.0 if name[0] == "C" else behind + 6.0, -1.0)
        process = bar((side * (width - 1), behind - 6.5, 0.0), end, 4.6 * size, 2.4 * size, 0.7)
        hole = bar((side * (width + 5.0), behind - 5.0, -20.0), (side * (width + 5.0), behind - 5.0, 20.0), 2.7, 2.7)
        parts.append(holed(process, hole) if name[0] == "C" and name != "C7" else process)
        if name[0] == "T":
            rib = ((side * (width + 1), behind - 1, 3.0), (side * (transverse + 3), behind + 7, -2.0))
            parts.append(bar(*rib, 3.2, 3.0))
            parts.append(bar(rib[1], (side * (transverse + 22), behind - 14, -10.0), 3.0, 2.6))
    if name == "C2":
        parts.append(bar((0.0, -0.5, height / 2 - 3), (0.0, -1.5, height / 2 + 13.5 * size), 5.4 * size, 4.6 * size))
        parts += [ellipsoid((side * 13.0 * size, 2.0, height / 2 - 4), (8.0, 8.0, 5.5)) for side in (-1, 1)]
    bifid = name in ("C2", "C3", "C4", "C5")
    for side in (-1.0, 1.0) if bifid else (0.0,):
        parts.append(bar(root, (tip[0] + side * 3.5, tip[1], tip[2]), 2.6 * size, (2.6 if bifid else 3.4) * size, 1.4))
    for _ in range(int(worn * 4)):
        edge = float(draw.choice((-1, 1))) * height / 2
        turn = float(draw.uniform(-2.4, -0.7))
        at = (width * float(np.cos(turn)), behind * float(np.sin(turn)) - 0.5, edge)
        parts.append(ellipsoid(at, (3.0, 2.0 + 2.0 * worn, 1.8)))
    return Bone(
        name,
        *(width, depth, height, canal, back, pillar),
        spinous=(tip[1], tip[2]),
        transverse=transverse,
        fields=tuple(parts),
        low=(-transverse - (28 if name[0] == "T" else 4), -behind - 6, min(tip[2] - 7, -height / 2 - 14)),
        high=(transverse + (28 if name[0] == "T" else 4), tip[1] + 6, height / 2 + (21 if name == "C2" else 9)),
        cortex=float(draw.uniform(0.8, 1.4)),
    )


def _atlas(
    width: float, depth: float, height: float, canal: float, transverse: float, draw: np.random.Generator
) -> Bone:
    """C1: a ring with lateral masses; the anterior arch's middle is the origin."""
    half = (canal + 14.0) / 2  # from the anterior arch to the posterior one
    across = width + 2.0

    def ring(x: Array, y: Array, z: Array) -> Array:
        far = np.sqrt((x / across) ** 2 + ((y - half) / half) ** 2)
        flat = (far - 1) * (half * across / np.sqrt((x / across * half) ** 2 + ((y - half) / half * across) ** 2 + 1))
        back = np.clip((y - half) / half, 0, 1)
        tall = (height / 2) * (1 - 0.25 * back)
        thick = (depth / 2) * (1 - 0.1 * back)
        return np.asarray((np.sqrt((flat / thick) ** 2 + (z / tall) ** 2) - 1) * thick, np.float32)

    parts: list[Field] = [ring]
    for side in (-1.0, 1.0):
        parts.append(ellipsoid((side * (width + 1), 10.0, 0.0), (7.5, 10.0, 8.5)))
        process = bar((side * (width + 3), 11.0, -1.0), (side * transverse, 15.0, -2.0), 5.0, 3.0, 0.9)
        at = side * (width + 12.0)
        parts.append(holed(process, bar((at, 12.5, -20.0), (at, 12.5, 20.0), 2.8, 2.8)))
    parts.append(ellipsoid((float(draw.normal(0, 0.5)), -1.5, 0.0), (4.0, 3.5, height / 2)))
    return Bone(
        "C1",
        *(width, depth, height, canal, 2 * half, width + 1),
        spinous=(2 * half + 2, 0.0),
        transverse=transverse,
        fields=tuple(parts),
        low=(-transverse - 4, -9.0, -12.0),
        high=(transverse + 4, 2 * half + 7, 12.0),
        cortex=float(draw.uniform(0.9, 1.4)),
    )
