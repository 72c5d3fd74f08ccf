"""A second simulator of graded lumbar studies, written apart from ``fracture.simulate.lumbar_study``.

    python benchmarks/second_lumbar_simulator.py STUDIES -n 60 --seed 21
    fracture spine lumbar evaluate STUDIES --out REPORT

Training never sees it. What a grader scores here as on its own simulator's studies is no habit of one simulator. The
first draws polygons slice by slice; this one asks at every voxel of a series which tissue lies there, along a circular
arc with a straight sacrum: superelliptic bodies, a canal with a pointed roof, keyhole foramina, facets, scattered nerve
roots. It shares with the first what the measures mean and by which thresholds they are graded, and no shape,
brightness or range. Slices are thicker, their axial blocks tilt more freely.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.ndimage import gaussian_filter

from fracture.simulate.lumbar import LEVELS
from fracture.simulate.lumbar_study import MEASURES, SimulatedStudy, grade_of
from fracture.simulate.series import SimulatedBlock
from fracture.spine.lumbar.studies import write_studies

RANGES = {
    "canal_mm": ((10.5, 18.0), (7.3, 9.7), (1.0, 6.7)),
    "foramen_mm2": ((75.0, 140.0), (43.0, 67.0), (10.0, 37.0)),
    "recess_mm": ((4.2, 7.0), (2.2, 3.8), (0.3, 1.8)),
}
"""What is drawn from within a grade; a gap is left around each threshold, as readers leave doubtful levels out."""
TISSUES = ("air", "muscle", "fat", "marrow", "cortex", "annulus", "nucleus", "dry", "fluid", "root")
TONES = {
    "T2": (0.02, 0.17, 0.72, 0.36, 0.04, 0.09, 0.62, 0.16, 0.92, 0.40),
    "T1": (0.02, 0.33, 0.88, 0.52, 0.06, 0.24, 0.30, 0.26, 0.16, 0.34),
}
DISC = 9  # discs in all, from L5/S1 upward


def study(seed: int) -> SimulatedStudy:
    """A study of three series."""
    draw = np.random.default_rng([seed, 909])
    spine = Spine(draw)
    volumes = {
        "Sagittal T2/STIR": (sagittal(spine, "T2", draw),),
        "Sagittal T1": (sagittal(spine, "T1", draw),),
        "Axial T2": tuple(axial(spine, k, draw) for k in range(5)),
    }
    names = LEVELS[::-1]
    measures = {name: spine.measures[k] for k, name in enumerate(names)}
    return SimulatedStudy(
        volumes,
        {name: (0.0, *map(float, spine.at(spine.middle[k], 0.0))) for k, name in enumerate(names)},
        measures,
        {name: tuple(grade_of(m, found[m]) for m in MEASURES) for name, found in measures.items()},
        seed,
    )


class Spine:
    """Places along the spine in millimeters from L5/S1 upward (``a``), behind the bodies' axis (``t``), to the left."""

    def __init__(self, draw):
        self.bend, self.slope = draw.uniform(210, 300), np.radians(draw.uniform(28, 44))
        self.deep, self.wide = draw.uniform(15, 18), draw.uniform(21, 25)
        self.high = draw.uniform(6, 13, DISC) * np.r_[np.ones(5), np.full(DISC - 5, 0.6)]
        body = draw.uniform(25, 30) - 0.8 * np.arange(DISC)
        self.middle = np.r_[0, np.cumsum(body[:-1] + (self.high[:-1] + self.high[1:]) / 2)]
        self.dry = draw.random(DISC) < 0.45
        self.share = draw.uniform(0.25, 0.75, DISC)  # of a narrowing that comes from the front
        self.width = draw.uniform(15, 19)
        self.measures = []
        for k in range(5):
            row = {}
            for name in MEASURES:
                grade = draw.choice(3, p=(0.55, 0.25, 0.2))
                row[name] = float(draw.uniform(*RANGES[name.replace("left_", "").replace("right_", "")][grade]))
            self.measures.append(row | {"disc_mm": float(self.high[k])})
        self.roots = draw.uniform((-6, 0.35), (6, 0.95), (14, 2))

    def at(self, a, t):
        """(along, behind) to the patient's y and z."""
        turn, low = self.slope - np.maximum(a, 0) / self.bend, np.minimum(a, 0)
        y = self.bend * (np.cos(self.slope) - np.cos(turn)) - low * np.sin(self.slope)
        z = self.bend * (np.sin(self.slope) - np.sin(turn)) + low * np.cos(self.slope)
        return y + t * np.cos(turn), z + t * np.sin(turn)

    def along(self, y, z):
        """The inverse: an arc above L5/S1, a straight line below."""
        sine, cosine = np.sin(self.slope), np.cos(self.slope)
        dy, dz = self.bend * cosine - y, self.bend * sine - z
        low = z * cosine - y * sine
        a = np.where(low < 0, low, (self.slope - np.arctan2(dz, dy)) * self.bend)
        return a, np.where(low < 0, y * cosine + z * sine, self.bend - np.hypot(dy, dz))

    def tissue(self, x, y, z):
        """Number of the tissue at each place."""
        a, t = self.along(y, z)
        k = np.searchsorted((self.middle[1:] + self.middle[:-1]) / 2, a)
        off, half = a - self.middle[k], self.high[k] / 2
        side = np.abs(x)
        found = np.full(a.shape, 1)
        found[(t > 62) & (t < 90)] = 2
        found[(t >= 90) | (t < -70)] = 0
        found[(np.sin(a / 5.0) * np.cos(x / 4.0 + t / 6.0) > 0.55) & (t > 38) & (t < 62)] = 2
        found[(side < 5) & (np.abs(off) > half + 4) & (t > 36) & (t < 58)] = 3  # spinous processes
        ring = (side / self.wide) ** 2.6 + (np.abs(t) / self.deep) ** 2.6
        gap = (np.abs(off) < half) & (a > -half)
        found[(ring < 1) & ~gap] = 4
        found[(ring < 0.88) & (np.abs(off) > half + 1.2)] = 3
        found[(ring < 1.08) & gap] = 5
        nucleus = (ring < 0.42) & (np.abs(off) < 0.7 * half)
        found[nucleus & gap] = np.where(self.dry[k], 7, 6)[nucleus & gap]
        return self._behind(found, x, a, t, k, off)

    def _behind(self, found, x, a, t, k, off):
        side, edge = np.abs(x), self.deep + 1.5
        near = np.where(np.abs(off) < 8, np.cos(np.pi * off / 16) ** 2, 0.0)
        canal, recess, area = np.full(k.shape, self.width), np.full(k.shape, 6.0), np.full(k.shape, 120.0)
        for number, row in enumerate(self.measures):
            here = k == number
            canal[here] = row["canal_mm"]
            for values, name in ((recess, "recess_mm"), (area, "foramen_mm2")):
                pair = np.where(x > 0, row[f"left_{name}"], row[f"right_{name}"])
                values[here] = pair[here]
        blend = np.clip((side - 3.5) / 3.0, 0, 1)
        blend = blend * blend * (3 - 2 * blend)
        narrow = np.where(side < 9.5, canal * (1 - blend) + recess * blend, 0)
        free = self.width * np.clip(1 - side / 12.5, 0, 1) ** 0.5
        deep = np.where(side < 10.5, near * narrow + (1 - near) * free, 0)
        front = edge + np.where(near > 0, near * self.share[k] * np.maximum(self.width - narrow, 0), 0)
        bone = (side < 24) & (t > self.deep + 0.5) & (t < edge + self.width + 5) & (side > 9.5)
        found[bone] = 3
        facet = bone & (near > 0.25) & (t > edge + 11)
        found[facet & ((side < 10.5) | (side > 18))] = 4
        found[(side <= 11) & (t > self.deep) & (t < edge + self.width + 2)] = 5
        inside = (t > front) & (t < front + deep)
        found[inside] = 8
        for at, share in self.roots:
            found[inside & (np.hypot(x - at * np.clip(deep / self.width, 0.3, 1), t - front - share * deep) < 0.8)] = 9
        found[inside & (a > 150) & (np.hypot(x, t - front - deep / 2) < 4.2)] = 9
        radius = np.sqrt(area / (np.pi + 1.6))
        high, deep_in = off - 5.0, t - edge - 7.0
        key = (np.hypot(high, deep_in) < radius) | (
            (np.abs(deep_in) < 0.4 * radius) & (high < 0) & (high > -2.6 * radius)
        )
        window = (side > 11) & (side < 23) & key
        found[window] = 2
        found[window & (np.hypot((high - 0.2 * radius) / 1.2, deep_in) < np.minimum(2.1, 0.85 * radius))] = 9
        return found


