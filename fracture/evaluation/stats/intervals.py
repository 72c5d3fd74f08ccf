"""Intervals for proportions, and predictive values carried to another prevalence.

Sources: Wilson 1927 (score interval; the one Jones et al. 2020 use for sensitivity and specificity), Clopper and
Pearson 1934 (exact), Mercaldo, Lau and Zhou 2007 (Statistics in Medicine 26:2170; logit interval of predictive
values at a given prevalence).
"""

from __future__ import annotations

import math
from typing import Literal

from scipy.special import ndtri
from scipy.stats import binomtest

from fracture.errors import EvaluationError
from fracture.evaluation.stats.checks import as_level
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.intervals import wilson


def normal_quantile(level: float) -> float:
    """The two-sided standard normal quantile: 1.959964 at 0.95."""
    return float(ndtri(0.5 + as_level(level) / 2.0))


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval, conservative for every p.

    Args:
        successes: Number of successes, 0 .. n.
        n: Number of trials, at least 1.
        level: Confidence level.

    Returns:
        (low, high).

    Raises:
        EvaluationError: ``n`` is 0, or ``successes`` is outside 0 .. n.
    """
    _check_counts(successes, n)
    found = binomtest(successes, n).proportion_ci(as_level(level), method="exact")
    return float(found.low), float(found.high)


def proportion(
    successes: int,
    n: int,
    level: float = 0.95,
    *,
    method: Literal["wilson", "clopper-pearson"] = "wilson",
    of: str = "films",
) -> Estimate:
    """A proportion with its interval; "not defined" where there is nothing to count.

    Args:
        successes: Numerator.
        n: Denominator; 0 gives an estimate that is not defined.
        level: Confidence level.
        method: ``"wilson"`` (the paper's) or ``"clopper-pearson"`` (exact).
        of: What the denominator counts, for the reason text.

    Raises:
        EvaluationError: Negative or impossible counts, or an unknown method.
    """
    if n == 0 and successes == 0:
        return not_defined(f"there are no {of}", level=level)
    if method == "wilson":
        low, high = wilson(successes, n, level)
        return Estimate(successes / n, low, high, level, "Wilson", n, successes)
    if method == "clopper-pearson":
        low, high = clopper_pearson(successes, n, level)
        return Estimate(successes / n, low, high, level, "Clopper-Pearson", n, successes)
    raise EvaluationError("unknown interval for a proportion", got=method, allowed=("wilson", "clopper-pearson"))


def predictive_value_at(
    prevalence: float,
    *,
    true_positives: int,
    false_negatives: int,
    false_positives: int,
    true_negatives: int,
    value: Literal["ppv", "npv"] = "ppv",
    level: float = 0.95,
) -> Estimate:
    """PPV or NPV that the measured sensitivity and specificity give at another prevalence.

    PPV = Se p / (Se p + (1-Sp)(1-p)), NPV = Sp (1-p) / (Sp (1-p) + (1-Se) p) (Bayes). The interval is the logit
    interval of Mercaldo et al. 2007: it treats the prevalence as known. Where sensitivity or specificity is 0 or 1
    the logit variance is not defined; then the interval is left out and the reason says so.

    Args:
        prevalence: Share of fractured films in the population meant, strictly between 0 and 1.
        true_positives: Fractured films called fractured.
        false_negatives: Fractured films called normal.
        false_positives: Normal films called fractured.
        true_negatives: Normal films called normal.
        value: ``"ppv"`` or ``"npv"``.
        level: Confidence level.

    Raises:
        EvaluationError: A prevalence outside (0, 1), or negative counts.
    """
    if not 0.0 < prevalence < 1.0:
        raise EvaluationError("a prevalence lies strictly between 0 and 1", got=prevalence)
    positives, negatives = true_positives + false_negatives, false_positives + true_negatives
    if min(true_positives, false_negatives, false_positives, true_negatives) < 0:
        raise EvaluationError("counts of a confusion table are not negative")
    n = positives + negatives
    if positives == 0 or negatives == 0:
        missing = "fractured" if positives == 0 else "normal"
        return not_defined(f"there are no {missing} films", n=n, level=level)
    sensitivity, specificity = true_positives / positives, true_negatives / negatives
    if value == "ppv":
        hit, miss = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
        rates = (sensitivity, positives, 1 - specificity, negatives)
    elif value == "npv":
        hit, miss = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
        rates = (specificity, negatives, 1 - sensitivity, positives)
    else:
        raise EvaluationError("unknown predictive value", got=value, allowed=("ppv", "npv"))
    if hit + miss == 0.0:
        call = "positive" if value == "ppv" else "negative"
        return not_defined(f"no film was called {call}", n=n, level=level)
    point = hit / (hit + miss)
    first, n_first, second, n_second = rates
    if not (0.0 < first < 1.0 and 0.0 < second < 1.0):
        return Estimate(
            point,
            level=level,
            method="Bayes",
            n=n,
            reason="no interval: a sensitivity or specificity of 0 or 1 has no logit variance",
        )
    # Var[logit PPV] = Var[log Se] + Var[log(1-Sp)], and likewise for the NPV.
    spread = normal_quantile(level) * math.sqrt((1 - first) / (first * n_first) + (1 - second) / (second * n_second))
    logit = math.log(point / (1 - point))
    low, high = (1 / (1 + math.exp(-(logit + shift))) for shift in (-spread, spread))
    return Estimate(point, low, high, level, "logit (Mercaldo 2007)", n)


def _check_counts(successes: int, n: int) -> None:
    if n < 1:
        raise EvaluationError("a proportion needs at least one trial", got=n)
    if not 0 <= successes <= n:
        raise EvaluationError("successes lie between 0 and the number of trials", got=f"{successes} of {n}")
