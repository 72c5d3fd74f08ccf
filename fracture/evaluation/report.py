"""``evaluate``: everything the library can say about predictions against a reference, as one frozen report.

The report is a record of records; ``to_dict`` makes it JSON, ``save`` writes ``report.json``, ``fractures.csv``, the
plots and one self-contained ``report.html``.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fracture.atomic import write_text
from fracture.errors import ConfigurationError, EvaluationError
from fracture.evaluation.cohorts import (
    Balanced,
    CohortRow,
    age_band,
    balanced_auc,
    subgroups,
    without_indicators,
)
from fracture.evaluation.detection import FROC_RATES, BoxLevel, SizeRow, box_level, by_size, fracture_table
from fracture.evaluation.film import FilmLevel, film_level
from fracture.evaluation.manifest import Manifest, make_manifest
from fracture.evaluation.matching import BoxTable, Criterion, match, select_films
from fracture.evaluation.opponents import Opponent
from fracture.evaluation.stats.agreement import cohen_kappa
from fracture.evaluation.stats.checks import BoolArray
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.intervals import proportion
from fracture.evaluation.stats.resampling import Resampler, bootstrap
from fracture.evaluation.stats.roc import (
    OperatingRow,
    PrCurve,
    RocBand,
    RocCurve,
    nearest_corner,
    pr_curve,
    roc_band,
    roc_curve,
    threshold_table,
    youden_point,
)
from fracture.evaluation.stats.scores import ReliabilityBin, one_class_reason, reliability
from fracture.evaluation.stats.statistics import MeanOf
from fracture.evaluation.tables import Cases

__all__ = ["FORMAT", "EvaluationReport", "Settings", "Shown", "Worst", "evaluate"]

FORMAT = "fracture-evaluation-1"
"""Version of ``report.json``; it changes when a key changes its meaning."""


@dataclass(frozen=True, slots=True)
class Settings:
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

    resamples: int = 1000
    seed: int = 0
    level: float = 0.95
    criterion: Criterion = field(default_factory=Criterion)
    froc_films: str = "all"
    rates: tuple[float, ...] = FROC_RATES
    prevalences: tuple[float, ...] = (0.02, 0.05, 0.15, 0.3)
    worst: int = 8

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ConfigurationError(
                "too few bootstrap resamples for an interval", got=self.resamples, allowed="100 or more"
            )
        if not 0.0 < self.level < 1.0:
            raise ConfigurationError("a confidence level lies between 0 and 1", got=self.level)
        if self.froc_films not in ("all", "normal"):
            raise ConfigurationError(
                "unknown films for false positives", got=self.froc_films, allowed=("all", "normal")
            )
        if self.worst < 0 or any(not 0.0 < p < 1.0 for p in self.prevalences):
            raise ConfigurationError("worst is not negative and prevalences lie between 0 and 1")

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
class Shown:
    """How good the boxes are that a user is shown, of films called fractured.

    Attributes:
        sensitivity: Share of the reference fractures that a shown box hits.
        false_positives: False boxes per film.
        boxes: Number of boxes shown.
    """

    sensitivity: Estimate
    false_positives: Estimate
    boxes: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "boxes": self.boxes,
            "sensitivity": self.sensitivity.to_dict(),
            "false_positives_per_film": self.false_positives.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Worst:
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

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {"name": self.name, "score": self.score, "called": self.called, "regions": list(self.regions)}


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationReport:
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
        reliability: Reliability bins, empty where scores are no probabilities.
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
        return {
            "format": FORMAT,
            "manifest": self.manifest.to_dict(),
            "settings": self.settings.to_dict(),
            "cohort": {
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
            },
            "headline": [row.to_dict() for row in self.headline],
            "subgroups": [row.to_dict() for row in self.subgroups],
            "without_indicator": [row.to_dict() for row in self.indicators],
            "balanced": None if self.balanced is None else self.balanced.to_dict(),
            "kappa": None if self.kappa is None else self.kappa.to_dict(),
            "roc_band": None if self.band is None else self.band.to_dict(),
            "roc_band_simultaneous": None if self.simultaneous is None else self.simultaneous.to_dict(),
            "reliability": [part.to_dict() for part in self.reliability],
            "threshold_table": [row.to_dict() for row in self.thresholds],
            "youden": None if self.youden is None else self.youden.to_dict(),
            "nearest_corner": None if self.nearest is None else self.nearest.to_dict(),
            "boxes": None if self.boxes is None else self.boxes.to_dict(),
            "boxes_shown": None if self.shown is None else self.shown.to_dict(),
            "by_size": {
                "false_positives_per_film": self.size_rate,
                "threshold": self.size_threshold,
                "rows": [row.to_dict() for row in self.sizes],
            },
            "worst_misses": [film.to_dict() for film in self.misses],
            "worst_false_alarms": [film.to_dict() for film in self.alarms],
            "comparisons": [opponent.to_dict() for opponent in self.opponents],
        }

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

    def save(self, folder: str | PathLike[str], *, images: str | PathLike[str] | None = None) -> Path:
        """Write ``report.json``, ``fractures.csv``, ``plots/*.png`` and ``.svg``, and ``report.html``.

        Args:
            folder: Made where it does not exist; files of the same names are replaced.
            images: Folder of the films, for the thumbnails of misses and false alarms.

        Returns:
            The path of ``report.html``.
        """
        from fracture.evaluation.page.html import render
        from fracture.evaluation.page.plots import draw_all
        from fracture.evaluation.page.thumbnails import thumbnails

        place = Path(folder)
        (place / "plots").mkdir(parents=True, exist_ok=True)
        content = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(place / "report.json", content + "\n")
        write_text(place / "fractures.csv", self.fractures_csv())
        pictures = draw_all(self, place / "plots")
        films = {} if images is None else thumbnails(self, Path(images))
        page = place / "report.html"
        write_text(page, render(self, pictures, films, images_given=images is not None))
        return page


def evaluate(
    cases: Cases, settings: Settings | None = None, *, opponents: tuple[Opponent, ...] = ()
) -> EvaluationReport:
    """Evaluate joined predictions and references.

    Args:
        cases: From ``join``.
        settings: How; the defaults are the paper's where it says.
        opponents: Comparisons, from ``compare_models`` and ``compare_readers``.

    Raises:
        EvaluationError: Input on which nothing at all can be said.
    """
    how = settings or Settings()
    labels, scores, calls, groups = cases.labels, cases.scores, cases.calls, cases.groups
    options: dict[str, Any] = {"resamples": how.resamples, "seed": how.seed, "level": how.level}
    main = film_level(labels, scores, calls=calls, groups=groups, prevalences=how.prevalences, **options)
    shared: dict[str, Any] = {"calls": calls, "groups": groups, **options}
    headline = [CohortRow("headline", "All films", main)]
    headline += subgroups("headline", _headline_subsets(cases), labels, scores, **shared)
    rows: list[CohortRow] = []
    for cut in ("region", "view", "site", "hardware", "sex"):
        rows += subgroups(cut, cases.members(cut), labels, scores, **shared)
    rows += subgroups("age", _age_bands(cases), labels, scores, **shared)
    one_class = one_class_reason(labels)
    band_options: dict[str, Any] = {"groups": groups, **options}
    drawable = one_class is None and main.groups > 1
    probabilities = bool(scores.min() >= 0.0 and scores.max() <= 1.0)
    boxes, shown, sizes, size_threshold = _boxes(cases, how)
    return EvaluationReport(
        cases=cases,
        settings=how,
        manifest=make_manifest(cases),
        headline=tuple(headline),
        subgroups=tuple(rows),
        indicators=without_indicators(cases.indicators, labels, scores, **shared),
        balanced=_balanced(cases, shared),
        kappa=None if calls is None else cohen_kappa(labels, calls, groups=groups, **options),
        roc=roc_curve(labels, scores) if one_class is None else None,
        band=roc_band(labels, scores, method="vertical", **band_options) if drawable else None,
        simultaneous=roc_band(labels, scores, method="fwb", **band_options) if drawable else None,
        pr=pr_curve(labels, scores) if one_class is None else None,
        reliability=reliability(labels, scores, level=how.level) if probabilities else (),
        thresholds=threshold_table(labels, scores, level=how.level) if bool(labels.any()) else (),
        youden=youden_point(labels, scores, how.level) if one_class is None else None,
        nearest=nearest_corner(labels, scores, how.level) if one_class is None else None,
        boxes=boxes,
        shown=shown,
        sizes=sizes,
        size_rate=_SIZE_RATE,
        size_threshold=size_threshold,
        misses=_worst(cases, fractured=True, count=how.worst),
        alarms=_worst(cases, fractured=False, count=how.worst),
        opponents=opponents,
    )


_SIZE_RATE = 0.5


def threshold_summary(cases: Cases) -> list[dict[str, Any]]:
    """The distinct thresholds behind the calls, how many films each decided, and which regions these show."""
    found = []
    known = np.isfinite(cases.thresholds)
    for value in np.unique(cases.thresholds[known]):
        films = np.flatnonzero(cases.thresholds == value)
        regions = sorted({region for film in films.tolist() for region in cases.regions[film]})
        found.append({"threshold": float(value), "films": int(films.size), "regions": regions})
    return found


def _headline_subsets(cases: Cases) -> dict[str, BoolArray]:
    subsets: dict[str, BoolArray] = {}
    if cases.disagreement is not None and cases.disagreement.any():
        subsets["Without annotator disagreement"] = ~cases.disagreement
    hardware = cases.members("hardware")
    if "with hardware" in hardware:
        subsets["Without hardware"] = ~hardware["with hardware"]
    return subsets


def _age_bands(cases: Cases) -> dict[str, BoolArray]:
    if cases.ages is None:
        return {}
    bands = [age_band(age) for age in cases.ages]
    order = sorted({band for band in bands if band}, key=lambda band: int(band.split("–")[0].split()[0]))
    return {band: np.array([b == band for b in bands], dtype=bool) for band in order}


def _balanced(cases: Cases, shared: dict[str, Any]) -> Balanced | None:
    confounders: dict[str, Any] = {
        name: values for name, values in cases.attributes.items() if name in ("site", "hardware")
    }
    if any(cases.regions):
        confounders["region"] = ["+".join(sorted(parts)) for parts in cases.regions]
    if not confounders or one_class_reason(cases.labels) is not None:
        return None
    return balanced_auc(cases.labels, cases.scores, confounders, **shared)


def _boxes(cases: Cases, how: Settings) -> tuple[BoxLevel | None, Shown | None, tuple[SizeRow, ...], float | None]:
    from fracture.evaluation.detection import FrocSensitivity

    if cases.predicted is None or cases.fractures is None:
        return None, None, (), None
    keep = ~cases.unboxed
    if not keep.any():
        return None, None, (), None
    groups = None if cases.groups is None else np.array(cases.groups)[keep]
    fractures = select_films(cases.fractures, keep)
    options: dict[str, Any] = {"resamples": how.resamples, "seed": how.seed, "level": how.level, "groups": groups}
    films: Any = how.froc_films
    level = box_level(
        select_films(cases.predicted, keep), fractures, how.criterion, rates=how.rates, films=films, **options
    )
    threshold = FrocSensitivity(level.matches, 0, films).threshold_at(_SIZE_RATE)
    sizes = by_size(level.matches, threshold=threshold, level=how.level) if threshold is not None else ()
    shown = None
    if cases.shown is not None and cases.calls is not None:
        shown = _shown(select_films(cases.shown, keep), fractures, cases.calls[keep], how, groups)
    return level, shown, sizes, threshold


def _shown(boxes: BoxTable, fractures: BoxTable, calls: BoolArray, how: Settings, groups: Any) -> Shown:
    kept = boxes.where(calls[boxes.film])
    matches = match(kept, fractures, how.criterion)
    films = fractures.films
    false = np.bincount(matches.predicted.film[(matches.hit[0] < 0) & ~matches.ignored[0]], minlength=films).astype(
        np.float64
    )
    resampler = Resampler.over(films, groups, resamples=how.resamples, seed=how.seed)
    mean = bootstrap({"fp": MeanOf(false)}, resampler, level=how.level)["fp"]
    hits = int((matches.by[0] >= 0).sum())
    return Shown(proportion(hits, len(matches.reference), how.level, of="fractures"), mean, len(kept))


def _worst(cases: Cases, *, fractured: bool, count: int) -> tuple[Worst, ...]:
    films = np.flatnonzero(cases.labels == fractured)
    key = cases.scores[films] if fractured else -cases.scores[films]
    chosen = films[np.argsort(key, kind="stable")[:count]]
    return tuple(
        Worst(
            int(film),
            cases.names[film],
            float(cases.scores[film]),
            None if cases.calls is None else bool(cases.calls[film]),
            cases.regions[film],
        )
        for film in chosen.tolist()
    )