def sampled(spine, corner, ways, shape, weighting, draw, thick):
    """Tissues at the voxels of a block, twice within each slice, as a scanner shows them."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1).astype(np.float32)
    tones = np.array(TONES[weighting]) * draw.uniform(0.85, 1.15, len(TISSUES))
    normal = ways[0] / np.linalg.norm(ways[0])
    image = np.zeros(shape, np.float32)
    for shift in (-0.25, 0.25):
        x, y, z = np.moveaxis(corner + grid @ np.array(ways) + shift * thick * normal, -1, 0)
        image += tones[spine.tissue(x, y, z)] / 2
    image = gaussian_filter(image, (0, 0.6, 0.6))
    uneven = gaussian_filter(draw.normal(0, 1, shape[1:]), 40)
    image = image * (1 + 0.35 * uneven / np.abs(uneven).max()) + draw.normal(0, draw.uniform(0.01, 0.04), shape)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.array([ways[2], ways[1], ways[0]]).T, corner
    return SimulatedBlock(np.rint(np.abs(image) * 800).astype(np.int16), affine)


def sagittal(spine, weighting, draw):
    """13 slices of 4.5 mm."""
    pixel, size = draw.uniform(0.85, 0.95), 272
    y, z = spine.at(spine.middle[2], 10.0)
    corner = np.array([-27.0 + draw.uniform(-1.5, 1.5), y - pixel * size * 0.42, z + pixel * size * 0.52])
    ways = [np.array([4.5, 0, 0]), np.array([0, 0, -pixel]), np.array([0, pixel, 0])]
    return sampled(spine, corner, ways, (13, size, size), weighting, draw, 4.0)


def axial(spine, k, draw):
    """Four slices of 4.5 mm, about parallel to a disc."""
    y0, z0 = spine.at(spine.middle[k], 0.0)
    y1, z1 = spine.at(spine.middle[k], 10.0)
    turn = np.arctan2(z1 - z0, y1 - y0) + np.radians(draw.normal(0, 5))
    back, head = np.array([0, np.cos(turn), np.sin(turn)]), np.array([0, -np.sin(turn), np.cos(turn)])
    size, pixel = 144, 0.8
    corner = np.array([0, y0, z0]) - head * 4.5 * draw.uniform(1.2, 1.8) - back * (size * pixel / 2 - 12)
    corner = corner - np.array([size * pixel / 2, 0, 0])
    ways = [head * 4.5, back * pixel, np.array([pixel, 0, 0])]
    return sampled(spine, corner, ways, (4, size, size), "T2", draw, 4.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("-n", type=int, default=60)
    parser.add_argument("--seed", type=int, default=21)
    given = parser.parse_args()
    write_studies(given.directory, given.n, seed=given.seed, draw=study)
