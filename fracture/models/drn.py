"""Dilated residual networks (Yu, Koltun and Funkhouser 2017): DRN-A, -C and -D, output stride 8.

Written from the specification; parameters are named as in the authors' checkpoints (fyu/drn), so that those load:
convert one, a pickle, with ``safetensors.torch.save_file(torch.load(path, weights_only=True), "drn.safetensors")``.
DRN-C replaces DRN-A's max-pool by residual blocks and appends levels of falling dilation without
residual connections, against the gridding that dilated convolutions leave; DRN-D simplifies DRN-C's first and
last levels to plain convolutions.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from torch import nn

from fracture.errors import ModelError
from fracture.models.backbone import Backbone
from fracture.models.residual import BasicBlock, Bottleneck, conv3, drawn


class DrnLayout(NamedTuple):
    """Form (A, C or D), kind of block and blocks per level."""

    form: Literal["a", "c", "d"]
    bottleneck: bool
    blocks: tuple[int, ...]


_SMALL: Final = (1, 1, 2, 2, 2, 2)
_MEDIUM: Final = (1, 1, 3, 4, 6, 3)
_LARGE: Final = (1, 1, 3, 4, 23, 3)

DRN_LAYOUTS: Final[dict[str, DrnLayout]] = {
    "drn_a_18": DrnLayout("a", False, (2, 2, 2, 2)),
    "drn_a_34": DrnLayout("a", False, (3, 4, 6, 3)),
    "drn_a_50": DrnLayout("a", True, (3, 4, 6, 3)),
    "drn_c_26": DrnLayout("c", False, (*_SMALL, 1, 1)),
    "drn_c_42": DrnLayout("c", False, (*_MEDIUM, 1, 1)),
    "drn_c_58": DrnLayout("c", True, (*_MEDIUM, 1, 1)),
    "drn_d_22": DrnLayout("d", False, (*_SMALL, 1, 1)),
    "drn_d_24": DrnLayout("d", False, (*_SMALL, 2, 2)),
    "drn_d_38": DrnLayout("d", False, (*_MEDIUM, 1, 1)),
    "drn_d_40": DrnLayout("d", False, (*_MEDIUM, 2, 2)),
    "drn_d_54": DrnLayout("d", True, (*_MEDIUM, 1, 1)),
    "drn_d_56": DrnLayout("d", True, (*_MEDIUM, 2, 2)),
    "drn_d_105": DrnLayout("d", True, (*_LARGE, 1, 1)),
    "drn_d_107": DrnLayout("d", True, (*_LARGE, 2, 2)),
}
"""The published networks by name."""

_CHANNELS: Final = {"a": (64, 64, 128, 256, 512), "c": (16, 32, 64, 128, 256, 512, 512, 512)}


class DrnBackbone(Backbone):
    """One of the published DRNs without its classifier, or a narrower or wider one of the same form.

    The published DRN-C-58 carries a projection in its seventh level whose output is never added (1,049,600
    dead parameters); it is left out here.

    Args:
        name: A key of :data:`DRN_LAYOUTS`.
        planes: Input planes of the first convolution.
        width: Multiplier of all channel counts, rounded to multiples of 8 (our addition).
    """

    stride = 8

    def __init__(self, name: str, *, planes: int, width: float = 1.0) -> None:
        super().__init__()
        if name not in DRN_LAYOUTS:
            raise ModelError("unknown DRN", got=repr(name), allowed=DRN_LAYOUTS)
        layout = DRN_LAYOUTS[name]
        self._block: type[BasicBlock | Bottleneck] = Bottleneck if layout.bottleneck else BasicBlock
        channels = [_scaled(c, width) for c in _CHANNELS["a" if layout.form == "a" else "c"]]
        if layout.form == "a":
            self._build_a(planes, channels, layout.blocks)
        else:
            self._build_cd(layout.form, planes, channels, layout.blocks)
        drawn(self)

    def _build_a(self, planes: int, channels: list[int], blocks: tuple[int, ...]) -> None:
        self.stem_conv, self.stem_norm, self.skip_stage = "conv1", "bn1", "level2"
        self.conv1 = nn.Conv2d(planes, channels[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = channels[0]
        outs = []
        for level, (stride, dilation) in enumerate(((1, 1), (2, 1), (1, 2), (1, 4)), start=1):
            outputs = channels[level] * self._block.expansion
            # The first block of each level stays undilated.
            first = self._block(inputs, outputs, stride, (1, 1))
            rest = [self._block(outputs, outputs, 1, (dilation, dilation)) for _ in range(blocks[level - 1] - 1)]
            self.add_module(f"layer{level}", nn.Sequential(first, *rest))
            inputs = outputs
            outs.append(outputs)
        self.skip_channels, self.channels = outs[1], outs[3]
        self.plan = (
            ("stem", ("conv1", "bn1", "relu")),
            ("level1", ("maxpool", "layer1")),
            *((f"level{n}", (f"layer{n}",)) for n in (2, 3, 4)),
        )

    def _build_cd(self, form: Literal["c", "d"], planes: int, channels: list[int], blocks: tuple[int, ...]) -> None:
        self.skip_stage = "level4"
        conv = nn.Conv2d(planes, channels[0], 7, padding=3, bias=False)
        norm, relu = nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True)
        if form == "c":
            self.conv1, self.bn1, self.relu = conv, norm, relu
            self.stem_conv, self.stem_norm = "conv1", "bn1"
            stem: tuple[str, ...] = ("conv1", "bn1", "relu")
        else:
            self.layer0 = nn.Sequential(conv, norm, relu)
            self.stem_conv, self.stem_norm = "layer0.0", "layer0.1"
            stem = ("layer0",)
        strides = (1, 2, 2, 2, 1, 1, 1, 1)
        dilations = (1, 1, 1, 1, 2, 4, 2, 1)
        inputs = channels[0]
        outs = []
        for level in range(1, 9):
            n, stride, dilation = blocks[level - 1], strides[level - 1], dilations[level - 1]
            outer = level in (1, 2, 7, 8)
            kind: type[BasicBlock | Bottleneck] = BasicBlock if outer else self._block
            outputs = channels[level - 1] * kind.expansion
            parts: list[nn.Module] = []
            for i in range(n):
                step = stride if i == 0 else 1
                if outer and form == "d":
                    parts += [conv3(inputs, outputs, step, dilation), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
                else:
                    parts.append(kind(inputs, outputs, step, (dilation, dilation), residual=level < 7))
                inputs = outputs
            self.add_module(f"layer{level}", nn.Sequential(*parts))
            outs.append(outputs)
        self.skip_channels, self.channels = outs[3], outs[7]
        self.plan = (("stem", stem), *((f"level{n}", (f"layer{n}",)) for n in range(1, 9)))


def _scaled(channels: int, width: float) -> int:
    return channels if width == 1.0 else max(8, round(channels * width / 8) * 8)
