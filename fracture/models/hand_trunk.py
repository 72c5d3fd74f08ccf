"""The trunk of all joint networks: the convolutions of MediaPipe's hand landmark network (full), taken over.

Zhang et al. 2020, *MediaPipe Hands*; weights by Google, Apache-2.0, from the wheel of mediapipe 0.10.14. It is an
EfficientNet-Lite with the normalizations folded into the convolutions; here it is cut off after the last block of
stride 16 or 32. It was trained on photographs; its weights stay as they are, and films are toned for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

# (kernel, stride, channels inside, channels out) of each block, in order.
_BLOCKS: Final = (
    *((3, 1, 24, 16), (3, 2, 64, 24), (3, 1, 144, 24), (5, 2, 144, 40), (5, 1, 240, 40), (3, 2, 240, 80)),
    *((3, 1, 480, 80), (3, 1, 480, 80), (5, 1, 480, 112), (5, 1, 672, 112), (5, 1, 672, 112), (5, 2, 672, 192)),
    *((5, 1, 1152, 192), (5, 1, 1152, 192), (5, 1, 1152, 192)),
)
_TAPPED: Final = (2, 4, 10, 14)
TAPS: Final = (24, 40, 112, 192)
"""Channels of the four maps, of strides 4, 8, 16 and 32."""
GAMMA: Final = 0.7
"""Of the stretched grays: what it read radiographs best with."""
_PERCENTILES: Final = (1.0, 99.5)


def tone(pixels: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Grays (h, w) stretched between their 1st and 99.5th percentiles, to the power of 0.7; 0 where not ``mask``."""
    some = pixels[::2, ::2][mask[::2, ::2]]
    if not some.size:
        return np.zeros_like(pixels)
    low, high = np.percentile(some, _PERCENTILES)
    stretched = np.clip((pixels - np.float32(low)) / np.float32(max(high - low, 1e-3)), 0, 1) ** np.float32(GAMMA)
    return np.asarray(np.where(mask, stretched, 0), np.float32)


def _same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's padding, the odd pixel to the right and below, of sides that ``stride`` divides.

    Without the sides in it: an exporter carries them along as formulas, and those of fifteen blocks came to no end.
    """
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return F.pad(x, (before, after, before, after))


class _Block(nn.Module):
    def __init__(self, inputs: int, kernel: int, stride: int, inside: int, outputs: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.adds = kernel, stride, stride == 1 and inputs == outputs
        self.expand = nn.Conv2d(inputs, inside, 1) if inside != inputs else None
        self.depth = nn.Conv2d(inside, inside, kernel, stride, groups=inside)
        self.project = nn.Conv2d(inside, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depth(_same(y, self.kernel, self.stride))))
        return x + y if self.adds else cast("Tensor", y)


class Trunk(nn.Module):
    """Gray pictures to four maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 24, 3, 2)  # the three colors' weights added: a film's are equal
        inputs, blocks = 24, []
        for kernel, stride, inside, outputs in _BLOCKS:
            blocks.append(_Block(inputs, kernel, stride, inside, outputs))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 1, H, W) in [0, 1], sides by 32, to maps of ``TAPS`` channels, finest first."""
        x, maps = F.relu6(self.stem(_same(x, 3, 2))), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPPED:
                maps.append(x)
        return maps


WIDTH: Final = 64
"""Channels of :class:`OnTrunk`'s maps."""


def lateral(inputs: int, outputs: int) -> nn.Sequential:
    """Channels changed, normalized."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.GroupNorm(8, outputs))


def mix(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution of 3 x 3, normalized and bent."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU(inplace=True)
    )


def up(x: Tensor, like: Tensor) -> Tensor:
    """A map at the size of another."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class OnTrunk(nn.Module):
    """A trunk that does not learn, and maps of strides 32 to 8 brought together at stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk().requires_grad_(False)
        self.laterals = nn.ModuleList(lateral(channels, WIDTH) for channels in TAPS[1:])
        self.mixes = nn.ModuleList(mix(WIDTH, WIDTH) for _ in TAPS[1:])

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``"heads"``: all that is new; ``"trunk"``."""
        trunk = list(self.trunk.parameters())
        own = {id(one) for one in trunk}
        return {"heads": [one for one in self.parameters() if id(one) not in own], "trunk": trunk}

    def forward(self, x: Tensor) -> Any:
        """(B, 1, H, W) in [0, 1], sides by 32; see :meth:`heads`."""
        with torch.no_grad():
            maps = self.trunk(x)
        return self.heads(maps)

    def heads(self, maps: Sequence[Tensor]) -> Any:
        """What the network says of the trunk's maps."""
        raise NotImplementedError

    def mixed(self, coarse: Sequence[Tensor]) -> Tensor:
        """The coarser maps brought together, (B, 64, H/8, W/8)."""
        found: Tensor | None = None
        for tap, narrow, join in zip(coarse[::-1], self.laterals[::-1], list(self.mixes)[::-1], strict=True):
            own = narrow(tap)
            found = join(own if found is None else own + up(found, own))
        assert found is not None  # there are three taps
        return found


def convolutions(trunk: Trunk) -> list[nn.Conv2d]:
    """Its convolutions in the order of the source's graph."""
    return [module for module in trunk.modules() if isinstance(module, nn.Conv2d)]


def fill(trunk: Trunk, weights: list[tuple[Tensor, Tensor]]) -> None:
    """Take over (kernel, bias) of each convolution, in the order of the source's graph, as TensorFlow Lite has them.

    Args:
        trunk: What to fill.
        weights: Kernels of shape (outputs, height, width, inputs), depthwise ones (1, height, width, channels).
    """
    with torch.no_grad():
        for layer, (kernel, bias) in zip(convolutions(trunk), weights, strict=True):
            kernel = kernel.permute(3, 0, 1, 2) if layer.groups > 1 else kernel.permute(0, 3, 1, 2)
            layer.weight.copy_(kernel.sum(1, keepdim=True) if layer.in_channels == 1 else kernel)
            layer.bias.copy_(bias)  # type: ignore[union-attr]  # all have one
