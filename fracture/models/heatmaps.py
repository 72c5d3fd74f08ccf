"""Centers and points as maps: how a network's maps are read, and the loss of maps of centers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
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


def point_losses(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Of maps of one point each: cross-entropy of their softmax against a Gaussian of one cell, and the L1 distance of
    the softmax's mean near the point, each summed over the maps.

    Args:
        logits: (n, size, size).
        truth: (n, 2), x and y in cells, pixel edges.
    """
    size, heat = logits.shape[-1], logits.flatten(1)
    cells = torch.arange(size, device=logits.device) + 0.5
    spread = -0.5 * (truth[:, :, None] - cells) ** 2
    target = (spread[:, 1, :, None] + spread[:, 0, None, :]).flatten(1).softmax(-1)
    map_loss = -(target * heat.log_softmax(-1)).sum(-1)
    near = (target > 1e-4) * heat.softmax(-1)
    near = (near / near.sum(-1, keepdim=True).clamp_min(1e-6)).view(-1, size, size)
    mean = torch.stack([(near.sum(1) * cells).sum(-1), (near.sum(2) * cells).sum(-1)], -1)
    return map_loss.sum(), (mean - truth).abs().sum(-1).sum()


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


def center_map(shape: Sequence[int], centers: Iterable[Iterable[float]], spread: float) -> NDArray[np.float32]:
    """The map that a network of centers is to give, float32 of any dimensions.

    Args:
        shape: Of the map.
        centers: In cells, whose middles are whole numbers; they may lie outside.
        spread: Standard deviation of a peak in cells.

    Returns:
        1 in the cell of each center, and falling around it.
    """
    found, axes = np.zeros(tuple(shape), np.float32), np.ogrid[tuple(slice(n) for n in shape)]
    for center in centers:
        at = tuple(center)
        away = np.asarray(sum((axis - place) ** 2 for axis, place in zip(axes, at, strict=True)))
        found = np.maximum(found, np.exp(-away / (2 * spread**2)).astype(np.float32))
        cell = tuple(int(np.floor(place + 0.5)) for place in at)
        if all(0 <= n < size for n, size in zip(cell, shape, strict=True)):
            found[cell] = 1
    return found


def peaks(values: NDArray[np.floating], least: float, size: int | Sequence[int] = 3) -> NDArray[np.int64]:
    """Cells (n, d) of a map of d dimensions, not negative, that reach ``least`` and that none around them exceeds.

    Args:
        values: The map.
        least: Of a peak.
        size: Cells along each side of what is around a peak, its own among them; odd.
    """
    top = ndimage.maximum_filter(values, size, mode="constant")
    return np.argwhere((values == top) & (values >= least))


def refined(values: NDArray[np.floating], cells: NDArray[np.integer]) -> NDArray[np.float64]:
    """Cells (n, d) of a map of d dimensions, moved to the center of mass of themselves and their neighbors."""
    padded, steps = np.pad(values.astype(np.float64), 1), np.arange(-1, 2)
    moved = np.zeros(cells.shape)
    for n, cell in enumerate(cells.tolist()):
        around = padded[tuple(slice(k, k + 3) for k in cell)]
        mass = around / around.sum()
        others = [tuple(k for k in range(mass.ndim) if k != axis) for axis in range(mass.ndim)]
        moved[n] = [place + mass.sum(axis=rest) @ steps for place, rest in zip(cell, others, strict=True)]
    return moved
