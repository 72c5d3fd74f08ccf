"""How far damage scores are from the reference: the weighted errors of RA2-DREAM, exact, with intervals.

Sources: Sun et al., JAMA Netw Open 2022;5(8):e2227423 (bins, weights, the formula); Synapse thread 6703 (its
organizers: subchallenge 1 is an absolute error, 2 and 3 are average RMSEs, weighted by the patient's true overall,
narrowing and erosion score). The organizers' ``score.R`` is not public, so that "average weighted RMSE" has three
readings here; the paper's formula is ``"pooled"``. Logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fracture.evaluation.files.score_tables import discordant as discordant
from fracture.evaluation.stats.algorithms import Bins, Ranking
from fracture.evaluation.stats.checks import FloatArray
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap, Statistic, bootstrap
from fracture.evaluation.stats.statistics import READINGS, RankCorrelation, WeightedError
from fracture.joints.layout import DAMAGES, Kind
from fracture.joints.table import ScoreTable

BINS = Bins((0.0, 1.0, 3.0, 7.0, 20.0, 55.0, 148.0), (0.0, 1.0, 1.1, 1.95, 3.0, 4.0, 5.0, 6.0))
"""Of a patient's true score: weights of 1, 2, 2.14, 3.86, 8, 16, 32 or 64."""
_PARTS: Mapping[str, Kind | None] = {"joint": None, "hand": "hand", "foot": "forefoot"}


def _squared(predicted: FloatArray, truth: FloatArray) -> FloatArray:
    """Of the errors of log(score + 1), (patients, scores)."""
    return np.asarray((np.log1p(predicted) - np.log1p(truth)) ** 2).reshape(len(truth), -1)


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
    whole, total = BINS.weights(gold.overall("total")), _squared(other.overall("total"), gold.overall("total"))
    found: dict[str, Statistic] = {
        "sc1_wmae": WeightedError(total, whole, "mean_of_patient_rmse"),
        "sc1_wrmse": WeightedError(total, whole, "pooled"),
    }
    for prefix, damage in zip(("sc2", "sc3"), DAMAGES, strict=True):
        weights = BINS.weights(gold.overall(damage))
        for part, kind in _PARTS.items():
            squared = _squared(other.joints(damage, kind), gold.joints(damage, kind))
            for reading in READINGS:
                found[f"{prefix}_{damage}_{part}_{reading}"] = WeightedError(squared, weights, reading)
        total = _squared(other.overall(damage), gold.overall(damage))
        found[f"{prefix}_{damage}_total_wmae"] = WeightedError(total, weights, "mean_of_patient_rmse")
    return found


def per_joint(gold: ScoreTable, predicted: ScoreTable) -> dict[str, float]:
    """The weighted RMSE of each of the 86 columns, by name.

    Raises:
        EvaluationError: Other patients.
    """
    other, found = predicted.of(gold.patients), dict[str, float]()
    for damage in reversed(DAMAGES):
        weights, squared = BINS.weights(gold.overall(damage)), _squared(other.joints(damage), gold.joints(damage))
        found |= dict(zip(gold.names(damage), np.sqrt(weights @ squared / weights.sum()).tolist(), strict=True))
    return found


@dataclass(frozen=True, slots=True)
class Scores(Record):
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
        "total": RankCorrelation(gold.overall("total")[:, None], other.overall("total")[:, None]),
        **{damage: RankCorrelation(gold.joints(damage), other.joints(damage)) for damage in DAMAGES},
    }
    return Scores(bootstrap(errors(gold, other), resampler), bootstrap(ranks, resampler), per_joint(gold, other))


RANKING = Ranking(errors, ScoreTable.mean, "sc1_wrmse")
"""Algorithms are ranked by one of the names of :func:`errors`, by ``sc1_wrmse`` where none is asked for."""
compare = RANKING.compare  # each by itself: the documentation reads names, not tuples
ensembles = RANKING.ensembles
divide_by_weight = BINS.divide
