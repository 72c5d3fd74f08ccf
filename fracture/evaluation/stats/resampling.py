"""Percentile bootstrap by cluster, vectorized: a resample is a row of film weights.

A resample with replacement is fully described by how often each film occurs in it. ``Resampler`` yields blocks of
such weights, shape (b, n), and a ``Statistic`` turns a block into b values by matrix products and cumulative sums,
so that no film is ever copied. Films of one group (patient, study, ID block) are drawn together.

Sources: Jones et al. 2020, Statistics (m = 1000 percentile bootstrap for all but sensitivity and specificity);
Krogue et al. 2020 (2,000 iterations, in each first one film per patient). Resampling patients with replacement
after that first step is our reading of "bootstrapping" there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import BoolArray, FloatArray, IntArray, as_groups, as_level
from fracture.evaluation.stats.estimate import Estimate

Statistic = Callable[[FloatArray], FloatArray]
"""Takes film weights, float64 (b, n); gives one value per row, float64 (b,), NaN where not defined."""

BLOCK_BYTES = 16 * 2**20
"""Weights held at once: a block has as many rows as fit, at least one."""


UNDEFINED = "the films do not define this statistic"

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


@dataclass(frozen=True, slots=True, eq=False)
class Bootstrap:
    """How intervals are drawn; one value that is handed through everything that resamples.

    Attributes:
        resamples: How many resamples, the paper's m.
        seed: Seed of the draws; the same seed gives the same draws in the same order.
        level: Confidence level.
        groups: (n,) patient, study or ID block of each film; films of one group are drawn together. ``None``: each
            film its own.
        one_per_group: First pick one film of each group at random, then draw the groups (Krogue et al. 2020).

    Raises:
        EvaluationError: Fewer than two resamples, or a level outside (0, 1).
    """

    resamples: int = 1000
    seed: int = 0
    level: float = 0.95
    groups: ArrayLike | None = None
    one_per_group: bool = False

    def __post_init__(self) -> None:
        as_level(self.level)
        if self.resamples < 2:
            raise EvaluationError("a bootstrap needs at least two resamples", got=self.resamples)

    def over(self, n: int) -> Resampler:
        """The draws over ``n`` films.

        Raises:
            EvaluationError: ``groups`` does not have one entry per film.
        """
        return Resampler(as_groups(self.groups, n), self.resamples, self.seed, self.one_per_group, self.level)

    def of(self, films: BoolArray | IntArray) -> Bootstrap:
        """The same for a part of the films, given as a bool mask (n,) or as int film numbers (k,)."""
        return self if self.groups is None else replace(self, groups=np.asarray(self.groups)[films])


DEFAULT = Bootstrap()
"""The paper's: 1,000 resamples, 95 %, films drawn one by one."""


