"""A second simulator of necks on CT, written apart from ``fracture.simulate.cervical``.

    python benchmarks/second_cervical_simulator.py NECKS -n 40 --seed 22
    fracture spine cervical evaluate NECKS --out REPORT

Training never sees it: what is found here as on the first simulator's necks is no habit of one simulator. The first
asks rods and ellipsoids how far a voxel is away; this one fills axial outlines between a lower and an upper surface
into a block of 0.6 mm for each vertebra, tears the block along fractal surfaces, moves the pieces one by one and puts
them into the scan. It shares with the first what a neck's files hold (:class:`fracture.simulate.SimulatedNeck`), and
no shape, texture, kind of fracture or range.

Sizes are anatomical means: the atlas after Patel and Gupta (100 dry bones), the axis after Gosavi and Swamy (2012, 100
dry bones) and Kaur (50), C3 to C7 after Panjabi (1991) as remembered, not looked up. The rest is ours.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
from scipy import ndimage
from second_cervical_bones import NAMES, STEP, Block, bone, fractal
from second_cervical_breaks import torn

from fracture.simulate import write_necks
from fracture.simulate.cervical import NeckFracture, SimulatedNeck

COUNTS = (146, 285, 73, 108, 162, 277, 393)
"""Fractured levels of the challenge's training set, C1 to C7 (its paper's Table 1): how often each breaks here."""
_ZONE = 100


def neck(seed: int) -> SimulatedNeck:
    """A neck, in half of the cases with one to four fractured levels."""
    draw = np.random.default_rng([seed, 2022])
    size, worn = draw.uniform(0.88, 1.1), max(0.0, draw.uniform(-0.5, 1.0))
    broken = levels_broken(draw)
    blocks = [bone(name, size, worn * (name[0] == "C"), draw) for name in NAMES]
    poses = stacked(blocks, size, worn, draw)
    scan = Scan(poses, draw)
    scan.soft_tissue(poses)
    kinds: dict[str, tuple[str, float]] = {}
    for number, (block, pose) in enumerate(zip(blocks, poses, strict=True), 1):
        scan.put(block.disc_values, block.disc, pose, block, None)
        pieces = [(block.occupied, block.values, np.eye(4), None)]
        if block.name in broken:
            kind, far, pieces = torn(block, draw)
            kinds[block.name] = kind, far
        for occupied, values, motion, zone in pieces:
            scan.put(values, occupied, pose @ motion, block, number, zone)
    scan.other_bones(poses)
    voxels, truth, affine = scan.finished()
    found, points = [], {}
    for number, (name, pose) in enumerate(zip(NAMES[:7], poses[:7], strict=True), 1):
        cell = np.linalg.solve(affine, pose[:, 3])[:3]
        if (cell > -0.5).all() and (cell < np.array(voxels.shape[::-1]) - 0.5).all():
            points[name] = tuple(map(float, pose[:3, 3]))
        places = np.argwhere(truth == number + _ZONE)[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
        if name in kinds and len(places) >= 12:
            low, high = (tuple(map(float, np.round(edge, 2))) for edge in (places.min(axis=0), places.max(axis=0)))
            found.append(NeckFracture(name, *kinds[name], low, high))
    return SimulatedNeck(voxels, affine, truth, points, tuple(found), seed)


def levels_broken(draw) -> set[str]:
    """Half of the necks; a second fracture is next to the first in six of ten."""
    if draw.random() < 0.5:
        return set()
    odds = np.array(COUNTS) / sum(COUNTS)
    broken = {int(draw.choice(7, p=odds))}
    while len(broken) < 4 and draw.random() < 0.35:
        first = min(broken)
        beside = [k for k in (first - 1, first + 1) if 0 <= k < 7 and k not in broken]
        near = draw.random() < 0.6 and beside
        broken.add(int(draw.choice(beside) if near else draw.choice(7, p=odds)))
    return {NAMES[k] for k in broken}


def turned(lean: float, yaw: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """(4, 4): lean tips the head's end to the front, in degrees; yaw turns to the side; roll bends to the side."""
    made = np.eye(4)
    made[:3, :3] = (
        cv2.Rodrigues(np.radians([lean, 0.0, 0.0]))[0]
        @ cv2.Rodrigues(np.radians([0.0, roll, 0.0]))[0]
        @ cv2.Rodrigues(np.radians([0.0, 0.0, yaw]))[0]
    )
    return made


