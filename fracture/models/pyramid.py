"""A feature pyramid with joint heads: where (map), how large (boxes), whether (score) and which part of the body.

One multi-task network. The trunk's stages at strides 8 and 16 (or 8 alone, where it is dilated) and one or two stages
of its own give levels at strides 8, 16 and 32, joined from the top down (Lin et al. 2017, FPN). On each level a cell
tells the box that it lies in and the quality of that box, the IoU it expects with the annotated one (Li et al. 2020,
Generalized Focal Loss; Zhang et al. 2020, ATSS, for which cells learn). The probability map is that of the paper (Jones
et al. 2020), read from the finest level. Widths and depths are ours.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fracture.models.pooling import AveragePool, build_pool
from fracture.models.spec import ModelSpec

STRIDES: Final = (8, 16, 32)
"""Input pixels per cell of the pyramid's levels."""

_CHANNELS: Final = 96  # of every level; 256 as in FPN would cost more than the trunk of a ResNet-18
_COARSE: Final = 192  # of the stages that the trunk lacks
_EVIDENCE: Final = 160  # what the film's score is pooled from
_GROUPS: Final = 16  # of group normalization: 6 or 12 channels each
_QUALITY_PRIOR: Final = 0.01  # as in Lin et al. 2017 (focal loss): nearly all cells lie in no fracture
_MAP_PRIOR: Final = 0.05
_REACH: Final = 0.7  # before softplus: a box of about two cells around each cell


class Cells(NamedTuple):
    """What the cells of all levels say about boxes, finest level first, rows before columns; N cells in all.

    Attributes:
        quality: float32 (B, N), logit of the IoU that a cell expects of its box with a fracture's.
        boxes: float32 (B, N, 4), (x0, y0, x1, y1) in network pixels, pixel-edge convention, not clipped.
        places: float32 (N, 3), x and y of each cell's middle in network pixels, and its stride.
    """

    quality: Tensor
    boxes: Tensor
    places: Tensor


