"""Boxes drawn before the EXIF rotation, put where readers see the film."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from fracture.data.images import ImageHeader, read_header
from fracture.data.records import AnnotatedSet, Film, Point
from fracture.errors import DataError, UnreadableFileError

Frame = Literal["stored", "shown"]

_TURNED = (5, 6, 7, 8)
_SLACK = 2.0  # pixels that a box may overhang, as in verify


def orient_film(film: Film, header: ImageHeader) -> Film:
    """A film whose boxes are in the frame as stored, with its boxes in the frame as read.

    Args:
        film: Boxes in pixels of the frame as stored.
        header: Of its file: stored size, and how it is turned.

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
    return film.moved(lambda point: _oriented(point, stored, header.orientation), header.size)


def repair_exif_frames(annotated: AnnotatedSet, *, drawn: Frame | None = None) -> AnnotatedSet:
    """The set with the films that ``verify`` reports as ``exif_frame`` put right; the others as they are.

    Only files with an EXIF orientation that swaps rows and columns, whose annotations have the size before it, are
    touched. Their boxes may lie in the frame as stored, or as shown: Label Studio writes the size before the rotation
    and boxes after it. A film whose boxes fit one of the two frames only tells which, and tells it for the films of its
    set that fit both, since one tool drew them. Where no film tells it, or they disagree, films that fit both stay as
    they are, and ``verify`` goes on reporting them. An orientation that keeps the size cannot be told from right
    annotations: look at those films, and use :func:`orient_film` where boxes lie wrong.

    Args:
        annotated: The set.
        drawn: The frame that boxes were drawn in, where the caller knows: ``"stored"`` or ``"shown"``.
    """
    headers: dict[str, ImageHeader] = {}
    for film in annotated:
        try:
            header = read_header(annotated.image_path(film))
        except UnreadableFileError:
            continue  # verify reports it
        stored = (header.stored_width, header.stored_height)
        if header.orientation in _TURNED and (film.width, film.height) == stored != header.size:
            headers[film.source] = header
    told = {source: drawn or frame_of(annotated.film(source), header) for source, header in headers.items()}
    known = {frame for frame in told.values() if frame is not None}
    usual = known.pop() if len(known) == 1 else None
    films = []
    for film in annotated:
        frame = told.get(film.source) or (usual if film.source in headers else None)
        if frame == "stored":
            film = orient_film(film, headers[film.source])
        elif frame == "shown":
            width, height = headers[film.source].size
            film = replace(film, width=width, height=height)
        films.append(film)
    return replace(annotated, films=tuple(films))


def frame_of(film: Film, header: ImageHeader) -> Frame | None:
    """The only frame that all boxes of a film fit, ``None`` where they fit both or neither."""
    boxes = (*film.boxes, *film.crowd)
    right, bottom = max((b[2] for b in boxes), default=0.0), max((b[3] for b in boxes), default=0.0)
    sizes: dict[Frame, tuple[int, int]] = {
        "stored": (header.stored_width, header.stored_height),
        "shown": header.size,
    }
    fits = [name for name, (width, height) in sizes.items() if right <= width + _SLACK and bottom <= height + _SLACK]
    return fits[0] if len(fits) == 1 else None


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
