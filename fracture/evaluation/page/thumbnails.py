"""Small pictures of the worst misses and false alarms, with reference and predicted boxes, for the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from fracture.data.files import Problems
from fracture.errors import FractureError, UnreadableFileError, unforeseen
from fracture.evaluation.tables import match_names
from fracture.io.reading import read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.evaluation.findings import Findings

SIDE = 360
"""Longest side of a thumbnail in pixels."""

_REFERENCE, _PREDICTED = (102, 220, 120), (255, 170, 60)
_DASH = 6
_LISTED = 3
_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", ".bmp", "")


def thumbnails(report: Findings, images: Path) -> dict[int, str]:
    """Film number to a JPEG data URI, for the worst misses and false alarms that the folder holds.

    Reference boxes are green and solid; the three best predicted boxes orange and dashed. A film that is missing or
    cannot be read is left out (the report says so in its place).

    Args:
        report: The report.
        images: Folder of the films, searched for their names.

    Raises:
        UnreadableFileError: The folder does not exist.
    """
    if not images.is_dir():
        raise UnreadableFileError(f"{images}: there is no such folder", hint="--images takes the folder of the films")
    wanted = (*report.misses, *report.alarms)
    paths = find_images(images, [film.name for film in wanted])
    result = {}
    for film in wanted:
        path = paths.get(film.name)
        if path is None:
            continue
        try:
            with unforeseen(film.name):
                result[film.film] = _draw(report, film.film, _pixels(path))
        except FractureError:
            continue  # shown as "film not found or not readable" in its place
    return result


def find_images(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Film name to file below a folder, matched as predictions are; a name that could mean two films has none."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _ENDINGS and path.is_file()]
    files = [path.relative_to(folder).as_posix() for path in paths]
    found = match_names(names, files, None, None, Problems(str(folder)))
    return {name: paths[place] for name, place in zip(names, found.tolist(), strict=True) if place >= 0}


def _pixels(path: Path) -> NDArray[np.uint8]:
    """A film as gray values 0 .. 255, bright bone, its darkest and brightest 0.5 % clipped."""
    pixels = read(path).pixels
    low, high = np.percentile(pixels, (0.5, 99.5))
    gray: NDArray[np.uint8] = np.round(255.0 * np.clip((pixels - low) / max(high - low, 1e-9), 0, 1)).astype(np.uint8)
    return gray


def _draw(report: Findings, film: int, pixels: NDArray[np.uint8]) -> str:
    height, width = pixels.shape
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS).convert("RGB")
    pen = ImageDraw.Draw(picture)
    cases = report.cases
    if cases.predicted is not None:
        mine = np.flatnonzero(cases.predicted.film == film)
        best = mine[np.argsort(-cases.predicted.scores[mine], kind="stable")[:_LISTED]]
        for box in cases.predicted.boxes[best]:
            _dashed(pen, tuple(float(v) * scale for v in box))
    if cases.fractures is not None:
        for box in cases.fractures.boxes[cases.fractures.film == film]:
            x0, y0, x1, y1 = (float(v) * scale for v in box)
            pen.rectangle((x0, y0, x1, y1), outline=_REFERENCE, width=2)
    out = io.BytesIO()
    picture.save(out, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _dashed(pen: ImageDraw.ImageDraw, box: tuple[float, ...]) -> None:
    x0, y0, x1, y1 = box
    sides = ((x0, x1, y0, True), (x0, x1, y1, True), (y0, y1, x0, False), (y0, y1, x1, False))
    for start, stop, fixed, across in sides:
        for place in np.arange(start, stop, 2 * _DASH):
            end = min(place + _DASH, stop)
            line = (place, fixed, end, fixed) if across else (fixed, place, fixed, end)
            pen.line(line, fill=_PREDICTED, width=2)
