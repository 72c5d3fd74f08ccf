"""The trunk of the joint networks: TensorFlow's padding at every size that it is given."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fracture.models.hand_trunk import TAPS, Trunk


def _padded(sides: tuple[int, ...], kernel: int, stride: int) -> list[int]:
    """Left, right, upper and lower padding of TensorFlow's "SAME", for (height, width)."""
    found = []
    for side in reversed(sides):
        whole = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        found += [whole // 2, whole - whole // 2]
    return found


@pytest.mark.parametrize("sides", [(224, 224), (256, 256), (32, 96)])
def test_every_convolution_is_padded_as_in_its_source(sides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    trunk = Trunk().eval()
    x = torch.rand(1, 1, *sides)
    with torch.inference_mode():
        maps = trunk(x)
        y, expected = F.relu6(_same_convolution(trunk.stem, x)), []
        for block in trunk.blocks:
            inside = y if block.expand is None else F.relu6(block.expand(y))  # type: ignore[operator, union-attr]
            out = block.project(F.relu6(_same_convolution(block.depth, inside)))  # type: ignore[operator, union-attr, arg-type]
            y = y + out if block.adds else out
            expected.append(y)
    assert [one.shape[1] for one in maps] == list(TAPS)
    for found in maps:
        assert any(found.shape == one.shape and torch.equal(found, one) for one in expected)
    assert [one.shape[-2:] for one in maps] == [(sides[0] // s, sides[1] // s) for s in (4, 8, 16, 32)]


def _same_convolution(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return layer(F.pad(x, _padded(tuple(x.shape[-2:]), layer.kernel_size[0], layer.stride[0])))  # type: ignore[no-any-return]
