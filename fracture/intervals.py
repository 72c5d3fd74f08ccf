"""The Wilson interval of a proportion: the one interval that operating points and evaluation share."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import Any

from fracture.errors import EvaluationError


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a binomial proportion.

    Wilson 1927; Jones et al. 2020 use it for sensitivity and specificity. Center ``(p + z²/2n) / (1 + z²/n)``,
    half-width ``z sqrt(p(1-p)/n + z²/4n²) / (1 + z²/n)``, without a continuity correction.
    Equal to ``scipy.stats.binomtest(...).proportion_ci(method="wilson")`` but for the last bit; ours because that
    counts an exact test first and takes 400 times as long.

    Args:
        successes: Number of successes, 0 to ``n``.
        n: Number of trials, at least 1.
        level: Two-sided coverage in (0, 1).

    Returns:
        Lower and upper limit in [0, 1]; exactly 0 for no success and exactly 1 for no failure.

    Raises:
        EvaluationError: ``n`` is 0, ``successes`` is outside 0..n, or ``level`` outside (0, 1).
    """
    if n < 1 or not 0 <= successes <= n:
        raise EvaluationError(
            "a proportion needs at least one trial and no more successes than trials",
            got=f"{successes} of {n}",
        )
    if not 0.0 < level < 1.0:
        raise EvaluationError("a confidence level is a fraction", got=level, allowed="above 0, below 1")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / n
    shrink = 1 + z * z / n
    center = (p + z * z / (2 * n)) / shrink
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    low = 0.0 if successes == 0 else max(0.0, center - half)
    high = 1.0 if successes == n else min(1.0, center + half)
    return low, high


def share_of(count: int, n: int) -> dict[str, Any]:
    """A share with its Wilson interval, as cards keep it: value, count, n, interval; or why there is none."""
    if n == 0:
        return {"value": None, "reason": "no such film"}
    return {"value": count / n, "count": count, "n": n, "interval": list(wilson(count, n))}
