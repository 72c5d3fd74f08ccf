"""Masked pooling: features on a grid, and how valid each cell is, to one vector per film.

A film is padded to the network's size; padding is not part of the image and must not count. All three ways of pooling
take, beside the features, the share of valid pixels in each cell. A film with no valid pixel at all gives a finite
vector, but upstream such a film is an error.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fracture.models.spec import ModelSpec


def cell_validity(mask: Tensor, stride: int) -> Tensor:
    """Share of valid pixels per cell: (B, 1, H, W) bool or float to (B, 1, h, w) float32."""
    return F.avg_pool2d(mask.float(), stride, stride)


class AveragePool(nn.Module):
    """Mean over the film's cells, each weighted by its share of valid pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_features = channels

    def forward(self, features: Tensor, validity: Tensor) -> Tensor:
        """(B, C, h, w) and (B, 1, h, w) to (B, C)."""
        total = validity.sum(dim=(2, 3)).clamp_min(torch.finfo(validity.dtype).tiny)
        return (features * validity).sum(dim=(2, 3)) / total


class PyramidPool(nn.Module):
    """Spatial pyramid of maxima (He et al. 2014, section 2.2) laid over the bounding box of the film's valid
    cells.

    Each grid divides the box, not the padded square, so a film gives the same vector however it was padded.
    Invalid cells inside the box are left out; a bin without a valid cell gives 0.

    Args:
        channels: Channels of the features.
        bins: Sizes of the square grids.
    """

    def __init__(self, channels: int, bins: tuple[int, ...]) -> None:
        super().__init__()
        self.bins = bins
        self.out_features = channels * sum(n * n for n in bins)

    def forward(self, features: Tensor, validity: Tensor) -> Tensor:
        """(B, C, h, w) and (B, 1, h, w) to (B, C * sum of squared bins), grid after grid, rows first."""
        valid = validity > 0
        features = features.masked_fill(~valid, float("-inf"))
        boxes = _bounding_boxes(valid)
        if len(set(boxes)) == 1:
            pooled = self._pyramid(features, boxes[0])
        else:
            pooled = torch.cat([self._pyramid(features[i : i + 1], box) for i, box in enumerate(boxes)])
        return pooled.masked_fill(pooled == float("-inf"), 0.0)

    def _pyramid(self, features: Tensor, box: tuple[int, int, int, int]) -> Tensor:
        top, bottom, left, right = box
        part = features[:, :, top:bottom, left:right]
        return torch.cat([F.adaptive_max_pool2d(part, n).flatten(1) for n in self.bins], dim=1)

    def extra_repr(self) -> str:
        """Bins, for ``print(model)``."""
        return f"bins={self.bins}"


def _bounding_boxes(valid: Tensor) -> list[tuple[int, int, int, int]]:
    """(top, bottom, left, right), half open, of each film's true cells; the whole grid if none is."""
    height, width = valid.shape[2:]
    edges = []
    for line, size in ((valid.any(dim=3), height), (valid.any(dim=2), width)):
        line = line[:, 0].int()
        some = line.any(dim=1)
        edges.append(torch.where(some, line.argmax(dim=1), 0))
        edges.append(torch.where(some, size - line.flip(1).argmax(dim=1), size))
    return [(row[0], row[1], row[2], row[3]) for row in torch.stack(edges, dim=1).tolist()]


class AttentionPool(nn.Module):
    """Gated attention pooling (Ilse, Tomczak and Welling 2018, equation 9) over the film's valid cells.

    Jones et al. 2020 say that some members have "an attention mechanism", not which. We chose this form
    because it suits the task and the mask: a fracture fills a few cells of several thousand, which an average
    dilutes; the softmax leaves padding out exactly; the weights are one number per cell that can be shown;
    and it adds ``2 * channels * hidden + hidden`` parameters only. Squeeze-and-excitation (Hu et al. 2018),
    the alternative, reweights channels by a global average, and so keeps the dilution.

    Args:
        channels: Channels of the features.
        hidden: Units of the gate.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.out_features = channels
        self.value = nn.Conv2d(channels, hidden, 1)
        self.gate = nn.Conv2d(channels, hidden, 1)
        # Without a bias: softmax ignores a constant, which would be a parameter without a gradient.
        self.score = nn.Conv2d(hidden, 1, 1, bias=False)

    def weights(self, features: Tensor, validity: Tensor) -> Tensor:
        """(B, C, h, w) and (B, 1, h, w) to weights (B, 1, h, w) of sum 1 over valid cells."""
        logits = self.score(torch.tanh(self.value(features)) * torch.sigmoid(self.gate(features)))
        least = torch.finfo(logits.dtype).min
        logits = torch.where(validity > 0, logits + validity.clamp_min(1e-12).log(), least)
        return torch.softmax(logits.flatten(2), dim=2).view_as(logits)

    def forward(self, features: Tensor, validity: Tensor) -> Tensor:
        """(B, C, h, w) and (B, 1, h, w) to (B, C)."""
        return (features * self.weights(features, validity)).sum(dim=(2, 3))


def build_pool(spec: ModelSpec, channels: int) -> AveragePool | PyramidPool | AttentionPool:
    """The pooling that a specification asks for, for features of that many channels."""
    if spec.pooling == "spp":
        return PyramidPool(channels, spec.spp_bins)
    if spec.pooling == "attention":
        return AttentionPool(channels, spec.attention_width)
    return AveragePool(channels)
