"""DeLong's variance of the AUC and the paired test of two AUCs, with an extension to clustered films.

Sources: DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44:837); Sun and Xu 2014 (IEEE Signal Processing
Letters 21:1389) for the computation through midranks in O(n log n); Obuchowski 1997 (Biometrics 53:567) for
several films of one patient. Without groups the clustered formula is DeLong's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import (
    FloatArray,
    IntArray,
    as_binary,
    as_groups,
    as_level,
    as_scores,
    labeled,
    paired,
)
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.intervals import normal_quantile
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.scores import one_class_reason


def delong_covariance(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    """AUCs of k scores on the same films and their covariance matrix.

    Args:
        labels: 0/1 (n,), with both classes present.
        scores: float (n,) or (k, n), one row per reader or model.
        groups: (n,) clusters; ``None``: every film is its own.

    Returns:
        AUCs, float64 (k,), and their covariance, float64 (k, k).

    Raises:
        EvaluationError: One class only, fewer than two films or groups of a class, or lengths that differ.
    """
    truth = as_binary(labels)
    rows = [as_scores(row) for row in np.atleast_2d(np.asarray(scores))]
    for row in rows:
        paired(truth, row)
    reason = one_class_reason(truth)
    if reason is not None:
        raise EvaluationError("DeLong's method needs fractured and normal films", hint=reason)
    cluster = as_groups(groups, truth.size)
    m, n = int(truth.sum()), int((~truth).sum())
    areas, first, second = [], [], []
    for row in rows:
        together = rankdata(row)
        v10 = (together[truth] - rankdata(row[truth])) / n
        v01 = 1.0 - (together[~truth] - rankdata(row[~truth])) / m
        areas.append(float(v10.mean()))
        first.append(_cluster_sums(v10 - v10.mean(), cluster[truth], cluster))
        second.append(_cluster_sums(v01 - v10.mean(), cluster[~truth], cluster))
    d10, d01 = np.stack(first), np.stack(second)
    with_positive, with_negative = np.unique(cluster[truth]).size, np.unique(cluster[~truth]).size
    total = np.unique(cluster).size
    if with_positive < 2 or with_negative < 2:
        raise EvaluationError(
            "DeLong's variance needs two fractured and two normal films (or groups of each)",
            got=f"{with_positive} with a fracture, {with_negative} without",
        )
    s10 = with_positive / (with_positive - 1) * (d10 @ d10.T) / m**2
    s01 = with_negative / (with_negative - 1) * (d01 @ d01.T) / n**2
    s11 = total / (total - 1) * (d10 @ d01.T) / (m * n)
    return np.array(areas), s10 + s01 + s11 + s11.T


def delong(labels: ArrayLike, scores: ArrayLike, *, groups: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """AUC with DeLong's normal interval, clipped to [0, 1].

    With groups the variance is Obuchowski's for clustered films. At an AUC of 0 or 1 the variance is 0 and no
    interval is given.

    Args:
        labels: 0/1 (n,).
        scores: float (n,).
        groups: (n,) clusters or ``None``.
        level: Confidence level.

    Raises:
        EvaluationError: Bad input; one class only gives an estimate that is not defined instead.
    """
    truth, score = labeled(labels, scores)
    z = normal_quantile(as_level(level))
    method = "DeLong" if groups is None else "DeLong by group (Obuchowski 1997)"
    reason = one_class_reason(truth)
    if reason is not None:
        return not_defined(reason, n=truth.size, method=method, level=level)
    try:
        areas, covariance = delong_covariance(truth, score, groups)
    except EvaluationError as error:
        value = float((rankdata(score)[truth].mean() - (truth.sum() + 1) / 2) / (~truth).sum())
        return Estimate(value, level=level, method=method, n=truth.size, reason=f"no interval: {error.what}")
    value, variance = float(areas[0]), float(covariance[0, 0])
    if variance <= 0.0:
        why = "no interval: the classes are separated perfectly, so the variance is 0"
        return Estimate(value, level=level, method=method, n=truth.size, reason=why)
    half = z * math.sqrt(variance)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), level, method, truth.size)


@dataclass(frozen=True, slots=True)
class PairedAuc(Record):
    """Two AUCs on the same films.

    Attributes:
        first: AUC of the first scores.
        second: AUC of the second scores.
        difference: First minus second, with its interval.
        z: Test statistic, ``None`` where the difference has no variance.
        p_value: Two-sided, ``None`` likewise.
    """

    first: float
    second: float
    difference: Estimate
    z: float | None
    p_value: float | None


def delong_test(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> PairedAuc:
    """DeLong's paired test that two scores have the same AUC on the same films.

    Args:
        labels: 0/1 (n,).
        first: float (n,), scores of the first model.
        second: float (n,), scores of the second, film by film in the same order.
        groups: (n,) clusters or ``None``.
        level: Confidence level of the difference's interval.

    Raises:
        EvaluationError: One class only, or other bad input.
    """
    z = normal_quantile(as_level(level))
    truth = as_binary(labels)
    areas, covariance = delong_covariance(truth, np.stack([as_scores(first), as_scores(second)]), groups)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    method = "DeLong, paired" if groups is None else "DeLong by group, paired"
    if variance <= 1e-18:
        why = "the two scores order the films alike: the difference has no variance"
        estimate = Estimate(difference, level=level, method=method, n=truth.size, reason=why)
        return PairedAuc(float(areas[0]), float(areas[1]), estimate, None, None)
    error = math.sqrt(variance)
    statistic = difference / error
    estimate = Estimate(difference, difference - z * error, difference + z * error, level, method, truth.size)
    return PairedAuc(float(areas[0]), float(areas[1]), estimate, statistic, float(2.0 * norm.sf(abs(statistic))))


def _cluster_sums(values: FloatArray, members: IntArray, cluster: IntArray) -> FloatArray:
    return np.bincount(members, weights=values, minlength=int(cluster.max()) + 1).astype(np.float64)
