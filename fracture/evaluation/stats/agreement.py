"""Agreement and comparison of calls: Cohen's kappa, McNemar, superiority and non-inferiority.

Source of the comparison with readers: Krogue et al. 2020, Statistics. Kappa of model and of readers against the
reference standard (readers of a group pooled); the difference of kappas is bootstrapped 2,000 times, in each
iteration first one film per patient at random; the mean and the percentiles of the bootstrap values are reported.
Superior where the whole interval is above 0 (for a binary reading the readers' point must also lie below the model's
ROC band); non-inferior where its lower limit is at least minus the margin, 0.103 there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, chi2

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import FloatArray, IntArray, as_binary, paired
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.intervals import proportion
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import Bootstrap, bootstrap_keywords, point_of, replicates
from fracture.evaluation.stats.roc import RocBand
from fracture.evaluation.stats.statistics import divide

MARGIN = 0.103
"""Non-inferiority margin of Krogue et al. 2020: the mean pairwise kappa difference of observers of equal training."""

KAPPA = Bootstrap(resamples=2000)
KAPPA_DIFFERENCE = Bootstrap(resamples=2000, one_per_group=True)
"""The draws of Krogue et al. 2020."""

_ONE_CLASS = "agreement by chance is complete: only one class was ever named"

Weighting = Literal["linear", "quadratic"]


class _Kappa:
    """Cohen's kappa of pooled readings as a ``Statistic`` over film weights."""

    def __init__(
        self, reference: IntArray, readings: IntArray, classes: int, weighting: Weighting | None = None
    ) -> None:
        films = reference.size
        self._cells = np.zeros((films, classes * classes))
        for reading in readings:
            np.add.at(self._cells, (np.arange(films), reference * classes + reading), 1.0)
        gap = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(np.float64)
        if weighting is None:
            self._cost = (gap > 0).astype(np.float64)
        elif weighting == "linear":
            self._cost = gap
        elif weighting == "quadratic":
            self._cost = gap**2
        else:
            raise EvaluationError("unknown weighting of kappa", got=weighting, allowed=("linear", "quadratic", None))
        self._classes = classes

    def __call__(self, weights: FloatArray) -> FloatArray:
        table = (weights @ self._cells).reshape(-1, self._classes, self._classes)
        total = table.sum(axis=(1, 2))
        chance = np.einsum("bi,bj->bij", table.sum(axis=2), table.sum(axis=1))
        seen = (table * self._cost).sum(axis=(1, 2)) * total
        expected = (chance * self._cost).sum(axis=(1, 2))
        return 1.0 - divide(seen, expected)


def kappa_statistic(reference: ArrayLike, readings: ArrayLike, *, weighting: Weighting | None = None) -> _Kappa:
    """Cohen's kappa as a ``Statistic``; see ``cohen_kappa`` for the arguments."""
    truth, rows, classes = _readings(reference, readings)
    return _Kappa(truth, rows[0], classes, weighting)


@bootstrap_keywords
def cohen_kappa(
    first: ArrayLike,
    second: ArrayLike,
    *,
    weighting: Weighting | None = None,
    bootstrap: Bootstrap = KAPPA,
) -> Estimate:
    """Cohen's kappa with a percentile bootstrap interval.

    Args:
        first: Labels (n,), numbers or strings; ordered by value where ``weighting`` is given.
        second: Labels (n,), or (readers, n): the readers' films are then pooled into one table.
        weighting: ``None``, ``"linear"`` or ``"quadratic"``.
        bootstrap: How the interval is drawn (2,000 resamples in the hip paper).

    Returns:
        The kappa of all films with the interval; not defined where both sides name one and the same class only.

    Raises:
        EvaluationError: Lengths that differ or empty input.
    """
    truth, (rows,), classes = _readings(first, second)
    statistic = _Kappa(truth, rows, classes, weighting)
    return bootstrap.over(truth.size).estimate(statistic, _ONE_CLASS)


@dataclass(frozen=True, slots=True)
class McNemar(Record):
    """McNemar's test of two calls on the same films.

    Attributes:
        both: Films both got right.
        first_only: Films only the first got right.
        second_only: Films only the second got right.
        neither: Films neither got right.
        statistic: Chi-square with one degree of freedom, ``None`` for the exact test.
        p_value: Two-sided; 1 where the two never differ.
        method: ``"exact binomial"``, ``"chi-square"`` or ``"chi-square, continuity-corrected"``.
    """

    both: int
    first_only: int
    second_only: int
    neither: int
    statistic: float | None
    p_value: float
    method: str


