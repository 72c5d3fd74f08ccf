"""Boxes drawn before the EXIF rotation, put where readers see the film."""

from __future__ import annotations

from dataclasses import replace

from fracture.data.images import ImageHeader, read_header
from fracture.data.records import AnnotatedSet, Film, Point
from fracture.errors import DataError, UnreadableFileError

__all__ = ["orient_film", "repair_exif_frames"]

_TURNED = (5, 6, 7, 8)


def orient_film(film: Film, header: ImageHeader) -> Film:
    """A film whose boxes are in the frame as stored, with its boxes in the frame as read.

    Raises:
        DataError: The film's size is not that of the stored frame.
    """
    stored = (header.stored_width, header.stored_height)
    if (film.width, film.height) != stored:
        raise DataError(
            f"{film.source}: the annotations are not in the stored frame",
            got=f"{film.width} x {film.height}",
            allowed=f"{stored[0]} x {stored[1]}",
        )
    width, height = header.size
    boxes = []
    for x0, y0, x1, y1 in film.boxes:
        (ax, ay), (bx, by) = (_oriented(p, stored, header.orientation) for p in ((x0, y0), (x1, y1)))
        boxes.append((min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)))
    return replace(
        film,
        width=width,
        height=height,
        boxes=tuple(boxes),
        polygons=tuple(
            tuple(tuple(_oriented(p, stored, header.orientation) for p in ring) for ring in rings)
            for rings in film.polygons
        ),
    )


def repair_exif_frames(annotated: AnnotatedSet) -> AnnotatedSet:
    """The set with every film that ``verify`` reports as ``exif_frame`` put right; the others as they are.

    Only files with an EXIF orientation that swaps rows and columns, whose annotations have the size before it, are
    touched. An orientation that keeps the size cannot be told from right annotations: look at those films, and use
    :func:`orient_film` where boxes lie wrong.
    """
    films = []
    for film in annotated:
        try:
            header = read_header(annotated.image_path(film))
        except UnreadableFileError:
            films.append(film)  # verify reports it
            continue
        stored = (header.stored_width, header.stored_height)
        turned = header.orientation in _TURNED and (film.width, film.height) == stored != header.size
        films.append(orient_film(film, header) if turned else film)
    return replace(annotated, films=tuple(films))


def _oriented(point: Point, stored: tuple[int, int], orientation: int) -> Point:
    """A point of the stored frame after the EXIF orientation (EXIF 2.3, tag 0x0112), in edge coordinates."""
    x, y = point
    width, height = stored
    return {
        1: (x, y),
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }[orientation]
