"""Several views of one hip to one answer: mean, or, learned attention.

Ours; the authors of Krogue et al. 2020 name several views as the first of their limits (after Rayan 2019). ``mean``
and ``or`` need no training; ``attention`` (:class:`fracture.models.attention.ViewAttention`) is trained with the
classifier.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracture.errors import ConfigurationError
from fracture.hip.classes import CLASSES, FRACTURES

Fusion = Literal["mean", "or", "attention"]


def fuse(probabilities: ArrayLike, method: Literal["mean", "or"] = "mean") -> NDArray[np.float64]:
    """One distribution from those of several views of the same hip.

    ``"mean"`` averages. ``"or"`` calls a fracture where any view shows one: the fracture classes' probability is
    1 - prod(1 - p of the views), shared among them in proportion to their sums, and the other classes share the rest
    likewise.

    Args:
        probabilities: (views, 6), rows that sum to 1.
        method: ``"mean"`` or ``"or"``.

    Returns:
        float64 (6,), sum 1.

    Raises:
        ConfigurationError: No view, another shape, or an unknown method.
    """
    rows: NDArray[Any] = np.asarray(probabilities, np.float64)
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] != len(CLASSES):
        raise ConfigurationError(
            "probabilities of views", got=f"shape {rows.shape}", allowed=f"(views, {len(CLASSES)})"
        )
    if method == "mean":
        fused = rows.mean(axis=0)
    elif method == "or":
        broken = np.isin(CLASSES, FRACTURES)
        any_view = 1.0 - np.prod(1.0 - np.clip(rows[:, broken].sum(axis=1), 0, 1))
        total = rows.sum(axis=0)
        fused = np.zeros(len(CLASSES))
        for part, mass in ((broken, any_view), (~broken, 1.0 - any_view)):
            within = total[part].sum()
            fused[part] = mass * (total[part] / within if within > 0 else 1.0 / part.sum())
    else:
        raise ConfigurationError("unknown fusion of views", got=method, allowed=("mean", "or", "attention"))
    return np.asarray(fused / fused.sum(), np.float64)
