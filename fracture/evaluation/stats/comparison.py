"""Two models on the same films: the difference of any metric by paired bootstrap.

Both models are judged on the same resampled films, so what the films have in common cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import BoolArray, FloatArray, as_binary, as_scores, paired
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import (
    DEFAULT,
    Bootstrap,
    Statistic,
    bootstrap_keywords,
    point_of,
    replicates,
)
from fracture.evaluation.stats.statistics import (
    AreaUnderCurve,
    AveragePrecision,
    MeanOf,
    confusion_statistics,
)

_CALLS = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1", "youden")

METRICS = ("auc", "average_precision", "brier", *_CALLS)
"""Metrics known by name; those of calls take the scores as calls, 0 or 1."""

Metric = Callable[[BoolArray, FloatArray], float]


@dataclass(frozen=True, slots=True)
class PairedDifference(Record):
    """A metric of two models on the same films.

    Attributes:
        metric: Its name.
        first: Of the first model, with its interval.
        second: Of the second.
        difference: First minus second, with the paired interval.
        p_value: Two-sided bootstrap p-value: twice the smaller share of resamples on one side of 0 (with one added
            above and below the line, so never 0); ``None`` where the difference is not defined.
    """

    metric: str
    first: Estimate
    second: Estimate
    difference: Estimate
    p_value: float | None


@bootstrap_keywords
def paired_bootstrap(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    metric: str | Metric = "auc",
    *,
    bootstrap: Bootstrap = DEFAULT,
) -> PairedDifference:
    """Bootstrap the difference of a metric between two models.

    Args:
        labels: 0/1 (n,).
        first: (n,) scores of the first model, or its calls as 0/1 for the metrics of calls.
        second: Scores or calls (n,) of the second model, same films in the same order.
        metric: One of ``METRICS``, or any function of (labels, scores) to a number, such as
            ``sklearn.metrics.roc_auc_score``; it is called once per resample and model, and a ``ValueError`` or NaN
            means that the resample does not define it.
        bootstrap: How the resamples, the same for both models, are drawn.

    Raises:
        EvaluationError: Bad input or an unknown metric.
    """
    truth = as_binary(labels)
    scores = (as_scores(first, "first scores"), as_scores(second, "second scores"))
    for score in scores:
        paired(truth, score)
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    sides = [
        _named(metric, truth, score) if isinstance(metric, str) else _general(metric, truth, score) for score in scores
    ]
    return paired_difference(name, sides[0], sides[1], truth.size, bootstrap)


def paired_difference(name: str, first: Statistic, second: Statistic, n: int, bootstrap: Bootstrap) -> PairedDifference:
    """The difference of two statistics of the same ``n`` films, each a function of film weights."""
    statistics = {"first": first, "second": second}
    resampler = bootstrap.over(n)
    values = replicates(statistics, resampler)
    values["difference"] = values["first"] - values["second"]
    points = {key: point_of(statistic, n) for key, statistic in statistics.items()}
    a, b = points["first"], points["second"]
    points["difference"] = None if a is None or b is None else a - b
    estimates = {key: resampler.interval(points[key], values[key], note=", paired") for key in points}
    usable = values["difference"][np.isfinite(values["difference"])]
    p_value = None
    if estimates["difference"].has_interval:
        tail = min(int((usable <= 0).sum()), int((usable >= 0).sum()))
        p_value = min(1.0, 2.0 * (tail + 1) / (usable.size + 1))
    return PairedDifference(name, estimates["first"], estimates["second"], estimates["difference"], p_value)


def _named(name: str, truth: BoolArray, score: FloatArray) -> Statistic:
    if name == "auc":
        return AreaUnderCurve(truth, score)
    if name == "average_precision":
        return AveragePrecision(truth, score)
    if name == "brier":
        return MeanOf((as_scores(score, "probabilities", unit_interval=True) - truth) ** 2)
    if name in _CALLS:
        statistic: Statistic = confusion_statistics(truth, as_binary(score, "calls"))[name]
        return statistic
    raise EvaluationError("unknown metric", got=name, allowed=METRICS, hint="or pass a function of (labels, scores)")


def _general(metric: Metric, truth: BoolArray, score: FloatArray) -> Statistic:
    films = np.arange(truth.size)

    def statistic(weights: FloatArray) -> FloatArray:
        out = np.full(weights.shape[0], np.nan)
        for row, weight in enumerate(weights):
            chosen = np.repeat(films, weight.astype(np.int64))
            if np.unique(truth[chosen]).size < 2:
                continue
            try:
                out[row] = metric(truth[chosen], score[chosen])
            except ValueError:
                continue
        return out

    return statistic
