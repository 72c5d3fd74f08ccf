"""Several algorithms on the same cases: ranked, with Bayes factors; cases of equal weight; scores to look at again.

Source: Sun et al., JAMA Netw Open 2022;5(8):e2227423.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import FloatArray, as_groups, as_scores
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.ranking import bayes_factors
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap, Statistic, point_of, replicates

T = TypeVar("T", bound=Sized)
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

    def divide(
        self, score: ArrayLike, shares: Mapping[str, float], *, groups: ArrayLike | None = None, seed: int = 0
    ) -> tuple[str, ...]:
        """Put rows into parts that get their share of every bin's weight, as a challenge's data sets are made.

        Within each bin, from the heaviest on, groups go in random order to the part that lacks the most weight there
        (ours; the paper states the bins and the aim). A group lies in the bin of its highest score.

        Args:
            score: True scores, (n,), by which a row lies in a bin.
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
        highest_of, weight_of = np.zeros(count), np.bincount(group, weights=self.weights(values))
        np.maximum.at(highest_of, group, values)
        bin_of, part_of = np.searchsorted(self.bounds, highest_of, side="left"), np.zeros(count, np.int64)
        rng, whole = np.random.default_rng(seed), np.zeros(len(names))
        for one in reversed(range(len(self.bounds) + 1)):
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


@dataclass(frozen=True, slots=True)
class Ranking(Generic[T]):
    """How algorithms are ranked by their tables of scores.

    Attributes:
        errors: From the reference and an algorithm's table to errors by name, each a function of row counts.
        mean: Of several tables.
        metric: The name of the error that counts where none is asked for; lower is better.
    """

    errors: Callable[[T, T], Mapping[str, Statistic]]
    mean: Callable[[Sequence[T]], T]
    metric: str

    def compare(
        self,
        gold: T,
        predictions: Mapping[str, T],
        *,
        metric: str | None = None,
        reference: str | None = None,
        draws: Bootstrap = DEFAULT,
    ) -> tuple[Compared, ...]:
        """Algorithms from best to worst, see :func:`rank_algorithms`.

        Args:
            gold: The reference scores.
            predictions: By the algorithm's name.
            metric: The name of an error, lower is better; :attr:`metric` where not given.
            reference: As for :func:`rank_algorithms`.
            draws: Likewise; rows drawn with replacement.

        Raises:
            EvaluationError: No predictions, an unknown metric or reference, or other patients.
        """
        offered = {name: self.errors(gold, table) for name, table in predictions.items()}
        wanted = self.metric if metric is None else metric
        if unknown := [metrics for metrics in offered.values() if wanted not in metrics]:
            raise EvaluationError("unknown metric", got=wanted, allowed=sorted(unknown[0]))
        chosen = {name: metrics[wanted] for name, metrics in offered.items()}
        return rank_algorithms(chosen, len(gold), reference=reference, draws=draws)

    def ensembles(
        self, gold: T, predictions: Mapping[str, T], *, metric: str | None = None, draws: Bootstrap = DEFAULT
    ) -> tuple[Compared, ...]:
        """Means of the top k algorithms for k = 1 to all, in this order, each against the best one alone.

        The ranking is made on the same rows, as in the paper: an ensemble chosen here needs others to be proven on.

        Args:
            gold: The reference scores.
            predictions: By the algorithm's name.
            metric: By which they are ranked and compared; :attr:`metric` where not given.
            draws: For the intervals.

        Raises:
            EvaluationError: As for :meth:`compare`.
        """
        order = [row.name for row in self.compare(gold, predictions, metric=metric, draws=Bootstrap(resamples=2))]
        means = {
            name if not k else f"+ {name}": self.mean([predictions[one] for one in order[: k + 1]])
            for k, name in enumerate(order)
        }
        ranked = self.compare(gold, means, metric=metric, reference=order[0], draws=draws)
        found = {row.name: row for row in ranked}
        return tuple(found[name] for name in means)


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
