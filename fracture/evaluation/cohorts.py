"""Subgroups, cases without a clinical indicator, and resampling balanced for confounders.

Sources: Jones et al. 2020 (results per region; all films against films without annotator disagreement; cases without
callus formation, displacement, angulation, comminution or lucent line); Badgeley et al. 2019 (npj Digital Medicine
2:31: the AUC of a hip fracture model falls once cases and controls are matched on confounders).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from fracture.errors import EvaluationError
from fracture.evaluation.film import FilmLevel, film_level
from fracture.evaluation.stats.checks import BoolArray, FloatArray, IntArray, as_binary, as_groups, labeled
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import (
    DEFAULT,
    Bootstrap,
    Statistic,
    bootstrap_columns,
    bootstrap_keywords,
)
from fracture.evaluation.stats.scores import one_class_reason
from fracture.evaluation.stats.statistics import AreaUnderCurve, Ratio

AGE_EDGES = (18, 40, 65)
"""Ages (years) that part the age bands: 0-17, 18-39, 40-64, 65 and older (our choice)."""


@dataclass(frozen=True, slots=True)
class CohortRow(Record):
    """One subgroup of the films.

    Attributes:
        field: What it is cut by (``"region"``, ``"view"``, ...).
        name: Its value.
        result: Its film-level results, or ``None`` where it is empty.
        remark: What a reader must know, such as "no film"; empty where all is well.
    """

    field: str
    name: str
    result: FilmLevel | None
    remark: str = ""


def age_band(age: float | None) -> str | None:
    """The age band of an age in years, ``None`` for an unknown age."""
    if age is None or not np.isfinite(age):
        return None
    if age < 0:
        raise EvaluationError("an age is not negative", got=age)
    low = 0
    for edge in AGE_EDGES:
        if age < edge:
            return f"{low}–{edge - 1}"
        low = edge
    return f"{low} and older"


@bootstrap_keywords
def subgroups(
    field: str,
    membership: Mapping[str, BoolArray],
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    calls: ArrayLike | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> tuple[CohortRow, ...]:
    """Film-level results per subgroup; a film may belong to several (a film that shows two regions).

    Args:
        field: What the subgroups are of.
        membership: Name to bool (n,): which films belong.
        labels: 0/1 (n,).
        scores: float (n,).
        calls: 0/1 (n,) or ``None``.
        bootstrap: How intervals are drawn; each subgroup draws anew from its seed. The level is not adjusted for
            the number of subgroups.

    Raises:
        EvaluationError: Bad input. An empty subgroup is a row without a result.
    """
    truth, score = labeled(labels, scores)
    call = None if calls is None else as_binary(calls, "calls")
    cluster = replace(bootstrap, groups=as_groups(bootstrap.groups, truth.size))
    rows = []
    for name, member in membership.items():
        inside = np.asarray(member, dtype=bool)
        if inside.shape != truth.shape:
            raise EvaluationError("a subgroup needs one entry per film", got=inside.shape, allowed=truth.shape)
        if not inside.any():
            rows.append(CohortRow(field, name, None, "no film"))
            continue
        result = film_level(
            truth[inside],
            score[inside],
            calls=None if call is None else call[inside],
            bootstrap=cluster.of(inside),
        )
        rows.append(CohortRow(field, name, result, one_class_reason(truth[inside]) or ""))
    return tuple(rows)


@bootstrap_keywords
def without_indicators(
    indicators: Mapping[str, Sequence[bool | None]],
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    calls: ArrayLike | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> tuple[CohortRow, ...]:
    """Results on fractured films *without* each clinical indicator, against all normal films.

    Args:
        indicators: Indicator to one entry per film: present, absent, or ``None`` where it was not judged; fractured
            films that were not judged are left out of that row.
        labels: 0/1 (n,).
        scores: float (n,).
        calls: 0/1 (n,) or ``None``.
        bootstrap: How intervals are drawn.

    Raises:
        EvaluationError: Bad input.
    """
    truth = as_binary(labels)
    membership = {}
    for name, values in indicators.items():
        if len(values) != truth.size:
            raise EvaluationError(f"indicator {name!r} needs one entry per film", got=len(values), allowed=truth.size)
        absent = np.array([value is not None and not value for value in values], dtype=bool)
        membership[name] = ~truth | absent
    return subgroups("without indicator", membership, truth, scores, calls=calls, bootstrap=bootstrap)


@dataclass(frozen=True, slots=True)
class Balanced(Record, keys={"plain": "unbalanced_auc"}):
    """Results after matching fractured and normal films on confounders.

    Attributes:
        auc: Balanced AUC.
        plain: The AUC without balancing, of the films in the strata that hold both classes, for comparison.
        sensitivity: Balanced, or not defined without calls.
        specificity: Balanced, or not defined without calls.
        confounders: What was matched on.
        strata: Strata that hold both classes.
        films: Films in those strata.
        left_out: Films in strata of one class, which cannot be matched.
        pairs: Fractured-normal pairs that one matched sample holds.
    """

    auc: Estimate
    plain: Estimate
    sensitivity: Estimate
    specificity: Estimate
    confounders: tuple[str, ...]
    strata: int
    films: int
    left_out: int
    pairs: int


def strata_of(confounders: Mapping[str, Sequence[object]], n: int) -> IntArray:
    """One number per combination of the confounders' values, int64 (n,).

    Raises:
        EvaluationError: No confounder, or lengths that differ.
    """
    if not confounders:
        raise EvaluationError("balancing needs at least one confounder", hint="site, hardware and region are usual")
    for name, values in confounders.items():
        if len(values) != n:
            raise EvaluationError(f"confounder {name!r} needs one entry per film", got=len(values), allowed=n)
    keys = list(zip(*confounders.values(), strict=True))
    index = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return np.array([index[key] for key in keys], dtype=np.int64)


@bootstrap_keywords
def balanced_auc(
    labels: ArrayLike,
    scores: ArrayLike,
    confounders: Mapping[str, Sequence[object]],
    *,
    calls: ArrayLike | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> Balanced:
    """AUC, sensitivity and specificity where the confounders tell nothing about the label.

    In every stratum (combination of confounder values) the larger class is weighted down to the size of the smaller:
    the expectation over all matched samples, so no further randomness comes in (our choice). In each resample the
    weights are found anew.

    Args:
        labels: 0/1 (n,).
        scores: float (n,).
        confounders: Name to one value per film (site, hardware, region as text).
        calls: 0/1 (n,) or ``None``.
        bootstrap: How intervals are drawn.

    Raises:
        EvaluationError: Bad input. Strata without both classes everywhere give estimates that are not defined.
    """
    truth, score = labeled(labels, scores)
    stratum = strata_of(confounders, truth.size)
    names = tuple(confounders)
    call = None if calls is None else as_binary(calls, "calls")
    size = np.bincount(stratum)
    fractured = np.bincount(stratum, weights=truth, minlength=size.size)
    both = (fractured > 0) & (fractured < size)
    keep = both[stratum]
    if not keep.any():
        missing = not_defined(
            "no combination of the confounders holds both classes", n=truth.size, level=bootstrap.level
        )
        return Balanced(missing, missing, missing, missing, names, 0, 0, truth.size, 0)
    truth, score = truth[keep], score[keep]
    inner = as_groups(stratum[keep], truth.size)
    everywhere = replace(bootstrap, groups=as_groups(bootstrap.groups, keep.size))
    resampler = everywhere.of(keep).over(truth.size)
    area = AreaUnderCurve(truth, score)
    columns: list[Statistic] = [area]
    if call is not None:
        inside = call[keep]
        columns += [Ratio(inside, truth), Ratio(~inside, ~truth)]

    def all_of(weights: FloatArray) -> FloatArray:
        balanced = _balance(weights, truth, inner)
        return np.stack([area(weights), *(column(balanced) for column in columns)], axis=1)

    order = ("plain", "auc", "sensitivity", "specificity")[: len(columns) + 1]
    result = bootstrap_columns(order, all_of, resampler)
    absent = not_defined(
        "the predictions carry no call and no threshold was given", n=truth.size, level=bootstrap.level
    )
    pairs = int(np.minimum(fractured, size - fractured).sum())
    return Balanced(
        result["auc"],
        result["plain"],
        result.get("sensitivity", absent),
        result.get("specificity", absent),
        names,
        int(both.sum()),
        int(keep.sum()),
        int((~keep).sum()),
        pairs,
    )


def _balance(weights: FloatArray, truth: BoolArray, stratum: IntArray) -> FloatArray:
    """Weights of each row scaled so that both classes weigh the same in every stratum."""
    code = 2 * stratum + truth
    member = np.zeros((truth.size, 2 * (int(stratum.max()) + 1)))
    member[np.arange(truth.size), code] = 1.0
    sums = weights @ member
    pair = sums.reshape(sums.shape[0], -1, 2)
    smaller = pair.min(axis=2, keepdims=True)
    factor = np.divide(smaller, pair, out=np.zeros_like(pair), where=pair > 0).reshape(sums.shape)
    scaled: FloatArray = weights * factor[:, code]
    return scaled
