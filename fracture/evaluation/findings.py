"""What an evaluation found: settings and results as one frozen record of records, which ``to_dict`` makes JSON.

Page, figures and pictures are drawn from it; ``report.EvaluationReport`` adds how it is saved.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field, InstanceOf

from fracture.errors import EvaluationError
from fracture.evaluation.cohorts import Balanced, CohortRow
from fracture.evaluation.detection import FROC_RATES, BoxLevel, FilmsCounted, SizeRow, fracture_table
from fracture.evaluation.film import FilmLevel
from fracture.evaluation.manifest import Manifest
from fracture.evaluation.matching import HIT, Criterion
from fracture.evaluation.opponents import Opponent
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.record import Record, plain
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.roc import OperatingRow, PrCurve, RocBand, RocCurve
from fracture.evaluation.stats.scores import ReliabilityBin
from fracture.evaluation.tables import Cases
from fracture.schema import Record as Checked

FORMAT = "fracture-evaluation-1"
"""Version of ``report.json``; it changes when a key changes its meaning."""

_KEYS: Mapping[str, str | None] = {
    **dict.fromkeys(("cases", "roc", "pr", "sizes", "size_rate", "size_threshold")),
    "indicators": "without_indicator",
    "band": "roc_band",
    "simultaneous": "roc_band_simultaneous",
    "thresholds": "threshold_table",
    "nearest": "nearest_corner",
    "shown": "boxes_shown",
    "misses": "worst_misses",
    "alarms": "worst_false_alarms",
    "opponents": "comparisons",
}


Prevalence = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True, slots=True)
class Settings(Checked):
    """How to evaluate.

    Attributes:
        resamples: Bootstrap resamples; the paper's m = 1000.
        seed: Seed of all draws.
        level: Confidence level.
        criterion: Hit criterion of FROC and per-fracture results; IoU >= 0.3 (our choice).
        froc_films: Films that false positives are counted on, ``"all"`` or ``"normal"``.
        rates: False positives per film at which the FROC is read.
        prevalences: PPV and NPV are also given at these (15 % is the paper's test set; our choice of the others).
        worst: How many of the worst misses and false alarms to show.

    Raises:
        ConfigurationError: A value that makes no sense.
    """

    resamples: Annotated[int, Field(ge=100)] = 1000
    seed: int = 0
    level: Prevalence = 0.95
    criterion: InstanceOf[Criterion] = HIT
    froc_films: FilmsCounted = "all"
    rates: tuple[float, ...] = FROC_RATES
    prevalences: tuple[Prevalence, ...] = (0.02, 0.05, 0.15, 0.3)
    worst: Annotated[int, Field(ge=0)] = 8

    def bootstrap(self, groups: Sequence[str] | None) -> Bootstrap:
        """How intervals are drawn, by ``groups`` where given."""
        return Bootstrap(self.resamples, self.seed, self.level, groups)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "resamples": self.resamples,
            "seed": self.seed,
            "level": self.level,
            "criterion": self.criterion.text(),
            "froc_films": self.froc_films,
            "prevalences": list(self.prevalences),
        }


@dataclass(frozen=True, slots=True)
class Shown(Record, keys={"false_positives": "false_positives_per_film"}):
    """How good the boxes are that a user is shown, of films called fractured.

    Attributes:
        sensitivity: Share of the reference fractures that a shown box hits.
        false_positives: False boxes per film.
        boxes: Number of boxes shown.
    """

    sensitivity: Estimate
    false_positives: Estimate
    boxes: int


@dataclass(frozen=True, slots=True)
class Worst(Record, keys={"film": None}):
    """One of the worst films.

    Attributes:
        film: Film number in the cases.
        name: File name.
        score: Film score.
        called: Whether it was called fractured, ``None`` without calls.
        regions: What it shows.
    """

    film: int
    name: str
    score: float
    called: bool | None
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Findings(Record, keys=_KEYS):
    """Everything that was found; see the attributes' own classes.

    Attributes:
        cases: The films, their reference and predictions.
        settings: How it was done.
        manifest: Versions, files with checksums, date.
        headline: All films, films without annotator disagreement, films without hardware.
        subgroups: Rows by region, view, site, hardware, age, sex, where given.
        indicators: Rows without each clinical indicator, where given.
        balanced: Results balanced for confounders, ``None`` where the reference names none.
        kappa: Cohen's kappa of the calls with the reference, ``None`` without calls.
        roc: The curve, ``None`` where only one class is there.
        band: Vertical-averaging band, likewise.
        simultaneous: Fixed-width band, likewise.
        pr: Precision-recall curve, likewise.
        reliability: Reliability bins, empty where scores are not probabilities.
        thresholds: Threshold table, empty without fractured films.
        youden: Youden's point on these films, ``None`` where not defined.
        nearest: Point nearest the corner, likewise.
        boxes: Box-level results, ``None`` without boxes on either side.
        shown: Results of the boxes shown, ``None`` without.
        sizes: Sensitivity by fracture size at the threshold of ``size_rate`` false positives per film.
        size_rate: That rate.
        size_threshold: That threshold, ``None`` where none gains a hit.
        misses: Fractured films with the lowest scores.
        alarms: Normal films with the highest scores.
        opponents: Comparisons with a second model and with readers.
    """

    cases: Cases
    settings: Settings
    manifest: Manifest
    headline: tuple[CohortRow, ...]
    subgroups: tuple[CohortRow, ...]
    indicators: tuple[CohortRow, ...]
    balanced: Balanced | None
    kappa: Estimate | None
    roc: RocCurve | None
    band: RocBand | None
    simultaneous: RocBand | None
    pr: PrCurve | None
    reliability: tuple[ReliabilityBin, ...]
    thresholds: tuple[OperatingRow, ...]
    youden: OperatingRow | None
    nearest: OperatingRow | None
    boxes: BoxLevel | None
    shown: Shown | None
    sizes: tuple[SizeRow, ...]
    size_rate: float
    size_threshold: float | None
    misses: tuple[Worst, ...]
    alarms: tuple[Worst, ...]
    opponents: tuple[Opponent, ...] = ()

    @property
    def overall(self) -> FilmLevel:
        """Film-level results of all films."""
        result = self.headline[0].result
        if result is None:
            raise EvaluationError("the report holds no film")
        return result

    def rows(self, field: str) -> tuple[CohortRow, ...]:
        """The subgroup rows of one field, such as ``"region"``."""
        return tuple(row for row in self.subgroups if row.field == field)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary: the content of ``report.json``."""
        cases = self.cases
        cohort = {
            "films": len(cases),
            "fractured": int(cases.labels.sum()),
            "fractures": None if cases.fractures is None else int((~cases.fractures.crowd).sum()),
            "group_field": cases.group_field or None,
            "groups": self.overall.groups,
            "unreadable": [{"name": name, "reason": reason} for name, reason in cases.failures],
            "without_prediction": len(cases.missing),
            "without_reference": len(cases.extra),
            "description": cases.description,
            "models": list(cases.models),
            "thresholds": threshold_summary(cases),
            "boxes_from": None if cases.predicted is None else cases.predicted_from,
            "remarks": list(cases.remarks),
        }
        sizes = {
            "false_positives_per_film": self.size_rate,
            "threshold": self.size_threshold,
            "rows": plain(self.sizes),
        }
        return {"format": FORMAT, "cohort": cohort, **Record.to_dict(self), "by_size": sizes}

    def fractures_csv(self) -> str:
        """The per-fracture table as CSV text, one row per reference fracture."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(("film", "x0", "y0", "x1", "y1", "longest_side_px", "hit", "score", "iou", "rank"))
        if self.boxes is not None:
            names = [name for name, left in zip(self.cases.names, self.cases.unboxed, strict=True) if not left]
            for row in fracture_table(self.boxes.matches):
                iou = None if row.iou is None else round(row.iou, 4)
                writer.writerow((names[row.film], *row.box, row.longest_side, int(row.hit), row.score, iou, row.rank))
        return out.getvalue()


def threshold_summary(cases: Cases) -> list[dict[str, Any]]:
    """The distinct thresholds behind the calls, how many films each decided, and which regions these show."""
    found = []
    known = np.isfinite(cases.thresholds)
    for value in np.unique(cases.thresholds[known]):
        films = np.flatnonzero(cases.thresholds == value)
        regions = sorted({region for film in films.tolist() for region in cases.regions[film]})
        found.append({"threshold": float(value), "films": int(films.size), "regions": regions})
    return found
