"""What adapting gains: the same films judged by the old card and by one that they did not help to make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.calibration.cases import Case, recalibrated
from fracture.calibration.platt import member_name
from fracture.evaluation.stats.comparison import paired_bootstrap
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.scores import auc, calibration_error
from fracture.intervals import wilson
from fracture.limb.card import Card
from fracture.limb.detector import Detector
from fracture.limb.ensemble import Ensemble
from fracture.limb.prediction import Prediction
from fracture.wing.result import HIGH_SENSITIVITY, HIGH_SPECIFICITY

FEWEST_FRACTURED = 5
"""Fractured films from which cross-fitting leaves some in every part (ours)."""

Judged = dict[str, list[Prediction]]
"""Predictions by operating point, in the order of the cases."""


def judged(card: Card, cases: Sequence[Case], ensemble: Ensemble) -> Judged:
    """Every case judged by a card; no network runs."""
    calibrators = {member_name(member): member.calibration for member in card.members}
    detector = Detector(ensemble, card)
    scored = recalibrated(cases, calibrators)
    return {
        point: [detector.judge(case.examined, operating_point=point).drop_pixels() for case in scored]
        for point in (HIGH_SENSITIVITY, HIGH_SPECIFICITY)
    }


def cross_judged(
    fit: Callable[[Sequence[Case]], Card], cases: Sequence[Case], folds: Sequence[Sequence[int]], ensemble: Ensemble
) -> Judged:
    """Every case judged by a card that was fitted on the other folds."""
    found: dict[str, dict[int, Prediction]] = {HIGH_SENSITIVITY: {}, HIGH_SPECIFICITY: {}}
    for held in folds:
        inside = set(held)
        card = fit([case for i, case in enumerate(cases) if i not in inside])
        for point, predictions in judged(card, [cases[i] for i in held], ensemble).items():
            found[point] |= dict(zip(held, predictions, strict=True))
    return {point: [by_number[i] for i in range(len(cases))] for point, by_number in found.items()}


def compared(cases: Sequence[Case], before: Judged, after: Judged, *, seed: int = 0) -> dict[str, Any]:
    """Sensitivity, specificity and calibration error before and after, with intervals, and what changed.

    Returns:
        JSON-able: ``films``, ``fractured``, ``auc``; by operating point ``sensitivity`` and ``specificity``, each with
        ``before`` and ``after`` (``value``, ``count``, ``n``, Wilson ``interval``) and ``difference`` (paired bootstrap
        by group); ``calibration_error`` before and after.
    """
    labels = np.array([case.film.fractured for case in cases], np.bool_)
    draws = Bootstrap(seed=seed, groups=[case.film.group for case in cases])
    scores = {name: [p.probability for p in part[HIGH_SENSITIVITY]] for name, part in _named(before, after)}
    table: dict[str, Any] = {"films": len(cases), "fractured": int(labels.sum())}
    if 0 < labels.sum() < labels.size:
        table["auc"] = auc(labels, scores["before"], bootstrap=draws).to_dict()
        table["calibration_error"] = {
            name: calibration_error(labels, values, bootstrap=draws).to_dict() for name, values in scores.items()
        }
    for point in (HIGH_SENSITIVITY, HIGH_SPECIFICITY):
        calls = {name: np.array([p.fractured for p in part[point]]) for name, part in _named(before, after)}
        table[point] = {
            "sensitivity": _share(calls, labels, draws, "sensitivity"),
            "specificity": _share({name: ~c for name, c in calls.items()}, ~labels, draws, "specificity"),
        }
    return table


def _named(before: Judged, after: Judged) -> tuple[tuple[str, Judged], tuple[str, Judged]]:
    return ("before", before), ("after", after)


def _share(
    right: dict[str, NDArray[np.bool_]], members: NDArray[np.bool_], draws: Bootstrap, metric: str
) -> dict[str, Any]:
    """Right calls among the films of one class, before and after."""
    n = int(members.sum())
    if not n:
        return {"n": 0}
    row: dict[str, Any] = {"n": n}
    for name, calls in right.items():
        count = int(calls[members].sum())
        row[name] = {"value": count / n, "count": count, "interval": list(wilson(count, n))}
    labels = members if metric == "sensitivity" else ~members
    if 0 < labels.sum() < labels.size:
        after, before = (right[k] if metric == "sensitivity" else ~right[k] for k in ("after", "before"))
        row["difference"] = paired_bootstrap(labels, after, before, metric, bootstrap=draws).difference.to_dict()
    return row
