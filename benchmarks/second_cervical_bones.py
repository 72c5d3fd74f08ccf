"""The vertebrae of :mod:`second_cervical_simulator`: outlines filled between two surfaces, in a block of voxels."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy import ndimage

STEP = 0.6  # mm between the block's voxels
NAMES = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2")

# Width and depth of the upper and the lower endplate, height, canal depth, spinous process, transverse width, its fall.
SIZES = {
    "C2": (14.0, 14.0, 17.5, 15.2, 19.0, 17.5, 17.0, 53.0, 8),
    "C3": (15.8, 15.0, 17.2, 15.6, 11.8, 15.5, 13.0, 51.0, 12),
    "C4": (17.2, 15.3, 17.0, 15.9, 11.6, 15.0, 13.0, 52.0, 14),
    "C5": (17.5, 15.2, 19.4, 17.0, 11.4, 15.0, 14.5, 54.0, 18),
    "C6": (18.5, 16.4, 22.0, 17.5, 11.6, 15.0, 20.0, 57.0, 22),
    "C7": (21.8, 17.0, 23.4, 17.0, 13.0, 15.0, 29.0, 67.0, 20),
    "T1": (24.0, 17.0, 25.0, 17.5, 15.0, 15.0, 33.0, 74.0, 28),
    "T2": (25.0, 18.0, 25.5, 18.5, 17.0, 15.5, 32.0, 68.0, 38),
}


def fractal(shape, slope: float, draw) -> np.ndarray:
    """Noise of mean 0 and variance 1 whose amplitude falls with frequency to the power of ``slope`` / 2 and more."""
    freq = [np.fft.fftfreq(n) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    square = sum(f.reshape([-1 if k == axis else 1 for k in range(3)]) ** 2 for axis, f in enumerate(freq))
    amplitude = (square + (0.6 / max(shape)) ** 2) ** (-slope / 2)
    white = np.fft.rfftn(draw.standard_normal(shape, dtype=np.float32))
    made = np.fft.irfftn(white * amplitude, shape, axes=(0, 1, 2)).astype(np.float32)
    return (made - made.mean()) / made.std()


def closed(points) -> np.ndarray:
    """A smooth closed curve through points (Catmull and Rom)."""
    p = np.asarray(points, float)
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    a, b, c, d = (np.roll(p, shift, axis=0)[None] for shift in (1, 0, -1, -2))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def band(points, width: float) -> np.ndarray:
    """The outline of a strip along points, as wide as said."""
    p = np.asarray(points, float)
    way = np.gradient(p, axis=0)
    side = np.stack([-way[:, 1], way[:, 0]], 1) / np.linalg.norm(way, axis=1)[:, None] * width / 2
    return np.concatenate([p + side, (p - side)[::-1]])


def oval(x: float, y: float, half_x: float, half_y: float, turn: float = 0.0) -> np.ndarray:
    """An ellipse, turned by degrees."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    u, v = half_x * np.cos(angle), half_y * np.sin(angle)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return np.stack([x + c * u - s * v, y + s * u + c * v], 1)


