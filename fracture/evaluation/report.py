"""``evaluate``: everything the library can say about predictions against a reference, as one frozen report.

``to_dict`` makes it JSON, ``save`` writes ``report.json``, ``fractures.csv``, the
plots and one self-contained ``report.html``.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fracture.atomic import write_text
from fracture.evaluation.cohorts import (
    Balanced,
    CohortRow,
    age_band,
    balanced_auc,
    subgroups,
    without_indicators,
)
from fracture.evaluation.detection import BoxLevel, FrocSensitivity, SizeRow, box_level, by_size
from fracture.evaluation.film import film_level
from fracture.evaluation.findings import Findings, Settings, Shown, Worst
from fracture.evaluation.manifest import make_manifest
from fracture.evaluation.matching import BoxTable, Criterion, match, select_films
from fracture.evaluation.opponents import Opponent
from fracture.evaluation.stats.agreement import cohen_kappa
from fracture.evaluation.stats.checks import BoolArray
from fracture.evaluation.stats.intervals import proportion
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.roc import (
    nearest_corner,
    pr_curve,
    roc_band,
    roc_curve,
    threshold_table,
    youden_point,
)
from fracture.evaluation.stats.scores import one_class_reason, reliability
from fracture.evaluation.stats.statistics import MeanOf
from fracture.evaluation.tables import Cases


class EvaluationReport(Findings):
    """Everything that was found, see the attributes of ``Findings``, and how it is saved."""

    __slots__ = ()

    def save(self, folder: str | PathLike[str], *, images: str | PathLike[str] | None = None) -> Path:
        """Write ``report.json``, ``fractures.csv``, ``methods.md``, ``plots/*.png`` and ``.svg``, and ``report.html``.

        Args:
            folder: Made where it does not exist; files of the same names are replaced.
            images: Folder of the films, for the thumbnails of misses and false alarms.

        Returns:
            The path of ``report.html``.
        """
        from fracture.evaluation.page.html import methods, render
        from fracture.evaluation.page.plots import draw_all
        from fracture.evaluation.page.thumbnails import thumbnails

        place = Path(folder)
        (place / "plots").mkdir(parents=True, exist_ok=True)
        content = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(place / "report.json", content + "\n")
        write_text(place / "fractures.csv", self.fractures_csv())
        write_text(place / "methods.md", methods(self))
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
    draws = how.bootstrap(groups)
    main = film_level(labels, scores, calls=calls, bootstrap=draws, prevalences=how.prevalences)
    shared: dict[str, Any] = {"calls": calls, "bootstrap": draws}
    headline = [CohortRow("headline", "All films", main)]
    headline += subgroups("headline", _headline_subsets(cases), labels, scores, **shared)
    rows: list[CohortRow] = []
    for cut in ("region", "view", "site", "hardware", "sex"):
        rows += subgroups(cut, cases.members(cut), labels, scores, **shared)
    rows += subgroups("age", _age_bands(cases), labels, scores, **shared)
    one_class = one_class_reason(labels)
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
        kappa=None if calls is None else cohen_kappa(labels, calls, bootstrap=draws),
        roc=roc_curve(labels, scores) if one_class is None else None,
        band=roc_band(labels, scores, method="vertical", bootstrap=draws) if drawable else None,
        simultaneous=roc_band(labels, scores, method="fwb", bootstrap=draws) if drawable else None,
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
    if cases.predicted is None or cases.fractures is None:
        return None, None, (), None
    keep = ~cases.unboxed
    if not keep.any():
        return None, None, (), None
    draws = how.bootstrap(cases.groups).of(keep)
    fractures = select_films(cases.fractures, keep)
    predicted, films = select_films(cases.predicted, keep), how.froc_films
    level = box_level(predicted, fractures, how.criterion, rates=how.rates, films=films, bootstrap=draws)
    threshold = FrocSensitivity(level.matches, 0, films).threshold_at(_SIZE_RATE)
    sizes = by_size(level.matches, threshold=threshold, level=how.level) if threshold is not None else ()
    shown = None
    if cases.shown is not None and cases.calls is not None:
        shown = _shown(select_films(cases.shown, keep), fractures, cases.calls[keep], how.criterion, draws)
    return level, shown, sizes, threshold


def _shown(boxes: BoxTable, fractures: BoxTable, calls: BoolArray, criterion: Criterion, draws: Bootstrap) -> Shown:
    kept = boxes.where(calls[boxes.film])
    matches = match(kept, fractures, criterion)
    films = fractures.films
    false = np.bincount(matches.predicted.film[(matches.hit[0] < 0) & ~matches.ignored[0]], minlength=films).astype(
        np.float64
    )
    mean = draws.over(films).estimate(MeanOf(false))
    hits = int((matches.by[0] >= 0).sum())
    return Shown(proportion(hits, len(matches.reference), draws.level, of="fractures"), mean, len(kept))


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
