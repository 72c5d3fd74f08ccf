"""Several algorithms on the same cases: Bayes factors of bootstraps, concordance, paired tests.

Sources: ``computeBayesFactor`` of Sage-Bionetworks/challengescoring @9a15300384d0 (CC0); Sun et al., JAMA Netw Open
2022;5(8):e2227423, Methods, for how they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import somersd, ttest_rel

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import FloatArray, as_scores, paired
from fracture.evaluation.stats.hypothesis_tests import adjust
from fracture.evaluation.stats.record import Record


def bayes_factors(values: ArrayLike, reference: int, *, invert: bool = False) -> FloatArray:
    """The Bayes factor of each algorithm against one of them, as ``computeBayesFactor`` counts it.

    K is the odds of the more frequent side among the bootstraps, so it is two-sided: K of B against A is K of A against
    B, and a large K says different, not better. All bootstraps on one side give infinity, as many on either give 1. A
    bootstrap without a difference counts as not below the reference: an identical algorithm gives infinity too, and
    :func:`fracture.evaluation.stats.algorithms.rank_algorithms` calls it tied. The reference itself gives 0, infinity
    where inverted.

    Args:
        values: float (bootstraps, algorithms), of the same resamples.
        reference: Column of the reference.
        invert: Give 1 / K.

    Returns:
        float64 (algorithms,).

    Raises:
        EvaluationError: No table, values that are not finite, or no such column.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise EvaluationError(
            "bootstrap values are a finite table", got=table.shape, allowed="(bootstraps, algorithms)"
        )
    if not 0 <= reference < table.shape[1]:
        raise EvaluationError("no such column", got=reference, allowed=f"0 to {table.shape[1] - 1}")
    above = (table - table[:, [reference]] >= 0).sum(axis=0).astype(np.float64)
    below = len(table) - above
    with np.errstate(divide="ignore"):
        factors: FloatArray = np.where(above > below, above / below, below / above)
        factors[reference] = 0.0
        return 1.0 / factors if invert else factors


def concordance_index(truth: ArrayLike, predicted: ArrayLike) -> float | None:
    """Harrell's C: of the pairs whose truth differs, the share in the same order, ties of the prediction one half.

    It is (1 + Somers' D) / 2, and what ``lifelines.utils.concordance_index`` gives without censoring.

    Args:
        truth: float (n,), such as the errors of one round.
        predicted: float (n,), such as those of another.

    Returns:
        0 to 1; ``None`` where no pair differs.

    Raises:
        EvaluationError: Lengths that differ, or values that are not finite.
    """
    first, second = as_scores(truth, "truth"), as_scores(predicted, "predictions")
    paired(first, second, "truth and predictions")
    if np.unique(first).size < 2:
        return None
    return 0.5 if np.unique(second).size < 2 else (1.0 + float(somersd(first, second).statistic)) / 2.0


@dataclass(frozen=True, slots=True)
class PairedTest(Record):
    """Student's paired, two-sided t test of an algorithm against the reference.

    Attributes:
        name: The algorithm.
        difference: Mean of its values minus those of the reference.
        p_value: Unadjusted; 1 where all differences are 0.
        adjusted: By the false discovery rate over all algorithms (Benjamini and Hochberg).
    """

    name: str
    difference: float
    p_value: float
    adjusted: float


def paired_tests(values: Mapping[str, ArrayLike], reference: str) -> tuple[PairedTest, ...]:
    """Every algorithm against the reference, FDR-corrected.

    Args:
        values: Per algorithm floats (n,), one per patient (or per reader), such as its error, in the same order.
        reference: The algorithm that is compared with.

    Raises:
        EvaluationError: No such algorithm, lengths that differ, fewer than two numbers.
    """
    numbers = {name: as_scores(one, name) for name, one in values.items()}
    if reference not in numbers:
        raise EvaluationError("the reference is one of the algorithms", got=reference, allowed=list(numbers))
    base, found = numbers[reference], []
    if base.size < 2:
        raise EvaluationError("a paired test needs at least two pairs", got=base.size)
    for name, one in numbers.items():
        paired(one, base, f"{name} and {reference}")
        if name != reference:
            gaps = one - base
            constant = bool((gaps == gaps[0]).all())  # no spread: t is 0 / 0 or infinite
            p = (1.0 if gaps[0] == 0 else 0.0) if constant else float(ttest_rel(one, base).pvalue)
            found.append((name, float(gaps.mean()), p))
    adjusted = adjust([row[2] for row in found], "fdr")
    return tuple(PairedTest(*row, more) for row, more in zip(found, adjusted, strict=True))
