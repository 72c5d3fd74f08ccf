"""Several algorithms on the same cases: ranked, with Bayes factors; cases of equal weight; scores to look at again.

Source: Sun et al., JAMA Netw Open 2022;5(8):e2227423.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import FloatArray, as_groups, as_scores
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.ranking import bayes_factors
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap, Statistic, point_of, replicates

T = TypeVar("T")
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


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of a score, and what a row in each weighs.

    Attributes:
        bounds: Upper ends of all bins but the last, which is open.
        powers: Of each bin; a weight is 2 to this power.
    """

    bounds: tuple[float, ...]
    powers: tuple[float, ...]

    def weights(self, score: ArrayLike) -> FloatArray:
        """Of true scores (n,).

        A score between two bounds (the mean of two readers) falls into the bin whose upper end is the first that is not
        below it (ours).

        Raises:
            EvaluationError: Scores that are negative or not finite.
        """
        values = np.asarray(score, dtype=np.float64)
        if not np.isfinite(values).all() or (values < 0).any():
            raise EvaluationError("damage scores are finite and not negative", got=float(np.nanmin(values)))
        found: FloatArray = np.power(2.0, np.asarray(self.powers)[np.searchsorted(self.bounds, values, side="left")])
        return found


def rank_by(
    metric: str,
    offered: Mapping[str, Mapping[str, Statistic]],
    n: int,
    *,
    reference: str | None = None,
    draws: Bootstrap = DEFAULT,
) -> tuple[Compared, ...]:
    """:func:`rank_algorithms` by one of the metrics that each algorithm offers.

    Raises:
        EvaluationError: As there, or an unknown metric.
    """
    if unknown := [metrics for metrics in offered.values() if metric not in metrics]:
        raise EvaluationError("unknown metric", got=metric, allowed=sorted(unknown[0]))
    return rank_algorithms(
        {name: found[metric] for name, found in offered.items()}, n, reference=reference, draws=draws
    )


def rank_means(
    predictions: Mapping[str, T],
    mean: Callable[[Sequence[T]], T],
    rank: Callable[..., tuple[Compared, ...]],
    *,
    draws: Bootstrap = DEFAULT,
) -> tuple[Compared, ...]:
    """Means of the top k algorithms for k = 1 to all, in this order, each against the best one alone.

    Args:
        predictions: By the algorithm's name.
        mean: Of several predictions.
        rank: Predictions by name, ``reference`` and ``draws`` to what :func:`rank_algorithms` gives.
        draws: For the comparison.

    Raises:
        EvaluationError: As ``rank``.
    """
    ranked = [row.name for row in rank(predictions, reference=None, draws=Bootstrap(resamples=2))]
    means = {
        name if not k else f"+ {name}": mean([predictions[one] for one in ranked[: k + 1]])
        for k, name in enumerate(ranked)
    }
    found = {row.name: row for row in rank(means, reference=ranked[0], draws=draws)}
    return tuple(found[name] for name in means)


def rank_algorithms(
    statistics: Mapping[str, Statistic], n: int, *, reference: str | None = None, draws: Bootstrap = DEFAULT
) -> tuple[Compared, ...]:
    """Algorithms from best to worst, each with its Bayes factor against the reference over the same resamples.

    Args:
        statistics: By the algorithm's name, one error as a function of row counts; lower is better.
        n: Number of rows, such as patients.
        reference: The algorithm that others are compared with; the one with the lowest error where not given.
        draws: 1,000 bootstraps by default.

    Raises:
        EvaluationError: No algorithm, or an unknown reference.
    """
    if not statistics:
        raise EvaluationError("no predictions to compare")
    points = {name: point_of(statistic, n) for name, statistic in statistics.items()}
    order = sorted(points, key=lambda name: float(points[name] or 0.0))
    best = order[0] if reference is None else reference
    if best not in order:
        raise EvaluationError("the reference is one of the algorithms", got=best, allowed=order)
    resampler = draws.over(n)
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


def divide_by_weight(
    score: ArrayLike,
    bins: Bins,
    shares: Mapping[str, float],
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> tuple[str, ...]:
    """Put rows into parts that get their share of every bin's weight.

    Within each bin, from the heaviest on, groups go in random order to the part that lacks the most weight there (ours;
    the paper states the bins and the aim). A group lies in the bin of its highest score.

    Args:
        score: (n,), by which a row lies in a bin.
        bins: The bins, and what rows in them weigh.
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
    names = list(shares)
    aim = np.array(list(shares.values())) / sum(shares.values())
    group = as_groups(groups, values.size)
    count = int(group.max()) + 1
    highest_of, weight_of = np.zeros(count), np.bincount(group, weights=bins.weights(values))
    np.maximum.at(highest_of, group, values)
    bin_of, part_of = np.searchsorted(bins.bounds, highest_of, side="left"), np.zeros(count, np.int64)
    rng, whole = np.random.default_rng(seed), np.zeros(len(names))
    for one in reversed(range(len(bins.bounds) + 1)):
        here = rng.permutation(np.flatnonzero(bin_of == one))
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
    """A score on which expert and algorithm differ: one for a second reader.

    Attributes:
        patient: Whose.
        column: Which of its scores.
        expert: The reference's score.
        algorithm: The predicted one.
        share: Their distance as a share of the column's range.
    """

    patient: str
    column: str
    expert: float
    algorithm: float
    share: float


def discordant(
    truth: FloatArray,
    predicted: FloatArray,
    ranges: FloatArray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    least: float,
) -> tuple[Discordant, ...]:
    """Scores that differ by at least ``least`` of their column's range, the farthest first.

    Args:
        truth, predicted: (n, k).
        ranges: (k,), the highest score of each column.
        rows, columns: Their names.
        least: Above 0, up to 1.

    Raises:
        EvaluationError: ``least`` outside (0, 1].
    """
    if not 0 < least <= 1:
        raise EvaluationError("a share of the range", got=least, allowed="above 0, up to 1")
    share = np.abs(predicted - truth) / ranges
    found = [
        Discordant(rows[r], columns[c], float(truth[r, c]), float(predicted[r, c]), float(share[r, c]))
        for r, c in zip(*np.nonzero(share >= least - 1e-12), strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-one.share, one.patient, one.column)))
