"""Small pictures of the worst misses and false alarms, with reference and predicted boxes, for the report."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from fracture.errors import FractureError, UnreadableFileError, unforeseen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.evaluation.findings import Findings

__all__ = ["SIDE", "find_images", "thumbnails"]

SIDE = 360
"""Longest side of a thumbnail in pixels."""

_REFERENCE, _PREDICTED = (102, 220, 120), (255, 170, 60)
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


def find_images(folder: Path, names: list[str]) -> dict[str, Path]:
    """Film name to file: below the folder by its whole name, else by base name, else by name without extension."""
    found: dict[str, Path] = {}
    left = []
    for name in names:
        direct = folder / name
        if not Path(name).is_absolute() and direct.is_file():
            found[name] = direct
        else:
            left.append(name)
    if left:
        by_base: dict[str, Path] = {}
        by_stem: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix.lower() in _ENDINGS:
                by_base.setdefault(path.name, path)
                by_stem.setdefault(path.stem, path)
        for name in left:
            other = by_base.get(Path(name).name) or by_stem.get(Path(name).stem)
            if other is not None:
                found[name] = other
    return found


def _pixels(path: Path) -> NDArray[np.uint8]:
    """A film as gray values 0 .. 255, bright bone; DICOM through the library's own reader."""
    if path.suffix.lower() in (".dcm", ".dicom", ""):
        from fracture.io.reading import read

        film = read(path)
        gray: NDArray[np.uint8] = np.round(255.0 * film.pixels).astype(np.uint8)
        return gray
    with Image.open(path) as picture:
        if picture.mode.startswith(("I", "F")):
            values = np.asarray(picture, dtype=np.float64)
            low, high = np.percentile(values, (0.5, 99.5))
            scaled = np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)
            wide: NDArray[np.uint8] = np.round(255.0 * scaled).astype(np.uint8)
            return wide
        return np.asarray(picture.convert("L"))


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


def _dashed(pen: ImageDraw.ImageDraw, box: tuple[float, ...], dash: int = 6) -> None:
    x0, y0, x1, y1 = box
    sides = ((x0, x1, y0, True), (x0, x1, y1, True), (y0, y1, x0, False), (y0, y1, x1, False))
    for start, stop, fixed, across in sides:
        for place in np.arange(start, stop, 2 * dash):
            end = min(place + dash, stop)
            line = (place, fixed, end, fixed) if across else (fixed, place, fixed, end)
            pen.line(line, fill=_PREDICTED, width=2)
