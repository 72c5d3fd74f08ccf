"""Pictures of hips: box, heatmap and the top two classes over the film. No text on them stems from the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fracture.errors import ConfigurationError, unforeseen
from fracture.hip.classes import LABELS
from fracture.marks import subject_of
from fracture.plotting import BLUE, ORANGE, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from fracture.hip.prediction import Hip, HipFilm

__all__ = ["plot_hips", "render_overlay", "save_overlay"]

_HEAT = 0.5  # opacity of a heatmap where it is 1
_NOTE = "Research use, no medical device."


def heat_on_film(hip: Hip, name: str | None = None) -> NDArray[np.float32]:
    """A heatmap on the film's own pixels, bilinear, 0 outside the crop: float32 (height, width) in [0, 1].

    Raises:
        ConfigurationError: The heatmaps were dropped, or there is no such class.
    """
    heat = hip.heatmap_of(name or hip.label)
    if heat is None or hip.map_to_source is None:
        raise ConfigurationError(f"{hip.source}: this hip holds no heatmap", hint="predict with keep=True")
    grid = hip.map_to_source
    x = (np.arange(hip.width) + 0.5 - grid.offset_x) / grid.scale_x
    y = (np.arange(hip.height) + 0.5 - grid.offset_y) / grid.scale_y
    inside = ((x >= 0) & (x <= heat.shape[1]))[None, :] & ((y >= 0) & (y <= heat.shape[0]))[:, None]
    grid_x, grid_y = np.meshgrid((x - 0.5).astype(np.float32), (y - 0.5).astype(np.float32))
    warped = cv2.remap(np.ascontiguousarray(heat), grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where(inside, np.clip(warped, 0, 1), 0).astype(np.float32)


def caption(hip: Hip) -> list[str]:
    """What is written about a hip: side, top two classes, advice."""
    lines = [f"{hip.side}: {', '.join(f'{LABELS[name]} {value:.2f}' for name, value in hip.top2)}"]
    if hip.advise_imaging:
        lines.append(f"{hip.side}: nondisplaced fracture not excluded, CT or MRI advised")
    return lines


def plot_hips(hips: Sequence[Hip], ax: Axes | None = None, *, show_heatmap: bool = True, of: str | None = None) -> Axes:
    """Draw the film of some hips with boxes and heatmaps on matplotlib axes, in source-pixel coordinates.

    Raises:
        ConfigurationError: No hips, or they do not hold their film or heatmaps.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(7, 7), layout="constrained")[1]
    from matplotlib.patches import Rectangle

    film = _film_of(hips)
    extent = (0.0, float(film.shape[1]), float(film.shape[0]), 0.0)
    ax.imshow(film, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="antialiased")
    for hip in hips:
        if show_heatmap:
            tint = np.empty((*film.shape, 4), np.float32)
            tint[..., :3] = np.array(ORANGE, np.float32) / 255
            tint[..., 3] = _HEAT * heat_on_film(hip, of)
            ax.imshow(tint, extent=extent)
        color = _color(hip)
        place = Rectangle((hip.box.x0, hip.box.y0), hip.box.width, hip.box.height, fill=False, ec=color, lw=1.8)
        ax.add_patch(place)
    ax.set_title("\n".join(line for hip in hips for line in caption(hip)), fontsize=9)
    ax.set_axis_off()
    return ax


def render_overlay(film: HipFilm, *, show_heatmap: bool = False, min_side: int = 900) -> NDArray[np.uint8]:
    """The film with boxes above a strip with the top two classes, RGB uint8 (height + strip, width, 3).

    Raises:
        ConfigurationError: The film or the heatmaps were dropped.
    """
    if film.radiograph is None:
        raise ConfigurationError(f"{film.source}: this result does not hold its film", hint="predict with keep=True")
    pixels = film.radiograph.pixels
    scale = min(2048 / max(pixels.shape), max(1.0, min_side / max(pixels.shape)))
    wide, high = max(1, round(film.width * scale)), max(1, round(film.height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    gray = np.clip(np.asarray(cv2.resize(np.asarray(pixels), (wide, high), interpolation=method)), 0, 1)
    canvas: NDArray[Any] = np.repeat(gray[:, :, None] * 255, 3, axis=2)
    if show_heatmap:
        for hip in film.hips:
            alpha = _HEAT * np.asarray(cv2.resize(heat_on_film(hip), (wide, high)))[:, :, None]
            canvas = canvas * (1 - alpha) + alpha * np.array(ORANGE, np.float32)
    picture = Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    line = max(2, round(max(wide, high) / 300))
    sx, sy = wide / film.width, high / film.height
    for hip in film.hips:
        color = tuple(round(255 * channel) for channel in _color(hip))
        corners = (hip.box.x0 * sx, hip.box.y0 * sy, hip.box.x1 * sx - 1, hip.box.y1 * sy - 1)
        draw.rectangle(corners, outline=color, width=line)
    lines = [text for hip in film.hips for text in caption(hip)] or ["no hip found"]
    font = ImageFont.load_default(max(13, round(max(wide, high) / 52)))
    step = round(1.5 * font.getbbox("Ag")[3])
    strip = Image.new("RGB", (wide, step * (len(lines) + 1) + 12), (24, 24, 27))
    writer = ImageDraw.Draw(strip)
    for row, text in enumerate([*lines, _NOTE]):
        writer.text((8, 6 + row * step), text, font=font, fill=(240, 240, 240))
    return np.concatenate([np.asarray(picture), np.asarray(strip)])


def save_overlay(film: HipFilm, path: str | os.PathLike[str], *, show_heatmap: bool = False) -> None:
    """:func:`render_overlay` written to ``path`` as PNG, by :func:`fracture.plotting.write_picture`.

    Raises:
        ConfigurationError: As for :func:`render_overlay`, or the file cannot be written.
        UnexpectedError: It cannot be drawn for a reason that nobody foresaw.
    """
    with unforeseen(film.source):
        write_picture(render_overlay(film, show_heatmap=show_heatmap), path, subject_of("hips", film.source))


def _film_of(hips: Sequence[Hip]) -> NDArray[np.float32]:
    if not hips or hips[0].radiograph is None:
        raise ConfigurationError("there is no film to draw on", hint="predict one film, or predict_many with keep=True")
    return hips[0].radiograph.pixels


def _color(hip: Hip) -> tuple[float, float, float]:
    red, green, blue = ORANGE if hip.fractured else BLUE
    return red / 255, green / 255, blue / 255
