"""ROC and precision-recall curves, their bands, threshold tables and the two usual operating points.

A film is called fractured where score >= threshold (Jones et al. 2020). Sources of the bands: Macskassy and
Provost 2004, "Confidence bands for ROC curves" (vertical averaging; fixed-width bands), and Campbell 1994
(Statistics in Medicine 13:499), who introduced the fixed-width band.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import BoolArray, FloatArray, IntArray, as_scores, labeled
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.intervals import proportion
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap, Resampler, bootstrap_keywords
from fracture.evaluation.stats.scores import one_class_reason


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """The empirical ROC curve: one point per distinct score, from (0, 0) to (1, 1).

    Attributes:
        fpr: float64 (k,), false-positive rate, rising.
        tpr: float64 (k,), sensitivity, rising.
        thresholds: float64 (k,), called fractured at score >= threshold; the first is infinite (no call).
    """

    fpr: FloatArray
    tpr: FloatArray
    thresholds: FloatArray

    @property
    def area(self) -> float:
        """The area under the curve by trapezoids, which is the AUC."""
        return float(np.sum(np.diff(self.fpr) * (self.tpr[1:] + self.tpr[:-1]) / 2.0))

    def simplified(self) -> RocCurve:
        """The same curve without the points inside straight horizontal or vertical runs."""
        across, up = np.diff(self.fpr) == 0, np.diff(self.tpr) == 0
        corner = ~((across[1:] & across[:-1]) | (up[1:] & up[:-1]))
        keep = np.concatenate(([True], corner, [True]))
        return RocCurve(self.fpr[keep], self.tpr[keep], self.thresholds[keep])


@dataclass(frozen=True, slots=True, eq=False)
class PrCurve:
    """The precision-recall curve: one point per distinct score, by rising recall.

    Attributes:
        recall: float64 (k,).
        precision: float64 (k,).
        thresholds: float64 (k,).
    """

    recall: FloatArray
    precision: FloatArray
    thresholds: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class RocBand:
    """A confidence band around an ROC curve on a grid of false-positive rates.

    Attributes:
        fpr: float64 (k,), grid over [0, 1].
        tpr: float64 (k,): the mean of the bootstrap curves (vertical) or the empirical curve (fixed width).
        low: float64 (k,), lower limit of the sensitivity.
        high: float64 (k,), upper limit.
        level: Confidence level.
        method: ``"vertical"`` (at each false-positive rate on its own) or ``"fwb"`` (the whole curve at once).
        width: Displacement of the fixed-width band along its slope, ``None`` for the vertical one.
    """

    fpr: FloatArray
    tpr: FloatArray
    low: FloatArray
    high: FloatArray
    level: float
    method: str
    width: float | None = None

    def low_at(self, fpr: float) -> float:
        """The lower limit at one false-positive rate, linear between grid points."""
        return float(np.interp(fpr, self.fpr, self.low))

    def high_at(self, fpr: float) -> float:
        """The upper limit at one false-positive rate, linear between grid points."""
        return float(np.interp(fpr, self.fpr, self.high))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary, values rounded to five decimals."""
        return {
            "method": self.method,
            "level": self.level,
            "width": self.width,
            "fpr": np.round(self.fpr, 5).tolist(),
            "tpr": np.round(self.tpr, 5).tolist(),
            "low": np.round(self.low, 5).tolist(),
            "high": np.round(self.high, 5).tolist(),
        }