def stacked(blocks: list[Block], size: float, worn: float, draw) -> list[np.ndarray]:
    """Each vertebra's own millimeters to the patient's, from T2 up: the axis about upright, lordosis or kyphosis."""
    lordosis = draw.normal(13, 11)
    slope = draw.normal(7, 6) + lordosis
    twist, bend = draw.normal(0, 5), draw.normal(0, 4)
    at = np.round(draw.normal(0, 80, 3), 1)
    poses: list[np.ndarray] = []
    for k, block in enumerate(reversed(blocks[1:])):  # T2, T1, C7 ... C2
        lean = slope + 6 * max(0, 2 - k) - lordosis * max(0, k - 1) / 6 + draw.normal(0, 1.3)
        pose = turned(lean, twist * k / 8 + draw.normal(0, 1), bend * (k - 4) / 8)
        if poses:
            lower = blocks[len(blocks) - k]
            gap = lower.height / 2 + block.gap + block.height / 2
            between = (poses[-1][:3, 2] + pose[:3, 2]) / 2
            at = at + between * gap + pose[:3, 1] * draw.normal(0, 0.3 + 0.7 * worn)
        pose[:3, 3] = at
        poses.append(pose)
    axis = poses[-1]
    atlas = axis @ turned(draw.normal(0, 4), draw.normal(0, 8), draw.normal(0, 2))
    up = blocks[1].height / 2 + 6.2 * size
    atlas[:3, 3] = axis[:3, 3] + axis[:3, :3] @ (0.0, -0.6, up) - atlas[:3, 1] * (9.2 * size + draw.uniform(0.8, 2.0))
    return [atlas, *reversed(poses)]