def mcnemar(
    reference: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    exact: bool | None = None,
    correction: bool = False,
) -> McNemar:
    """McNemar's test that two calls are right equally often.

    Give only fractured films for sensitivity, only normal films for specificity, all films for accuracy.

    Args:
        reference: 0/1 (n,).
        first: 0/1 (n,) calls.
        second: 0/1 (n,) calls on the same films.
        exact: Exact binomial test; ``None``: exact where fewer than 25 films differ (the usual rule).
        correction: Edwards' continuity correction of the chi-square.

    Raises:
        EvaluationError: Bad input.
    """
    truth, a, b = as_binary(reference), as_binary(first, "first calls"), as_binary(second, "second calls")
    paired(truth, a, "reference and calls")
    paired(truth, b, "reference and calls")
    right_a, right_b = a == truth, b == truth
    first_only, second_only = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    counts = (int((right_a & right_b).sum()), first_only, second_only, int((~right_a & ~right_b).sum()))
    different = first_only + second_only
    if exact if exact is not None else different < 25:
        p_value = 1.0 if different == 0 else float(binomtest(first_only, different).pvalue)
        return McNemar(*counts, None, p_value, "exact binomial")
    if different == 0:
        return McNemar(*counts, 0.0, 1.0, "chi-square")
    gap = max(0.0, abs(first_only - second_only) - (1.0 if correction else 0.0))
    statistic = gap**2 / different
    name = "chi-square, continuity-corrected" if correction else "chi-square"
    return McNemar(*counts, statistic, float(chi2.sf(statistic, 1)), name)


@dataclass(frozen=True, slots=True)
class OperatingPoint(Record):
    """Readers' sensitivity and specificity as one point of the ROC plane, readings pooled."""

    sensitivity: Estimate
    specificity: Estimate

    def below(self, band: RocBand) -> bool | None:
        """Whether the point lies below the band's lower limit; ``None`` where the point is not defined."""
        if self.sensitivity.value is None or self.specificity.value is None:
            return None
        return self.sensitivity.value < band.low_at(1.0 - self.specificity.value)


def readers_point(reference: ArrayLike, readings: ArrayLike, *, level: float = 0.95) -> OperatingPoint:
    """The pooled operating point of readers.

    Args:
        reference: 0/1 (n,).
        readings: 0/1 (n,) or (readers, n).
        level: Confidence level. Wilson's intervals take pooled readings as independent.

    Raises:
        EvaluationError: Bad input.
    """
    truth = as_binary(reference)
    rows = [as_binary(row, "readings") for row in np.atleast_2d(np.asarray(readings))]
    for row in rows:
        paired(truth, row, "reference and readings")
    hits = sum(int((row & truth).sum()) for row in rows)
    clear = sum(int((~row & ~truth).sum()) for row in rows)
    return OperatingPoint(
        proportion(hits, len(rows) * int(truth.sum()), level, of="fractured films"),
        proportion(clear, len(rows) * int((~truth).sum()), level, of="normal films"),
    )


@dataclass(frozen=True, slots=True)
class KappaComparison(Record):
    """The difference of two kappas against the same reference.

    Attributes:
        first: Kappa of the first (the model), all films, with its interval.
        second: Kappa of the second (the readers), likewise.
        difference: First minus second: the mean of the bootstrap values and their percentiles, as the paper reports.
        observed: The difference on all films, without resampling; ``None`` where a kappa is not defined.
        margin: Non-inferiority margin.
        verdict: ``"superior"``, ``"non-inferior"``, ``"inferior"``, ``"inconclusive"`` or ``"not defined"``.
        readers_below_band: Whether the readers' point lies below the ROC band, ``None`` where not asked.
    """

    first: Estimate
    second: Estimate
    difference: Estimate
    observed: float | None
    margin: float
    verdict: str
    readers_below_band: bool | None = None


