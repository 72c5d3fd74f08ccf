"""Tests of whole distributions: Pearson's chi-square, Kruskal-Wallis, Dunn.

Krogue et al. 2020 check the balance of a split by Pearson's chi-square (P = .866 and .898 there). Dunn 1964
(Technometrics 6:241) compares all pairs after Kruskal-Wallis; ties are corrected for, p-values are Bonferroni
adjusted as in Prism.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2_contingency, false_discovery_control, kruskal, norm, rankdata

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import FloatArray, as_scores
from fracture.evaluation.stats.record import Record

Adjustment = Literal["bonferroni", "holm", "fdr", "none"]


@dataclass(frozen=True, slots=True)
class ChiSquare(Record, keys={"expected": None, "small": "expected_below_5"}):
    """Pearson's chi-square test of independence.

    Attributes:
        statistic: Chi-square without continuity correction.
        degrees: Degrees of freedom.
        p_value: Upper tail.
        expected: float64, the expected counts, same shape as the table without its empty rows and columns.
        small: Whether an expected count is below 5: the approximation is then doubtful.
    """

    statistic: float
    degrees: int
    p_value: float
    expected: FloatArray
    small: bool


def chi_square(table: ArrayLike) -> ChiSquare:
    """Pearson's chi-square of a table of counts; rows and columns without any count are left out.

    Args:
        table: Counts, shape (rows, columns), at least two of each with a count.

    Raises:
        EvaluationError: Negative counts, or fewer than two rows or columns.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2:
        raise EvaluationError("chi-square needs a table", got=f"shape {counts.shape}", allowed="(rows, columns)")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise EvaluationError("chi-square needs counts, finite and not negative")
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(counts.shape) < 2:
        raise EvaluationError("chi-square needs two rows and two columns with counts", got=counts.shape)
    found = chi2_contingency(counts, correction=False)
    expected: FloatArray = found.expected_freq
    return ChiSquare(float(found.statistic), int(found.dof), float(found.pvalue), expected, bool(expected.min() < 5))


def split_balance(splits: Sequence[object], classes: Sequence[object]) -> ChiSquare:
    """Whether the classes are spread equally over the splits.

    Args:
        splits: Split of each film (train, tuning, test).
        classes: Class of each film.

    Raises:
        EvaluationError: Lengths that differ, or fewer than two splits or classes.
    """
    if len(splits) != len(classes):
        raise EvaluationError("splits and classes need one entry per film", got=f"{len(splits)} and {len(classes)}")
    _, rows = np.unique(np.array([str(value) for value in splits]), return_inverse=True)
    _, columns = np.unique(np.array([str(value) for value in classes]), return_inverse=True)
    if not rows.size:
        raise EvaluationError("there is no film to judge")
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    return chi_square(table)


@dataclass(frozen=True, slots=True)
class KruskalWallis(Record):
    """Kruskal-Wallis test of equal distributions.

    Attributes:
        statistic: H, corrected for ties.
        degrees: Groups minus one.
        p_value: Upper tail of chi-square.
    """

    statistic: float
    degrees: int
    p_value: float


def kruskal_wallis(samples: Mapping[str, ArrayLike]) -> KruskalWallis:
    """Kruskal-Wallis H over named samples, tie-corrected.

    Args:
        samples: Name to values, float (n,) each; lengths may differ.

    Raises:
        EvaluationError: Fewer than two samples, an empty one, NaN, or all values equal.
    """
    values = list(_ranked(samples, "Kruskal-Wallis")[0].values())
    found = kruskal(*values)
    return KruskalWallis(float(found.statistic), len(values) - 1, float(found.pvalue))


@dataclass(frozen=True, slots=True)
class DunnPair(Record):
    """One pair of Dunn's test.

    Attributes:
        first: Name of the first sample.
        second: Name of the second.
        z: Difference of mean ranks over its standard error.
        p_value: Two-sided, unadjusted.
        adjusted: Two-sided, adjusted for all pairs.
    """

    first: str
    second: str
    z: float
    p_value: float
    adjusted: float


def dunn(samples: Mapping[str, ArrayLike], *, adjustment: Adjustment = "bonferroni") -> tuple[DunnPair, ...]:
    """Dunn's test of all pairs of samples, tie-corrected.

    Neither SciPy nor scikit-learn has it, so it is ours:

    z = (R_i - R_j) / sqrt((N(N+1)/12 - sum(t³-t)/(12(N-1))) (1/n_i + 1/n_j)) with R the mean ranks over all N values.

    Args:
        samples: Name to values, float (n,) each; lengths may differ.
        adjustment: As for ``adjust``.

    Raises:
        EvaluationError: As for ``kruskal_wallis``, or an unknown adjustment.
    """
    values, ranks, ties = _ranked(samples, "Dunn's test")
    total = sum(part.size for part in values.values())
    variance = total * (total + 1) / 12.0 - ties / (12.0 * (total - 1))
    names = list(values)
    raw = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            error = np.sqrt(variance * (1.0 / values[first].size + 1.0 / values[second].size))
            z = float((ranks[first].mean() - ranks[second].mean()) / error)
            raw.append((first, second, z, float(2.0 * norm.sf(abs(z)))))
    adjusted = adjust([row[3] for row in raw], adjustment)
    return tuple(DunnPair(*row, more) for row, more in zip(raw, adjusted, strict=True))


def adjust(p_values: Sequence[float], adjustment: Adjustment = "bonferroni") -> list[float]:
    """P-values adjusted for their number, in the same order.

    Args:
        p_values: Each in [0, 1].
        adjustment: ``"bonferroni"``, ``"holm"``, ``"fdr"`` (Benjamini and Hochberg 1995) or ``"none"``.

    Raises:
        EvaluationError: An unknown adjustment.
    """
    count = len(p_values)
    if adjustment == "none":
        return list(p_values)
    if adjustment == "bonferroni":
        return [min(1.0, count * value) for value in p_values]
    if adjustment == "fdr":
        return [float(value) for value in false_discovery_control(list(p_values))] if count else []
    if adjustment == "holm":
        order = sorted(range(count), key=lambda index: p_values[index])
        result, highest = [0.0] * count, 0.0
        for place, index in enumerate(order):
            highest = max(highest, min(1.0, (count - place) * p_values[index]))
            result[index] = highest
        return result
    raise EvaluationError("unknown adjustment", got=adjustment, allowed=("bonferroni", "holm", "fdr", "none"))


def _ranked(samples: Mapping[str, ArrayLike], test: str) -> tuple[dict[str, FloatArray], dict[str, FloatArray], float]:
    if len(samples) < 2:
        raise EvaluationError("a comparison of samples needs at least two", got=len(samples))
    values = {name: as_scores(sample, f"sample {name!r}") for name, sample in samples.items()}
    together = np.concatenate(list(values.values()))
    if together.size < 3:
        raise EvaluationError("a rank test needs at least three values", got=together.size)
    if (together == together[0]).all():
        raise EvaluationError(f"{test} is not defined where all values are equal")
    ranks = rankdata(together)
    edges = np.cumsum([part.size for part in values.values()])[:-1]
    split = dict(zip(values, np.split(ranks, edges), strict=True))
    counts = np.unique(together, return_counts=True)[1].astype(np.float64)
    return values, split, float((counts**3 - counts).sum())
