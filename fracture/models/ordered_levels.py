"""A small network that grades a picture in ordered levels, as expected value and spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def _conv(inputs: int, outputs: int, kernel: int, stride: int, apart: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, apart * (kernel // 2), apart, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class OrderedLevels(nn.Module):
    """Five convolutions, and a location and a scale over ordered levels.

    The logit of "at least level k" is (location - threshold k) / scale with rising thresholds, so that the levels'
    probabilities never cross (McCullagh 1980's cumulative model with a scale); the network itself is ours.

    Args:
        width: Channels of the first map; the others have two and four times as many.
        levels: The highest level.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        w = width
        self.body = nn.Sequential(
            *(_conv(1, w, 7, 4), _conv(w, 2 * w, 3, 2), _conv(2 * w, 2 * w, 3, 1)),
            *(_conv(2 * w, 4 * w, 3, 2), _conv(4 * w, 4 * w, 3, 1)),
        )
        self.last = nn.Sequential(nn.Linear(8 * w, 48), nn.ReLU(inplace=True), nn.Linear(48, 2))
        self.steps = nn.Parameter(torch.zeros(levels))

    def forward(self, planes: Tensor) -> Tensor:
        """(B, 1, H, W) to logits (B, levels) of at least level 1, 2, ..."""
        maps = self.body(planes).float()
        return self.graded([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))])

    def graded(self, parts: Sequence[Tensor]) -> Tensor:
        """Logits (B, levels) from what is told of a picture, (B, ...) each."""
        found = self.last(torch.cat([*parts], dim=1))
        rising = torch.cumsum(nn.functional.softplus(self.steps), dim=0)
        logits: Tensor = (found[:, :1] + rising.mean() - rising) / torch.exp(found[:, 1:].clamp(-3, 3))
        return logits

    def losses(self, planes: Tensor, grades: Tensor, traces: Tensor) -> tuple[Tensor, Tensor]:
        """Of a batch, summed: :func:`level_loss`, and that of where changes lie, which is 0 here."""
        del traces
        return level_loss(self(planes), grades), planes.new_zeros(())


class LocatedLevels(OrderedLevels):
    """The same, and a map at stride 8 of where the picture is changed, which a loss of its own teaches
    (:meth:`located`); grades are read there and from the whole. The two last convolutions are dilated in place of a
    stride."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__(width, levels)
        w = width
        self.body[3], self.body[4] = _conv(2 * w, 4 * w, 3, 1, 2), _conv(4 * w, 4 * w, 3, 1, 3)
        self.where = nn.Conv2d(4 * w, 1, 1)
        nn.init.constant_(self.where.bias, -3.0)  # type: ignore[arg-type]  # little of a picture is changed
        self.last[0] = nn.Linear(12 * w + 2, 48)

    def forward(self, planes: Tensor) -> Tensor:
        """(B, 1, H, W) to logits (B, levels) of at least level 1, 2, ..."""
        return self.located(planes)[0]

    def losses(self, planes: Tensor, grades: Tensor, traces: Tensor) -> tuple[Tensor, Tensor]:
        """The same; ``traces``, (B, H / 8, W / 8) from 0 to 1, say where changes lie, and weigh five times (ours)."""
        logits, where = self.located(planes)
        missed = nn.functional.binary_cross_entropy_with_logits(where, traces, reduction="none")
        return level_loss(logits, grades), 5 * missed.mean(dim=(1, 2)).sum()

    def located(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and those of the map, (B, H / 8, W / 8)."""
        maps = self.body(planes).float()
        where = self.where(maps)
        share = where.sigmoid()
        size = share.sum(dim=(2, 3))
        there = (maps * share).sum(dim=(2, 3)) / (size + 1)
        means = [maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))]
        return self.graded([*means, there, size / 20, share.amax(dim=(2, 3))]), where[:, 0]


def level_loss(logits: Tensor, grades: Tensor) -> Tensor:
    """Binary cross-entropy of "at least level k", the mean over levels, summed over the batch.

    Args:
        logits: (B, levels).
        grades: (B,), whole.
    """
    levels = torch.arange(1, logits.shape[1] + 1, device=logits.device)
    truth = (grades[:, None].to(logits.device) >= levels).float()
    return nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=1).sum()


def expected(logits: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (n,) of scores from the logits (n, levels) of at least 1, 2, ..."""
    least = torch.sigmoid(logits.double()).cpu().numpy()
    mean = least.sum(axis=1)
    square = (least * (2 * np.arange(1, least.shape[1] + 1) - 1)).sum(axis=1)  # k² is the sum of the odd numbers to it
    return mean, np.sqrt(np.maximum(square - mean * mean, 0.0))
