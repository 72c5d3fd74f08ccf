"""Film-level statistics that take weights: each works on one sample and on a block of resamples alike.

All are ``Statistic``s: called with film weights, float64 (b, n), they return float64 (b,), with NaN where a row
does not define them.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import BoolArray, FloatArray, IntArray, as_weights, labeled


def divide(numerator: NDArray[Any], denominator: NDArray[Any]) -> FloatArray:
    """``numerator / denominator``, NaN (not a warning) where the denominator is 0."""
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


class AreaUnderCurve:
    """Area under the ROC curve, the probability that a fractured film outscores a normal one (ties one half).

    Films are collapsed to ordered levels: neighbors in score order that are all fractured or all normal never
    compare differently, so a run of them is one level. A resample is then a short row of counts.

    Args:
        labels: 0/1 (n,).
        scores: float (n,), any monotone scale.

    Raises:
        EvaluationError: Lengths differ, NaN, or other bad input.
    """

    def __init__(self, labels: ArrayLike, scores: ArrayLike) -> None:
        positive, score = labeled(labels, scores)
        order = np.argsort(score, kind="stable")
        ordered, truth = score[order], positive[order]
        new_value = np.concatenate(([True], ordered[1:] != ordered[:-1]))
        value = np.cumsum(new_value) - 1
        with_positive = np.bincount(value, weights=truth) > 0
        with_negative = np.bincount(value, weights=~truth) > 0
        kind = with_positive.astype(np.int64) + 2 * with_negative  # 1 fractured only, 2 normal only, 3 both
        starts_level = np.concatenate(([True], (kind[1:] != kind[:-1]) | (kind[1:] == 3)))
        level = (np.cumsum(starts_level) - 1)[value]
        code = np.empty(score.size, dtype=np.int64)
        code[order] = 2 * level + truth
        self.levels = int(level[-1]) + 1
        self._order = np.argsort(code, kind="stable")
        sorted_code = code[self._order]
        self._starts = np.flatnonzero(np.concatenate(([True], sorted_code[1:] != sorted_code[:-1])))
        self._present = sorted_code[self._starts]
        self.films = score.size
        self.defined = bool(positive.any() and not positive.all())

    def __call__(self, weights: FloatArray) -> FloatArray:
        """AUC per row of ``weights`` (b, n)."""
        rows = as_weights(weights, self.films).take(self._order, axis=1)
        sums = np.zeros((rows.shape[0], 2 * self.levels))
        sums[:, self._present] = np.add.reduceat(rows, self._starts, axis=1)
        return self.from_counts(sums)

    def from_counts(self, sums: NDArray[Any]) -> FloatArray:
        """AUC per row of summed weights by code, shape (b, 2 * levels): column 2 l normal, 2 l + 1 fractured."""
        negative, positive = sums[:, 0::2].astype(np.float64), sums[:, 1::2].astype(np.float64)
        below = np.cumsum(negative, axis=1)
        total = below[:, -1] * positive.sum(axis=1)
        below -= 0.5 * negative
        return divide(np.einsum("ij,ij->i", positive, below), total)


class Ratio:
    """A weighted share: sensitivity, specificity, PPV, NPV, accuracy are all of this form.

    Args:
        part: bool (n,), films counted above the line.
        whole: bool (n,), films counted below it.
    """

    def __init__(self, part: BoolArray, whole: BoolArray) -> None:
        self._columns = np.stack([part & whole, whole], axis=1).astype(np.float64)

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Share per row of ``weights``."""
        sums = weights @ self._columns
        return divide(sums[:, 0], sums[:, 1])


