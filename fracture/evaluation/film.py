"""Film-level results: the paper's headline row and everything beside it, for one set of films.

Source: Jones et al. 2020, Statistics and Table of results: AUC, sensitivity, specificity, PPV, NPV; Wilson intervals
for sensitivity and specificity, percentile bootstrap (m = 1000) for all others. Accuracy is a plain proportion of
the films and gets Wilson's interval too, as the issue of this module asks. Wilson's interval takes the films as
independent; where they come in groups the bootstrap intervals by group are given beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fracture.errors import EvaluationError
from fracture.evaluation.stats.auc_variance import delong
from fracture.evaluation.stats.checks import BoolArray, FloatArray, as_binary, labeled, paired
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.intervals import proportion
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import (
    DEFAULT,
    UNDEFINED,
    Bootstrap,
    bootstrap_keywords,
    interval_of,
    point_of,
    replicates,
)
from fracture.evaluation.stats.scores import debiased_calibration, one_class_reason
from fracture.evaluation.stats.statistics import (
    AreaUnderCurve,
    AveragePrecision,
    MeanOf,
    confusion_statistics,
    predictive_statistic,
)

_NO_CALLS = "the predictions carry no call and no threshold was given"
_BEYOND = "the scores are not probabilities in [0, 1]"


@dataclass(frozen=True, slots=True)
class Confusion(Record):
    """Counts of films: reference standard against call.

    Attributes:
        true_positives: Fractured, called fractured.
        false_negatives: Fractured, called normal.
        false_positives: Normal, called fractured.
        true_negatives: Normal, called normal.
    """

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int

    def __post_init__(self) -> None:
        counts = (self.true_positives, self.false_negatives, self.false_positives, self.true_negatives)
        if min(counts) < 0:
            raise EvaluationError("counts of a confusion table are not negative", got=counts)
        if sum(counts) == 0:
            raise EvaluationError("the confusion table is empty: there is no film to judge")

    @classmethod
    def of(cls, labels: ArrayLike, calls: ArrayLike) -> Confusion:
        """Count calls against labels, both 0/1 (n,)."""
        truth, call = as_binary(labels), as_binary(calls, "calls")
        paired(truth, call, "labels and calls")
        return cls(
            int((truth & call).sum()),
            int((truth & ~call).sum()),
            int((~truth & call).sum()),
            int((~truth & ~call).sum()),
        )

    @property
    def positives(self) -> int:
        """Fractured films."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> int:
        """Normal films."""
        return self.false_positives + self.true_negatives

    @property
    def films(self) -> int:
        """All films."""
        return self.positives + self.negatives


@dataclass(frozen=True, slots=True)
class FilmLevel:
    """All film-level results of one set of films.

    Attributes:
        films: Number of films.
        fractured: Number of fractured films.
        groups: Number of groups that were resampled (equal to ``films`` where none were given).
        confusion: Counts, ``None`` where there are no calls.
        estimates: Name to estimate: auc, sensitivity, specificity, ppv, npv, accuracy, f1, average_precision,
            brier, ece, and further ones such as ``ppv_at_0.1``.
        beside: Second intervals of the same statistics: ``auc`` by DeLong; sensitivity, specificity and accuracy by
            bootstrap over groups.
    """

    films: int
    fractured: int
    groups: int
    confusion: Confusion | None
    estimates: dict[str, Estimate]
    beside: dict[str, Estimate] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Estimate:
        """One estimate by name.

        Raises:
            EvaluationError: No such statistic.
        """
        try:
            return self.estimates[name]
        except KeyError:
            raise EvaluationError("no such statistic", got=name, allowed=sorted(self.estimates)) from None

    def headline(self) -> str:
        """The row of the paper's table: AUC, then sensitivity, specificity, PPV and NPV in percent."""
        percent = ("sensitivity", "specificity", "ppv", "npv")
        return " | ".join([self["auc"].text(), *(self[name].text(percent=True) for name in percent)])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "films": self.films,
            "fractured": self.fractured,
            "groups": self.groups,
            "confusion": None if self.confusion is None else self.confusion.to_dict(),
            **{name: estimate.to_dict() for name, estimate in self.estimates.items()},
            "beside": {name: estimate.to_dict() for name, estimate in self.beside.items()},
        }