def verdict(difference: Estimate, margin: float = MARGIN, *, below_band: bool | None = None) -> str:
    """Superior, non-inferior, inferior, inconclusive, by the hip paper's rules.

    Args:
        difference: Kappa of the model minus kappa of the readers, with its interval.
        margin: Non-inferiority margin, positive.
        below_band: For a binary reading, whether the readers' point lies below the model's ROC band; superiority
            then needs it. ``None``: the rule does not apply (several classes).

    Returns:
        ``"superior"`` (lower limit > 0, strictly, and the band rule), ``"non-inferior"`` (lower limit >= -margin),
        ``"inferior"`` (upper limit < -margin, our addition), else ``"inconclusive"``; ``"not defined"`` without an
        interval.

    Raises:
        EvaluationError: A margin that is not positive.
    """
    if margin <= 0:
        raise EvaluationError("a non-inferiority margin is positive", got=margin)
    if difference.low is None or difference.high is None:
        return "not defined"
    if difference.low > 0 and below_band is not False:
        return "superior"
    if difference.low >= -margin:
        return "non-inferior"
    return "inferior" if difference.high < -margin else "inconclusive"


@bootstrap_keywords
def compare_kappa(
    reference: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    bootstrap: Bootstrap = KAPPA_DIFFERENCE,
    margin: float = MARGIN,
    band: RocBand | None = None,
) -> KappaComparison:
    """Difference of two kappas against one reference, bootstrapped as in Krogue et al. 2020.

    Args:
        reference: Labels (n,), numbers or strings, two classes or more.
        first: Labels (n,) or (readers, n), usually the model's.
        second: Labels (n,) or (readers, n), usually a group of readers, pooled.
        bootstrap: How the difference is drawn. By default as in the paper: 2,000 iterations, in each of which all
            films but one of each patient are dropped first.
        margin: Non-inferiority margin.
        band: The model's ROC band; with it, superiority also needs the readers' point below the band. The labels
            must then be 0/1.

    Raises:
        EvaluationError: Bad input.
    """
    truth, (a, b), classes = _readings(reference, first, second)
    kappa_a, kappa_b = _Kappa(truth, a, classes), _Kappa(truth, b, classes)
    resampler = bootstrap.over(truth.size)
    values = replicates({"first": kappa_a, "second": kappa_b}, resampler)

    point_a, point_b = point_of(kappa_a, truth.size), point_of(kappa_b, truth.size)
    estimate_a = resampler.interval(point_a, values["first"], _ONE_CLASS)
    estimate_b = resampler.interval(point_b, values["second"], _ONE_CLASS)
    values["difference"] = values["first"] - values["second"]
    usable = values["difference"][np.isfinite(values["difference"])]
    if point_a is None or point_b is None or not usable.size:
        difference = not_defined("one of the two kappas is not defined", n=truth.size, method=resampler.method)
        observed = None
    else:
        observed = point_a - point_b
        mean = float(usable.mean())
        difference = resampler.interval(mean, values["difference"], note=", mean of the bootstrap values")
    below = None
    if band is not None:
        below = readers_point(reference, second, level=bootstrap.level).below(band)
    return KappaComparison(
        estimate_a, estimate_b, difference, observed, margin, verdict(difference, margin, below_band=below), below
    )


def _readings(reference: ArrayLike, *readings: ArrayLike) -> tuple[IntArray, list[IntArray], int]:
    truth = np.asarray(reference)
    if truth.ndim != 1 or truth.size == 0:
        raise EvaluationError("reference labels must be a vector of at least one film", got=f"shape {truth.shape}")
    rows = [np.atleast_2d(np.asarray(reading)) for reading in readings]
    for row in rows:
        if row.ndim != 2 or row.shape[1] != truth.size or row.shape[0] == 0:
            raise EvaluationError(
                "readings need one entry per film", got=f"shape {row.shape}", allowed=f"(readers, {truth.size})"
            )
    together: list[Any] = [truth, *(part for row in rows for part in row)]
    _check_kinds(together)
    names, codes = np.unique(np.concatenate(together), return_inverse=True)
    coded = codes.reshape(-1, truth.size).astype(np.int64)
    result, start = [], 1
    for row in rows:
        result.append(coded[start : start + row.shape[0]])
        start += row.shape[0]
    return coded[0], result, int(names.size)


def _check_kinds(rows: Sequence[Any]) -> None:
    if len({row.dtype.kind in "biuf" for row in rows}) > 1:
        raise EvaluationError("reference and readings must use the same kind of labels", hint="all numbers or all text")
    for row in rows:
        if row.dtype.kind == "f" and any(math.isnan(value) for value in row):
            raise EvaluationError("readings hold NaN", hint="leave films out that were not read")