@dataclass(eq=False)
class Block:
    """A vertebra in voxels of :data:`STEP`; x to the left, y to the back, z to the head, from the body's center.

    Its axes are (z, y, x). ``occupied`` is the share of bone, ``values`` are Hounsfield units, inside and beyond.
    """

    name: str
    draw: np.random.Generator
    size: float
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    height: float = 0.0
    gap: float = 0.0
    at: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def __post_init__(self):
        shape = [round((b - a) * self.size / STEP) for a, b in zip(self.low, self.high, strict=True)][::-1]
        self.origin = np.array(self.low) * self.size
        self.solid = np.zeros(shape, bool)
        z, y, x = (self.origin[2 - k] + STEP * np.arange(n) for k, n in enumerate(shape))
        self.x, self.y, self.z = x[None, None, :], y[None, :, None], z[:, None, None]
        self.disc, self.disc_values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def fill(self, outline, low, high, *, lean=0.0, waist=0.0, carve=False, into=None):
        """What lies within an axial outline (mm before scaling by the person's size) from a lower to an upper surface,
        both of x and y; ``lean`` moves it back per millimeter up, ``waist`` makes it narrow in the middle."""
        x, y, z = self.x / self.size, self.y / self.size, self.z / self.size
        low, high = (np.broadcast_to(np.float32(one), (1, *self.solid.shape[1:])) for one in (low, high))
        jitter = self.draw.normal(0, 0.12, np.shape(outline)) if not carve else 0.0
        outline, middle = outline + jitter, np.mean(outline, axis=0)
        target = self.solid if into is None else into
        first, last = float(low.min()), float(high.max())
        for k in range(len(z)):
            height = float(z[k, 0, 0])
            if not first <= height <= last:
                continue
            share = (height - first) / max(last - first, 1e-6)
            scale = 1 - waist * np.sin(np.pi * share)
            points = ((outline - middle) * scale + middle + (0.0, lean * height)) * self.size
            cells = np.rint((points - self.origin[:2]) / STEP * 16).astype(np.int32)
            plane = np.zeros(self.solid.shape[1:], np.uint8)
            cv2.fillPoly(plane, [cells], 1, shift=4)
            hit = (plane > 0) & (height >= low[0]) & (height <= high[0])
            target[k][hit] = not carve
        return x, y

    def finish(self, worn: float):
        """Round edges; a cortex of uneven thickness, marrow as a web that is longer along the body."""
        draw = self.draw
        soft = ndimage.gaussian_filter(self.solid.astype(np.float32), 0.9)
        soft += 0.10 * fractal(soft.shape, 2.6, draw) * ((soft > 0.05) & (soft < 0.95))
        self.occupied = np.clip((soft - 0.5) * 2.2 + 0.5, 0, 1)
        depth = ndimage.distance_transform_edt(self.occupied > 0.5).astype(np.float32) * STEP
        shell = draw.uniform(0.7, 1.2) * (1 + 0.35 * fractal(depth.shape, 2.2, draw)) * (1 + 0.4 * worn)
        web = ndimage.zoom(fractal([1 + n // 2 for n in depth.shape], 1.3, draw), 2, order=1)
        web = ndimage.gaussian_filter1d(web[tuple(slice(n) for n in depth.shape)], 1.2, axis=0)
        behind = self.y > self.at["body"][1] + 8 * self.size
        marrow = np.where(behind, draw.uniform(300, 520), draw.uniform(190, 380)) + 85 * web / web.std()
        hard = draw.uniform(750, 1250) + 60 * web / web.std()
        self.values = np.where(depth < shell, hard, marrow).astype(np.float32)
        if self.name != "C1":  # veins within the body
            vein = (np.abs(self.x) < 2.2 - 0.25 * self.y) & (np.abs(self.z) < 1.1) & (self.y > -3) & ~behind
            self.values[np.broadcast_to(vein, depth.shape) & (depth > shell)] -= 140
        if worn > 0.4:  # sclerosis below worn endplates
            near = np.abs(np.abs(self.z) - self.height / 2 + 2) < 1.8
            self.values[np.broadcast_to(near & ~behind, depth.shape) & (depth > shell)] += 250 * worn
        return self


def bone(name: str, size: float, worn: float, draw) -> Block:
    """A vertebra of a person; ``worn`` from 0 to 1 lowers the disc and grows lips."""
    if name == "C1":
        return atlas(size, draw)
    w1, d1, w2, d2, tall, canal, spine, across, fall = (v * draw.uniform(0.95, 1.05) for v in SIZES[name])
    chest = name[0] == "T"
    room = max(across / 2 + (24 if chest else 3), 34)
    made = Block(
        name, draw, size, (-room, -13, -36 if chest else -27), (room, 12 + canal + spine, 30 if name == "C2" else 18)
    )
    made.height, made.gap = tall * size, (4.5 if chest else draw.uniform(4.6, 6.2) * (1 - 0.55 * worn)) * size
    x, y = made.x[0] / size, made.y[0] / size
    width, deep, half = (w1 + w2) / 4, (d1 + d2) / 4, tall / 2
    made.at["body"] = (0.0, 0.0, 0.0)
    lip = 1 + 0.16 * worn * np.exp(-np.abs(half - 1))
    half_outline = [(0, -1.0), (0.6, -0.92), (0.96, -0.35), (1.0, 0.3), (0.78, 0.86), (0.35, 0.86)]
    unit = np.array(half_outline + [(0, 0.8)] + [(-a, b) for a, b in half_outline[:0:-1]])
    hook = 0 if chest or name == "C2" else 3.3
    rim = np.clip(np.abs(x) / width, 0, 1.3)
    top = half + hook * np.clip(rim - 0.62, 0, 0.5) * 2.2 * np.clip(0.6 + y / deep * 0.6, 0, 1) + 0.10 * y
    floor = (
        -half
        + 1.5 * np.clip(1 - rim**2, 0, 1) * np.clip(1 - (y / deep) ** 2, 0, 1)
        - 1.2 * np.clip(-y / deep, 0, 1) ** 3
    )
    made.fill(closed(unit * (width * lip, deep * lip)), floor, top, waist=draw.uniform(0.08, 0.16))
    if worn > 0.3:
        for edge in (-half + 0.8, half - 0.8):
            spur = draw.uniform(0.5, 3.0) * worn
            made.fill(closed(unit * (width + spur * 0.7, deep + spur)), edge - 1.2, edge + 1.2)
    disc = np.zeros(made.solid.shape, bool)
    drop = made.gap / size
    made.fill(closed(unit * (w2 / 2 + 0.5, d2 / 2)), -half - drop + 0.12 * y, floor + 0.4, into=disc)
    made.disc = ndimage.gaussian_filter(disc.astype(np.float32), 0.8)
    made.disc_values[:] = draw.uniform(75, 125)
    if worn > 0.6 and draw.random() < 0.35:
        made.disc_values[np.broadcast_to(np.hypot(made.x / 1.6, made.y) < 3.5, disc.shape)] = -350  # gas
    back, out = deep + canal, width + 8.0
    behind = deep + 4.5
    reach = (tall + drop - 1.4) / 2  # half the height of an articular pillar
    made.at |= {
        "pillar": (out, behind, 0.0),
        "pedicle": (width + 2.2, deep - 1.0, 1.5),
        "lamina": (out * 0.55, (behind + back) / 2 + 2.5, -3.0),
        "spinous": (0.0, back + spine * 0.5, -3 - spine * 0.5 * np.tan(np.radians(fall))),
        "transverse": (width + 5.0, 1.0, 0.0),
        "top": (0.0, 0.0, half),
        "front": (0.0, -deep, -half),
    }
    for side in (-1, 1):
        way = np.array([side, 1.0])
        made.fill(band([(width - 2.5, deep - 3.2), (out - 1, behind - 1)], 5.4) * way, -2.2, half - 0.8)
        if name == "C2":
            made.fill(oval(13.8 * side, 0.8, 7.6, 8.7), half - 9.5, half + 1.6 - 0.45 * (np.abs(x) - 8))
            made.fill(band([(13.5, 3), (14.5, 11)], 8) * way, -7 - 0.6 * (y - 7), half - 4 - 0.9 * (y - 3))
        slant = 0.7 if chest else 1.0
        upper = (-1.0 if name == "C2" else reach) - slant * (y - behind)
        made.fill(oval(side * out, behind, 5.6, 5.6), -reach - slant * (y - behind), upper)
        thick = 5.0 if name == "C2" else 3.6
        made.fill(
            band([(out - 2.5, behind + 2), (out * 0.55, (behind + back) / 2 + 2.5), (0, back + 1.5)], thick) * way,
            -8.5,
            3.5,
            lean=-0.28,
        )
        if chest:
            end = (across / 2, behind + 9)
            made.fill(band([(out - 2, behind), end], 8) * way, -3.5, 4)
            head = [
                (width + 0.5, deep - 2),
                (out + 4, behind + 3),
                (end[0] + 4, end[1] - 1),
                (end[0] + 20, end[1] - 18),
            ]
            made.fill(band(head, 6.0) * way, -2.5 - 0.3 * (np.abs(x) - width), 4.5 - 0.3 * (np.abs(x) - width))
        else:
            tip = across / 2
            hang = 0.22 * (np.abs(x) - width)
            gutter = [
                (width - 1.5, -3.5),
                (tip - 5, -4),
                (tip - 1, -2.5),
                (tip, 3),
                (tip - 3, 6.5),
                (out, behind - 2),
                (width - 1, 4),
            ]
            made.fill(closed(np.array(gutter) * way), -2.6 - hang, 1.6 - hang)
            made.fill(oval(side * (tip - 3), 5.0, 2.8, 2.6), -4 - hang, 3 - hang)
            if name != "C7":
                made.fill(oval(side * (tip - 4), -3.4, 2.2, 2.0), -3.6 - hang, 4.4 - hang)
            hole = 2.9 if name != "C7" else draw.uniform(0.0, 2.6)
            made.fill(oval(side * (width + 4.9), 0.8, hole, hole), -12, 12, carve=True)
    tail = -3 - np.tan(np.radians(fall)) * (y - back)
    stout = 4.6 + (0.5 if name in ("C2", "C7") else 0.0)
    if name in ("C2", "C3", "C4", "C5", "C6") and draw.random() < 0.9:
        split = 3.2 + draw.uniform(-0.6, 1.2)
        made.fill(band([(0, back - 1), (0, back + spine * 0.6)], 5.4), tail - stout, tail + stout)
        for side in (-1, 1):
            made.fill(band([(0, back + spine * 0.4), (side * split, back + spine)], 4.4), tail - stout, tail + 2.5)
    else:
        made.fill(band([(0, back - 1), (0, back + spine)], 5.6), tail - stout, tail + 3.6)
        made.fill(oval(0, back + spine - 1, 3.6, 3.0), tail - stout, tail + 3)
    if name == "C2":
        crown = half + 14.9 - 0.12 * ((made.x[0] / size) ** 2 + (y + 1) ** 2)
        made.fill(oval(0, -2.0, 4.7, 5.2), half - 3.0, crown, lean=0.09, waist=0.10)
        made.at["dens"] = (0.0, -1.0, half + 1.5)
    made.at = {key: tuple(v * size for v in place) for key, place in made.at.items()}
    return made.finish(worn)


def atlas(size: float, draw) -> Block:
    """C1: two wedges joined by a short arch in front and a long one behind; its origin is the front arch's middle."""
    made = Block("C1", draw, size, (-41, -8, -14), (41, 45, 14))
    rear = draw.uniform(33.0, 36.0)
    x, y = made.x[0] / size, made.y[0] / size
    made.fill(band([(-15, 5.5), (-8, 1.2), (0, -0.2), (8, 1.2), (15, 5.5)], 5.8), -5.1 + 0.05 * y, 5.1)
    made.fill(oval(0, -2.4, 3.0, 2.4), -4.4, 3.4)
    groove = 1.6 * np.exp(-(((np.abs(x) - 17) / 4) ** 2))
    made.fill(
        band([(-20, 18), (-17, 26), (-9, rear - 2.2), (0, rear), (9, rear - 2.2), (17, 26), (20, 18)], 5.0),
        -4.3,
        4.3 - groove,
    )
    made.fill(oval(0, rear + 2.2, 2.6, 2.4), -3.4, 3.0)
    for side in (-1, 1):
        cup = 6.3 + 0.30 * (np.abs(x) - 18) + 0.016 * (y - 11) ** 2
        made.fill(oval(side * 18.6, 10.8, 7.0, 10.4, turn=side * 22), -7.4 - 0.32 * (np.abs(x) - 18), cup)
        tip = draw.uniform(35, 38)
        wing = [(22, 5), (30, 7), (tip, 11), (tip - 1, 16), (29, 18), (22, 18)]
        made.fill(closed(np.array(wing) * (side, 1.0)), -3.4, 2.6)
        made.fill(oval(side * 28.0, 12.4, 3.1, 3.1), -12, 12, carve=True)
    made.at = {
        key: tuple(v * size for v in place)
        for key, place in {
            "body": (0.0, 12.0, 0.0),
            "front": (8.0, 1.2, 0.0),
            "rear": (17.0, 25.0, 0.0),
            "mass": (18.6, 10.8, 0.0),
            "transverse": (28.0, 12.4, 0.0),
        }.items()
    }
    return made.finish(0.0)
