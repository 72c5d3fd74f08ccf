"""How well studies with known grades are read, from series to the 25 rows: the challenge's score and its causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.statistics import MeanOf
from fracture.simulate.lumbar import LEVELS
from fracture.spine.crops import match, places_of, voxel_of
from fracture.spine.kinds import AXIAL_T2
from fracture.spine.lumbar.grading import views_of
from fracture.spine.lumbar.metric import ROWS, GroupScore, LumbarScore, analyze, score, score_estimate
from fracture.spine.lumbar.studies import truth_of
from fracture.spine.series import find_series
from fracture.spine.tables import Numbers

if TYPE_CHECKING:
    from fracture.spine.lumbar.reader import LumbarReader


_THIRDS = (1 / 3, 1 / 3, 1 / 3)


@dataclass(frozen=True, slots=True)
class Place(Record):
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


@dataclass(frozen=True, slots=True)
class GradeMeasures(Record):
    """Measures of grades.

    Attributes:
        studies: How many.
        score: The challenge's score and its parts.
        interval: The score once more, with an interval by study.
        missing: Rows that nobody predicted; they were given three thirds.
        named: Share of the marked levels with a disc of that name within 10 mm.
        disc_mm: Mean distance of these.
        axial: Share of the marked levels whose axial slice is the marked one or its neighbor.
        rows: What stands behind the score, by condition, level, and both.
    """

    studies: int
    score: LumbarScore
    interval: Estimate
    missing: int
    named: Estimate
    disc_mm: Estimate
    axial: Estimate
    rows: tuple[GroupScore, ...]


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
    matched = match(axial, discs)
    found = []
    for level in marks:
        far = apart = np.nan
        if level in discs:
            far = float(np.hypot(*np.subtract(discs[level], marks[level])[1:]))
        if level in matched and level in recesses:
            apart = abs(voxel_of(axial[matched[level].volume], recesses[level])[0] - matched[level].slice)
        found.append(Place(film.group, level, far, apart))
    return found


def measure_grades(
    studies: AnnotatedSet, predicted: Numbers, places: Sequence[Place] = (), *, resamples: int = 1000
) -> GradeMeasures:
    """The score of a submission and what stands behind it.

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
    whole = {**predicted, **dict.fromkeys(missing, _THIRDS)}

    def mean(values: Sequence[float]) -> Estimate:
        if not len(values):
            return not_defined("no level is marked, or none was found")
        return Bootstrap(resamples).over(len(values)).estimate(MeanOf(np.array(values, np.float64)))

    far = [one.disc_mm for one in places]
    marked = [one.axial_slices for one in places]
    return GradeMeasures(
        studies=len(studies),
        score=score(truth, whole),
        interval=score_estimate(truth, whole, bootstrap=draws),
        missing=len(missing),
        named=mean([float(value < 10) for value in far]),
        disc_mm=mean([value for value in far if value < 10]),
        axial=mean([float(value < 1.5) for value in marked]),
        rows=analyze(truth, whole, bootstrap=draws),
    )


def lines_of(found: GradeMeasures) -> list[str]:
    """The measures as lines for people."""
    parts = found.score
    lines = [
        f"{found.studies} studies, {parts.rows} rows, {found.missing} of them not predicted",
        f"score (lower is better): {found.interval.text()}",
        f"  spinal {parts.spinal:.3f}, foraminal {parts.foraminal:.3f}, subarticular {parts.subarticular:.3f}",
        f"  any severe canal {parts.any_severe_spinal:.3f}",
        f"levels named within 10 mm: {found.named.text(percent=True)}; distance {found.disc_mm.text()} mm",
        f"axial slice right or next to it: {found.axial.text(percent=True)}",
    ]
    shown = {"all", *(row[: -len("_l1_l2")] for row in ROWS), *(level.lower().replace("/", "_") for level in LEVELS)}
    rows = [row for row in found.rows if row.name in shown]
    return lines + [f"{row.name}: severe AUC {row.severe_auc.text()}, log loss {row.log_loss:.3f}" for row in rows]
