"""A film's place in the gallery: its pictures as small JPEGs and what is drawn and said on them, as data.

Made from a result's scene, so that it shows what the overlay shows, for any wing. The frames are drawn by the page over
the picture, so that they can be switched off. A piece is one JSON file, written whole; a run that is resumed makes only
those that are missing.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from fracture.wing.scene import Page, Scene

__all__ = ["piece_of"]

_QUALITY = 78  # of a JPEG: ours; at 85 pages grow by a third and nothing more is seen at this size


def piece_of(scene: Scene, side: int) -> list[dict[str, Any]]:
    """The pages of a scene.

    Args:
        scene: Of a result.
        side: The longer side of the pictures in pixels; smaller films stay as they are.

    Returns:
        Per page, JSON-able: ``width`` and ``height`` (of the film, in which boxes and points are counted), ``jpeg``
        (base64), ``verdict``, ``lines``, ``alarm``, ``boxes`` (x0, y0, x1, y1, look, label), ``points`` (x, y, look,
        label).
    """
    return [_page(page, side) for page in scene.pages]


def _page(page: Page, side: int) -> dict[str, Any]:
    height, width = page.pixels.shape
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(page.pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else page.pixels
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(small)).save(out, format="JPEG", quality=_QUALITY, optimize=True)
    return {
        "width": width,
        "height": height,
        "jpeg": base64.b64encode(out.getvalue()).decode("ascii"),
        "verdict": page.verdict,
        "lines": list(page.lines),
        "alarm": page.alarm,
        "boxes": [[b.x0, b.y0, b.x1, b.y1, b.look, b.label] for b in page.boxes],
        "points": [[p.x, p.y, p.look, p.label] for p in page.points],
    }
