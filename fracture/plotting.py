"""Pictures of a prediction: a PNG overlay drawn with Pillow, and matplotlib axes. Neither needs a display.

Solid boxes: the film reaches the high-specificity point. Dotted boxes: it reaches high sensitivity only, a doubt
(the two outlines of Guermazi et al. 2022). Candidates are thin, dotted and blue. Colors are told apart by color-blind
readers (Okabe and Ito 2008). An overlay shows no text that stems from the file: no name, id, date, nor path.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fracture.errors import ConfigurationError, unforeseen
from fracture.marks import png_mark, subject_of
from fracture.prediction import HIGH_SENSITIVITY, Box, Prediction
from fracture.radiograph import Radiograph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["plot_prediction", "render_overlay", "save_overlay", "write_picture"]

ORANGE = (255, 159, 28)
BLUE = (86, 180, 233)
GREEN = (0, 158, 115)
_STRIP = (24, 24, 27)
_TEXT = (240, 240, 240)
_QUIET = (165, 165, 170)
_NOTE = "Research use, no medical device."

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """Pixel edges on the canvas, half-open."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: _Rectangle) -> float:
        wide = min(self.x1, other.x1) - max(self.x0, other.x0)
        high = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(0.0, wide) * max(0.0, high)


def render_overlay(
    prediction: Prediction,
    *,
    image: NDArray[Any] | Radiograph | None = None,
    show_map: bool = False,
    show_candidates: bool = False,
    min_side: int = 900,
    max_side: int = 2048,
) -> NDArray[np.uint8]:
    """The film with boxes, scores and a caption strip below, as an RGB picture.

    The film is scaled so that its longer side is within ``min_side`` to ``max_side`` pixels; line width and letters
    follow the picture's size, so that they are as readable on a 60 px crop as on a 4000 px film.

    Args:
        prediction: What to draw.
        image: The film where the prediction does not hold it: a ``Radiograph`` or an array (height, width), uint8
            or floating point in [0, 1].
        show_map: Tint the film with the probability map.
        show_candidates: Also draw the candidates.
        min_side, max_side: Limits of the film's longer side in the picture, in pixels.

    Returns:
        uint8, shape (height + strip, width, 3), RGB.

    Raises:
        ConfigurationError: There are no pixels, no map or no candidates to draw, or the image has another size.
    """
    film = _film(prediction, image)
    height, width = film.shape
    longer = max(height, width)
    scale = min(max_side / longer, max(1.0, min_side / longer))
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    gray = cv2.resize(film, (wide, high), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    canvas = np.repeat(gray[:, :, None], 3, axis=2).astype(np.float32)
    if show_map:
        heat = _map_on(prediction, wide, high)
        alpha = (0.55 * heat)[:, :, None]
        canvas = canvas * (1 - alpha) + alpha * np.array(ORANGE, np.float32)
    picture = Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))

    sx, sy = wide / width, high / height
    line = max(2, round(max(wide, high) / 300))
    font = _font(max(13, round(max(wide, high) / 52)))
    draw = ImageDraw.Draw(picture)
    shown = [_on_canvas(box, sx, sy) for box in prediction.boxes]
    if show_candidates:
        for box in _candidates(prediction):
            if box not in prediction.boxes:
                _outline(draw, _on_canvas(box, sx, sy), BLUE, max(1, 2 * line // 3), picture.size, dotted=True)
    for box, place in zip(prediction.boxes, shown, strict=True):
        _outline(draw, place, ORANGE, line, picture.size, dotted=_dotted(box))
    _labels(draw, prediction.boxes, shown, (wide, high), font, line)
    return _with_caption(picture, prediction, max(wide, high))


def save_overlay(
    prediction: Prediction,
    path: str | os.PathLike[str],
    *,
    image: NDArray[Any] | Radiograph | None = None,
    show_map: bool = False,
    show_candidates: bool = False,
) -> None:
    """``render_overlay`` written to ``path`` as PNG, by :func:`write_picture`.

    Raises:
        ConfigurationError: As for ``render_overlay``, or the file cannot be written.
        UnexpectedError: It cannot be drawn for a reason that nobody foresaw.
    """
    with unforeseen(prediction.source):
        picture = render_overlay(prediction, image=image, show_map=show_map, show_candidates=show_candidates)
        write_picture(picture, path, subject_of("film", prediction.source))


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


def plot_prediction(
    prediction: Prediction,
    ax: Axes | None = None,
    *,
    image: NDArray[Any] | Radiograph | None = None,
    show_map: bool = False,
    show_candidates: bool = False,
) -> Axes:
    """Draw the film with its boxes on matplotlib axes in source-pixel coordinates; see ``Prediction.plot``.

    Raises:
        ConfigurationError: There are no pixels, no map or no candidates to draw, or the image has another size.
    """
    from matplotlib.patches import Rectangle

    film = _film(prediction, image)
    candidates = _candidates(prediction) if show_candidates else ()
    heat = _map_on(prediction, *film.shape[::-1]) if show_map else None
    if ax is None:
        from matplotlib.pyplot import subplots

        ax = subplots(figsize=(6, 6), layout="constrained")[1]
    extent = (0.0, float(film.shape[1]), float(film.shape[0]), 0.0)
    ax.imshow(film, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="antialiased")
    if heat is not None:
        tint = np.empty((*heat.shape, 4), np.float32)
        tint[..., :3] = np.array(ORANGE, np.float32) / 255
        tint[..., 3] = 0.55 * heat
        ax.imshow(tint, extent=extent)
    orange, blue = (tuple(channel / 255 for channel in color) for color in (ORANGE, BLUE))
    for box in candidates:
        if box not in prediction.boxes:
            ax.add_patch(Rectangle((box.x0, box.y0), box.width, box.height, fill=False, ec=blue, lw=1.2, ls=":"))
    for box in prediction.boxes:
        style = ":" if _dotted(box) else "-"
        ax.add_patch(Rectangle((box.x0, box.y0), box.width, box.height, fill=False, ec=orange, lw=1.8, ls=style))
        ax.annotate(
            f"{box.score:.2f}",
            (box.x0, box.y0),
            xytext=(0, 3),
            textcoords="offset points",
            color=orange,
            fontsize=8,
            clip_on=True,
            bbox={"facecolor": "black", "edgecolor": "none", "pad": 1},
        )
    ax.set_title(_verdict(prediction), fontsize=10)
    ax.set_axis_off()
    return ax


def _film(prediction: Prediction, image: NDArray[Any] | Radiograph | None) -> NDArray[np.uint8]:
    """The film as uint8, (height, width)."""
    source = prediction.radiograph if image is None else image
    if source is None:
        raise ConfigurationError(
            f"{prediction.source}: this prediction does not hold its pixels",
            hint="pass image=fracture.read(path), or predict with keep=True",
        )
    pixels = source.pixels if isinstance(source, Radiograph) else np.asarray(source)
    if pixels.shape != (prediction.height, prediction.width):
        raise ConfigurationError(
            f"{prediction.source}: the image is not the one that was predicted",
            got=f"shape {pixels.shape}",
            allowed=f"({prediction.height}, {prediction.width})",
        )
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ConfigurationError(
            "an image to draw on has another type",
            got=pixels.dtype,
            allowed="uint8, or floating point in [0, 1]",
            hint="pass fracture.read(array)",
        )
    film: NDArray[np.uint8] = np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    return film


def _map_on(prediction: Prediction, wide: int, high: int) -> NDArray[np.float32]:
    """The probability map, bilinear, on a picture of the whole film of wide x high pixels; 0 off the map."""
    grid, to_source = prediction.probability_map, prediction.map_to_source
    if grid is None or to_source is None:
        raise ConfigurationError(
            f"{prediction.source}: this prediction holds no probability map",
            hint="use weights whose members give a map, and predict with keep=True",
        )
    sx, sy = wide / prediction.width, high / prediction.height
    # Pixel centers of the picture to sample positions of the grid, whose sample j stands at j + 1/2.
    x = ((np.arange(wide) + 0.5) / sx - to_source.offset_x) / to_source.scale_x - 0.5
    y = ((np.arange(high) + 0.5) / sy - to_source.offset_y) / to_source.scale_y - 0.5
    inside = ((x >= -0.5) & (x <= grid.shape[1] - 0.5))[None, :] & ((y >= -0.5) & (y <= grid.shape[0] - 0.5))[:, None]
    grid_x, grid_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    heat = cv2.remap(grid, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.where(inside, heat, 0), 0, 1).astype(np.float32)


def _candidates(prediction: Prediction) -> tuple[Box, ...]:
    if prediction.candidates is None:
        raise ConfigurationError(
            f"{prediction.source}: candidates were not asked for", hint="predict with candidates=True"
        )
    return prediction.candidates


def _dotted(box: Box) -> bool:
    return box.operating_point == HIGH_SENSITIVITY


def _on_canvas(box: Box, sx: float, sy: float) -> _Rectangle:
    return _Rectangle(box.x0 * sx, box.y0 * sy, box.x1 * sx, box.y1 * sy)


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


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


def _labels(
    draw: ImageDraw.ImageDraw,
    boxes: tuple[Box, ...],
    shown: list[_Rectangle],
    size: tuple[int, int],
    font: Font,
    line: int,
) -> None:
    """Scores beside the boxes: above, below, right or left, wherever they fit without covering any box.

    A score that finds no free place is left out of the film; the caption lists all of them.
    """
    pad = max(2, line)
    frames = [_Rectangle(r.x0 - 2 * line, r.y0 - 2 * line, r.x1 + 2 * line, r.y1 + 2 * line) for r in shown]
    written: list[_Rectangle] = []
    for box, frame in zip(boxes, frames, strict=True):
        text = f"{box.score:.2f}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        wide, high = right - left + 2 * pad, bottom - top + 2 * pad
        x = min(max(0.0, frame.x0), size[0] - wide)
        y = min(max(0.0, frame.y0), size[1] - high)
        end = min(max(0.0, frame.x1 - wide), size[0] - wide)
        tries = (
            (x, frame.y0 - high),
            (end, frame.y0 - high),
            (x, frame.y1),
            (end, frame.y1),
            (frame.x1, y),
            (frame.x0 - wide, y),
        )
        for x, y in tries:
            label = _Rectangle(x, y, x + wide, y + high)
            inside = label.x0 >= 0 and label.y0 >= 0 and label.x1 <= size[0] and label.y1 <= size[1]
            if inside and not any(label.overlap(other) > 0 for other in (*frames, *written)):
                written.append(label)
                draw.rectangle((label.x0, label.y0, label.x1 - 1, label.y1 - 1), fill=(0, 0, 0))
                draw.text((label.x0 + pad - left, label.y0 + pad - top), text, font=font, fill=ORANGE)
                break


def _verdict(prediction: Prediction) -> str:
    word = "Fracture" if prediction.fractured else "No fracture found"
    return f"{word}: probability {_digits(prediction.probability)}, threshold {_digits(prediction.threshold)}"


def _digits(value: float) -> str:
    return f"{value:.2f}" if 0.01 <= value < 0.995 or value in (0.0, 1.0) else f"{value:.3g}"


def _caption(prediction: Prediction) -> list[str]:
    """The lines below the film, the verdict aside."""
    region = prediction.region.replace("+", ", ").replace("_", " ")
    origin = {"caller": "as given", "dicom": "from DICOM", "model": "the model's guess"}
    known = origin.get(prediction.region_source or "", "not known")
    point = prediction.operating_point.replace("_", " ")
    node = (prediction.operating_node or "").replace("_", " ")
    lines = [f"Region: {region} ({known}). Threshold: {point}{f' of {node}' if node else ''}."]
    if prediction.boxes:
        scores = ", ".join(f"{box.score:.2f}" for box in prediction.boxes)
        style = "Dotted: reaches high sensitivity only." if _dotted(prediction.boxes[0]) else ""
        lines.append(f"Box scores: {scores}. {style}".strip())
    lines.append(_NOTE)
    return lines


def _with_caption(picture: Image.Image, prediction: Prediction, longer: int) -> NDArray[np.uint8]:
    """The picture above a strip with the verdict and the caption, wrapped to its width."""
    longer = min(longer, round(1.8 * picture.width))  # letters for the width of a tall, narrow film
    title, body = _font(max(15, round(longer / 44))), _font(max(12, round(longer / 60)))
    pad = max(6, round(longer / 90))
    bar = max(4, pad // 2)
    room = picture.width - 2 * pad - bar
    lines = [(text, title, _TEXT) for text in _wrapped(_verdict(prediction), title, room)]
    for line in _caption(prediction):
        lines += [(text, body, _QUIET) for text in _wrapped(line, body, room)]
    heights = [round(1.35 * font.getbbox("Ag")[3]) for _, font, _ in lines]
    strip = Image.new("RGB", (picture.width, sum(heights) + 2 * pad), _STRIP)
    draw = ImageDraw.Draw(strip)
    draw.rectangle((0, 0, bar - 1, strip.height), fill=ORANGE if prediction.fractured else GREEN)
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
