"""How far damage scores are from the reference: the weighted errors of RA2-DREAM, exact, with intervals.

Sources: Sun et al., JAMA Netw Open 2022;5(8):e2227423 (bins, weights, the formula); Synapse thread 6703 (its
organizers: subchallenge 1 is an absolute error, 2 and 3 are average RMSEs, weighted by the patient's true overall,
narrowing and erosion score). The organizers' ``score.R`` is not public, so that "average weighted RMSE" has three
readings here; the paper's formula is ``"pooled"``. Logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import FloatArray, as_weights
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap, Statistic, bootstrap
from fracture.evaluation.stats.statistics import divide
from fracture.joints.layout import Damage, Kind
from fracture.joints.table import ScoreTable

__all__ = [
    "BOUNDS",
    "THRESHOLDS",
    "Reading",
    "Scores",
    "errors",
    "evaluate_scores",
    "patient_weights",
    "per_joint",
    "rank_correlation",
    "weighted_rmse",
]

BOUNDS = (0.0, 1.0, 3.0, 7.0, 20.0, 55.0, 148.0)
"""Upper ends of the first seven bins of a patient's true score; the eighth is open."""

THRESHOLDS = (0.0, 1.0, 1.1, 1.95, 3.0, 4.0, 5.0, 6.0)
"""Of each bin; a patient's weight is 2 to this power."""

Reading = Literal["pooled", "mean_of_patient_rmse", "mean_of_joint_wrmse"]
READINGS: tuple[Reading, ...] = get_args(Reading)


