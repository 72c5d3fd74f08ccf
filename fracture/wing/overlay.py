"""A scene as a picture: film, frames and captions, drawn with Pillow. Needs no display and no matplotlib.

Colors are told apart by color-blind readers (Okabe and Ito 2008); form tells apart what color does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fracture.errors import ConfigurationError
from fracture.io.marks import png_mark
from fracture.wing.scene import NOTE, Look, Page, Scene, SceneBox, ScenePoint, grid_on

ORANGE = (255, 159, 28)
BLUE = (86, 180, 233)
GREEN = (0, 158, 115)
COLORS: dict[Look, tuple[int, int, int]] = {"sure": ORANGE, "doubt": ORANGE, "weak": BLUE, "calm": BLUE}
HEAT = 0.55
"""Opacity of a heat of 1."""

_STRIP = (24, 24, 27)
_TEXT = (240, 240, 240)
_QUIET = (165, 165, 170)
_COLUMNS = 3  # pages side by side on a sheet

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """Pixel edges on the canvas, half-open."""

    x0: float
    y0: float
    x1: float
    y1: float

    def meets(self, other: _Rectangle) -> bool:
        wide = min(self.x1, other.x1) - max(self.x0, other.x0)
        high = min(self.y1, other.y1) - max(self.y0, other.y0)
        return wide > 0 and high > 0


def draw_scene(scene: Scene) -> NDArray[np.uint8]:
    """All pages: one as :func:`draw_page` draws it, several on a sheet of up to three columns.

    Returns:
        uint8 (height, width, 3), RGB.
    """
    drawn = [draw_page(page) for page in scene.pages]
    if len(drawn) == 1:
        return drawn[0]
    rows = [drawn[i : i + _COLUMNS] for i in range(0, len(drawn), _COLUMNS)]
    width = max(sum(p.shape[1] for p in row) for row in rows)
    sheet = np.full((sum(max(p.shape[0] for p in row) for row in rows), width, 3), _STRIP, np.uint8)
    top = 0
    for row in rows:
        left = 0
        for picture in row:
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            left += picture.shape[1]
        top += max(p.shape[0] for p in row)
    return sheet


def draw_page(page: Page) -> NDArray[np.uint8]:
    """One page above a strip with its verdict and lines.

    The page is scaled so that its longer side is within 900 to 2048 pixels; line width and letters
    follow the picture's size, so that they are as readable on a 60 px crop as on a 4000 px film.

    Returns:
        uint8 (height + strip, width, 3), RGB.
    """
    height, width = page.pixels.shape
    longer = max(height, width)
    scale = min(2048 / longer, max(1.0, 900 / longer))
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    gray = cv2.resize(page.pixels, (wide, high), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    picture = Image.fromarray(gray).convert("RGB")
    if page.heats:
        canvas = np.asarray(picture, np.float32)
        for heat in page.heats:
            alpha = (HEAT * grid_on(heat, (width, height), (wide, high)))[:, :, None]
            canvas = canvas * (1 - alpha) + alpha * np.array(ORANGE, np.float32)
        picture = Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
    line = max(2, round(max(wide, high) / 300))
    font = ImageFont.load_default(max(13, round(max(wide, high) / 52)))
    draw = ImageDraw.Draw(picture)
    sx, sy = wide / width, high / height
    frames = [_Rectangle(b.x0 * sx, b.y0 * sy, b.x1 * sx, b.y1 * sy) for b in page.boxes]
    for box, frame in zip(page.boxes, frames, strict=True):
        thick = max(1, 2 * line // 3) if box.look == "weak" else line
        dotted = box.look in ("doubt", "weak")
        _outline(draw, frame, COLORS[box.look], thick, picture.size, dotted=dotted)
    for point in page.points:
        _dot(draw, point, (point.x * sx, point.y * sy), line, font)
    _labels(draw, page.boxes, frames, picture.size, font, line)
    return _with_caption(picture, page, max(wide, high))


def write_picture(picture: NDArray[np.uint8], path: str | os.PathLike[str], subject: str) -> None:
    """Write a picture (height, width, 3) as PNG. Its only metadata says that it is ours, and by a checksum of what, so
    that no scan takes it for a film, and no run replaces another program's file or another film's overlay.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    try:
        Image.fromarray(picture).save(Path(path), format="PNG", compress_level=4, pnginfo=png_mark(subject))
    except OSError as error:
        raise ConfigurationError(
            f"the overlay cannot be written to {Path(path)}",
            got=error.strerror or type(error).__name__,
            hint="give a file in a folder that exists and can be written to",
        ) from error


