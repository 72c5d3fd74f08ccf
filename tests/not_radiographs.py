"""Pictures that are no radiographs, drawn: pages, drawings, blank films, slices of a chest, gray photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["DRAWN", "blank", "chest_slice", "drawing", "drawn", "page", "photograph"]

Image = NDArray[np.uint8]

_TEXT = """the patient was seen in clinic today after a fall on the outstretched hand six weeks ago, pain over the
distal radius, no neurovascular deficit, cast removed, range of motion improving, 1.25 mg, review 12/04 with films"""
_WORDS = _TEXT.split()


def page(seed: int, size: tuple[int, int] = (1100, 850), *, inverted: bool = False, scanned: bool = False) -> Image:
    """A printed page, (height, width): dark letters on white paper, with a margin; ``scanned``: uneven light, noise."""
    from PIL import Image as Pillow, ImageDraw, ImageFont

    rng = np.random.default_rng(seed)
    height, width = size
    paper = Pillow.new("L", (width, height), 255)
    draw = ImageDraw.Draw(paper)
    letter = int(rng.integers(max(9, width // 70), max(11, width // 32)))
    font = ImageFont.load_default(letter)
    margin = width // 12
    y = margin
    while y < height - margin:
        if rng.random() > 0.12:  # else an empty line, between paragraphs
            line = ""
            while draw.textlength(line, font) < (width - 2 * margin) * (1 if rng.random() > 0.1 else 0.5):
                line += " " + str(rng.choice(_WORDS))
            draw.text((margin, y), line.strip()[: len(line) - 8], fill=int(rng.integers(0, 60)), font=font)
        y += round(letter * 1.4)
    pixels = np.asarray(paper, np.float64)
    if scanned:
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        pixels = pixels * (0.8 + 0.12 * x - 0.06 * y**2) + rng.normal(0, 5, pixels.shape)
    pixels = np.clip(pixels, 0, 255)
    return (255 - pixels if inverted else pixels).astype(np.uint8)


def drawing(seed: int, size: tuple[int, int] = (600, 800)) -> Image:
    """A chart: axes, curves and labels in thin lines on white."""
    rng = np.random.default_rng(seed)
    height, width = size
    canvas = np.full(size, 255, np.uint8)
    cv2.rectangle(canvas, (width // 10, height // 10), (width * 9 // 10, height * 9 // 10), 0, 1)
    x = np.linspace(width // 10, width * 9 // 10, 200)
    for _ in range(4):
        y = height / 2 + height / 4 * np.sin(x / width * rng.uniform(4, 20) + rng.uniform(0, 6)) * rng.uniform(0.3, 1)
        line = np.stack([x, y], 1).round().astype(np.int32)
        cv2.polylines(canvas, [line], False, int(rng.integers(0, 120)), int(rng.integers(1, 4)), cv2.LINE_AA)
    for k in range(8):
        at = (width // 10 + k * width // 10, height * 19 // 20)
        cv2.putText(canvas, f"{k / 4:.2f}", at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0, 1, cv2.LINE_AA)
    return canvas


def blank(seed: int, size: tuple[int, int] = (454, 373)) -> Image:
    """An exposed film with nothing on it: a gray level, a slow slope of a few levels, noise."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, size[1]), np.linspace(-1, 1, size[0]))
    level = rng.uniform(40, 215)
    slope = rng.uniform(2, 5) * x + rng.uniform(-5, 5) * y - rng.uniform(0, 4) * (x**2 + y**2)
    return np.clip(level + slope + rng.normal(0, rng.uniform(1, 4), size), 0, 255).astype(np.uint8)


def chest_slice(seed: int, size: int = 512, *, window: str = "soft") -> Image:
    """An axial CT slice of a chest, windowed as for export: body, lungs, heart, spine, ribs, table, noise."""
    rng = np.random.default_rng(seed)
    hounsfield = np.full((size, size), -1000.0)
    unit = size / 512

    def ellipse(cx: float, cy: float, rx: float, ry: float, value: float, angle: float = 0.0) -> None:
        center, axes = (round(cx * unit), round(cy * unit)), (max(1, round(rx * unit)), max(1, round(ry * unit)))
        cv2.ellipse(hounsfield, center, axes, angle, 0, 360, value, -1)

    jitter = rng.uniform(-8, 8, 20)
    ellipse(256, 250, 205 + jitter[0], 140 + jitter[1], -90)  # fat
    ellipse(256, 250, 190 + jitter[0], 126 + jitter[1], 50)  # muscle
    for side in (-1, 1):
        ellipse(256 + side * (95 + jitter[2]), 240, 72 + jitter[3], 98 + jitter[4], -840, side * 8)
    ellipse(256 + 22 + jitter[5], 215 + jitter[6], 62 + jitter[7], 55, 40 + rng.uniform(0, 120))  # heart, contrast
    ellipse(250, 285, 18, 18, 60 + rng.uniform(0, 150))  # aorta
    ellipse(256, 325, 30, 26, 250)  # vertebra
    ellipse(256, 352, 10, 9, 30)  # canal
    for k in range(9):
        angle = np.pi * (0.08 + k * 0.105)
        for side in (-1, 1):
            at = 256 + side * 178 * np.sin(angle), 250 - 116 * np.cos(angle)
            ellipse(at[0], at[1], 12, 6, 480, np.degrees(angle) * side)
            ellipse(at[0], at[1], 7, 3, 200, np.degrees(angle) * side)
    for _ in range(60):  # vessels
        side = rng.choice([-1, 1])
        ellipse(
            256 + side * (95 + rng.normal(0, 30)), 240 + rng.normal(0, 40), rng.uniform(1, 5), rng.uniform(1, 5), 30
        )
    y, x = np.mgrid[0:size, 0:size] / unit
    hounsfield[np.abs(y - 405 - ((x - 256) / 260) ** 2 * -40) < 3] = -200  # the table
    hounsfield = cv2.GaussianBlur(hounsfield, (0, 0), 0.8) + rng.normal(0, 14, hounsfield.shape)
    low, high = {"soft": (-160.0, 240.0), "lung": (-1350.0, 150.0), "bone": (-450.0, 1050.0)}[window]
    return (np.clip((hounsfield - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def photograph(seed: int, longest: int = 454) -> Image:
    """A gray part of one of scikit-learn's two photographs (a temple; a flower), as they come with it."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    color = load_sample_images().images[seed % 2]
    gray = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)
    height, width = (round(side * rng.uniform(0.6, 1.0)) for side in gray.shape)
    top, left = (int(rng.integers(0, full - part + 1)) for full, part in zip(gray.shape, (height, width), strict=True))
    part = gray[top : top + height, left : left + width]
    scale = longest / max(part.shape)
    return np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


DRAWN: dict[str, Callable[[int], Image]] = {
    "page": lambda k: page(k, (1100, 850) if k % 2 else (454, 360)),
    "page, scanned": lambda k: page(k, (1100, 850) if k % 2 else (454, 360), scanned=True),
    "page, white on black": lambda k: page(k, inverted=True),
    "drawing": drawing,
    "blank": blank,
    "drawn chest slice": lambda k: chest_slice(k, (512, 400)[k % 2], window=("soft", "lung", "bone")[k % 3]),
    "photograph (parts of two)": photograph,
}
"""Kind -> picture number k of it."""


def drawn(each: int) -> Iterator[tuple[str, str, Image]]:
    """(kind, name, picture) of ``each`` pictures of every kind."""
    for kind, make in DRAWN.items():
        for k in range(each):
            yield kind, f"{kind} {k}", make(k)