class PyramidHeads(nn.Module):
    """All heads of a specification with ``pyramid``, with the pyramid that they read.

    Group normalization (Wu and He 2018) inside, since batches of windows are small and a film comes alone in use.
    Pooling, score and regions run in float32 under autocast too, since a score's threshold is an observed number.

    Args:
        spec: The model's specification; ``output_stride`` is 8 or 16.
        channels: Channels of the deep features.
        skip_channels: Channels of the stride-8 tap.
    """

    exact = ("evidence", "pool", "score", "region")
    """Parts that stay in float32 whatever the precision of the rest."""

    def __init__(self, spec: ModelSpec, channels: int, skip_channels: int) -> None:
        super().__init__()
        self.dilated = spec.output_stride == STRIDES[0]
        self.level = STRIDES.index(spec.output_stride)
        inputs = [channels, _COARSE, _COARSE] if self.dilated else [skip_channels, channels, _COARSE]
        last = nn.Sequential(_conv(_COARSE if self.dilated else channels, _COARSE, stride=2), _conv(_COARSE, _COARSE))
        self.coarse = nn.ModuleList([_conv(channels, _COARSE, stride=2), last] if self.dilated else [last])
        self.lateral = nn.ModuleList(nn.Conv2d(n, _CHANNELS, 1) for n in inputs)
        self.smooth = nn.ModuleList(_conv(_CHANNELS, _CHANNELS) for _ in STRIDES)
        self.quality_tower = nn.Sequential(_conv(_CHANNELS, _CHANNELS), _conv(_CHANNELS, _CHANNELS))
        self.box_tower = nn.Sequential(_conv(_CHANNELS, _CHANNELS), _conv(_CHANNELS, _CHANNELS))
        self.quality = _last(3, 1, math.log(_QUALITY_PRIOR / (1 - _QUALITY_PRIOR)))
        self.box = _last(3, 4, _REACH)
        self.reach = nn.Parameter(torch.ones(len(STRIDES)))
        self.map = _last(1, 1, math.log(_MAP_PRIOR / (1 - _MAP_PRIOR)))
        self.evidence = nn.Conv2d(channels + _CHANNELS, _EVIDENCE, 1)
        self.pool = build_pool(spec, _EVIDENCE)
        self.dropout = nn.Dropout(spec.dropout)
        self.score = nn.Linear(self.pool.out_features, 1)
        self.average = AveragePool(channels)
        self.region = nn.Linear(channels + _COARSE, len(spec.regions)) if spec.regions else None

    def forward(self, deep: Tensor, skip: Tensor, validity: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Cells]:
        """Features and validity to score (B,), map (B, 1, H / 8, W / 8), regions (B, R) or None, and cells."""
        levels, coarsest = self._levels(deep, skip)
        quality, boxes, places = [], [], []
        for stride, reach, level in zip(STRIDES, self.reach, levels, strict=True):
            quality.append(self.quality(self.quality_tower(level)).float().flatten(1))
            sides = F.softplus(self.box(self.box_tower(level)).float() * reach) * stride
            place = _places(level.shape[-2], level.shape[-1], stride, level.device)
            places.append(place)
            boxes.append(_around(place, sides.flatten(2).transpose(1, 2)))
        cells = Cells(torch.cat(quality, 1), torch.cat(boxes, 1), torch.cat(places))
        score, regions = self._film(deep, levels[self.level], coarsest, validity)
        return score, self.map(levels[0]).float(), regions, cells

    def weights(self, deep: Tensor, skip: Tensor, validity: Tensor) -> Tensor:
        """Weights of the attention pooling, (B, 1, h, w) at the deep features' stride."""
        level = self._levels(deep, skip)[0][self.level]
        with torch.autocast(deep.device.type, enabled=False):
            evidence = self._evidence(deep, level)
            weights: Tensor = self.pool.weights(evidence, validity.to(evidence.dtype))  # type: ignore[operator]
        return weights

    def _levels(self, deep: Tensor, skip: Tensor) -> tuple[list[Tensor], Tensor]:
        features = [deep] if self.dilated else [skip, deep]
        for stage in self.coarse:
            features.append(stage(features[-1]))
        joined = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        for i in (1, 0):
            joined[i] = joined[i] + F.interpolate(joined[i + 1], size=joined[i].shape[-2:], mode="nearest")
        return [smooth(x) for smooth, x in zip(self.smooth, joined, strict=True)], features[-1]

    def _film(self, deep: Tensor, level: Tensor, coarsest: Tensor, validity: Tensor) -> tuple[Tensor, Tensor | None]:
        with torch.autocast(deep.device.type, enabled=False):
            evidence = self._evidence(deep, level)
            validity = validity.to(evidence.dtype)
            score: Tensor = self.score(self.dropout(self.pool(evidence, validity))).squeeze(1).float()
            if self.region is None:
                return score, None
            share = F.adaptive_avg_pool2d(validity, (coarsest.shape[-2], coarsest.shape[-1]))
            whole = torch.cat(
                [
                    self.average(deep.to(evidence.dtype), validity),
                    self.average(coarsest.to(evidence.dtype), share),
                ],
                dim=1,
            )
            return score, self.region(self.dropout(whole)).float()

    def _evidence(self, deep: Tensor, level: Tensor) -> Tensor:
        both = torch.cat([deep.to(self.evidence.weight.dtype), level.to(self.evidence.weight.dtype)], dim=1)
        return F.relu(self.evidence(both))


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, group normalization, ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.GroupNorm(_GROUPS, outputs), nn.ReLU(inplace=True))


def _last(kernel: int, outputs: int, bias: float) -> nn.Conv2d:
    conv = nn.Conv2d(_CHANNELS, outputs, kernel, padding=kernel // 2)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.constant_(conv.bias, bias)  # type: ignore[arg-type]
    return conv


def _places(rows: int, columns: int, stride: int, device: torch.device) -> Tensor:
    """(rows * columns, 3): x, y of each cell's middle in network pixels, and the stride."""
    y = (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) * stride
    x = (torch.arange(columns, device=device, dtype=torch.float32) + 0.5) * stride
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flip(-1).reshape(-1, 2)
    return torch.cat([grid, torch.full((rows * columns, 1), float(stride), device=device)], dim=1)


def _around(places: Tensor, sides: Tensor) -> Tensor:
    """Cells' middles (n, 3) and distances (B, n, 4) to left, upper, right and lower sides to boxes (B, n, 4)."""
    middle = places[:, :2]
    return torch.cat([middle - sides[..., :2], middle + sides[..., 2:]], dim=-1)
