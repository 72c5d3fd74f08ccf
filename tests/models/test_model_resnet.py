"""Our residual networks say what timm's say with the same tensors, dilated or not, to the last bit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import timm
import torch

from fracture.models.resnet import ResNetBackbone


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_they_agree_with_timm(name: str, stride: int) -> None:
    torch.manual_seed(1)
    theirs: Any = timm.create_model(name, pretrained=False, in_chans=2, num_classes=0, output_stride=stride).eval()
    for norm in theirs.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.uniform_(norm.bias, -0.2, 0.2)
            norm.running_var.uniform_(0.5, 2)
    ours = ResNetBackbone(name, planes=2, stages=4, output_stride=stride).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(1, 2, 64, 96)
    with torch.no_grad():
        found = ours(x)
        assert torch.equal(found.deep, theirs.forward_features(x))
    assert (ours.channels, ours.stride) == (theirs.num_features, stride)
    assert found.skip.shape == (1, ours.skip_channels, 8, 12)


def test_a_film_is_judged_without_timm() -> None:
    """Importing it takes longer than judging a film, since it brings torchvision and torch's compiler along."""
    code = (
        "import sys, fracture; fracture.load('fracatlas-small', device='cpu');"
        "print([m for m in ('timm', 'torchvision', 'scipy', 'albumentations', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
