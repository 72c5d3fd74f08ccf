"""What the localizer and the classifier share: convolutional trunks from timm, and where their weights start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from fracture.models.backbone import convert_norm
from fracture.models.resnet import to_caffe
from fracture.models.spec import Norm
from fracture.models.starting_points import InitReport, check_start, fill, pretrained_tensors, read_tensors


def feature_trunk(name: str, stages: tuple[int, ...], *, geometry: str = "torchvision", norm: Norm = "batch") -> Any:
    """A network of timm that gives the maps of some stages, with timm's parameter names; nothing is downloaded."""
    extra: dict[str, Any] = {"zero_init_last": False} if name.startswith("resnet") else {}
    net: Any = timm.create_model(name, pretrained=False, features_only=True, out_indices=stages, **extra)
    if geometry == "caffe":
        to_caffe(net)
    convert_norm(net, norm)
    return net


def bare_trunk(name: str, *, geometry: str = "torchvision", norm: Norm = "batch") -> Any:
    """A whole network of timm without its classifier; ``forward_features`` gives its last map."""
    net: Any = timm.create_model(name, pretrained=False, num_classes=0, global_pool="avg")
    if name == "vgg19":
        net.pre_logits = nn.Identity()  # 120 million numbers that the last map does not need
    if geometry == "caffe":
        to_caffe(net)
    convert_norm(net, norm)
    return net


def start(module: nn.Module, init: str | Path | Mapping[str, Tensor], *, network: str, trunk: str) -> InitReport:
    """Set a network's weights from a starting point, in place, by the code that starts the detector's networks.

    Args:
        module: Has a ``spec`` with ``norm`` and ``geometry``.
        init: ``"random"`` leaves the weights as built; ``"pretrained"`` asks timm for ImageNet weights of the trunk
            (needs the network or timm's cache); a safetensors file, or a mapping of tensors, named as timm or
            torchvision name the trunk's or as this library names all of them, fills the whole trunk, and the rest
            where it has its shapes.
        network: timm's name of the trunk.
        trunk: Prefix of the trunk's tensors.

    Raises:
        ModelError: ``norm = "frozen"`` with a random start, or no pretrained weights of this trunk.
        WeightsNotFoundError: No such file, or the hub cannot be reached.
        WeightsIntegrityError: Not a safetensors file, or one that does not fill the trunk.
    """
    spec: Any = module.spec
    check_start(spec.norm, init)
    if isinstance(init, str) and init == "random":
        return InitReport(source="random", missing=tuple(module.state_dict()))
    if isinstance(init, str) and init == "pretrained":
        source, tensors, *_ = pretrained_tensors(network, spec.geometry)
    elif isinstance(init, Mapping):
        source, tensors = "tensors", dict(init)
    else:
        source, tensors = Path(init).name, read_tensors(init)
    parts = trunk.split(".")[:-1]
    homes = ["".join(f"{part}." for part in parts[:n]) for n in range(len(parts) + 1)]
    return fill(module, tensors, source, network=network, trunk=trunk, homes=homes)


def parameter_groups(module: nn.Module, heads: tuple[str, ...]) -> dict[str, list[nn.Parameter]]:
    """The parameters below the named children as ``"heads"``, all others as ``"trunk"``."""
    groups: dict[str, list[nn.Parameter]] = {"trunk": [], "heads": []}
    for name, parameter in module.named_parameters():
        groups["heads" if name.startswith(heads) else "trunk"].append(parameter)
    return groups
