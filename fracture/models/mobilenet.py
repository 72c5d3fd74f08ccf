"""MobileNetV2 (Sandler et al. 2018) from timm, dilated: a small backbone for processors without an accelerator."""

from __future__ import annotations

from typing import Any, cast

import timm
from torch import nn

from fracture.models.backbone import Backbone


class MobileNetBackbone(Backbone):
    """MobileNetV2 1.0 with its 1280-channel head convolution and timm's parameter names; padding as in
    torchvision.

    Args:
        name: ``"mobilenetv2_100"``.
        planes: Input planes of the first convolution.
        output_stride: 8, 16 or 32.
    """

    stem_conv = "conv_stem"
    stem_norm = "bn1"
    skip_stage = "stage2"

    def __init__(self, name: str, *, planes: int, output_stride: int = 32) -> None:
        super().__init__()
        net: Any = timm.create_model(
            name, pretrained=False, in_chans=planes, num_classes=0, output_stride=output_stride
        )
        self.conv_stem = cast(nn.Module, net.conv_stem)
        self.bn1 = cast(nn.Module, net.bn1)
        self.blocks = cast(nn.Module, net.blocks)
        self.conv_head = cast(nn.Module, net.conv_head)
        self.bn2 = cast(nn.Module, net.bn2)
        self.channels = int(net.num_features)
        self.skip_channels = 32
        self.stride = output_stride
        self.plan = (
            ("stem", ("conv_stem", "bn1")),
            ("stage1", ("blocks.0", "blocks.1")),
            ("stage2", ("blocks.2",)),
            ("stage3", ("blocks.3", "blocks.4")),
            ("stage4", ("blocks.5", "blocks.6", "conv_head", "bn2")),
        )
