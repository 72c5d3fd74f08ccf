"""Small blocks that weigh channels of a map, or several views of one thing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Channel weights in (0, 1) from the pooled map: two layers without bias (Hu et al. 2018, in its code's form).

    Args:
        channels: Of the map.
        reduction: The first layer has ``channels // reduction`` outputs.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // reduction, bias=False)
        self.fc2 = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, C) of averages to (B, C) of weights."""
        return torch.sigmoid(self.fc2(F.relu(self.fc1(pooled))))


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
