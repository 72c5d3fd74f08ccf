"""Residual networks (He et al. 2015), dilated to the wanted stride and cut after a chosen stage.

Ours, of the blocks that DRN has too, with timm's outputs for timm's tensors (a test compares them): importing timm
takes longer than judging a film.
"""

from __future__ import annotations

from typing import Any, Final

from torch import nn

from fracture.models.backbone import Backbone
from fracture.models.residual import BasicBlock, Bottleneck, drawn
from fracture.models.spec import Geometry

_STEM: Final = 64
_LAYOUTS: Final[dict[str, tuple[bool, tuple[int, ...]]]] = {
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet34": (False, (3, 4, 6, 3)),
    "resnet50": (True, (3, 4, 6, 3)),
    "resnet101": (True, (3, 4, 23, 3)),
}


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
        bottleneck, blocks = _LAYOUTS[name]
        kind: type[BasicBlock | Bottleneck] = Bottleneck if bottleneck else BasicBlock
        self.conv1 = nn.Conv2d(planes, _STEM, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs, reached, dilation, channels = _STEM, 4, 1, []
        for number in range(1, stages + 1):
            outputs = _STEM * 2 ** (number - 1) * kind.expansion
            step = 1 if number == 1 else 2
            before = dilation  # the first block still sees the grid of the stage before
            if reached >= output_stride:
                dilation, step = dilation * step, 1
            reached *= step
            first = kind(inputs, outputs, step, (before, before if bottleneck else dilation))
            rest = [kind(outputs, outputs, 1, (dilation, dilation)) for _ in range(blocks[number - 1] - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            inputs = outputs
            channels.append(outputs)
        if geometry == "caffe":
            to_caffe(self)
        # The last scales of a block start at one, as in DRN, not at timm's zero: an untrained block carries signal.
        drawn(self)
        self.channels, self.skip_channels = channels[-1], channels[1]
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
