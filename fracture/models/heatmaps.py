"""Centers and points as maps: how a network's maps are read, and the loss of maps of centers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def center_loss(logits: Tensor, truth: Tensor, counts: Tensor | None = None) -> Tensor:
    """The focal loss of centers (Zhou et al. 2019, eq. 1), summed over all cells; not yet divided by the centers.

    Args:
        logits: Of any shape.
        truth: The same shape: 1 at centers, falling to 0 around them.
        counts: The same shape: what a cell counts; all alike where not given.
    """
    logits = logits.float()
    chance = torch.sigmoid(logits)
    hit = -F.logsigmoid(logits) * (1 - chance) ** 2
    miss = -F.logsigmoid(-logits) * chance**2 * (1 - truth) ** 4
    loss = torch.where(truth >= 1, hit, miss)
    return (loss if counts is None else loss * counts).sum()


def decode_heat(logits: Tensor, stride: float = 4.0, reach: int = 2) -> tuple[Tensor, Tensor]:
    """The mean of each map's softmax around its peak.

    Args:
        logits: (B, K, h, w).
        stride: Crop pixels per cell.
        reach: Cells around the peak that count.

    Returns:
        Points (B, K, 2) in crop pixels, order (x, y), and the share of the softmax that lies there, (B, K).
    """
    batch, count, height, width = logits.shape
    heat = logits.float().flatten(2).softmax(-1)
    peak = heat.argmax(-1, keepdim=True)
    rows, columns = torch.arange(height * width, device=logits.device).div(width, rounding_mode="floor"), None
    columns = torch.arange(height * width, device=logits.device) % width
    near = ((rows - peak // width).abs() <= reach) & ((columns - peak % width).abs() <= reach)
    local = heat * near
    mass = local.sum(-1)
    x = (local * (columns + 0.5)).sum(-1) / mass.clamp_min(1e-12)
    y = (local * (rows + 0.5)).sum(-1) / mass.clamp_min(1e-12)
    return torch.stack([x, y], -1).view(batch, count, 2) * stride, mass
