"""Making a trained model faster without changing what it computes."""

from __future__ import annotations

import copy
import itertools
from typing import Final

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fracture.models.multitask import FractureModel

__all__ = ["fuse_for_inference"]

# Attributes of one module where the normalization takes the convolution's output and nothing else does.
_PAIRS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "resnet": (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
    "drn": (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
    # DenseNet normalizes before it convolves: only the inner normalization of a layer follows a convolution.
    "densenet": (("conv0", "norm0"), ("conv1", "norm2")),
    "mobilenet": (),
}


def fuse_for_inference(model: FractureModel) -> FractureModel:
    """A copy of a model for prediction: in evaluation mode, channels last, batch normalization folded away.

    Each batch normalization that directly follows a convolution is folded into it; outputs agree with the original's
    to rounding (1e-5 relative). In a DenseNet that is every second one; in a MobileNet, whose normalization in timm
    holds the activation, and with group normalization there is nothing to fold, and the copy is only laid out anew.

    Most of the gain is the layout: on two Zen 4 cores a 480 x 384 film took a cut ResNet-18 at stride 8 126 ms in
    torch's default layout, 96 ms channels last, 93 ms folded too (in bfloat16 70, 51 and 49 ms).

    Args:
        model: The trained model; it is not changed.

    Returns:
        The copy. It cannot be saved or trained, since its parameters no longer have the specification's
        names.
    """
    fused = copy.deepcopy(model).eval()
    pairs = _PAIRS[model.spec.family]
    with torch.no_grad():
        for module in list(fused.backbone.modules()):
            for conv, norm in pairs:
                _fold(module, conv, norm)
            if isinstance(module, nn.Sequential):
                names = [name for name, _ in module.named_children()]
                for conv, norm in itertools.pairwise(names):
                    _fold(module, conv, norm)
    for parameter in fused.parameters():
        parameter.requires_grad_(False)
    return fused.to(memory_format=torch.channels_last)


def _fold(module: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        return
    setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
    setattr(module, norm_name, nn.Identity())