class _Ordered:
    """Films by falling score, with the ends of tied runs: curves of many resamples without sorting again."""

    def __init__(self, labels: BoolArray, scores: FloatArray) -> None:
        self.order: IntArray = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.truth = labels[self.order]
        self.ends = np.flatnonzero(np.concatenate((ordered[1:] != ordered[:-1], [True])))

    def counts(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Fractured and normal weight at or above each distinct score, each (b, k + 1) with a leading 0."""
        rows = weights.take(self.order, axis=1)
        hits = np.cumsum(rows * self.truth, axis=1)[:, self.ends]
        called = np.cumsum(rows, axis=1)[:, self.ends]
        zero = np.zeros((rows.shape[0], 1))
        return np.hstack([zero, hits]), np.hstack([zero, called - hits])


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> RocCurve:
    """The empirical ROC curve.

    Args:
        labels: 0/1 (n,).
        scores: float (n,).

    Raises:
        EvaluationError: One class only, or bad input.
    """
    truth, score = _both_classes(labels, scores, "an ROC curve")
    from sklearn import metrics

    return RocCurve(*metrics.roc_curve(truth, score, drop_intermediate=False))


def pr_curve(labels: ArrayLike, scores: ArrayLike) -> PrCurve:
    """The precision-recall curve.

    Args:
        labels: 0/1 or bool (n,).
        scores: float (n,), higher for more likely fractured.

    Raises:
        EvaluationError: One class only, or bad input.
    """
    truth, score = _both_classes(labels, scores, "a precision-recall curve")
    from sklearn import metrics

    precision, recall, thresholds = metrics.precision_recall_curve(truth, score)
    return PrCurve(recall[-2::-1], precision[-2::-1], thresholds[::-1])


@bootstrap_keywords
def roc_band(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    method: Literal["vertical", "fwb"] = "vertical",
    bootstrap: Bootstrap = DEFAULT,
    points: int = 201,
) -> RocBand:
    """A bootstrap confidence band for the ROC curve.

    ``"vertical"`` averages the sensitivity of the bootstrap curves at each false-positive rate (linear between
    their points, the upper end of a vertical step) and takes percentiles there: right at any one rate, too narrow
    for the whole curve. ``"fwb"`` moves the empirical curve both ways along the slope -sqrt(normal / fractured),
    the ratio of the standard errors of the two rates, by the distance within which the wanted share of the
    bootstrap curves stays as a whole: a simultaneous band.

    Args:
        labels: 0/1 (n,).
        scores: float (n,).
        method: ``"vertical"`` or ``"fwb"``.
        bootstrap: How the curves are drawn.
        points: Grid points over the false-positive rate.

    Raises:
        EvaluationError: One class only, an unknown method, or bad input.
    """
    if method not in ("vertical", "fwb"):
        raise EvaluationError("unknown ROC band", got=method, allowed=("vertical", "fwb"))
    truth, score = _both_classes(labels, scores, "an ROC band")
    resampler = bootstrap.over(truth.size)
    if resampler.clusters < 2:
        raise EvaluationError("an ROC band needs at least two groups", got=resampler.clusters)
    ordered = _Ordered(truth, score)
    grid = np.linspace(0.0, 1.0, points)
    return (_vertical_band if method == "vertical" else _fixed_width_band)(ordered, resampler, grid)


def _curves(ordered: _Ordered, resampler: Resampler) -> Any:
    """Bootstrap curves one by one, (fpr, tpr), resamples with one class left out."""
    for block in resampler.blocks():
        for hits, alarms in zip(*ordered.counts(block), strict=True):
            if hits[-1] > 0 and alarms[-1] > 0:
                yield alarms / alarms[-1], hits / hits[-1]


def _vertical_band(ordered: _Ordered, resampler: Resampler, grid: FloatArray) -> RocBand:
    rows = [np.interp(grid, fpr, tpr) for fpr, tpr in _curves(ordered, resampler)]
    if len(rows) < 0.95 * resampler.resamples:
        raise EvaluationError("too few resamples hold both classes for an ROC band", got=len(rows))
    stack = np.stack(rows)
    tail = (1 - resampler.level) / 2
    low, high = np.quantile(stack, (tail, 1 - tail), axis=0)
    return RocBand(grid, stack.mean(axis=0), low, high, resampler.level, "vertical")


def _fixed_width_band(ordered: _Ordered, resampler: Resampler, grid: FloatArray) -> RocBand:
    positives = float(ordered.truth.sum())
    slope = float(np.sqrt((ordered.truth.size - positives) / positives))
    hits, alarms = ordered.counts(np.ones((1, ordered.truth.size)))
    fpr, tpr = alarms[0] / alarms[0, -1], hits[0] / hits[0, -1]
    # Every curve meets each line tpr + slope * fpr = c once, because both rates only rise along it.
    lines = np.linspace(0.0, 1.0 + slope, 4 * grid.size)
    base = np.interp(lines, tpr + slope * fpr, fpr)
    distances = [float(np.abs(np.interp(lines, t + slope * f, f) - base).max()) for f, t in _curves(ordered, resampler)]
    if len(distances) < 0.95 * resampler.resamples:
        raise EvaluationError("too few resamples hold both classes for an ROC band", got=len(distances))
    shift = float(np.quantile(distances, resampler.level))
    high = np.interp(grid, np.concatenate(([-shift], fpr - shift)), np.concatenate(([0.0], tpr + slope * shift)))
    low = np.interp(grid, np.concatenate((fpr + shift, [1.0 + shift])), np.concatenate((tpr - slope * shift, [1.0])))
    low = np.where(grid < shift, 0.0, low)
    empirical = np.interp(grid, fpr, tpr)
    width = shift * float(np.sqrt(1.0 + slope**2))
    return RocBand(grid, empirical, np.clip(low, 0, 1), np.clip(high, 0, 1), resampler.level, "fwb", width)


@dataclass(frozen=True, slots=True)
class OperatingRow(Record):
    """What one threshold gives.

    Attributes:
        threshold: Called fractured at score >= threshold.
        sensitivity: With Wilson's interval.
        specificity: With Wilson's interval.
        ppv: With Wilson's interval.
        npv: With Wilson's interval.
        called: Films called fractured.
    """

    threshold: float
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    called: int


def operating_row(truth: BoolArray, score: FloatArray, threshold: float, level: float = 0.95) -> OperatingRow:
    """The row of one threshold (see ``threshold_table``)."""
    calls = score >= threshold
    hits, alarms = int((calls & truth).sum()), int((calls & ~truth).sum())
    positives, negatives = int(truth.sum()), int((~truth).sum())
    return OperatingRow(
        float(threshold),
        proportion(hits, positives, level, of="fractured films"),
        proportion(negatives - alarms, negatives, level, of="normal films"),
        proportion(hits, hits + alarms, level, of="films called fractured"),
        proportion(negatives - alarms, truth.size - hits - alarms, level, of="films called normal"),
        hits + alarms,
    )


def threshold_table(
    labels: ArrayLike,
    scores: ArrayLike,
    thresholds: ArrayLike | None = None,
    *,
    sensitivities: tuple[float, ...] = (0.99, 0.975, 0.95, 0.925, 0.9, 0.85, 0.8),
    level: float = 0.95,
) -> tuple[OperatingRow, ...]:
    """What a range of thresholds gives, with Wilson intervals, by rising threshold.

    Args:
        labels: 0/1 (n,).
        scores: float (n,).
        thresholds: The thresholds to show, float (k,). ``None``: for each wanted sensitivity the largest observed
            score that reaches it (never interpolated between scores).
        sensitivities: Wanted sensitivities, used where ``thresholds`` is ``None``.
        level: Confidence level.

    Raises:
        EvaluationError: Bad input, or no fractured film to set a threshold on.
    """
    truth, score = labeled(labels, scores)
    if thresholds is None:
        positives = np.sort(score[truth])
        if positives.size == 0:
            raise EvaluationError("a threshold at a sensitivity needs fractured films", got=0)
        allowed = [int(np.floor((1.0 - wanted) * positives.size + 1e-9)) for wanted in sensitivities]
        chosen = np.unique([positives[min(index, positives.size - 1)] for index in allowed])
    else:
        chosen = np.unique(as_scores(thresholds, "thresholds"))
    return tuple(operating_row(truth, score, float(value), level) for value in chosen)


def youden_point(labels: ArrayLike, scores: ArrayLike, level: float = 0.95) -> OperatingRow:
    """The threshold that maximizes sensitivity + specificity - 1 on these films (optimistic on the same films).

    Among equals the one of highest sensitivity, our choice: a miss costs more than a false alarm.

    Args:
        labels: 0/1 or bool (n,).
        scores: float (n,), higher for more likely fractured.
        level: Confidence level of the row's intervals.

    Raises:
        EvaluationError: One class only, or bad input.
    """
    return _best_row(labels, scores, level, "Youden's point", lambda fpr, tpr: fpr - tpr)


def nearest_corner(labels: ArrayLike, scores: ArrayLike, level: float = 0.95) -> OperatingRow:
    """The threshold whose ROC point is nearest to the top-left corner, the "ideal point" of Krogue et al. 2020.

    Among equals the one of highest sensitivity, our choice.

    Args:
        labels: 0/1 or bool (n,).
        scores: float (n,), higher for more likely fractured.
        level: Confidence level of the row's intervals.

    Raises:
        EvaluationError: One class only, or bad input.
    """
    return _best_row(labels, scores, level, "the point nearest the corner", lambda fpr, tpr: np.hypot(fpr, 1.0 - tpr))


def _best_row(
    labels: ArrayLike, scores: ArrayLike, level: float, what: str, cost: Callable[[FloatArray, FloatArray], FloatArray]
) -> OperatingRow:
    """The row of the threshold of least cost, of the highest sensitivity among equals."""
    truth, score = _both_classes(labels, scores, what)
    curve = roc_curve(truth, score)
    costs = cost(curve.fpr[1:], curve.tpr[1:])
    best = np.flatnonzero(costs <= costs.min() + 1e-12)[-1]
    return operating_row(truth, score, float(curve.thresholds[1:][best]), level)


def _both_classes(labels: ArrayLike, scores: ArrayLike, what: str) -> tuple[BoolArray, FloatArray]:
    truth, score = labeled(labels, scores)
    reason = one_class_reason(truth)
    if reason is not None:
        raise EvaluationError(f"{what} needs fractured and normal films", hint=reason)
    return truth, score
