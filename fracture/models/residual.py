"""Residual blocks (He et al. 2015) with dilation, of ResNets and DRNs alike; named as in torchvision and timm."""

from __future__ import annotations

import math
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, with the input added before the last ReLU unless ``residual`` is false.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Stride of the first convolution.
        dilation: Dilations of the first and the second convolution.
        residual: Whether the input is added, through a 1 x 1 projection where the shape changes.
    """

    expansion: Final = 1

    def __init__(
        self, inputs: int, outputs: int, stride: int, dilation: tuple[int, int], residual: bool = True
    ) -> None:
        super().__init__()
        self.conv1 = conv3(inputs, outputs, stride, dilation[0])
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3(outputs, outputs, 1, dilation[1])
        self.bn2 = nn.BatchNorm2d(outputs)
        self.residual = residual
        self.downsample = shortcut(inputs, outputs, stride) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.residual:
            y = y + (x if self.downsample is None else self.downsample(x))
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions; the last has four times the channels. Arguments as in BasicBlock.

    ``outputs`` is the number of channels after the expansion. Only the second dilation is used.
    """

    expansion: Final = 4

    def __init__(
        self, inputs: int, outputs: int, stride: int, dilation: tuple[int, int], residual: bool = True
    ) -> None:
        super().__init__()
        width = outputs // self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3(width, width, stride, dilation[1])
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.residual = residual
        self.downsample = shortcut(inputs, outputs, stride) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        if self.residual:
            y = y + (x if self.downsample is None else self.downsample(x))
        return F.relu(y, inplace=True)


def conv3(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Conv2d:
    """3 x 3, without a bias, padded so that the size is kept at stride 1."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """A 1 x 1 projection with its normalization, None where the input fits as it is."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


def drawn(network: nn.Module) -> None:
    """Draw every convolution anew, by its fan-out (He et al. 2015, section 2.2, backward case)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
