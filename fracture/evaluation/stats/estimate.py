"""``Estimate``: one number with its interval, or an honest "not defined" with the reason.

Every statistic of this package is returned as an ``Estimate``. A statistic that the data do not define (AUC with
one class, PPV without a positive call, a bootstrap over a single patient) has ``value`` or ``low``/``high`` equal
to ``None`` and says why in ``reason``; it is never a silent zero and never NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fracture.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Estimate:
    """A point estimate with a two-sided confidence interval.

    Attributes:
        value: The point estimate, ``None`` where it is not defined.
        low: Lower confidence limit, ``None`` where no interval is defined.
        high: Upper confidence limit, ``None`` where no interval is defined.
        level: Confidence level of the interval, 0.95 unless asked otherwise.
        method: How the interval was made (``"Wilson"``, ``"bootstrap by group"``, ``"DeLong"``, ...).
        n: The number of units that the statistic rests on: the denominator of a proportion, else the films.
        count: The numerator of a proportion, ``None`` for other statistics.
        reason: Why ``value``, or the interval, is not defined; or a remark on it; ``None`` where all is well.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    method: str = ""
    n: int = 0
    count: int | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is None:
                continue
            object.__setattr__(self, name, float(number))  # NumPy scalars would not survive JSON
            if not math.isfinite(number):
                raise EvaluationError(
                    f"an estimate's {name} is a finite number or None",
                    got=number,
                    hint="use not_defined(reason) where a statistic is not defined",
                )

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def has_interval(self) -> bool:
        """Whether there is a confidence interval."""
        return self.low is not None and self.high is not None

    def __float__(self) -> float:
        """The value.

        Raises:
            EvaluationError: The value is not defined.
        """
        if self.value is None:
            raise EvaluationError("this statistic is not defined", hint=self.reason)
        return self.value

    def text(self, *, percent: bool = False, digits: int | None = None) -> str:
        """The estimate as a table cell, in the form of Jones et al. 2020: ``0.974 (0.971-0.977)`` (en dash).

        Args:
            percent: Multiply by 100 (sensitivity and its like).
            digits: Decimals; by default 1 for percentages and 3 otherwise.

        Returns:
            The text; ``"not defined"`` where there is no value.
        """
        if self.value is None:
            return "not defined"
        factor = 100.0 if percent else 1.0
        places = digits if digits is not None else (1 if percent else 3)
        shown = f"{self.value * factor:.{places}f}"
        if self.low is None or self.high is None:
            return shown
        low, high = f"{self.low * factor:.{places}f}", f"{self.high * factor:.{places}f}"
        separator = " to " if low.startswith("-") else "–"
        return f"{shown} ({low}{separator}{high})"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; keys without content are left out, ``value`` always stays."""
        full = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "level": self.level if self.has_interval else None,
            "method": self.method or None,
            "n": self.n,
            "count": self.count,
            "reason": self.reason,
        }
        return {key: value for key, value in full.items() if key in ("value", "n") or value is not None}


def not_defined(reason: str, *, n: int = 0, method: str = "", level: float = 0.95) -> Estimate:
    """An estimate without a value.

    Args:
        reason: Why it is not defined, as a clause a clinician understands.
        n: How many units there were.
        method: The method that was asked for.
        level: The confidence level that was asked for.
    """
    return Estimate(None, level=level, method=method, n=n, reason=reason)
