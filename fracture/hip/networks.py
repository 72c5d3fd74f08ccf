"""What the localizer and the classifier share: convolutional trunks from timm, and weights into them from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from fracture.errors import ModelError, WeightsIntegrityError
from fracture.models.backbone import convert_norm
from fracture.models.starting_points import InitReport, read_tensors

__all__ = ["HeldStatistics", "bare_trunk", "check_start", "feature_trunk", "fill", "parameter_groups"]

_IGNORED = "num_batches_tracked"


class HeldStatistics(nn.Module):
    """A module whose batch normalization, with ``norm="frozen"``, keeps its stored statistics in training too.

    Scale and shift learn. Works for every normalization layer that timm uses, fused activations included.
    """

    held: bool = False

    def train(self, mode: bool = True) -> HeldStatistics:
        """Training mode for everything but held normalization."""
        super().train(mode)
        if mode and self.held:
            for name in ("body", "trunk", "backbone"):
                part = getattr(self, name, None)
                for module in part.modules() if isinstance(part, nn.Module) else ():
                    if isinstance(module, nn.modules.batchnorm._BatchNorm):
                        module.eval()
        return self


def feature_trunk(name: str, stages: tuple[int, ...], *, geometry: str = "torchvision", norm: str = "batch") -> Any:
    """A network of timm that gives the maps of some stages, with timm's parameter names; nothing is downloaded."""
    extra: dict[str, Any] = {"zero_init_last": False} if name.startswith("resnet") else {}
    net: Any = timm.create_model(name, pretrained=False, features_only=True, out_indices=stages, **extra)
    if geometry == "caffe":
        _caffe(net)
    if norm == "group":
        convert_norm(net, "group")
    return net


def bare_trunk(name: str, *, geometry: str = "torchvision", norm: str = "batch") -> Any:
    """A whole network of timm without its classifier; ``forward_features`` gives its last map."""
    net: Any = timm.create_model(name, pretrained=False, num_classes=0, global_pool="avg")
    if name == "vgg19":
        net.pre_logits = nn.Identity()  # 120 million numbers that the last map does not need
    if geometry == "caffe":
        _caffe(net)
    if norm == "group":
        convert_norm(net, "group")
    return net


def _caffe(net: Any) -> None:
    """The MSRA geometry in place: a stage's stride in its first 1 x 1 convolution, pooling without padding."""
    for name in ("layer2", "layer3", "layer4"):
        if hasattr(net, name):
            first = getattr(net, name)[0]
            first.conv1.stride, first.conv2.stride = first.conv2.stride, (1, 1)
    net.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)


def fill(module: nn.Module, init: str | Path | Mapping[str, Tensor], *, prefixes: tuple[str, ...]) -> InitReport:
    """Set a module's weights from a safetensors file whose names may carry another prefix, or none.

    Heads of another shape are left as they are; a trunk of another shape is an error.

    Args:
        module: Changed in place.
        init: A file, or a mapping of tensors.
        prefixes: Prefixes of the module's own names that a file may leave out, such as ``"trunk."``.

    Raises:
        WeightsNotFoundError: No such file.
        WeightsIntegrityError: Not a safetensors file, or one that fits nothing here.
    """
    tensors = dict(init) if isinstance(init, Mapping) else read_tensors(init)
    source = "tensors" if isinstance(init, Mapping) else Path(init).name
    own = {k: v for k, v in module.state_dict().items() if not k.endswith(_IGNORED)}
    given = {k: v for k, v in tensors.items() if not k.endswith(_IGNORED)}
    best: dict[str, Tensor] = {}
    for prefix in ("", *prefixes):
        named = {prefix + k: v for k, v in given.items()}
        found = {k: v for k, v in named.items() if k in own}
        best = found if len(found) > len(best) else best
    fitting = {k: v for k, v in best.items() if own[k].shape == v.shape}
    strange = [k for k in best if k not in fitting]
    trunk = [k for k in fitting if k.startswith(prefixes)]
    if len(trunk) < 2 or any(k.startswith(prefixes) for k in strange):
        raise WeightsIntegrityError(
            f"{source} does not fit the network",
            got=f"{len(trunk)} tensors of the trunk" + (f"; another shape: {strange[0]}" if strange else ""),
            hint="tensors must be named as in timm or torchvision, and be of the trunk that the recipe names",
        )
    state = module.state_dict()
    state.update({k: v.to(state[k].dtype) for k, v in fitting.items()})
    module.load_state_dict(state)
    sizes = {k: p.numel() for k, p in module.named_parameters()}
    inner = {k: n for k, n in sizes.items() if k.startswith(prefixes[0])}
    return InitReport(
        source=source,
        loaded=tuple(fitting),
        missing=tuple(k for k in own if k not in fitting),
        unexpected=tuple(sorted(set(given) - {k for k in given for p in ("", *prefixes) if p + k in fitting})),
        fraction=sum(n for k, n in sizes.items() if k in fitting) / sum(sizes.values()),
        backbone_fraction=sum(n for k, n in inner.items() if k in fitting) / max(1, sum(inner.values())),
    )


def check_start(norm: str, init: object) -> None:
    """Stored statistics need loaded weights.

    Raises:
        ModelError: ``norm = "frozen"`` with a random start.
    """
    if norm == "frozen" and init == "random":
        raise ModelError(
            "norm='frozen' needs stored statistics, and a random start has none",
            hint="use norm='batch' or 'group', or load weights with init=FILE",
        )


def parameter_groups(module: nn.Module, heads: tuple[str, ...]) -> dict[str, list[nn.Parameter]]:
    """The parameters below the named children as ``"heads"``, all others as ``"trunk"``."""
    groups: dict[str, list[nn.Parameter]] = {"trunk": [], "heads": []}
    for name, parameter in module.named_parameters():
        groups["heads" if name.startswith(heads) else "trunk"].append(parameter)
    return groups