def _outline(
    draw: ImageDraw.ImageDraw,
    place: _Rectangle,
    color: tuple[int, int, int],
    line: int,
    size: tuple[int, int],
    *,
    dotted: bool,
) -> None:
    """A frame drawn outwards from the box, so that nothing inside it is covered, over a thin dark halo.

    At the picture's edge there is no room outside: the frame moves in, just far enough to be seen.
    """
    halo = max(1, line // 3)
    x0, y0 = max(int(np.floor(place.x0)), line), max(int(np.floor(place.y0)), line)
    x1, y1 = min(int(np.ceil(place.x1)), size[0] - line) - 1, min(int(np.ceil(place.y1)), size[1] - line) - 1
    x0, y0 = min(x0, x1), min(y0, y1)  # a box of less than a line's width in the very corner
    outer = (x0 - line, y0 - line, x1 + line, y1 + line)
    if not dotted:
        draw.rectangle(
            (outer[0] - halo, outer[1] - halo, outer[2] + halo, outer[3] + halo), outline=(0, 0, 0), width=halo
        )
        draw.rectangle(outer, outline=color, width=line)
        return
    for left, top in _dots(outer, line):
        box = (left, top, left + line - 1, top + line - 1)
        draw.rectangle((box[0] - halo, box[1] - halo, box[2] + halo, box[3] + halo), fill=(0, 0, 0))
        draw.rectangle(box, fill=color)


def _dots(outer: tuple[int, int, int, int], line: int) -> list[tuple[int, int]]:
    """Upper left corners of square dots along a frame, evenly spread, with one in each corner."""
    x0, y0, x1, y1 = outer
    dots = []
    for start, stop, horizontal in ((x0, x1, True), (y0, y1, False)):
        last = max(start, stop - line + 1)
        count = max(2, round((last - start) / (2.5 * line)) + 1)
        for position in np.linspace(start, last, count).round().astype(int).tolist():
            if horizontal:
                dots += [(position, y0), (position, max(y0, y1 - line + 1))]
            else:
                dots += [(x0, position), (max(x0, x1 - line + 1), position)]
    return dots


def _dot(draw: ImageDraw.ImageDraw, point: ScenePoint, place: tuple[float, float], line: int, font: Font) -> None:
    """A ring, open so that the place itself is seen, and its label on the right."""
    x, y = place
    color, radius = COLORS[point.look], 1.5 * line + 1
    draw.ellipse((x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1), outline=(0, 0, 0), width=1)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=max(1, line // 2))
    if point.label:
        draw.text(
            (x + radius + line, y), point.label, font=font, fill=color, anchor="lm", stroke_width=1, stroke_fill=0
        )


def _labels(
    draw: ImageDraw.ImageDraw,
    boxes: tuple[SceneBox, ...],
    shown: list[_Rectangle],
    size: tuple[int, int],
    font: Font,
    line: int,
) -> None:
    """Labels beside the boxes: above, below, right or left, wherever they fit without covering any box.

    Where nothing is free, a label stands in a corner of its own box: a number that the lines name must be found.
    """
    pad = max(2, line)
    frames = [
        _Rectangle(r.x0 - 2 * line, r.y0 - 2 * line, r.x1 + 2 * line, r.y1 + 2 * line)
        for box, r in zip(boxes, shown, strict=True)
        if box.look != "weak"
    ]
    written: list[_Rectangle] = []
    named = [box for box in boxes if box.look != "weak"]
    for box, frame in zip(named, frames, strict=True):
        if not box.label:
            continue
        left, top, right, bottom = draw.textbbox((0, 0), box.label, font=font)
        wide, high = right - left + 2 * pad, bottom - top + 2 * pad
        room = (size[0] - wide, size[1] - high)
        x, y = min(max(0.0, frame.x0), room[0]), min(max(0.0, frame.y0), room[1])
        end, low = min(max(0.0, frame.x1 - wide), room[0]), min(max(0.0, frame.y1 - high), room[1])
        beside = (
            (x, frame.y0 - high),
            (end, frame.y0 - high),
            (x, frame.y1),
            (end, frame.y1),
            (frame.x1, y),
            (frame.x0 - wide, y),
        )
        within = ((x, y), (end, y), (x, low), (end, low))
        outside, corners = (
            [
                _Rectangle(x, y, x + wide, y + high)
                for x, y in places
                if 0 <= x <= size[0] - wide and 0 <= y <= size[1] - high
            ]
            for places in (beside, within)
        )
        free = [r for r in outside if not any(r.meets(other) for other in (*frames, *written))]
        free += [r for r in corners if not any(r.meets(other) for other in written)]
        label = (free or corners or [_Rectangle(0, 0, wide, high)])[0]
        written.append(label)
        draw.rectangle((label.x0, label.y0, label.x1 - 1, label.y1 - 1), fill=(0, 0, 0))
        draw.text((label.x0 + pad - left, label.y0 + pad - top), box.label, font=font, fill=COLORS[box.look])


def _with_caption(picture: Image.Image, page: Page, longer: int) -> NDArray[np.uint8]:
    """The picture above a strip with the verdict and the lines, wrapped to its width."""
    longer = min(longer, round(1.8 * picture.width))  # letters for the width of a tall, narrow film
    title, body = (ImageFont.load_default(max(n, round(longer / d))) for n, d in ((15, 44), (12, 60)))
    pad = max(6, round(longer / 90))
    bar = max(4, pad // 2)
    room = picture.width - 2 * pad - bar
    lines = [(text, title, _TEXT) for text in _wrapped(page.verdict, title, room)]
    for line in (*page.lines, NOTE):
        lines += [(text, body, _QUIET) for text in _wrapped(line, body, room)]
    heights = [round(1.35 * font.getbbox("Ag")[3]) for _, font, _ in lines]
    strip = Image.new("RGB", (picture.width, sum(heights) + 2 * pad), _STRIP)
    draw = ImageDraw.Draw(strip)
    if page.alarm is not None:
        draw.rectangle((0, 0, bar - 1, strip.height), fill=ORANGE if page.alarm else GREEN)
    y = pad
    for (text, font, color), high in zip(lines, heights, strict=True):
        draw.text((pad + bar, y), text, font=font, fill=color)
        y += high
    return np.concatenate([np.asarray(picture), np.asarray(strip)])


def _wrapped(text: str, font: Font, room: int) -> list[str]:
    """Lines no wider than ``room``; a word that is wider by itself is cut."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= room:
            lines[-1] = joined
            continue
        while len(word) > 1 and font.getlength(word) > room:
            word = word[:-1]
        lines = [*lines, word] if lines[-1] else [word]
    return lines