def patient_weights(score: ArrayLike) -> FloatArray:
    """2^bin of true scores (n,): 1, 2, 2.14, 3.86, 8, 16, 32 or 64.

    A half score (the mean of two readers) falls into the bin whose upper end is the first that is not below it (ours).

    Raises:
        EvaluationError: Scores that are negative or not finite.
    """
    values = np.asarray(score, dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any():
        raise EvaluationError("damage scores are finite and not negative", got=float(np.nanmin(values)))
    weights: FloatArray = np.power(2.0, np.asarray(THRESHOLDS)[np.searchsorted(BOUNDS, values, side="left")])
    return weights


class _WeightedError:
    """Patients' squared log errors as a ``Statistic`` over how often each patient occurs, so that it can be resampled.

    Args:
        squared: (n, k), for patients and joints.
        weights: (n,), of the patients.
        reading: How patients and joints become one number.
    """

    def __init__(self, squared: FloatArray, weights: FloatArray, reading: Reading) -> None:
        self._weights, self._joints = weights, reading == "mean_of_joint_wrmse"
        if reading == "pooled":
            self._errors = squared.mean(axis=1, keepdims=True)
        elif reading == "mean_of_patient_rmse":
            self._errors = np.sqrt(squared.mean(axis=1, keepdims=True))
        else:
            self._errors = squared
        self._root = reading != "mean_of_patient_rmse"

    def __call__(self, weights: FloatArray) -> FloatArray:
        rows = as_weights(weights, self._weights.size) * self._weights
        means = divide(rows @ self._errors, rows.sum(axis=1, keepdims=True))
        found: FloatArray = (np.sqrt(means) if self._root else means).mean(axis=1)
        return found


class _RankCorrelation:
    """Spearman's coefficient of pairs, each pair counted with its patient's weight; ranks are those of all films."""

    def __init__(self, truth: FloatArray, predicted: FloatArray) -> None:
        self._shape = truth.shape
        x, y = (rankdata(values.ravel()).reshape(self._shape) for values in (truth, predicted))
        sums = [np.full(len(x), float(x.shape[1]))] + [v.sum(axis=1) for v in (x, y, x * x, y * y, x * y)]
        self._columns = np.stack(sums, axis=1)

    def __call__(self, weights: FloatArray) -> FloatArray:
        n, x, y, xx, yy, xy = (as_weights(weights, self._shape[0]) @ self._columns).T
        spread = np.sqrt(np.maximum(n * xx - x * x, 0.0) * np.maximum(n * yy - y * y, 0.0))
        return divide(n * xy - x * y, spread)


def weighted_rmse(truth: FloatArray, predicted: FloatArray, reading: Reading = "pooled") -> Statistic:
    """The weighted RMSE of any joints, weighted by the sum of each row's true scores, as a function of row counts.

    Args:
        truth: (n, k) scores of n patients, or films, and k joints.
        predicted: The same.
        reading: How rows and joints become one number.
    """
    squared: FloatArray = (np.log1p(predicted) - np.log1p(truth)) ** 2
    return _WeightedError(squared, patient_weights(truth.sum(axis=1)), reading)


def rank_correlation(truth: FloatArray, predicted: FloatArray) -> Statistic:
    """Spearman's coefficient over all scores (n, k), as a function of row counts."""
    return _RankCorrelation(truth, predicted)


def _log_errors(gold: ScoreTable, predicted: ScoreTable, damage: Damage, kind: Kind | None) -> FloatArray:
    found: FloatArray = np.log1p(predicted.joints(damage, kind)) - np.log1p(gold.joints(damage, kind))
    return found


def errors(gold: ScoreTable, predicted: ScoreTable) -> dict[str, Statistic]:
    """All weighted errors by name, each as a function of patient counts (b, n) to (b,).

    ``sc1_wmae`` and ``sc1_wrmse`` are of the overall score; ``sc2_narrowing`` and ``sc3_erosion`` each have
    ``_{joint,hand,foot}_{reading}`` over their joints, and ``_total_wmae`` of their sum.

    Args:
        gold: The reference, whose scores give the weights.
        predicted: The same patients in any order.

    Raises:
        EvaluationError: Other patients.
    """
    other = predicted.of(gold.patients)
    whole, found = patient_weights(gold.overall("total")), dict[str, Statistic]()

    def total(name: Literal["total", "narrowing", "erosion"]) -> FloatArray:
        return np.asarray(np.log1p(other.overall(name)) - np.log1p(gold.overall(name)))[:, None]

    found["sc1_wmae"] = _WeightedError(total("total") ** 2, whole, "mean_of_patient_rmse")
    found["sc1_wrmse"] = _WeightedError(total("total") ** 2, whole, "pooled")
    damages: tuple[tuple[str, Damage], ...] = (("sc2", "narrowing"), ("sc3", "erosion"))
    parts: tuple[tuple[str, Kind | None], ...] = (("joint", None), ("hand", "hand"), ("foot", "forefoot"))
    for prefix, damage in damages:
        weights = patient_weights(gold.overall(damage))
        for part, kind in parts:
            squared = _log_errors(gold, other, damage, kind) ** 2
            for reading in READINGS:
                found[f"{prefix}_{damage}_{part}_{reading}"] = _WeightedError(squared, weights, reading)
        found[f"{prefix}_{damage}_total_wmae"] = _WeightedError(total(damage) ** 2, weights, "mean_of_patient_rmse")
    return found


def per_joint(gold: ScoreTable, predicted: ScoreTable) -> dict[str, float]:
    """The weighted RMSE of each of the 86 columns, by name.

    Raises:
        EvaluationError: Other patients.
    """
    other, found = predicted.of(gold.patients), dict[str, float]()
    damages: tuple[Damage, ...] = ("erosion", "narrowing")
    for damage in damages:
        weights, squared = patient_weights(gold.overall(damage)), _log_errors(gold, other, damage, None) ** 2
        found |= dict(zip(gold.names(damage), np.sqrt(weights @ squared / weights.sum()).tolist(), strict=True))
    return found


@dataclass(frozen=True, slots=True)
class Scores:
    """What one set of predictions is worth.

    Attributes:
        errors: By the names of :func:`errors`, lower is better, with bootstrap intervals over patients.
        spearman: Rank correlation of ``total`` (over patients), ``narrowing`` and ``erosion`` (over joints; patients
            are drawn whole).
        joints: Weighted RMSE by column.
    """

    errors: Mapping[str, Estimate]
    spearman: Mapping[str, Estimate]
    joints: Mapping[str, float]

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        estimates = {"errors": self.errors, "spearman": self.spearman}
        found: dict[str, object] = {k: {n: e.to_dict() for n, e in v.items()} for k, v in estimates.items()}
        return {**found, "joints": dict(self.joints)}


def evaluate_scores(gold: ScoreTable, predicted: ScoreTable, *, draws: Bootstrap = DEFAULT) -> Scores:
    """Every metric of the challenge with its interval.

    Args:
        gold: The reference.
        predicted: The same patients in any order.
        draws: How patients are resampled; give ``groups`` where a patient has two time points.

    Raises:
        EvaluationError: Other patients.
    """
    other, resampler = predicted.of(gold.patients), draws.over(len(gold))
    ranks: dict[str, Statistic] = {
        "total": _RankCorrelation(gold.overall("total")[:, None], other.overall("total")[:, None]),
        "narrowing": _RankCorrelation(gold.joints("narrowing"), other.joints("narrowing")),
        "erosion": _RankCorrelation(gold.joints("erosion"), other.joints("erosion")),
    }
    found = bootstrap({**errors(gold, other), **{f"rho {name}": rank for name, rank in ranks.items()}}, resampler)
    return Scores(
        {name: value for name, value in found.items() if not name.startswith("rho ")},
        {name: found[f"rho {name}"] for name in ranks},
        per_joint(gold, other),
    )
