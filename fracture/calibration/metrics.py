"""What a card says about how good its weights are: cross-fitted, with intervals, with and without hardware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fracture.calibration.cases import Case, box_tables
from fracture.data.records import Film
from fracture.evaluation.detection import average_precision_boxes, froc
from fracture.evaluation.matching import Criterion
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.scores import auc, brier, calibration_error
from fracture.intervals import share_of
from fracture.limb.prediction import Prediction


def measure_all(
    cases: Sequence[Case], sensitive: Sequence[Prediction], specific: Sequence[Prediction], *, seed: int = 0
) -> dict[str, Any]:
    """Film, region and box level results of cross-fitted predictions and the calibration of their scores, as JSON.

    Args:
        cases: The films with their annotations.
        sensitive: Their predictions at the high-sensitivity point, with candidates.
        specific: Their predictions at the high-specificity point.
        seed: Of the bootstrap.

    Returns:
        ``{"film": {cohort: {...}}, "boxes": {...}, "regions_right": {...}, "prevalence": {...},
        "calibration": {...}}``; cohorts are ``all``, ``without hardware`` and each region. ``calibration`` holds the
        calibration error and the Brier score of the scores without any calibrator (``before``) and, where members have
        one, of those that decided (``after``); these are probabilities at ``prevalence``, the share of fractured films.
    """
    films = [case.film for case in cases]
    cohorts = cohorts_of(films)
    if any(film.hardware for film in films):
        bare = [i for i, film in enumerate(films) if not film.hardware]
        cohorts = {"all": cohorts.pop("all"), "without hardware": bare, **cohorts}
    return {
        "film": {name: _film_level(cases, sensitive, specific, keep, seed) for name, keep in cohorts.items()},
        "boxes": _box_level(cases, sensitive, seed),
        "flagged_films_with_a_box": _share([bool(p.boxes) for p in sensitive if p.fractured]),
        "regions_right": _regions_right(cases),
        "prevalence": _share([bool(case.film.fractured) for case in cases]),
        "calibration": _calibration(cases, sensitive, seed),
        "cross_fitted": True,
    }


def cohorts_of(films: Sequence[Film]) -> dict[str, list[int]]:
    """Numbers of all films, and of those of each region."""
    regions = sorted({region for film in films for region in film.regions})
    return {
        "all": list(range(len(films))),
        **{region: [i for i, film in enumerate(films) if region in film.regions] for region in regions},
    }


def _film_level(
    cases: Sequence[Case],
    sensitive: Sequence[Prediction],
    specific: Sequence[Prediction],
    keep: Sequence[int],
    seed: int,
) -> dict[str, Any]:
    labels = [cases[i].film.fractured for i in keep]
    area = auc(labels, [sensitive[i].probability for i in keep], bootstrap=_draws([cases[i] for i in keep], seed))
    row: dict[str, Any] = {"films": len(keep), "fractured": sum(labels), "auc": number_of(area)}
    for name, predictions in (("high_sensitivity", sensitive), ("high_specificity", specific)):
        calls = [predictions[i].fractured for i in keep]
        row[name] = {
            "sensitivity": _share([call for call, label in zip(calls, labels, strict=True) if label]),
            "specificity": _share([not call for call, label in zip(calls, labels, strict=True) if not label]),
        }
    return row


def _draws(cases: Sequence[Case], seed: int) -> Bootstrap:
    return Bootstrap(seed=seed, groups=[case.film.group for case in cases])


def _calibration(cases: Sequence[Case], predictions: Sequence[Prediction], seed: int) -> dict[str, Any]:
    labels, draws = [case.film.fractured for case in cases], _draws(cases, seed)

    def errors(scores: Sequence[float]) -> dict[str, Any]:
        return {
            "ece": number_of(calibration_error(labels, scores, bootstrap=draws)),
            "brier": number_of(brier(labels, scores, bootstrap=draws)),
        }

    before = [p.probability if p.raw_probability is None else p.raw_probability for p in predictions]
    after = [p.probability for p in predictions]
    return {"before": errors(before), **({"after": errors(after)} if after != before else {})}


def _box_level(cases: Sequence[Case], predictions: Sequence[Prediction], seed: int) -> dict[str, Any]:
    films = [case.film for case in cases]
    predicted, reference = box_tables(films, [p.candidates or () for p in predictions])
    criterion = Criterion("iou_or_center", 0.3)
    half, loose = average_precision_boxes(predicted, reference, (Criterion("iou", 0.5), criterion))
    curve = froc(predicted, reference, criterion, bootstrap=_draws(cases, seed))
    return {
        "fractures": int((~reference.crowd).sum()),
        "ap50": half,
        f"ap ({criterion.text()})": loose,
        f"froc sensitivity at 0.5 false positives per film ({criterion.text()})": number_of(curve.at(0.5)),
    }


def _regions_right(cases: Sequence[Case]) -> dict[str, Any]:
    """Share of films on which the networks name exactly the annotated regions."""
    return _share([set(case.told) == set(case.film.regions) for case in cases if case.film.regions])


def _share(hits: Sequence[bool]) -> dict[str, Any]:
    return share_of(sum(hits), len(hits))


def number_of(estimate: Estimate) -> dict[str, Any]:
    """An estimate as cards keep it: the value, its interval and method, and what must be said of it."""
    row: dict[str, Any] = {"value": estimate.value}
    if estimate.has_interval:
        row["interval"] = [estimate.low, estimate.high]
    if estimate.defined:
        row["method"] = estimate.method
    return row if estimate.reason is None else {**row, "reason": estimate.reason}