class MeanOf:
    """A weighted mean of one number per film, such as the squared error of the Brier score."""

    def __init__(self, values: FloatArray) -> None:
        self._columns = np.stack([values, np.ones_like(values)], axis=1)

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Mean per row of ``weights``."""
        sums = weights @ self._columns
        return divide(sums[:, 0], sums[:, 1])


class _F1:
    def __init__(self, labels: BoolArray, calls: BoolArray) -> None:
        self._columns = np.stack([labels & calls, labels, calls], axis=1).astype(np.float64)

    def __call__(self, weights: FloatArray) -> FloatArray:
        hits, positives, called = (weights @ self._columns).T
        return np.where(positives > 0, divide(2 * hits, positives + called), np.nan)


class _Predictive:
    def __init__(self, labels: BoolArray, calls: BoolArray, prevalence: float, *, positive: bool) -> None:
        self._sensitivity = Ratio(calls, labels)
        self._specificity = Ratio(~calls, ~labels)
        self._prevalence = prevalence
        self._positive = positive

    def __call__(self, weights: FloatArray) -> FloatArray:
        p = self._prevalence
        sensitivity, specificity = self._sensitivity(weights), self._specificity(weights)
        if self._positive:
            hit, miss = sensitivity * p, (1 - specificity) * (1 - p)
        else:
            hit, miss = specificity * (1 - p), (1 - sensitivity) * p
        return divide(hit, np.nan_to_num(hit + miss))


def predictive_statistic(labels: BoolArray, calls: BoolArray, prevalence: float, *, positive: bool) -> _Predictive:
    """PPV (``positive=True``) or NPV at a prevalence other than that of the films, by Bayes' rule.

    Raises:
        EvaluationError: The prevalence is not strictly between 0 and 1.
    """
    if not 0.0 < prevalence < 1.0:
        raise EvaluationError("a prevalence lies strictly between 0 and 1", got=prevalence)
    return _Predictive(labels, calls, prevalence, positive=positive)


def confusion_statistics(labels: BoolArray, calls: BoolArray) -> dict[str, Any]:
    """The statistics of a yes-or-no call: sensitivity, specificity, ppv, npv, accuracy, f1, youden.

    Args:
        labels: bool (n,), the reference standard.
        calls: bool (n,), the call (score >= threshold).

    Returns:
        Name to ``Statistic``.
    """
    everything = np.ones_like(labels)
    sensitivity, specificity = Ratio(calls, labels), Ratio(~calls, ~labels)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": Ratio(labels, calls),
        "npv": Ratio(~labels, ~calls),
        "accuracy": Ratio(labels == calls, everything),
        "f1": _F1(labels, calls),
        "youden": lambda weights: sensitivity(weights) + specificity(weights) - 1.0,
    }


class AveragePrecision:
    """Average precision of the film scores: sum over thresholds of precision times the gain in recall.

    Step function without interpolation, ties taken together, as in scikit-learn.

    Args:
        labels: 0/1 (n,).
        scores: float (n,).
    """

    def __init__(self, labels: ArrayLike, scores: ArrayLike) -> None:
        positive, score = labeled(labels, scores)
        self._order = np.argsort(-score, kind="stable")
        ordered, self._truth = score[self._order], positive[self._order].astype(np.float64)
        self._ends = np.flatnonzero(np.concatenate((ordered[1:] != ordered[:-1], [True])))
        self.films = score.size

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Average precision per row of ``weights``."""
        rows = as_weights(weights, self.films).take(self._order, axis=1)
        called = np.cumsum(rows, axis=1)[:, self._ends]
        hits = np.cumsum(rows * self._truth, axis=1)[:, self._ends]
        precision = np.nan_to_num(divide(hits, called))
        gain = np.diff(hits, axis=1, prepend=0.0)
        return divide(np.einsum("ij,ij->i", precision, gain), hits[:, -1])


def equal_mass_bins(scores: FloatArray, bins: int) -> IntArray:
    """Bin number of each film, 0 .. K-1 with K <= ``bins``: about as many films in each, ties never parted.

    Args:
        scores: float64 (n,).
        bins: Number of bins asked for, at least 1.
    """
    if bins < 1:
        raise EvaluationError("calibration needs at least one bin", got=bins)
    inner = np.quantile(scores, np.linspace(0.0, 1.0, bins + 1)[1:-1], method="inverted_cdf")
    raw = np.searchsorted(np.unique(inner), scores, side="left")
    numbered: IntArray = np.unique(raw, return_inverse=True)[1].astype(np.int64)
    return numbered


def folded_normal_mean(mean: FloatArray, deviation: FloatArray) -> FloatArray:
    """E|X| of X ~ N(mean, deviation²), elementwise; |mean| where the deviation is 0."""
    from scipy.special import erf

    safe = np.where(deviation > 0, deviation, 1.0)
    folded = safe * np.sqrt(2 / np.pi) * np.exp(-(mean**2) / (2 * safe**2)) + mean * erf(mean / (safe * np.sqrt(2)))
    return np.where(deviation > 0, folded, np.abs(mean))


