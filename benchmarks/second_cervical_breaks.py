"""Fractures of :mod:`second_cervical_simulator`: a block torn along fractal surfaces into pieces that move and turn."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from second_cervical_bones import STEP, Block, fractal

NEAR = 2.0  # mm to either side of a tear that count as its place

KINDS = {
    "C1": ("burst", "burst", "front_arch", "rear_arch", "rear_arch", "mass", "transverse"),
    "C2": ("dens_base", "dens_base", "dens_body", "dens_tip", "pars", "corner", "lamina", "transverse"),
    "C3": ("facet", "facet", "pillar", "lamina", "transverse", "corner", "wedge"),
    "C4": ("facet", "pillar", "lamina", "transverse", "corner", "wedge", "split"),
    "C5": ("facet", "pillar", "lamina", "teardrop", "split", "wedge", "floating"),
    "C6": ("facet", "pillar", "lamina", "spinous", "split", "transverse", "wedge", "floating"),
    "C7": ("facet", "spinous", "spinous", "transverse", "transverse", "lamina", "wedge"),
}
"""What breaks at which level: more arches, facets and processes, fewer bodies than the first simulator's."""


class Torn:
    """A block and the pieces that leave it."""

    def __init__(self, block: Block, draw):
        self.block, self.draw = block, draw
        self.bone = block.occupied > 0.5
        self.rough = fractal(self.bone.shape, draw.uniform(2.4, 3.2), draw) * draw.uniform(0.5, 1.3)
        self.pieces = []  # (mask, motion)
        self.tears = np.full(self.bone.shape, 99.0, np.float32)  # how far the next tear is
        self.free = np.ones(self.bone.shape, bool)  # of bone that no piece has taken

    def surface(self, through, normal):
        """Millimeters beyond a rough surface through a place of the vertebra."""
        n = np.array(normal) + self.draw.normal(0, 0.2, 3)
        n /= np.linalg.norm(n)
        b = self.block
        flat = n[0] * (b.x - through[0]) + n[1] * (b.y - through[1]) + n[2] * (b.z - through[2])
        return flat + self.rough

    def away(self, through, stretch=(1.0, 1.0, 1.0)):
        """Distance from a place, in millimeters, longer along an axis where ``stretch`` is more."""
        b = self.block
        parts = ((v - c) / s for v, c, s in zip((b.x, b.y, b.z), through, stretch, strict=True))
        return np.sqrt(sum(part**2 for part in parts))

    def tear(self, through, normal, gap, *, radius, moves=None, stretch=(1, 1, 1)):
        """Open a gap within a radius; with ``moves`` what lies beyond it, and hangs together, leaves and moves."""
        beyond, near = self.surface(through, normal), self.away(through, stretch) < radius
        if moves is not None:
            taken = self.bone & self.free & near & (beyond > 0)
            pieces, count = ndimage.label(taken)
            if count:
                sizes = np.bincount(pieces.ravel())[1:]
                taken = pieces == 1 + int(sizes.argmax())
                self.free &= ~taken
                self.pieces.append((taken, self.motion(taken, moves)))
                shell = ndimage.distance_transform_edt(~taken).astype(np.float32) * STEP
                beyond = np.where(taken, np.abs(beyond), np.maximum(shell, 0))
                near = np.ones_like(near)
        far = np.where(near, np.abs(beyond), 99.0) - gap / 2
        np.minimum(self.tears, far, out=self.tears)

    def motion(self, mask, moves):
        """A shift in millimeters and a turn of some degrees about the piece's middle, (4, 4)."""
        k, i, j = (np.mean(np.nonzero(mask), axis=1) * STEP).tolist()
        middle = self.block.origin + np.array((j, i, k))
        made = np.eye(4)
        made[:3, :3] = cv2.Rodrigues(np.radians(self.draw.normal(0, 3 + np.linalg.norm(moves), 3)))[0]
        made[:3, 3] = middle + np.array(moves) - made[:3, :3] @ middle
        return made

    def finished(self):
        """The pieces as (share of bone, Hounsfield units, motion, place of the fracture), the largest first."""
        b, found = self.block, []
        open_ = np.clip(self.tears / STEP + 0.5, 0, 1)
        zone = self.tears < NEAR
        raw = ndimage.distance_transform_edt(self.bone).astype(np.float32) * STEP
        fresh = zone & (self.tears < 1.0) & (raw > 1.4)
        values = np.where(fresh, b.values - self.draw.uniform(0, 120), b.values)
        for mask, motion in [(self.free, np.eye(4)), *self.pieces]:
            own = ndimage.gaussian_filter(mask.astype(np.float32), 0.5) if self.pieces else 1.0
            found.append((b.occupied * open_ * own, values, motion, zone))
        return found


