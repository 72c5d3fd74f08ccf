"""How well discs are found and named, and how well studies are graded.

Marks of discs may be incomplete: one that was found where nobody marked one counts neither way. On pictures with all
five levels named it counts as a false alarm, but for discs further up the spine, which nobody named. Intervals are
drawn by source group, those of grades by study.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
from scipy.optimize import linear_sum_assignment

from fracture.data.files import read_text
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError
from fracture.evaluation.detection import BoxAveragePrecision
from fracture.evaluation.matching import Criterion, box_table, match
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.statistics import MeanOf
from fracture.simulate.lumbar import LEVELS
from fracture.spine.crops import match as match_slices, places_of, voxel_of
from fracture.spine.kinds import AXIAL_T2
from fracture.spine.lumbar.finding import Disc, Discs, Naming
from fracture.spine.lumbar.grading import views_of
from fracture.spine.lumbar.metric import (
    CONDITIONS,
    LEVEL_NAMES,
    analyze,
    score,
    score_estimate,
)
from fracture.spine.lumbar.records import DiscMark, discs_of, polyline
from fracture.spine.lumbar.studies import truth_of
from fracture.spine.measures import Measure, Measures
from fracture.spine.series import find_series
from fracture.spine.tables import Numbers
from fracture.wing.result import known_fields

if TYPE_CHECKING:
    from fracture.spine.lumbar.reader import LumbarReader

_REACH = 0.5  # of the distance between neighbors: a disc that is nearer to a mark was found (ours)
_THIRDS = (1 / 3, 1 / 3, 1 / 3)
Boxes = list[tuple[float, float, float, float]]


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
    discs, candidates = (
        tuple(Disc(**known_fields(Disc, disc)) for disc in row[name]) for name in ("discs", "candidates")
    )
    return Discs(discs, row["naming"], tuple(row["remarks"]), candidates)


def measure(
    annotated: AnnotatedSet,
    found: Mapping[str, Discs],
    *,
    resamples: int = 1000,
    by: Callable[[Film], str] = lambda film: str(film.extra["part"]),
) -> tuple[Measures, ...]:
    """Measures on all pictures, and on each part of them.

    A disc is found where one on the chain lies within half the distance between neighbors; ``ap50`` is the average
    precision of boxes at an intersection over union of 0.5 on pictures with boxes, ``ap_complete`` that of centers on
    pictures with all five levels named; millimeters are known where pictures say how large a pixel is.

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


class _Pair(NamedTuple):
    """A mark, the distance between neighbors, and its disc, so far away, if one is near."""

    film: Film
    mark: DiscMark
    gap: float
    disc: Disc | None
    far: float

    @property
    def right(self) -> bool:
        return self.disc is not None and self.disc.level == self.mark.level