class Scan:
    """The voxels: thick slices are the mean of thin ones."""

    def __init__(self, poses, draw):
        self.draw = draw
        thick, self.pixel = float(draw.choice((1.0, 3.0))), float(draw.uniform(0.6, 0.9))
        self.fold = round(thick)
        places = np.array([pose[:3, 3] for pose in poses])
        top, bottom = places[0, 2] + draw.uniform(15, 55), places[6, 2] - draw.uniform(18, 45)
        if draw.random() < 0.25:
            share = draw.uniform(0.2, 0.65) * (places[0, 2] - places[6, 2])
            top, bottom = (places[0, 2] - share, bottom) if draw.random() < 0.5 else (top, places[6, 2] + share)
        side = int(draw.uniform(135, 200) / self.pixel)
        self.shape = (max(12, round((top - bottom) / thick)) * self.fold, side, side)
        self.tilt = np.tan(np.radians(draw.uniform(-18, 18))) if draw.random() < 0.2 else 0.0
        self.affine = np.diag([self.pixel, self.pixel, 1.0, 1.0])
        self.affine[1, 2] = self.tilt
        center = places[:7].mean(axis=0) + np.array((draw.normal(0, 5), draw.uniform(4, 18), 0))
        self.affine[:2, 3] = center[:2] - side * self.pixel / 2
        self.affine[1, 3] -= self.tilt * self.shape[0] / 2
        self.affine[2, 3] = bottom
        self.truth = np.zeros(self.shape, np.uint8)
        self.hu = np.zeros(self.shape, np.float32)
        self.density = draw.uniform(0.75, 1.2)

    def put(self, values, occupied, pose, block, number, zone=None):
        """A piece of a block, its voxels between the grid's ones interpolated; what was there goes beneath it."""
        corners = block.origin + STEP * np.array(np.meshgrid(*((0, n) for n in occupied.shape[::-1]))).reshape(3, -1).T
        way = np.linalg.inv(self.affine) @ pose
        cells = corners @ way[:3, :3].T + way[:3, 3]
        low = np.clip(np.floor(cells.min(axis=0)).astype(int), 0, self.shape[::-1])
        high = np.clip(np.ceil(cells.max(axis=0)).astype(int) + 1, 0, self.shape[::-1])
        if (high <= low).any():
            return
        back = np.linalg.inv(pose) @ self.affine
        back[:3, 3] -= block.origin
        back[:3] /= STEP
        shift = back[:3, :3] @ low + back[:3, 3]
        size = tuple((high - low)[::-1])

        def asked(array, mode="constant"):
            axes, offset = back[2::-1, 2::-1], shift[::-1]
            return ndimage.affine_transform(array, axes, offset, size, np.float32, order=1, mode=mode)

        where = tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))
        share = np.clip(asked(occupied), 0, 1)
        self.hu[where] += (asked(values, "nearest") * (self.density if number else 1.0) - self.hu[where]) * share
        if number is None:
            return
        hit = share > 0.5
        self.truth[where][hit] = number
        if zone is not None and number <= 7:
            self.truth[where][hit & (asked(zone.astype(np.float32)) > 0.5)] = number + _ZONE

    def places(self, factor: int):
        """x, y, z in millimeters of every ``factor``-th pixel of every second slice, ready to be combined."""
        k, i, j = (
            np.arange(0, n + f, f, dtype=np.float32) for n, f in zip(self.shape, (2, factor, factor), strict=True)
        )
        x = (self.affine[0, 3] + self.pixel * j)[None, None, :]
        y = self.affine[1, 3] + (self.pixel * i)[None, :, None] + (self.tilt * k)[:, None, None]
        return x, y.astype(np.float32), (self.affine[2, 3] + k)[:, None, None]

    def spread(self, coarse, factor: int):
        """The inverse of :meth:`places`: a coarse volume on the scan's grid."""
        size = (coarse.shape[2] * factor, coarse.shape[1] * factor)
        planes = [
            cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in np.ascontiguousarray(coarse, np.float32)
        ]
        full = np.empty(self.shape, np.float32)
        for k in range(self.shape[0]):
            a, share = divmod(k, 2)
            mixed = planes[a] * (1 - share / 2) + planes[min(a + 1, len(planes) - 1)] * (share / 2)
            full[k] = mixed[: self.shape[1], : self.shape[2]]
        return full

    def soft_tissue(self, poses):
        """Skin, fat between muscles, cord, vessels, gullet, windpipe and larynx, lung tops, a table with a pad."""
        draw, factor = self.draw, 3
        x, y, z = self.places(factor)
        order = np.argsort([pose[2, 3] for pose in poses])
        line = np.array([poses[k][:3, 3] for k in order])
        cx, cy = (np.interp(z, line[:, 2], line[:, axis]).astype(np.float32) for axis in (0, 1))
        dx, dy = x - cx, y - cy
        rise = (z - poses[6][2, 3]) / 100  # 0 at C7, about 1.2 at C1
        half = draw.uniform(52, 68) + 160 * np.clip(0.05 - rise, 0, 1) ** 1.3 + 12 * np.clip(rise - 0.8, 0, 1)
        front = draw.uniform(46, 60) + 55 * np.clip(rise - 0.55, 0, 0.6)
        rear = draw.uniform(62, 82)
        deep = np.where(dy < 0, front, rear)
        rim = np.abs(dx / half) ** 2.3 + np.abs(dy / deep) ** 2.3
        skin = (1 - rim ** (1 / 2.3)) * np.minimum(half, deep)  # depth below the skin, in millimeters
        shape = np.broadcast_shapes(x.shape, y.shape, z.shape)
        grain, coarse = fractal(shape, 2.2, draw), fractal(shape, 3.4, draw)
        muscle = draw.uniform(48, 66) + 9 * grain
        planes = np.abs(np.sin(dx / 9 + 1.5 * coarse) + np.sin(dy / 8 - coarse)) < 0.13  # fat between muscles
        hu = np.where(planes & (np.hypot(dx, dy) > 24), -75 + 10 * grain, muscle)
        hu = np.where(skin < draw.uniform(3, 14), -102 + 7 * grain, hu)
        hu = np.where(skin < 1.6, 20.0, hu)
        canal = np.hypot(dx / 1.35, dy - draw.uniform(16.5, 18.0))
        hu = np.where(canal < 8.2, np.where(canal < 3.7, 42.0, np.where(canal > 6.6, -40.0, 8.0)), hu)
        blood = 42.0 if draw.random() < 0.65 else draw.uniform(160, 420)
        for side in (-1, 1):
            for out, ahead, r in ((13.5, 0.5, 2.1), (24, -16, 3.6), (31, -11, 5.2 + draw.uniform(-1, 2))):
                wave = 2 * np.sin(z / 17 + side)
                hu = np.where(np.hypot(dx - side * out - wave, dy + -ahead) < r, blood, hu)
        gullet = np.hypot(dx / 1.8, dy + 13.5 + 3 * np.clip(0.35 - rise, 0, 1))
        hu = np.where((rise < 0.45) & (gullet < 4), 35.0, hu)
        larynx = (rise > 0.25) & (rise < 0.5) & (dy < -18)
        plates = np.abs(np.abs(dx) * 0.8 - (dy + 42)) < 1.7
        hu = np.where(larynx & plates & (np.abs(dx) < 21), np.where(grain > 0.2, draw.uniform(200, 480), 110.0), hu)
        hu = np.where((rise < -0.12) & (np.hypot((np.abs(dx) - 46) / 32, (dy + 4) / 34) < 0.85), -850 + 40 * grain, hu)
        around = np.full(shape, -1000.0, np.float32)
        bed = cy.max() + rear + draw.uniform(6, 16) - (dx / 75) ** 2 * 12
        if draw.random() < 0.7:
            around[np.broadcast_to((y > bed - 9) & (y < bed), shape)] = -920
            around[np.broadcast_to(np.abs(y - bed - 1) < 1.6, shape)] = draw.uniform(-150, 350)
        if draw.random() < 0.25:  # a collar
            around[(np.abs(skin + 9) < 2.6) & (rise > 0.1) & (rise < 0.8)] = draw.uniform(-700, -60)
        ahead = np.where(rise < 0.4, 24.0, 19.0 + 6 * np.sin(rise * 9))
        tube = np.hypot(dx / np.where(rise < 0.4, 1.0, 1.5), dy + ahead)
        # Edges to air are drawn on the fine grid: steps of the coarse one would show.
        self.hu, outside, skin, tube = (self.spread(one, factor) for one in (hu, around, skin, tube))
        inside = np.clip(skin / self.pixel + 0.5, 0, 1)
        self.hu += (outside - self.hu) * (1 - inside)
        self.hu += (-990 - self.hu) * np.clip((draw.uniform(6.5, 9.5) - tube) / self.pixel + 0.5, 0, 1)
        if draw.random() < 0.15:  # a breathing tube
            self.hu += (220 - self.hu) * np.clip((0.8 - np.abs(tube - 4.2)) / self.pixel + 0.5, 0, 1)

    def other_bones(self, poses):
        """Occiput with condyles, mastoids with air cells, jaw with teeth, hyoid, collar bones: none is a vertebra."""
        draw, factor = self.draw, 2
        x, y, z = self.places(factor)
        found = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), -9.0, np.float32)  # depth within bone, mm

        def at(pose):
            back = np.linalg.inv(pose)
            return [back[n, 0] * x + back[n, 1] * y + back[n, 2] * z + back[n, 3] for n in range(3)]

        def add(depth):
            np.maximum(found, np.where(np.isfinite(depth), depth, -9).astype(np.float32), out=found)

        u, v, w = at(poses[0])
        side = np.abs(u)
        add(6.0 - np.sqrt(((side - 18) / 1.0) ** 2 + ((v - 11) / 1.5) ** 2 + ((w - 14) / 0.9) ** 2))
        shell = np.sqrt((u / 62) ** 2 + ((v - 38) / 74) ** 2 + ((w - 62) / 46) ** 2)
        opening = np.hypot(u / 15, (v - 20) / 18) < 1
        add(np.where((w < 60) & ~opening & (w > 10), 2.6 - np.abs(shell - 1) * 50, -9))
        mastoid = 10 - np.sqrt((side - 46) ** 2 + ((v - 8) / 1.2) ** 2 + ((w - 20) / 1.5) ** 2)
        add(mastoid)
        ramus = 4.5 - np.hypot(side - 44, (v + 20) / 3.2)
        add(np.where((w > -18) & (w < 40), ramus, -9))
        arch = 4.2 - np.abs(np.hypot(u, (v + 22) * 0.72) - 42)
        body = np.where((v < -18) & (np.abs(w + 20) < 11), np.minimum(arch, 11 - np.abs(w + 20)), -9)
        add(body)
        u2, v2, w2 = at(poses[2])
        horn = 2.0 - np.abs(np.hypot(u2, (v2 + 20) * 0.9) - 19)
        add(np.where((v2 < -22) & (np.abs(w2) < 2.5), horn, -9))
        u3, v3, w3 = at(poses[7])
        out = np.abs(u3)
        add(np.where((out > 14) & (out < 110), 5.2 - np.hypot(v3 + 50 - 0.45 * (out - 14), w3 + 18 - 0.3 * out), -9))
        depth = self.spread(found, factor)
        free = self.truth == 0
        share = np.clip(depth / self.pixel + 0.5, 0, 1) * free
        grain = self.spread(fractal(found.shape, 1.8, draw), factor)
        inner = np.where(depth > 1.6, 280 + 120 * grain, 900.0) * self.density
        air = (self.spread(np.broadcast_to(mastoid, found.shape), factor) > 2) & (grain > 0.3)
        inner[air] = -500
        self.hu += (inner - self.hu) * share
        if draw.random() < 0.8:  # teeth, and now and then a filling
            back = np.linalg.inv(poses[0]) @ self.affine
            for angle in np.radians(draw.uniform(-65, 65, draw.integers(4, 14))):
                spot = np.array([36 * np.sin(angle), -22 - 50 * np.cos(angle), -6.0, 1.0])
                k, i, j = (np.linalg.solve(back, spot)[2::-1]).round().astype(int)
                r = max(2, round(3.2 / self.pixel))
                place = tuple(slice(max(0, c - s), max(0, c + s)) for c, s in ((k, 8), (i, r), (j, r)))
                self.hu[place] = draw.choice((1800.0, 2600.0, 3071.0), p=(0.7, 0.2, 0.1))

    def finished(self):
        """Blur or edge enhancement, noise of middle frequencies, stripes across the shoulders, whole numbers."""
        draw, hu = self.draw, self.hu
        blur = draw.uniform(0.3, 0.7) / self.pixel
        for k, plane in enumerate(hu):
            hu[k] = cv2.GaussianBlur(plane, (0, 0), blur)
        if draw.random() < 0.6:  # a sharp kernel overshoots at edges
            amount = draw.uniform(0.2, 0.7)
            for k, plane in enumerate(hu):
                hu[k] = plane + amount * (plane - cv2.GaussianBlur(plane, (0, 0), 1.2 / self.pixel))
        affine, truth = self.affine.copy(), self.truth
        if self.fold > 1:
            hu = hu.reshape(-1, self.fold, *hu.shape[1:]).mean(axis=1)
            truth = truth[self.fold // 2 :: self.fold]
            affine[:3, 3] += affine[:3, 2] * (self.fold - 1) / 2
            affine[:3, 2] *= self.fold
        sigma = np.exp(draw.uniform(np.log(10), np.log(60)))
        rise = np.linspace(0, 1, len(hu))[:, None, None]
        shoulders = 1 + draw.uniform(0, 2.5) * np.clip(1 - 2.5 * rise, 0, 1)
        for k in range(len(hu)):
            white = draw.standard_normal(hu.shape[1:], dtype=np.float32)
            band = cv2.GaussianBlur(white, (0, 0), 0.7) - cv2.GaussianBlur(white, (0, 0), 1.6)
            stripes = cv2.GaussianBlur(
                draw.standard_normal(hu.shape[1:], dtype=np.float32), (0, 0), sigmaX=25, sigmaY=0.8
            )
            more = float(shoulders[k, 0, 0])
            hu[k] += sigma * more * band / band.std() + (more - 1) * 18 * stripes / stripes.std()
        return np.clip(np.rint(hu), -1024, 3071).astype(np.float32), np.ascontiguousarray(truth), affine


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("-n", type=int, default=40)
    parser.add_argument("--seed", type=int, default=22)
    given = parser.parse_args()
    write_necks(given.directory, given.n, seed=given.seed, draw=neck)
