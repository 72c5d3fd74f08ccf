"""``fracture label import``: what people made of an export, as an annotated set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError
from fracture.label import cvat, label_studio
from fracture.label.films import Answer, Listed, Listing
from fracture.regular import read_regular
from fracture.schema import read_json

_LARGEST = 2**30  # bytes of an export


@dataclass(frozen=True)
class Corrected:
    """What came back.

    Attributes:
        annotated: The films that people judged; its root is the folder above them all, its sources lie below that.
        left_out: Pictures without a film in the set, and why.
        remarks: What was odd, by picture.
        changed: How many films have other boxes or another verdict than was proposed.
    """

    annotated: AnnotatedSet
    left_out: dict[str, str]
    remarks: dict[str, str]
    changed: int

    @property
    def counts(self) -> dict[str, int]:
        """How many were left out, by reason."""
        return dict(Counter(self.left_out.values()))


def read_corrections(exported: str | Path, listing: str | Path) -> Corrected:
    """Read an export of Label Studio (JSON) or CVAT (XML, "CVAT for images 1.1").

    Args:
        exported: The tool's export.
        listing: ``films.json`` of ``fracture label export``.

    Raises:
        DataError: Not such a file, pictures that the listing does not have, or a box outside its film.
    """
    path = Path(exported)
    known = {film.picture: film for film in Listing.read(Path(listing)).films}
    content = read_regular(path, _LARGEST)
    if content.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        given = cvat.answers(content)
    else:
        given = label_studio.answers(read_json(path, limit=_LARGEST, error=DataError))
    if unknown := [answer.picture for answer in given if answer.picture not in known]:
        raise DataError(
            f"{path} has pictures that {listing} does not list",
            got=", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if unknown[3:] else ""),
            hint="give the films.json of the export that these were labeled from",
        )
    return _set([(known[answer.picture], answer) for answer in given], known)


def _set(pairs: Sequence[tuple[Listed, Answer]], known: dict[str, Listed]) -> Corrected:
    left_out = dict.fromkeys(known, "not in the export")
    judged: list[tuple[Listed, Answer]] = []
    for film, answer in pairs:
        if answer.width and (answer.width, answer.height) != (film.width, film.height):
            raise DataError(
                f"{film.picture} had another size in the tool",
                got=f"{answer.width} x {answer.height}",
                allowed=f"{film.width} x {film.height}",
            )
        if answer.verdict == "":
            left_out[film.picture] = "nobody looked at it"
        elif answer.verdict == "unsure":
            left_out[film.picture] = "unsure"
        elif answer.verdict == "normal" and answer.boxes:
            left_out[film.picture] = "called normal, but with a box"
        else:
            left_out.pop(film.picture, None)
            judged.append((film, answer))
    if not judged:
        raise DataError("nobody judged any of these films", got=dict(Counter(left_out.values())))
    paths = [os.path.abspath(film.source) for film, _ in judged]  # noqa: PTH100
    root = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))  # noqa: PTH120
    films = tuple(
        _film(film, answer, Path(path).relative_to(root).as_posix())
        for (film, answer), path in zip(judged, paths, strict=True)
    )
    return Corrected(
        AnnotatedSet(films, "labeled", root),
        left_out,
        {answer.picture: "; ".join(answer.remarks) for _, answer in pairs if answer.remarks},
        sum(_differs(film, answer) for film, answer in judged),
    )


def _film(film: Listed, answer: Answer, source: str) -> Film:
    boxes = []
    for x0, y0, x1, y1 in answer.boxes:
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(film.width)), min(y1, float(film.height)))
        if not (box[2] > box[0] and box[3] > box[1]):
            raise DataError(f"{film.picture}: a box has no area on the film", got=(x0, y0, x1, y1))
        boxes.append(box)
    fractured = int(answer.verdict == "fracture")
    return Film(
        source=source,
        width=film.width,
        height=film.height,
        fractured=fractured,
        boxes=tuple(boxes),
        localized=bool(boxes) or not fractured,
    )


def _differs(film: Listed, answer: Answer) -> bool:
    proposed = [box[:4] for box in film.boxes]
    same = len(proposed) == len(answer.boxes) and all(
        min(max(abs(a - b) for a, b in zip(one, other, strict=True)) for other in answer.boxes) < 0.5
        for one in proposed
    )
    return not same or film.fractured != (answer.verdict == "fracture")
