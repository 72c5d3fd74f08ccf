"""A scene for a browser: its pictures as small JPEGs or whole PNGs, what is said as data, its marks as SVG.

The gallery of a run and the page of a server are made of it, for any wing, so that both show what the overlay shows.
Marks are drawn over the picture, so that they can be switched off; ``marks.css`` beside this module gives their looks.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fracture.wing.overlay import HEAT, ORANGE
from fracture.wing.scene import Page, Scene, grid_on

_QUALITY = 78  # of a JPEG: ours; at 85 pages grow by a third and nothing more is seen at this size


def piece_of(scene: Scene, side: int) -> list[dict[str, Any]]:
    """The pages of a scene, each as :func:`data_of` with its picture as ``jpeg`` (base64).

    Args:
        scene: Of a result.
        side: The longer side of the pictures in pixels; smaller films stay as they are.
    """
    return [{**data_of(page), "jpeg": _jpeg(page.pixels, side)} for page in scene.pages]


def data_of(page: Page) -> dict[str, Any]:
    """What a page shows and says, but for its pixels.

    Returns:
        JSON-able: ``width`` and ``height`` (of the film, in which boxes and points are counted), ``verdict``,
        ``lines``, ``alarm``, ``boxes`` (x0, y0, x1, y1, look, label), ``points`` (x, y, look, label).
    """
    height, width = page.pixels.shape
    return {
        "width": width,
        "height": height,
        "verdict": page.verdict,
        "lines": list(page.lines),
        "alarm": page.alarm,
        "boxes": [[b.x0, b.y0, b.x1, b.y1, b.look, b.label] for b in page.boxes],
        "points": [[p.x, p.y, p.look, p.label] for p in page.points],
    }


def marks_of(page: Mapping[str, Any]) -> str:
    """The boxes and points of a page (:func:`data_of`) as SVG elements in the film's pixels, every text escaped."""
    longer = max(page["width"], page["height"])
    drawn = []
    for x0, y0, x1, y1, look, label in page["boxes"]:
        edges = f'x="{x0:g}" y="{y0:g}" width="{x1 - x0:g}" height="{y1 - y0:g}"'
        drawn += [f'<rect class="halo" {edges}/>', f'<rect class="{escape(look)}" {edges}/>']
        drawn += [_text(x0, y0, look, label, longer / 24, 'dy="-0.3em"')]
    for x, y, look, label in page["points"]:
        drawn += [f'<circle class="{escape(look)}" cx="{x:g}" cy="{y:g}" r="{longer / 120:g}"/>']
        drawn += [_text(x, y, look, label, longer / 30, 'dx="0.5em"')]
    return "".join(drawn)


def _text(x: float, y: float, look: str, label: str, size: float, shift: str) -> str:
    if not label:
        return ""
    return f'<text class="{escape(look)}" x="{x:g}" y="{y:g}" font-size="{size:g}" {shift}>{escape(label)}</text>'


def marks_css() -> str:
    """Rules for the elements of :func:`marks_of`; they need the colors ``--alarm`` and ``--calm``."""
    return files(__package__).joinpath("marks.css").read_text(encoding="utf-8")


def tint_of(page: Page, side: int = 1024) -> NDArray[np.uint8] | None:
    """A page's heats as the overlay lays them over the film: uint8 (h, w, 4), RGBA, of the whole page at a longer side
    of at most ``side`` pixels; None where there is none."""
    if not page.heats:
        return None
    height, width = page.pixels.shape
    wide, high = _size(width, height, side)
    clear = np.ones((high, wide), np.float32)
    for heat in page.heats:
        clear *= 1 - HEAT * grid_on(heat, (width, height), (wide, high))
    tint = np.empty((high, wide, 4), np.uint8)
    tint[..., :3] = ORANGE
    tint[..., 3] = np.rint(255 * (1 - clear))
    return tint


def _jpeg(pixels: NDArray[np.uint8], side: int) -> str:
    size = _size(pixels.shape[1], pixels.shape[0], side)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if size != pixels.shape[::-1] else pixels
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(small)).save(out, format="JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")


def _size(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))
