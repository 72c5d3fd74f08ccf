"""Residual networks (He et al. 2015) from timm, dilated to the wanted stride and cut after a chosen stage."""

from __future__ import annotations

from typing import Any, cast

import timm
from torch import nn

from fracture.models.backbone import Backbone
from fracture.models.spec import Geometry


class ResNetBackbone(Backbone):
    """ResNet-18, -34, -50 or -101 with the parameter names of torchvision and timm.

    Dilation is "à trous": wherever a stride was removed, the later 3 x 3 kernels are spread by the same
    factor, so that weights trained without dilation stay valid and each cell of the coarser grid keeps
    exactly its value.

    Args:
        name: ``"resnet18"``, ``"resnet34"``, ``"resnet50"`` or ``"resnet101"``.
        planes: Input planes of the first convolution.
        stages: Residual stages kept (2 to 4); the later ones are not built.
        output_stride: 8, 16 or 32.
        geometry: ``"caffe"`` puts the stride of a stage into its first 1 x 1 convolution and pools without
            padding, as the MSRA weights of ResNet-50 and -101 need.
    """

    stem_conv = "conv1"
    stem_norm = "bn1"
    skip_stage = "stage2"

    def __init__(
        self,
        name: str,
        *,
        planes: int,
        stages: int = 4,
        output_stride: int = 32,
        geometry: Geometry = "torchvision",
    ) -> None:
        super().__init__()
        # Last batch-norm scales start at one, as in DRN, not at timm's zero: an untrained block then carries
        # signal.
        net: Any = timm.create_model(
            name,
            pretrained=False,
            in_chans=planes,
            num_classes=0,
            output_stride=output_stride,
            zero_init_last=False,
        )
        if geometry == "caffe":
            to_caffe(net)
        self.conv1 = cast(nn.Module, net.conv1)
        self.bn1 = cast(nn.Module, net.bn1)
        self.act1 = cast(nn.Module, net.act1)
        self.maxpool = cast(nn.Module, net.maxpool)
        for number in range(1, stages + 1):
            self.add_module(f"layer{number}", getattr(net, f"layer{number}"))
        channels = [int(info["num_chs"]) for info in net.feature_info]
        self.channels = channels[stages]
        self.skip_channels = channels[2]
        self.stride = output_stride
        self.plan = (
            ("stem", ("conv1", "bn1", "act1")),
            ("stage1", ("maxpool", "layer1")),
            *((f"stage{n}", (f"layer{n}",)) for n in range(2, stages + 1)),
        )


def to_caffe(net: Any) -> None:
    """The MSRA geometry in place, for the stages that ``net`` has: a stage's stride in its first 1 x 1 convolution,
    pooling without padding."""
    for name in ("layer2", "layer3", "layer4"):
        if hasattr(net, name):
            first, second = getattr(net, name)[:2]
            first.conv1.stride, first.conv2.stride = first.conv2.stride, (1, 1)
            # The subsampling now comes before the 3 x 3, which must spread with the stage where dilation replaces it.
            first.conv2.dilation = second.conv2.dilation
            first.conv2.padding = second.conv2.padding
    net.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
