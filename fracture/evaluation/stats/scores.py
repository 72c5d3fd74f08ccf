"""Film-level scores with their intervals: AUC, average precision, Brier score, calibration error.

The paper's choices (Jones et al. 2020, Statistics): percentile bootstrap with m = 1000 for everything that is not
a plain proportion. Groups, where given, are resampled as wholes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fracture.evaluation.stats.checks import BoolArray, FloatArray, IntArray, labeled
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.intervals import proportion
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap, Resampler, bootstrap_keywords, replicates
from fracture.evaluation.stats.statistics import (
    AreaUnderCurve,
    AveragePrecision,
    BinnedCalibration,
    MeanOf,
    divide,
    equal_mass_bins,
)


def one_class_reason(labels: BoolArray) -> str | None:
    """Why nothing that compares fractured with normal films is defined, ``None`` where both are there."""
    if not labels.any():
        return f"all {labels.size} films are normal"
    if labels.all():
        return f"all {labels.size} films are fractured"
    return None


def auc_replicates(labels: ArrayLike, scores: ArrayLike, resampler: Resampler) -> FloatArray:
    """The AUC of every resample, float64 (resamples,); NaN where a resample has one class only.

    Equal to calling ``sklearn.metrics.roc_auc_score`` on every resample, without copying or sorting films again.

    Args:
        labels: 0/1 or bool (n,).
        scores: float (n,), higher for more likely fractured.
        resampler: Over n films.
    """
    return replicates({"auc": AreaUnderCurve(labels, scores)}, resampler)["auc"]


@bootstrap_keywords
def auc(labels: ArrayLike, scores: ArrayLike, *, bootstrap: Bootstrap = DEFAULT) -> Estimate:
    """Area under the ROC curve with a percentile bootstrap interval.

    Args:
        labels: 0/1 (n,), the reference standard.
        scores: float (n,), higher means more likely fractured; any monotone scale.
        bootstrap: How the interval is drawn; by groups where it has them.

    Returns:
        The estimate; not defined where all films are of one class.

    Raises:
        EvaluationError: Empty input, NaN scores, labels other than 0 and 1, or lengths that differ.
    """
    truth, score = labeled(labels, scores)
    resampler = bootstrap.over(truth.size)
    reason = one_class_reason(truth)
    if reason is not None:
        return not_defined(reason, n=truth.size, method=resampler.method, level=resampler.level)
    return resampler.estimate(AreaUnderCurve(truth, score))


@bootstrap_keywords
def average_precision(labels: ArrayLike, scores: ArrayLike, *, bootstrap: Bootstrap = DEFAULT) -> Estimate:
    """Area under the precision-recall curve as average precision (no interpolation); arguments as for ``auc``.

    Not defined where no film is fractured.

    Args:
        labels: 0/1 or bool (n,).
        scores: float (n,), higher for more likely fractured.
        bootstrap: How the interval is made.

    Raises:
        EvaluationError: As for ``auc``.
    """
    truth, score = labeled(labels, scores)
    return bootstrap.over(truth.size).estimate(AveragePrecision(truth, score), "no film is fractured")


@bootstrap_keywords
def brier(labels: ArrayLike, probabilities: ArrayLike, *, bootstrap: Bootstrap = DEFAULT) -> Estimate:
    """Brier score, the mean squared difference between probability and outcome (0 is perfect).

    Args:
        labels: 0/1 or bool (n,).
        probabilities: (n,), in [0, 1].
        bootstrap: How the interval is made.

    Raises:
        EvaluationError: As for ``auc``, and probabilities outside [0, 1].
    """
    truth, score = labeled(labels, probabilities, "probabilities", unit_interval=True)
    return bootstrap.over(truth.size).estimate(MeanOf((score - truth) ** 2))


def debiased_calibration(truth: BoolArray, score: FloatArray, bins: int) -> tuple[BinnedCalibration, float]:
    """The debiased ECE as a ``Statistic``, and how far the plain one lies above it on the films as they are.

    In a resample the "truth" is the sample itself, whose plain error is above the debiased one: bootstrap values are
    moved down by that difference before their percentiles are taken (our choice).
    """
    which, whole = equal_mass_bins(score, bins), np.ones((1, truth.size))
    statistic = BinnedCalibration(truth, score, which)
    plain = BinnedCalibration(truth, score, which, debiased=False)
    return statistic, float(plain(whole)[0] - statistic(whole)[0])


@bootstrap_keywords
def calibration_error(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    bins: int = 15,
    debiased: bool = True,
    bootstrap: Bootstrap = DEFAULT,
) -> Estimate:
    """Expected calibration error (ECE) over bins of equal mass, debiased unless asked otherwise.

    Near perfect calibration the interval of the debiased error is conservative above and its coverage is not 95 %:
    see ``docs/evaluation.md`` for what was measured.

    Args:
        labels: 0/1 (n,).
        probabilities: float (n,) in [0, 1].
        bins: Bins asked for (15, the usual choice); ties stay together, so there may be fewer.
        debiased: Take the expected excess under sampling noise off (Kumar et al. 2019).
        bootstrap: How the interval is drawn.

    Raises:
        EvaluationError: As for ``auc``, and probabilities outside [0, 1].
    """
    truth, score = labeled(labels, probabilities, "probabilities", unit_interval=True)
    resampler = bootstrap.over(truth.size)
    if not debiased:
        return resampler.estimate(BinnedCalibration(truth, score, equal_mass_bins(score, bins), debiased=False))
    statistic, shift = debiased_calibration(truth, score, bins)
    values = replicates({"ece": statistic}, resampler)["ece"]
    value = float(statistic(np.ones((1, truth.size)))[0])
    return resampler.interval(max(value, 0.0), np.maximum(values - shift, 0.0))


@dataclass(frozen=True, slots=True)
class ReliabilityBin(Record):
    """One bin of a reliability plot.

    Attributes:
        low: Lowest score in the bin.
        high: Highest score in the bin.
        mean_score: Mean score of its films.
        observed: Share of its films that are fractured, with Wilson's interval.
    """

    low: float
    high: float
    mean_score: float
    observed: Estimate


def reliability(
    labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 10, level: float = 0.95
) -> tuple[ReliabilityBin, ...]:
    """The points of a reliability plot over bins of equal mass, in order of score.

    Args:
        labels: 0/1 or bool (n,).
        probabilities: (n,), in [0, 1].
        bins: How many, each with about as many films as the others.
        level: Confidence level of each bin's Wilson interval.

    Raises:
        EvaluationError: Empty input, NaN, probabilities outside [0, 1], or lengths that differ.
    """
    truth, score = labeled(labels, probabilities, "probabilities", unit_interval=True)
    which: IntArray = equal_mass_bins(score, bins)
    size = np.bincount(which)
    hits = np.bincount(which, weights=truth)
    means = divide(np.bincount(which, weights=score), size)
    result = []
    for index in range(size.size):
        inside = score[which == index]
        observed = proportion(int(hits[index]), int(size[index]), level)
        result.append(ReliabilityBin(float(inside.min()), float(inside.max()), float(means[index]), observed))
    return tuple(result)
