"""How well discs are found and named, from marks that may be incomplete.

A disc that was found where nobody marked one counts neither way. On pictures with all five levels named it counts as a
false alarm, but for discs further up the spine, which nobody named. Intervals are drawn by source group.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fracture.data.files import read_text
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError
from fracture.evaluation.detection import BoxAveragePrecision
from fracture.evaluation.matching import Criterion, box_table, match
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.statistics import MeanOf
from fracture.simulate.lumbar import LEVELS
from fracture.spine.lumbar.finding import Disc, Discs
from fracture.spine.lumbar.records import DiscMark, discs_of, polyline

_REACH = 0.5  # of the distance between neighbors: a disc that is nearer to a mark was found (ours)
Boxes = list[tuple[float, float, float, float]]


@dataclass(frozen=True, slots=True)
class DiscMeasures(Record):
    """Measures on some pictures.

    Attributes:
        name: Which pictures.
        pictures, marked: How many, and how many discs are marked on them.
        found: Share of the marked discs with a disc on the chain within half the distance between neighbors.
        error_px: Mean distance of their centers, in pixels of the picture.
        error_gap: The same as a share of the distance between neighbors.
        error_mm: The same in millimeters, where the pictures say how large a pixel is.
        ap50: Average precision of boxes at an intersection over union of 0.5, on pictures with boxes.
        ap_complete: Average precision of centers on pictures with all five levels named.
        levels: Share of the discs named there that bear the right name.
        all_five: Share of those pictures with all five right.
        naming: How often names were clear, doubtful or not given, on all pictures.
    """

    name: str
    pictures: int
    marked: int
    found: Estimate
    error_px: Estimate
    error_gap: Estimate
    error_mm: Estimate
    ap50: Estimate
    ap_complete: Estimate
    levels: Estimate
    all_five: Estimate
    naming: dict[str, int]


def read_found(paths: Iterable[str | os.PathLike[str]], annotated: AnnotatedSet) -> dict[str, Discs]:
    """What finders said of pictures that they were not trained on: ``found.jsonl`` of several runs, by film.

    Raises:
        DataError: A line that is none, or of no picture of the set, or a picture twice.
    """
    found: dict[str, Discs] = {}
    for path in map(Path, paths):
        for line in read_text(path).splitlines():
            try:
                row = json.loads(line)
                source, discs = str(row["source"]), _discs(row)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}: a line that is not what a finder said", got=str(error)[:80]) from None
            names = [film.source for film in annotated if f"/{source}".endswith(f"/{film.source}")]
            if len(names) != 1 or names[0] in found:
                raise DataError(f"{path}: a picture that is not in the set, or there twice", got=source)
            found[names[0]] = discs
    return found


def _discs(row: Mapping[str, Any]) -> Discs:
    kinds = (tuple(Disc(**disc) for disc in row[name]) for name in ("discs", "candidates"))
    discs, candidates = kinds
    return Discs(discs, row["naming"], tuple(row["remarks"]), candidates)


def measure(
    annotated: AnnotatedSet,
    found: Mapping[str, Discs],
    *,
    resamples: int = 1000,
    by: Callable[[Film], str] = lambda film: str(film.extra["part"]),
) -> tuple[DiscMeasures, ...]:
    """Measures on all pictures, and on each part of them.

    Args:
        annotated: Of :func:`fracture.spine.lumbar.records.read_discs`.
        found: By film; pictures without an entry are not judged.
        resamples: Of the bootstrap by group.
        by: Which part a picture belongs to.

    Raises:
        DataError: No picture was judged.
    """
    films = [film for film in annotated if film.source in found]
    if not films:
        raise DataError("no picture of the set was judged", hint="give what a finder said of this set")
    parts = sorted({by(film) for film in films})
    wanted = [("all", films), *((part, [film for film in films if by(film) == part]) for part in parts)]
    return tuple(_measured(name, part, found, resamples) for name, part in wanted if len(parts) > 1 or name == "all")


def _measured(name: str, films: Sequence[Film], found: Mapping[str, Discs], resamples: int) -> DiscMeasures:
    groups = [film.group for film in films]
    rows = [(k, *row) for k, film in enumerate(films) for row in _pairs(discs_of(film), found[film.source].discs)]
    picture = np.array([row[0] for row in rows], np.int64)
    far = np.array([row[2] for row in rows], np.float64)
    gap = np.array([row[3] for row in rows], np.float64)
    spacing = np.array([float(films[k].extra["spacing"] or np.nan) for k in picture])
    hit = np.isfinite(far)

    def mean(values: NDArray[Any], inside: NDArray[np.bool_], reason: str) -> Estimate:
        if not inside.any():
            return not_defined(reason)
        chosen = [groups[k] for k in picture[inside]]
        drawn = Bootstrap(resamples, groups=np.array(chosen)).over(len(chosen))
        return drawn.estimate(MeanOf(values[inside].astype(np.float64)))

    complete = np.array([bool(films[k].extra["complete"]) for k in picture], bool)
    named = complete & np.array([row[1].level in LEVELS for row in rows], bool)
    right = np.array([row[4] is not None and row[4].level == row[1].level for row in rows], bool)
    whole = [k for k, film in enumerate(films) if film.extra["complete"]]
    five = np.array([right[named & (picture == k)].all() for k in whole], np.float64)
    counts = {kind: sum(found[film.source].naming == kind for film in films) for kind in ("clear", "doubtful", "none")}
    none = "no picture has all five levels named"
    return DiscMeasures(
        name=name,
        pictures=len(films),
        marked=len(rows),
        found=mean(hit, np.ones(len(rows), bool), "no disc is marked"),
        error_px=mean(far, hit, "no marked disc was found"),
        error_gap=mean(far / gap, hit, "no marked disc was found"),
        error_mm=mean(far * spacing, hit & np.isfinite(spacing), "the pictures do not say how large a pixel is"),
        ap50=_precision(films, found, _boxes, Criterion("iou", 0.5), resamples),
        ap_complete=_precision([films[k] for k in whole], found, _squares, Criterion("center"), resamples),
        levels=mean(right, named, none),
        all_five=Bootstrap(resamples, groups=np.array([groups[k] for k in whole]))
        .over(len(whole))
        .estimate(MeanOf(five))
        if whole
        else not_defined(none),
        naming=counts,
    )


def _pairs(marks: Sequence[DiscMark], discs: Sequence[Disc]) -> list[tuple[DiscMark, float, float, Disc | None]]:
    """Each mark with the distance of its disc (infinite without one), the distance between neighbors, and the disc."""
    places, gap = polyline(marks)
    if not gap:  # a single mark: the chain tells how far neighbors lie
        gap = polyline([DiscMark(disc.x, disc.y) for disc in discs])[1] or np.inf
    far = np.array([[float(np.hypot(x - disc.x, y - disc.y)) for disc in discs] for x, y in places])
    partner: dict[int, int] = {}
    if far.size:
        rows, columns = linear_sum_assignment(np.where(far <= _REACH * gap, far, 1e6))
        partner = {i: j for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if far[i, j] <= _REACH * gap}
    return [
        (mark, float(far[i, partner[i]]) if i in partner else np.inf, gap, discs[partner[i]] if i in partner else None)
        for i, mark in enumerate(marks)
    ]


def _precision(
    films: Sequence[Film],
    found: Mapping[str, Discs],
    of: Callable[[Sequence[DiscMark], Sequence[Disc]], tuple[Boxes, list[Disc]]],
    criterion: Criterion,
    resamples: int,
) -> Estimate:
    tables: tuple[list[Any], list[Any]] = [], []
    for number, film in enumerate(films):
        boxes, candidates = of(discs_of(film), found[film.source].candidates)
        tables[0].extend((number, (d.x0, d.y0, d.x1, d.y1), d.score) for d in candidates)
        tables[1].extend((number, box, 1.0) for box in boxes)
    if not tables[1]:
        return not_defined("no picture has such marks")
    predicted, reference = (
        box_table([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], films=len(films)) for rows in tables
    )
    drawn = Bootstrap(resamples, groups=np.array([film.group for film in films])).over(len(films))
    return drawn.estimate(BoxAveragePrecision(match(predicted, reference, criterion)))


def _boxes(marks: Sequence[DiscMark], candidates: Sequence[Disc]) -> tuple[Boxes, list[Disc]]:
    """Marked boxes, and the candidates whose center lies in one: all others count neither way."""
    sized = [(mark.x, mark.y, *mark.size) for mark in marks if mark.size is not None]
    boxes = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in sized]
    return boxes, [d for d in candidates if any(b[0] <= d.x <= b[2] and b[1] <= d.y <= b[3] for b in boxes)]


def _squares(marks: Sequence[DiscMark], candidates: Sequence[Disc]) -> tuple[Boxes, list[Disc]]:
    """Squares around the five named centers; what lies on the spine above them counts neither way."""
    named = [mark for mark in marks if mark.level in LEVELS]
    places, gap = polyline(named)
    up = (places[0] - places[1]) / np.linalg.norm(places[0] - places[1])
    half = _REACH * gap
    counted = []
    for disc in candidates:
        along = float((np.array([disc.x, disc.y]) - places[0]) @ up)
        aside = float(np.linalg.norm(np.array([disc.x, disc.y]) - places[0] - along * up))
        if along <= half or aside > 1.5 * gap:
            counted.append(disc)
    return [(x - half, y - half, x + half, y + half) for x, y in places.tolist()], counted


def text_of(measures: Sequence[DiscMeasures]) -> list[str]:
    """The measures as lines for people."""
    lines = []
    for one in measures:
        lines.append(f"{one.name}: {one.pictures} pictures, {one.marked} marked discs")
        for label, estimate, percent in (
            ("found", one.found, True),
            ("center error, pixels", one.error_px, False),
            ("center error, share of the distance between discs", one.error_gap, False),
            ("center error, mm", one.error_mm, False),
            ("AP of boxes at IoU 0.5", one.ap50, False),
            ("AP of centers, complete pictures", one.ap_complete, False),
            ("levels right", one.levels, True),
            ("pictures with all five right", one.all_five, True),
        ):
            lines.append(f"  {label}: {estimate.text(percent=percent)} (n = {estimate.n})")
        lines.append("  names: " + ", ".join(f"{count} {kind}" for kind, count in one.naming.items()))
    return lines