class BinnedCalibration:
    """Expected calibration error over fixed bins, plain or debiased.

    Plain: sum over bins of (share of films) x |mean score - share fractured|. It is biased upward, because noise in
    a bin never lowers an absolute value. Debiased: the expected excess under binomial noise is taken off, as in
    the normal approximation of Kumar, Liang and Ma 2019 (NeurIPS, "Verified uncertainty calibration"), in closed form
    through the mean of a folded normal instead of by simulation. It may come out slightly below 0.

    Args:
        labels: bool (n,).
        scores: float64 (n,) in [0, 1].
        bins: int64 (n,), bin number of each film.
        debiased: Take the bias off.
    """

    def __init__(self, labels: BoolArray, scores: FloatArray, bins: IntArray, *, debiased: bool = True) -> None:
        count = int(bins.max()) + 1
        self._membership = np.zeros((scores.size, 3 * count))
        films = np.arange(scores.size)
        self._membership[films, bins] = 1.0
        self._membership[films, count + bins] = scores
        self._membership[films, 2 * count + bins] = labels
        self._count = count
        self._debiased = debiased

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Calibration error per row of ``weights``."""
        sums = weights @ self._membership
        k = self._count
        size = sums[:, :k]
        safe = np.maximum(size, 1e-300)
        gap = (sums[:, k : 2 * k] - sums[:, 2 * k :]) / safe
        share = size / size.sum(axis=1, keepdims=True)
        plain = np.abs(gap)
        if not self._debiased:
            error: FloatArray = np.einsum("ij,ij->i", share, plain)
            return error
        rate = np.clip(sums[:, 2 * k :] / safe, 0.0, 1.0)
        noise = np.sqrt(rate * (1 - rate) / np.maximum(size, 1.0))
        excess = folded_normal_mean(gap, noise) - plain
        corrected: FloatArray = np.einsum("ij,ij->i", share, plain - excess)
        return corrected


Reading = Literal["pooled", "mean_of_patient_rmse", "mean_of_joint_wrmse"]
READINGS: tuple[Reading, ...] = get_args(Reading)
"""What "average weighted RMSE" may mean: the root of the whole mean, a mean of rows' roots, or one of columns'."""


class WeightedError:
    """Squared errors of rows (patients) and columns (joints) as one number, each row with a weight of its own.

    Args:
        squared: (n, k), for rows and columns.
        weights: (n,), of the rows.
        reading: How rows and columns become one number.
    """

    def __init__(self, squared: FloatArray, weights: FloatArray, reading: Reading = "pooled") -> None:
        self._weights, self._root = weights, reading != "mean_of_patient_rmse"
        whole = squared if reading == "mean_of_joint_wrmse" else squared.mean(axis=1, keepdims=True)
        self._errors = whole if self._root else np.sqrt(whole)

    def __call__(self, weights: FloatArray) -> FloatArray:
        """See the module."""
        rows = as_weights(weights, self._weights.size) * self._weights
        means = divide(rows @ self._errors, rows.sum(axis=1, keepdims=True))
        found: FloatArray = (np.sqrt(means) if self._root else means).mean(axis=1)
        return found


class RankCorrelation:
    """Spearman's coefficient of pairs (n, k), each counted with its row's weight; ranks are those of all rows."""

    def __init__(self, truth: FloatArray, predicted: FloatArray) -> None:
        x, y = (rankdata(values.ravel()).reshape(truth.shape) for values in (truth, predicted))
        sums = [np.full(len(x), float(x.shape[1]))] + [v.sum(axis=1) for v in (x, y, x * x, y * y, x * y)]
        self._columns = np.stack(sums, axis=1)

    def __call__(self, weights: FloatArray) -> FloatArray:
        """See the module."""
        n, x, y, xx, yy, xy = (as_weights(weights, len(self._columns)) @ self._columns).T
        spread = np.sqrt(np.maximum(n * xx - x * x, 0.0) * np.maximum(n * yy - y * y, 0.0))
        return divide(n * xy - x * y, spread)
