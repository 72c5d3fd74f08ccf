"""Several algorithms on the same patients, and their ensembles; parts of equal weight; joints to read again.

Source: Sun et al., JAMA Netw Open 2022;5(8):e2227423.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import as_groups, as_scores
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.ranking import bayes_factors
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap, point_of, replicates
from fracture.joints.metrics import BOUNDS, errors, patient_weights
from fracture.joints.table import JOINTS, ScoreTable, highest

__all__ = [
    "TIED",
    "Compared",
    "Discordant",
    "compare",
    "discordant",
    "divide_by_weight",
    "ensembles",
    "mean_of",
]

TIED = 3.0
"""A Bayes factor up to this says tied (JAMA, Methods)."""


@dataclass(frozen=True, slots=True)
class Compared(Record):
    """One algorithm beside the reference.

    Attributes:
        name: Its name.
        error: The metric on all patients, with its interval.
        bootstrapped: Mean of the metric over the bootstraps.
        bayes_factor: Against the reference; infinite where all bootstraps agree; 0 for the reference.
        verdict: ``"reference"``, ``"tied"`` (K at most 3, or the same predictions), ``"better"`` or ``"worse"``.
    """

    name: str
    error: Estimate
    bootstrapped: float
    bayes_factor: float
    verdict: str


def compare(
    gold: ScoreTable,
    predictions: Mapping[str, ScoreTable],
    *,
    metric: str = "sc1_wrmse",
    reference: str | None = None,
    draws: Bootstrap = DEFAULT,
) -> tuple[Compared, ...]:
    """Algorithms from best to worst, each with its Bayes factor against the reference over the same resamples.

    Args:
        gold: The reference scores.
        predictions: By name.
        metric: One of the names of :func:`fracture.joints.metrics.errors`; lower is better.
        reference: The algorithm that others are compared with; the one with the lowest error where not given.
        draws: 1,000 bootstraps of patients by default.

    Raises:
        EvaluationError: No predictions, an unknown metric or reference, or other patients.
    """
    if not predictions:
        raise EvaluationError("no predictions to compare")
    statistics = {}
    for name, table in predictions.items():
        offered = errors(gold, table)
        if metric not in offered:
            raise EvaluationError("unknown metric", got=metric, allowed=sorted(offered))
        statistics[name] = offered[metric]
    points = {name: point_of(statistic, len(gold)) for name, statistic in statistics.items()}
    order = sorted(points, key=lambda name: float(points[name] or 0.0))
    best = order[0] if reference is None else reference
    if best not in order:
        raise EvaluationError("the reference is one of the algorithms", got=best, allowed=order)
    resampler = draws.over(len(gold))
    drawn = replicates(statistics, resampler)
    factors = bayes_factors(np.stack([drawn[name] for name in order], axis=1), order.index(best))
    rows = []
    for name, factor in zip(order, factors.tolist(), strict=True):
        mean, other = float(drawn[name].mean()), float(drawn[best].mean())
        same = bool((drawn[name] == drawn[best]).all())
        verdict = "tied" if same or factor <= TIED else "better" if mean < other else "worse"
        error = resampler.interval(points[name], drawn[name])
        rows.append(Compared(name, error, mean, factor, "reference" if name == best else verdict))
    return tuple(rows)


def mean_of(tables: Sequence[ScoreTable]) -> ScoreTable:
    """The mean of several algorithms' scores, sums too.

    Raises:
        EvaluationError: None given, or other patients.
    """
    if not tables:
        raise EvaluationError("an ensemble has at least one algorithm")
    same = [table.of(tables[0].patients) for table in tables]
    joints, sums = (np.mean([getattr(t, part) for t in same], axis=0) for part in ("values", "sums"))
    return ScoreTable(tables[0].patients, joints, sums)


def ensembles(
    gold: ScoreTable, predictions: Mapping[str, ScoreTable], *, metric: str = "sc1_wrmse", draws: Bootstrap = DEFAULT
) -> tuple[Compared, ...]:
    """Means of the top k algorithms for k = 1 to all, in this order, each against the best one alone.

    The ranking is made on the same patients, as in the paper: an ensemble chosen here needs others to be proven on.

    Raises:
        EvaluationError: As for :func:`compare`.
    """
    ranked = [row.name for row in compare(gold, predictions, metric=metric, draws=Bootstrap(resamples=2))]
    means = {
        name if not k else f"+ {name}": mean_of([predictions[one] for one in ranked[: k + 1]])
        for k, name in enumerate(ranked)
    }
    found = {row.name: row for row in compare(gold, means, metric=metric, reference=ranked[0], draws=draws)}
    return tuple(found[name] for name in means)


def divide_by_weight(
    score: ArrayLike, shares: Mapping[str, float], *, groups: ArrayLike | None = None, seed: int = 0
) -> tuple[str, ...]:
    """Put patients into parts that get their share of every bin's weight, as the challenge's data sets were made.

    Within each bin, from the heaviest on, groups go in random order to the part that lacks the most weight there (ours;
    the paper states the bins and the aim). A group lies in the bin of its highest score.

    Args:
        score: True overall scores (n,).
        shares: Part to share; shares are relative.
        groups: Patient of each row, where one has two time points; the rows of a group stay together.
        seed: Of the order.

    Returns:
        The part of each row.

    Raises:
        EvaluationError: No parts, shares that are not positive, bad scores.
    """
    values = as_scores(score)
    if not shares or any(not 0 < share < np.inf for share in shares.values()):
        raise EvaluationError("parts have positive shares", got=dict(shares))
    weights, names = patient_weights(values), list(shares)
    aim = np.array(list(shares.values())) / sum(shares.values())
    group = as_groups(groups, values.size)
    count = int(group.max()) + 1
    highest_of, weight_of = np.zeros(count), np.bincount(group, weights=weights)
    np.maximum.at(highest_of, group, values)
    bins, part_of = np.searchsorted(BOUNDS, highest_of, side="left"), np.zeros(count, np.int64)
    rng, whole = np.random.default_rng(seed), np.zeros(len(names))
    for one in reversed(range(len(BOUNDS) + 1)):
        here = rng.permutation(np.flatnonzero(bins == one))
        inside, total = np.zeros(len(names)), weight_of[here].sum()
        for member in here.tolist():
            lack = aim * total - inside
            # Equal lacks within the bin are settled by what a part lacks over all bins so far.
            chosen = max(range(len(names)), key=lambda k: (round(float(lack[k]), 9), -float(whole[k] / aim[k])))
            part_of[member] = chosen
            inside[chosen] += weight_of[member]
            whole[chosen] += weight_of[member]
    return tuple(names[part] for part in part_of[group].tolist())


@dataclass(frozen=True, slots=True)
class Discordant(Record):
    """A joint on which expert and algorithm differ: one for a second reader.

    Attributes:
        patient: Whose.
        column: Which of the 86.
        expert: The reference's score.
        algorithm: The predicted one.
        share: Their distance as a share of the column's range.
    """

    patient: str
    column: str
    expert: float
    algorithm: float
    share: float


def discordant(gold: ScoreTable, predicted: ScoreTable, *, least: float = 0.4) -> tuple[Discordant, ...]:
    """Joints whose scores differ by at least ``least`` of the column's range, the farthest first.

    The paper had its outliers (201 of 7,896 narrowing scores, 462 of 8,272 erosion scores) read again by a radiologist,
    and does not state its rule; this one is ours: 0.4 is 1.6 grades of narrowing, 2 of a hand's erosion, 4 of a foot's.

    Raises:
        EvaluationError: Other patients, or ``least`` outside (0, 1].
    """
    if not 0 < least <= 1:
        raise EvaluationError("a share of the range", got=least, allowed="above 0, up to 1")
    other = predicted.of(gold.patients)
    ranges = np.array([highest(name) for name in JOINTS])
    share = np.abs(other.values - gold.values) / ranges
    found = [
        Discordant(gold.patients[r], JOINTS[c], float(gold.values[r, c]), float(other.values[r, c]), float(share[r, c]))
        for r, c in zip(*np.nonzero(share >= least - 1e-12), strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-one.share, one.patient, one.column)))