def torn(block: Block, draw, kind: str | None = None):
    """A fracture of a kind that the level has, drawn where none is given.

    Returns:
        Its kind, its displacement (or gap, or lost height) in millimeters, and the pieces.
    """
    kind = kind or str(draw.choice(KINDS[block.name]))
    if kind == "wedge":
        return kind, *wedge(block, draw)
    t, at, s = Torn(block, draw), block.at, block.size
    side = float(draw.choice((-1.0, 1.0)))
    hair = draw.random() < 0.4
    far = float(draw.uniform(0.4, 0.9) if hair else np.exp(draw.uniform(np.log(0.8), np.log(4.5))))
    gap = min(far, draw.uniform(0.5, 1.4))

    def of(key, flip=1.0):
        x, y, z = at[key]
        return flip * x, y, z

    def moving(*way):
        return None if hair else tuple(far * v / np.linalg.norm(way) for v in way)

    if kind in ("burst", "front_arch"):
        t.tear(of("front", side), (1, 0.3 * side, 0), gap, radius=8 * s)
        if draw.random() < 0.5:
            t.tear(of("front", -side), (1, -0.3 * side, 0), gap, radius=8 * s)
    if kind in ("burst", "rear_arch"):
        for k in (1, -1) if draw.random() < 0.7 else (1,):
            t.tear(of("rear", side * k), (0.5 * side * k, 1, 0), gap, radius=8 * s)
    if kind == "mass":
        t.tear(
            of("mass", side),
            (1, 0, 0.1),
            gap,
            radius=14 * s,
            moves=moving(side, 0, 0.2) if block.name == "C1" else None,
        )
    if kind == "transverse":
        x, y, z = of("transverse", side)
        t.tear((x, y, z), (side, 0, 0), gap, radius=13 * s, moves=moving(side, 0.2, -0.6))
    if kind == "dens_base":
        t.tear(
            of("dens"),
            (0, 0.15, 1),
            gap,
            radius=20 * s,
            stretch=(0.42, 0.5, 1),
            moves=moving(0.2, draw.choice((-1, 1)), 0.2),
        )
    if kind == "dens_tip":
        x, y, z = of("dens")
        t.tear((x, y, z + 9 * s), (0.8 * side, 0, 1), gap, radius=10 * s, moves=moving(0, -0.2, 1))
    if kind == "dens_body":
        x, y, z = of("dens")
        t.tear((x, y, z - 7 * s), (0, 0.3, 1), gap, radius=15 * s)
    if kind == "pars":
        for k in (1, -1):
            t.tear(
                (k * 14 * s, (6 + 4 * draw.random() * (k > 0)) * s, 0.0), (0, 1, 0.35), gap + far * 0.4, radius=11 * s
            )
    if kind in ("corner", "teardrop"):
        deep = (3.0 if kind == "corner" else 7.0) * s
        x, y, z = of("front")
        t.tear((x, y + deep, z + deep * 0.9), (0, -1, -0.9), gap, radius=22 * s, moves=moving(0, -1, -0.4))
        if kind == "teardrop":
            t.tear((0.0, 0.0, 0.0), (1, 0, 0), 0.6, radius=9 * s, stretch=(1, 1.2, 1.2))
    if kind == "split":
        t.tear(
            (0.0, draw.normal(0, 1.5) * s, 0.0), (0.2, 1, 0) if draw.random() < 0.5 else (1, 0.1, 0), gap, radius=12 * s
        )
    if kind == "facet":
        x, y, z = of("pillar", side)
        up = 1 if draw.random() < 0.65 else -1
        t.tear(
            (x, y - 2 * up, z + 4.0 * up * s),
            (0, -0.5 * up, up),
            gap,
            radius=10 * s,
            moves=moving(0, -1 * up, 0.5 * up),
        )
    if kind == "pillar":
        x, y, z = of("pillar", side)
        t.tear((x, y, z), (1, 0.2, 0) if draw.random() < 0.5 else (0, 0.4, 1), gap, radius=11 * s)
    if kind in ("lamina", "floating"):
        t.tear(of("lamina", side), (1, -0.4 * side, 0.1), gap, radius=9 * s)
    if kind == "floating":
        t.tear(of("pedicle", side), (0.7 * side, 0.8, 0), gap, radius=7 * s)
    if kind == "spinous":
        x, y, z = of("spinous")
        t.tear((x, y + draw.normal(0, 2), z), (0, 1, -0.5), gap, radius=40 * s, moves=moving(0, 0.5, -1))
    return kind, round(far, 2), t.finished()


def wedge(block: Block, draw):
    """A body pressed together from above, or from above and below, most in front; its marrow below is dense."""
    loss, both = draw.uniform(0.15, 0.45), draw.random() < 0.35
    half, deep = block.height / 2, abs(block.at["front"][1])
    body = (np.abs(block.x) < 13 * block.size) & (block.y < deep + 1.0)
    share = np.clip((deep + 2 - block.y) / (2 * deep), 0, 1) * body * loss
    share = ndimage.gaussian_filter(np.broadcast_to(share, block.occupied.shape).astype(np.float32), 1.5)
    anchor = 0.0 if both else -half
    source = anchor + (block.z - anchor) / (1 - share)
    k = (source - block.origin[2]) / STEP
    i, j = np.meshgrid(np.arange(k.shape[1]), np.arange(k.shape[2]), indexing="ij")
    cells = np.stack([k, np.broadcast_to(i, k.shape), np.broadcast_to(j, k.shape)])
    occupied, values = (ndimage.map_coordinates(one, cells, order=1) for one in (block.occupied, block.values))
    rough = fractal(k.shape, 2.5, draw)
    press = np.abs(source - half + 2.2 + 0.5 * rough) < 1.5
    if both:
        press |= np.abs(source + half - 2.2 + 0.5 * rough) < 1.5
    press &= share > 0.25 * loss
    values = values + press * draw.uniform(180, 420)
    step = (np.abs(source - half + 3.5) < 1.3) & (share > 0.85 * loss)  # the front cortex buckles
    occupied = np.maximum(occupied, step * ndimage.gaussian_filter((occupied > 0.5).astype(np.float32), 1.5) * 2).clip(
        0, 1
    )
    zone = (press | step) & (occupied > 0.5)
    zone = ndimage.binary_dilation(zone, iterations=1)
    return round(float(loss * block.height), 2), [(occupied, values, np.eye(4), zone)]