def _measured(name: str, films: Sequence[Film], found: Mapping[str, Discs], resamples: int) -> Measures:
    pairs = [pair for film in films for pair in _pairs(film, found[film.source].discs)]
    hits = [pair for pair in pairs if pair.disc is not None]
    sized = [pair for pair in hits if pair.film.extra["spacing"]]
    whole = [film for film in films if film.extra["complete"]]
    named = [pair for pair in pairs if pair.film in whole and pair.mark.level in LEVELS]
    five = [all(pair.right for pair in named if pair.film is film) for film in whole]

    def mean(values: Sequence[float], of: Sequence[_Pair], reason: str) -> Estimate:
        return _mean(values, resamples, reason, [pair.film.group for pair in of])

    none, unfound, unsized = (
        "no picture has all five levels named",
        "no marked disc was found",
        "the pictures do not say how large a pixel is",
    )
    gaps, mm = [p.far / p.gap for p in hits], [p.far * float(str(p.film.extra["spacing"])) for p in sized]
    boxes = _precision(films, found, _boxes, Criterion("iou", 0.5), resamples)
    centers = _precision(whole, found, _squares, Criterion("center"), resamples)
    rows = (
        Measure("found", "found", mean([p.disc is not None for p in pairs], pairs, "no disc is marked"), share=True),
        Measure("error_px", "center error, pixels", mean([pair.far for pair in hits], hits, unfound)),
        Measure("error_gap", "center error, share of the distance between discs", mean(gaps, hits, unfound)),
        Measure("error_mm", "center error, mm", mean(mm, sized, unsized)),
        Measure("ap50", "AP of boxes at IoU 0.5", boxes),
        Measure("ap_complete", "AP of centers, complete pictures", centers),
        Measure("levels", "levels right", mean([pair.right for pair in named], named, none), share=True),
        Measure(
            "all_five", "pictures with all five right", _mean(five, resamples, none, [f.group for f in whole]), True
        ),
    )
    naming = Counter(found[film.source].naming for film in films)
    counts = {kind: naming[kind] for kind in get_args(Naming)}
    title = f"{name}: {len(films)} pictures, {len(pairs)} marked discs"
    facts = {"name": name, "pictures": len(films), "marked": len(pairs), "naming": counts}
    return Measures(title, facts, rows, ("names: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()),))


def _mean(values: Sequence[float], resamples: int, reason: str, groups: Sequence[str] | None = None) -> Estimate:
    if not len(values):
        return not_defined(reason)
    drawn = Bootstrap(resamples, groups=None if groups is None else np.array(groups)).over(len(values))
    return drawn.estimate(MeanOf(np.array(values, np.float64)))


def _pairs(film: Film, discs: Sequence[Disc]) -> list[_Pair]:
    marks = discs_of(film)
    places, gap = polyline(marks)
    if not gap:  # a single mark: the chain tells how far neighbors lie
        gap = polyline([DiscMark(disc.x, disc.y) for disc in discs])[1] or np.inf
    far = np.array([[float(np.hypot(x - disc.x, y - disc.y)) for disc in discs] for x, y in places])
    partner: dict[int, int] = {}
    if far.size:
        rows, columns = linear_sum_assignment(np.where(far <= _REACH * gap, far, 1e6))
        partner = {i: j for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if far[i, j] <= _REACH * gap}
    return [
        _Pair(film, mark, gap, discs[partner[i]], float(far[i, partner[i]]))
        if i in partner
        else _Pair(film, mark, gap, None, np.inf)
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
        tables[0].extend((number, d.box, d.score) for d in candidates)
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


class Place(NamedTuple):
    """Where one marked level was found.

    Attributes:
        study, level: Which.
        disc_mm: Distance of the disc of that name from the mark, within the sagittal plane; NaN where none was named.
        axial_slices: How many slices the matched axial slice is away from the marked one; NaN where none was matched.
    """

    study: str
    level: str
    disc_mm: float
    axial_slices: float


def read_grades(reader: LumbarReader, studies: AnnotatedSet) -> tuple[Numbers, list[Place]]:
    """What a reader says of every study, and where it found their levels.

    Raises:
        FractureError: A study that cannot be read.
    """
    chances: Numbers = {}
    places: list[Place] = []
    for film in studies:
        extra: Any = film.extra
        found = reader.predict(studies.image_path(film), kinds=extra["series"])
        chances |= {f"{film.group}_{row}": tuple(values) for row, values in found.chances.items()}
        discs = {disc.level: disc.place for disc in found.discs if disc.place is not None}
        places += _places(film, studies, discs)
    return chances, places


def _places(film: Film, studies: AnnotatedSet, discs: Mapping[str, tuple[float, float, float]]) -> list[Place]:
    extra: Any = film.extra
    folder = studies.image_path(film)
    marks, recesses = places_of(folder, extra["points"]), places_of(folder, extra["recesses"])
    axial = views_of(find_series(folder).of_kinds(extra["series"])).get(AXIAL_T2, [])
    matched = match_slices(axial, discs)
    found = []
    for level in marks:
        far = apart = np.nan
        if level in discs:
            far = float(np.hypot(*np.subtract(discs[level], marks[level])[1:]))
        if level in matched and level in recesses:
            apart = abs(voxel_of(axial[matched[level].volume], recesses[level])[0] - matched[level].slice)
        found.append(Place(film.group, level, far, apart))
    return found


def completed(studies: AnnotatedSet, predicted: Numbers) -> Numbers:
    """A submission with every row that is labeled: three thirds where nothing was predicted."""
    return {**dict.fromkeys(truth_of(studies), _THIRDS), **predicted}


def measure_grades(
    studies: AnnotatedSet, predicted: Numbers, places: Sequence[Place] = (), *, resamples: int = 1000
) -> Measures:
    """The score of a submission, with an interval by study, and what stands behind it.

    Rows that nobody predicted are given three thirds. A level is named where a disc of its name lies within 10 mm of
    its mark, and its axial slice is right where it is the marked one or its neighbor.

    Args:
        studies: Of :func:`fracture.spine.lumbar.studies.read_studies`.
        predicted: Of :func:`read_grades`, or a submission.
        places: Of :func:`read_grades`.
        resamples: Of the bootstrap by study.

    Raises:
        DataError: Nothing was predicted, or no row is labeled.
    """
    truth, draws = truth_of(studies), Bootstrap(resamples)
    missing = [key for key in truth if key not in predicted]
    if len(missing) == len(truth):
        raise DataError("no row of these studies was predicted", got=f"{len(predicted)} other rows")
    whole = completed(studies, predicted)

    far, marked = [one.disc_mm for one in places], [one.axial_slices for one in places]
    total, unmarked = score(truth, whole), "no level is marked"
    groups = analyze(truth, whole, bootstrap=draws)
    near = _mean([value < 10 for value in far], resamples, unmarked)
    error = _mean([value for value in far if value < 10], resamples, "no level was found")
    axial = _mean([value < 1.5 for value in marked], resamples, unmarked)
    rows = (
        Measure("interval", "score (lower is better)", score_estimate(truth, whole, bootstrap=draws)),
        Measure("named", "levels named within 10 mm", near, share=True),
        Measure("disc_mm", "their center error, mm", error),
        Measure("axial", "axial slice right or next to it", axial, share=True),
    )
    parts = ("spinal", "foraminal", "subarticular", "any_severe_spinal")
    more = [", ".join(f"{part} {getattr(total, part):.3f}" for part in parts)]
    more += [
        f"{row.name}: severe AUC {row.severe_auc.text()}, log loss {row.log_loss:.3f}"
        for row in groups
        if row.name in ("all", *CONDITIONS, *LEVEL_NAMES)
    ]
    title = f"{len(studies)} studies, {total.rows} rows, {len(missing)} of them not predicted"
    facts = {"studies": len(studies), "score": total, "missing": len(missing), "rows": groups}
    return Measures(title, facts, rows, tuple(more))