@bootstrap_keywords
def film_level(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    calls: ArrayLike | None = None,
    threshold: float | None = None,
    bootstrap: Bootstrap = DEFAULT,
    prevalences: Sequence[float] = (),
    calibration_bins: int = 15,
) -> FilmLevel:
    """Judge film scores, and calls where there are any, against the reference standard.

    Args:
        labels: 0/1 (n,), 1 = fractured.
        scores: float (n,), higher means more likely fractured. Brier score and ECE need probabilities in [0, 1]
            and are "not defined" otherwise.
        calls: 0/1 (n,), the detector's own calls (its threshold may differ by region).
        threshold: Alternative to ``calls``: called fractured at score >= threshold.
        bootstrap: How intervals are drawn; by patient, study or ID block where it has groups.
        prevalences: PPV and NPV are also given at these prevalences, as ``ppv_at_0.1``.
        calibration_bins: Bins of the ECE.

    Returns:
        The results; single statistics that are not defined say so.

    Raises:
        EvaluationError: No film, NaN, lengths that differ, or both ``calls`` and ``threshold``.
    """
    truth, score = labeled(labels, scores)
    if calls is not None and threshold is not None:
        raise EvaluationError("give calls or a threshold, not both")
    call = _calls(truth, score, calls, threshold)
    resampler = bootstrap.over(truth.size)
    level = bootstrap.level
    one_class = one_class_reason(truth)
    statistics: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if one_class is None:
        statistics["auc"] = AreaUnderCurve(truth, score)
        statistics["average_precision"] = AveragePrecision(truth, score)
    if call is not None:
        statistics.update(confusion_statistics(truth, call))
        for prevalence in prevalences:
            for name, positive in (("ppv", True), ("npv", False)):
                statistics[f"{name}_at_{prevalence:g}"] = predictive_statistic(
                    truth, call, prevalence, positive=positive
                )
        reasons = _call_reasons(truth, call)
    probabilities = bool(score.min() >= 0.0 and score.max() <= 1.0)
    shift = 0.0
    if probabilities:
        statistics["brier"] = MeanOf((score - truth) ** 2)
        statistics["ece"], shift = debiased_calibration(truth, score, calibration_bins)
    values = replicates(statistics, resampler)
    estimates: dict[str, Estimate] = {}
    for name, statistic in statistics.items():
        point = point_of(statistic, truth.size)
        drawn = values[name]
        if name == "ece" and point is not None:
            point, drawn = max(point, 0.0), np.maximum(drawn - shift, 0.0)
        estimates[name] = resampler.interval(point, drawn, reasons.get(name, one_class or UNDEFINED))
    beside = {"auc": delong(truth, score, groups=bootstrap.groups if resampler.grouped else None, level=level)}
    confusion = None if call is None else Confusion.of(truth, call)
    if confusion is not None:
        for name, estimate in _wilson(confusion, level).items():
            if resampler.grouped and estimates[name].defined:
                beside[name] = estimates[name]
            estimates[name] = estimate
    for name in ("auc", "average_precision"):
        estimates.setdefault(name, not_defined(one_class or "", n=truth.size, level=level))
    for name in ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1", "youden"):
        estimates.setdefault(name, not_defined(_NO_CALLS, n=truth.size, level=level))
    for name in ("brier", "ece"):
        estimates.setdefault(name, not_defined(_BEYOND, n=truth.size, level=level))
    return FilmLevel(truth.size, int(truth.sum()), resampler.clusters, confusion, estimates, beside)


@bootstrap_keywords
def from_confusion(confusion: Confusion, *, bootstrap: Bootstrap = DEFAULT) -> dict[str, Estimate]:
    """The statistics of a published confusion table, when the films themselves are not at hand.

    A bootstrap over independent films is a multinomial draw of the four counts, so nothing else is needed.

    Args:
        confusion: The counts.
        bootstrap: How intervals are drawn; a table has no groups.

    Returns:
        sensitivity, specificity, accuracy (Wilson), ppv, npv, f1 (percentile bootstrap).
    """
    counts = np.array(list(confusion.to_dict().values()))
    labels = np.array([True, True, False, False])
    calls = np.array([True, False, True, False])
    generator = np.random.default_rng(bootstrap.seed)
    drawn = generator.multinomial(confusion.films, counts / confusion.films, size=bootstrap.resamples)
    estimates = _wilson(confusion, bootstrap.level)
    reasons = _call_reasons(np.repeat(labels, counts > 0), np.repeat(calls, counts > 0))
    statistics = confusion_statistics(labels, calls)
    for name in ("ppv", "npv", "f1"):
        value = float(statistics[name](counts[None, :].astype(np.float64))[0])
        estimates[name] = interval_of(
            value if np.isfinite(value) else None,
            statistics[name](drawn.astype(np.float64)),
            level=bootstrap.level,
            method=f"bootstrap, m = {bootstrap.resamples}",
            n=confusion.films,
            reason=reasons.get(name, UNDEFINED),
        )
    return estimates


def _calls(truth: BoolArray, score: FloatArray, calls: ArrayLike | None, threshold: float | None) -> BoolArray | None:
    if calls is not None:
        call = as_binary(calls, "calls")
        paired(truth, call, "labels and calls")
        return call
    if threshold is None:
        return None
    if not np.isfinite(threshold):
        raise EvaluationError("a threshold is a finite number", got=threshold)
    decided: BoolArray = score >= threshold
    return decided


def _call_reasons(truth: BoolArray, call: BoolArray) -> dict[str, str]:
    reasons = {}
    if not truth.any():
        reasons.update(dict.fromkeys(("sensitivity", "f1", "youden"), "there are no fractured films"))
    if truth.all():
        reasons.update(dict.fromkeys(("specificity", "youden"), "there are no normal films"))
    if not call.any():
        reasons["ppv"] = "no film was called fractured"
    if call.all():
        reasons["npv"] = "no film was called normal"
    return reasons


def _wilson(confusion: Confusion, level: float) -> dict[str, Estimate]:
    c = confusion
    return {
        "sensitivity": proportion(c.true_positives, c.positives, level, of="fractured films"),
        "specificity": proportion(c.true_negatives, c.negatives, level, of="normal films"),
        "accuracy": proportion(c.true_positives + c.true_negatives, c.films, level),
    }