def bootstrap_keywords(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let ``groups=``, ``resamples=``, ``seed=``, ``level=`` and ``one_per_group=`` stand for ``bootstrap=``.

    So these functions were called before ``Bootstrap``; it works for one more version, with a DeprecationWarning.
    """
    old = {field.name for field in fields(Bootstrap)}
    default = signature(function).parameters["bootstrap"].default

    @wraps(function)
    def wrapper(*args: Any, **options: Any) -> Result:
        given = {name: options.pop(name) for name in old & set(options)}
        if given:
            listed = ", ".join(sorted(given))
            warn(f"{function.__name__}: give {listed} as bootstrap=Bootstrap(...)", DeprecationWarning, stacklevel=2)
            options["bootstrap"] = replace(options.get("bootstrap", default), **given)
        return function(*args, **options)

    return wrapper


@dataclass(frozen=True, slots=True)
class Resampler:
    """Seeded draws of clusters with replacement.

    Attributes:
        groups: int64 (n,), cluster number of each film, 0 .. G-1.
        resamples: How many resamples.
        seed: Seed of the random generator; the draws do not depend on the block size.
        one_per_group: First pick one film of each group at random, then draw the groups.
        level: Confidence level of the intervals.
    """

    groups: IntArray
    resamples: int = 1000
    seed: int = 0
    one_per_group: bool = False
    level: float = 0.95

    @classmethod
    def over(cls, n: int, groups: ArrayLike | None = None, **options: Any) -> Resampler:
        """A resampler over ``n`` films (of ``groups``); ``options`` and what it does are as for ``Bootstrap.over``.

        Raises:
            EvaluationError: As for ``Bootstrap``.
        """
        return Bootstrap(groups=groups, **options).over(n)

    @property
    def films(self) -> int:
        """Number of films."""
        return int(self.groups.size)

    @property
    def clusters(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1 if self.groups.size else 0

    @property
    def grouped(self) -> bool:
        """Whether any group has more than one film."""
        return self.clusters < self.films

    @property
    def method(self) -> str:
        """What to call the interval."""
        if self.one_per_group:
            return f"bootstrap, one film per group, m = {self.resamples}"
        return f"bootstrap{' by group' if self.grouped else ''}, m = {self.resamples}"

    def draws(self) -> Iterator[IntArray]:
        """The drawn cluster numbers of each resample, one int array of shape (clusters,) after the other."""
        for part in self._drawn(1):
            yield part[0]

    def _drawn(self, rows: int) -> Iterator[IntArray]:
        """The draws in blocks of at most ``rows``; the stream of numbers is the same for any block size."""
        generator = np.random.default_rng(self.seed)
        count = self.clusters
        for start in range(0, self.resamples, rows):
            yield generator.integers(0, count, size=(min(rows, self.resamples - start), count))

    def blocks(self) -> Iterator[FloatArray]:
        """Film weights, float64 (b, n), until all resamples are given out."""
        rows = max(1, min(self.resamples, BLOCK_BYTES // (8 * max(1, self.films))))
        count = self.clusters
        picks = self._picks() if self.one_per_group else None
        for drawn in self._drawn(rows):
            size = drawn.shape[0]
            drawn += np.arange(size)[:, None] * count
            times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
            if picks is None:
                yield times.take(self.groups, axis=1)
            else:
                weights = np.zeros((size, self.films))
                np.put_along_axis(weights, np.stack([next(picks) for _ in range(size)]), times, axis=1)
                yield weights

    def _picks(self) -> Iterator[IntArray]:
        generator = np.random.default_rng((self.seed, 1))
        order = np.argsort(self.groups, kind="stable")
        sizes = np.bincount(self.groups, minlength=self.clusters)
        starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        for _ in range(self.resamples):
            yield order[starts + (generator.random(sizes.size) * sizes).astype(np.int64)]

    def interval(self, value: float | None, values: FloatArray, reason: str = UNDEFINED, *, note: str = "") -> Estimate:
        """:func:`interval_of` for a statistic's values at these draws; ``note`` is added to the method's name."""
        return interval_of(
            value,
            values,
            level=self.level,
            method=self.method + note,
            n=self.films,
            clusters=self.clusters,
            reason=reason,
        )

    def estimate(self, statistic: Statistic, reason: str = UNDEFINED) -> Estimate:
        """One statistic of the films as they are, with its interval.

        Args:
            statistic: From film weights, float64 (b, n), to float64 (b,); NaN where it is not defined.
            reason: What is said where the films as they are do not define it.
        """
        return bootstrap({"": statistic}, self, reasons={"": reason})[""]


def point_of(statistic: Statistic, n: int) -> float | None:
    """The statistic on the films as they are, ``None`` where it is not defined."""
    value = float(statistic(np.ones((1, n)))[0])
    return value if np.isfinite(value) else None


def replicates(statistics: Mapping[str, Statistic], resampler: Resampler) -> dict[str, FloatArray]:
    """Every statistic on every resample, all in one pass over the same draws.

    Args:
        statistics: Name to statistic.
        resampler: The draws.

    Returns:
        Name to float64 (resamples,), NaN where a resample does not define the statistic.
    """
    parts: dict[str, list[FloatArray]] = {name: [] for name in statistics}
    for block in resampler.blocks():
        for name, statistic in statistics.items():
            parts[name].append(statistic(block))
    return {name: np.concatenate(values) for name, values in parts.items()}


def interval_of(
    value: float | None,
    values: FloatArray,
    *,
    level: float = 0.95,
    method: str = "bootstrap",
    n: int = 0,
    clusters: int | None = None,
    reason: str = UNDEFINED,
) -> Estimate:
    """The percentile interval of bootstrap values, with what is undefined said.

    Resamples that do not define the statistic are left out and counted in ``reason``. If they are more than one
    in twenty, or if there is a single cluster, no interval is given (our choice).

    Args:
        value: The point estimate, ``None`` where it is not defined.
        values: float64 (m,), NaN where undefined.
        level: Confidence level.
        method: Name of the method.
        n: Number of films.
        clusters: Number of groups that were drawn from.
        reason: Why ``value`` is ``None``, where it is.
    """
    base = Estimate(value, level=as_level(level), method=method, n=n)
    if value is None:
        return replace(base, reason=reason)
    if clusters is not None and clusters < 2:
        return replace(base, reason="no interval: all films belong to one group")
    usable = values[np.isfinite(values)]
    lost = values.size - usable.size
    if lost > 0.05 * values.size:
        return replace(base, reason=f"no interval: {lost} of {values.size} resamples do not define it")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(usable, (tail, 1.0 - tail))
    if low == high:  # a percentile interval of no width would claim certainty
        return replace(base, reason="no interval: the resamples do not differ, too few films or errors for a bootstrap")
    remarks = [f"{lost} of {values.size} resamples do not define it and were left out"] if lost else []
    if not low <= value <= high:
        remarks.append(
            f"the value lies outside its interval: it counts every film, while {method} weighs groups alike, "
            "and some groups have many more films than others"
        )
    return replace(base, low=float(low), high=float(high), reason="; ".join(remarks) or None)


def bootstrap(
    statistics: Mapping[str, Statistic], resampler: Resampler, *, reasons: Mapping[str, str] | None = None
) -> dict[str, Estimate]:
    """Point estimates with percentile intervals, all from the same resamples.

    Args:
        statistics: Name to statistic.
        resampler: The draws.
        reasons: Per name, why the value is not defined if it is not.

    Returns:
        Name to ``Estimate``; the point estimate is that of the films as they are, not the bootstrap mean.
    """
    values = replicates(statistics, resampler)
    return {
        name: resampler.interval(
            point_of(statistic, resampler.films), values[name], (reasons or {}).get(name, UNDEFINED)
        )
        for name, statistic in statistics.items()
    }


def bootstrap_columns(
    names: Sequence[str], columns: Statistic, resampler: Resampler, *, reason: str = UNDEFINED
) -> dict[str, Estimate]:
    """Like ``bootstrap`` for statistics that are best computed together.

    Args:
        names: Names of the k statistics.
        columns: Takes weights (b, n), gives float64 (b, k), NaN where not defined.
        resampler: The draws.
        reason: Why a statistic is not defined if it is not.

    Returns:
        Name to ``Estimate``.
    """
    values = np.concatenate([columns(block) for block in resampler.blocks()])
    point = columns(np.ones((1, resampler.films)))[0]
    return {
        name: resampler.interval(float(point[place]) if np.isfinite(point[place]) else None, values[:, place], reason)
        for place, name in enumerate(names)
    }
