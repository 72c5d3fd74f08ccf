"""Dilated DenseNet-121 and -169 (Huang et al. 2017), with the parameter names of timm and torchvision, and a small one.

timm's DenseNet has no output stride, so this is our own. Where a transition's pooling is removed, what
followed it is spread "à trous": the 3 x 3 kernels of the later blocks by the removed factor, and the pooling
itself becomes an average of the same pixels at stride 1. (Leaving the pooling out, as is often done, would
feed the later blocks sharper features than they were trained on.) Weights trained at stride 32 therefore stay
exactly valid: every cell of the coarse grid keeps its value.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fracture.models.backbone import Backbone

_BLOCKS: Final = {
    "densenet63": (3, 6, 12, 8),  # half the layers of 121; the size is ours, nobody's ImageNet weights have it
    "densenet121": (6, 12, 24, 16),
    "densenet169": (6, 12, 32, 32),
}
_GROWTH: Final = 32
_BOTTLENECK: Final = 4
_STEM: Final = 64


class DilatedAverage(nn.Module):
    """Mean of a 2 x 2 window at stride 1 whose pixels are ``dilation`` apart, repeating the last row and column."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        d = self.dilation
        x = F.pad(x, (0, d, 0, d), mode="replicate")
        x = x[..., :-d, :] + x[..., d:, :]
        return (x[..., :-d] + x[..., d:]) * 0.25

    def extra_repr(self) -> str:
        """Dilation, for ``print(model)``."""
        return f"dilation={self.dilation}"


class DenseLayer(nn.Module):
    """BN-ReLU-conv 1 x 1, BN-ReLU-conv 3 x 3 on everything that came before in the block."""

    def __init__(self, inputs: int, dilation: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, _BOTTLENECK * _GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(_BOTTLENECK * _GROWTH)
        self.conv2 = nn.Conv2d(_BOTTLENECK * _GROWTH, _GROWTH, 3, padding=dilation, dilation=dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, 32, H, W), the new features only."""
        x = self.conv1(F.relu(self.norm1(x), inplace=True))
        new: Tensor = self.conv2(F.relu(self.norm2(x), inplace=True))
        return new


class DenseBlock(nn.Module):
    """Dense layers, each fed with the block's input and all new features before it."""

    def __init__(self, layers: int, inputs: int, dilation: int) -> None:
        super().__init__()
        for i in range(layers):
            self.add_module(f"denselayer{i + 1}", DenseLayer(inputs + i * _GROWTH, dilation))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C + 32 * layers, H, W)."""
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class _Transition(nn.Module):
    """Holds the parts of a transition under timm's names; the backbone's plan applies them one by one."""

    def __init__(self, channels: int, pool: nn.Module | None) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        if pool is not None:  # a network cut here keeps the normalization only
            self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)
            self.pool = pool


class DenseNetBackbone(Backbone):
    """DenseNet-63, -121 or -169 without its classifier. Every stage ends in its normalization and a ReLU.

    Args:
        name: ``"densenet63"``, ``"densenet121"`` or ``"densenet169"``.
        planes: Input planes of the first convolution.
        stages: Dense blocks kept (2 to 4).
        output_stride: 8, 16 or 32.
    """

    stem_conv = "conv0"
    stem_norm = "norm0"
    skip_stage = "stage2"

    def __init__(self, name: str, *, planes: int, stages: int = 4, output_stride: int = 32) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(planes, _STEM, 7, stride=2, padding=3, bias=False)
        self.norm0 = nn.BatchNorm2d(_STEM)
        self.relu = nn.ReLU(inplace=True)
        self.pool0 = nn.MaxPool2d(3, 2, padding=1)
        plan: list[tuple[str, tuple[str, ...]]] = [("stem", ("conv0", "norm0", "relu"))]
        channels, stride, dilation = _STEM, 4, 1
        entry: tuple[str, ...] = ("pool0",)
        for number, layers in enumerate(_BLOCKS[name][:stages], start=1):
            self.add_module(f"denseblock{number}", DenseBlock(layers, channels, dilation))
            channels += layers * _GROWTH
            if number == 2:
                self.skip_channels = channels
            if number == 4:
                self.norm5 = nn.BatchNorm2d(channels)
                plan.append(("stage4", (*entry, "denseblock4", "norm5", "relu")))
                break
            pool: nn.Module | None = None
            if number < stages:
                if stride * 2 <= output_stride:
                    stride *= 2
                    pool = nn.AvgPool2d(2, 2)
                else:
                    pool = DilatedAverage(dilation)
                    dilation *= 2
            self.add_module(f"transition{number}", _Transition(channels, pool))
            plan.append((f"stage{number}", (*entry, f"denseblock{number}", f"transition{number}.norm", "relu")))
            entry = (f"transition{number}.conv", f"transition{number}.pool")
            if number < stages:
                channels //= 2
        self.channels = channels
        self.stride = output_stride
        self.plan = tuple(plan)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
