"""From features to what the model says: the film's score, the map of where, and the regions shown."""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fracture.models.pooling import AttentionPool, AveragePool, build_pool
from fracture.models.spec import MAP_STRIDE, ModelSpec

_DECODER_CHANNELS: Final = 64  # our choice: about 3 % of the operations of a ResNet-18 cut at stride 16
_MAP_PRIOR: Final = 0.1  # our choice: training starts from a rare fracture, not from one half everywhere


class MapHead(nn.Module):
    """Logits of the probability map at stride 8.

    Without a skip: a 1 x 1 convolution of the deep features, then bilinear interpolation where they are
    coarser. With one (our addition, after one step of Lin et al. 2017): the deep features and the stride-8
    tap are projected to 64 channels, the former upsampled, summed, and read by a 3 x 3 and a 1 x 1
    convolution. There is no normalization here, so that padding and the other films of a batch have no say.

    Args:
        channels: Channels of the deep features.
        stride: Their stride.
        skip_channels: Channels of the stride-8 tap, or None for no skip.
    """

    def __init__(self, channels: int, stride: int, skip_channels: int | None) -> None:
        super().__init__()
        self.scale = stride // MAP_STRIDE
        self.skip = skip_channels is not None
        if skip_channels is not None:
            self.deep = nn.Conv2d(channels, _DECODER_CHANNELS, 1)
            self.lateral = nn.Conv2d(skip_channels, _DECODER_CHANNELS, 1, bias=False)
            self.smooth = nn.Conv2d(_DECODER_CHANNELS, _DECODER_CHANNELS, 3, padding=1)
            for conv in (self.deep, self.lateral, self.smooth):
                nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
            for conv in (self.deep, self.smooth):
                nn.init.zeros_(_bias(conv))
        self.logit = nn.Conv2d(_DECODER_CHANNELS if self.skip else channels, 1, 1)
        nn.init.normal_(self.logit.weight, std=0.01)
        nn.init.constant_(_bias(self.logit), math.log(_MAP_PRIOR / (1 - _MAP_PRIOR)))

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """(B, C, H / stride, W / stride) and (B, C', H / 8, W / 8) to (B, 1, H / 8, W / 8) float32."""
        if not self.skip:
            logits: Tensor = self.logit(deep).float()
            return logits if self.scale == 1 else _upsample(logits, self.scale)
        x = F.relu(_upsample(self.deep(deep), self.scale) + self.lateral(skip))
        x = F.relu(self.smooth(x))
        out: Tensor = self.logit(x).float()
        return out


class Heads(nn.Module):
    """All heads of one specification on a backbone's features.

    The score is one linear layer on the pooled features. The regions are another, always on the masked
    average: which part of the body a film shows is a matter of the whole film. Both, with their pooling, run in float32
    under autocast too, since a score's threshold is an observed number.

    Args:
        spec: The model's specification.
        channels: Channels of the deep features.
        skip_channels: Channels of the stride-8 tap.
    """

    exact = ("pool", "score", "region")
    """Parts that stay in float32 whatever the precision of the rest."""

    def __init__(self, spec: ModelSpec, channels: int, skip_channels: int) -> None:
        super().__init__()
        self.pool = build_pool(spec, channels)
        self.dropout = nn.Dropout(spec.dropout)
        self.score = _linear(self.pool.out_features, 1)
        self.region: nn.Linear | None = None
        if spec.regions:
            self.region = _linear(channels, len(spec.regions))
        self.average = AveragePool(channels)
        self.map: MapHead | None = None
        if spec.map:
            self.map = MapHead(channels, spec.output_stride, skip_channels if spec.map_skip else None)

    def forward(self, deep: Tensor, skip: Tensor, validity: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Features and validity to score (B,), and, each or None, map (B, 1, H / 8, W / 8) and regions (B, R)."""
        map_logits = self.map(deep, skip) if self.map is not None else None
        with torch.autocast(deep.device.type, enabled=False):
            features = deep.to(self.score.weight.dtype)
            validity = validity.to(features.dtype)
            score: Tensor = self.score(self.dropout(self.pool(features, validity)))
            regions: Tensor | None = None
            if self.region is not None:
                regions = self.region(self.dropout(self.average(features, validity))).float()
        return score.squeeze(1).float(), map_logits, regions

    def weights(self, deep: Tensor, skip: Tensor, validity: Tensor) -> Tensor:
        """Weights of the attention pooling, (B, 1, h, w) at the deep features' stride; ``skip`` has no say."""
        del skip
        pool = self.pool
        if not isinstance(pool, AttentionPool):
            raise TypeError("pooling without attention")
        with torch.autocast(deep.device.type, enabled=False):
            return pool.weights(deep.to(pool.score.weight.dtype), validity)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def _bias(conv: nn.Conv2d) -> Tensor:
    if conv.bias is None:
        raise TypeError("convolution without a bias")
    return conv.bias


def _upsample(x: Tensor, scale: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(scale), mode="bilinear", align_corners=False)
