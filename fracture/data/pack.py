"""An annotated set as one small file: its films as gray JPEG of bounded size, and its annotations in their frame.

For training on another machine (a GPU that is lent for an hour): what travels there is one file instead of gigabytes of
DICOM. Networks here look at films of some 450 to 900 pixels, so little is lost; evaluation belongs on the originals.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from fracture.atomic import write_atomic
from fracture.data.coco_writer import write_coco
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError, FractureError
from fracture.io.reading import read
from fracture.preprocess.pipeline import resize_by_axis

_MOMENT = (1980, 1, 1, 0, 0, 0)  # of every entry: the same set gives the same bytes


@dataclass(frozen=True)
class Packed:
    """What was written.

    Attributes:
        films: How many.
        size: Bytes of the file.
        failures: Films that cannot be read, with the reason; they are not in the file.
    """

    films: int
    size: int
    failures: tuple[tuple[str, str], ...] = ()


def pack(
    annotated: AnnotatedSet,
    out: str | Path,
    *,
    long_side: int = 720,
    quality: int = 85,
    progress: Callable[[int], object] | None = None,
) -> Packed:
    """Write a ZIP with ``annotations.json`` (COCO) and the films below it, for ``fracture train`` after unpacking.

    >>> pack(read_annotations("FRACATLAS"), "films.zip")
    >>> # there: python -m zipfile -e films.zip films; fracture train pyramid_public --data films --out run

    Films are read as everywhere (``fracture.read``), made smaller by area averaging where their longer side exceeds
    ``long_side``, never enlarged, and kept under their names, ending in ``.jpg``. Boxes and outlines follow. Groups,
    regions, views, site and hardware are kept.

    Args:
        annotated: The set.
        out: The file to write; one that is there is replaced.
        long_side: Longest side in pixels, at least 16; 720 is ours.
        quality: Of the JPEG, 1 to 100; 85 is ours.
        progress: Called with 1 after each film.

    Raises:
        DataError: No film can be read, two films would have the same name, or a size or quality that cannot be.
        OutputError: The file cannot be written.
    """
    if long_side < 16 or not 1 <= quality <= 100:
        raise DataError("what to pack to", got=f"long_side={long_side}, quality={quality}", allowed="16 px, 1 to 100")
    failures: list[tuple[str, str]] = []
    films: list[Film] = []

    def fill(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for film in annotated:
                try:
                    content, moved = _film(annotated, film, long_side, quality)
                except FractureError as error:
                    failures.append((film.source, str(error)))
                else:
                    archive.writestr(zipfile.ZipInfo(moved.source, _MOMENT), content)
                    films.append(moved)
                if progress is not None:
                    progress(1)
            if not films:
                raise DataError(f"none of the {len(annotated)} films of {annotated.name} can be read", got=failures[:1])
            archive.writestr(zipfile.ZipInfo("annotations.json", _MOMENT), _annotations(annotated, films))

    write_atomic(out, fill)
    return Packed(len(films), Path(out).stat().st_size, tuple(failures))


def _film(annotated: AnnotatedSet, film: Film, long_side: int, quality: int) -> tuple[bytes, Film]:
    """The film as JPEG, and its annotation in that frame."""
    pixels = read(annotated.image_path(film)).pixels
    height, width = pixels.shape
    scale = min(1.0, long_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    gray = np.rint(resize_by_axis(pixels, size) * 255.0).astype(np.uint8)
    _, content = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, quality])
    by = (size[0] / (film.width or width), size[1] / (film.height or height))
    moved = film.moved(lambda point: (point[0] * by[0], point[1] * by[1]), size)
    return content.tobytes(), replace(moved, source=str(PurePosixPath(film.source).with_suffix(".jpg")))


def _annotations(annotated: AnnotatedSet, films: list[Film]) -> str:
    moved = replace(annotated, films=tuple(films))  # refuses two films of one name
    with TemporaryDirectory() as folder:
        path = Path(folder) / "annotations.json"
        write_coco(moved, path)
        return path.read_text(encoding="utf-8")
