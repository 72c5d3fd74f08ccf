"""Several views of one hip to one answer: mean, or, learned attention.

Ours; the authors of Krogue et al. 2020 name several views as the first of their limits (after Rayan 2019). ``mean``
and ``or`` need no training; ``attention`` is a gated pooling of the views' features (Ilse et al. 2018), trained with
the classifier.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from fracture.errors import ConfigurationError
from fracture.hip.classes import CLASSES, FRACTURES

__all__ = ["Fusion", "ViewAttention", "fuse"]

Fusion = Literal["mean", "or", "attention"]


class ViewAttention(nn.Module):
    """Gated attention over views (Ilse et al. 2018, "Attention-based deep multiple instance learning", eq. 9).

    Args:
        channels: Features of a view.
        hidden: Width of the gate.
    """

    def __init__(self, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.value = nn.Linear(channels, hidden)
        self.gate = nn.Linear(channels, hidden)
        self.score = nn.Linear(hidden, 1)

    def weights(self, views: Tensor) -> Tensor:
        """(B, V, C) to (B, V) weights that sum to 1; they do not depend on the order of the views."""
        hidden = torch.tanh(self.value(views)) * torch.sigmoid(self.gate(views))
        found: Tensor = torch.softmax(self.score(hidden).squeeze(-1), dim=1)
        return found

    def forward(self, views: Tensor) -> Tensor:
        """(B, V, C) to (B, C)."""
        return (self.weights(views).unsqueeze(-1) * views).sum(dim=1)


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
