"""Starting points: random numbers, ImageNet weights through timm, or a safetensors file of one's own.

The paper trains from random initialization without transfer learning (Jones et al. 2020, Methods). Everything
else here is our addition. Nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fracture.errors import ModelError, WeightsIntegrityError, WeightsNotFoundError
from fracture.models.multitask import FractureModel, build_model
from fracture.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec

_HUB_FILE: Final = "model.safetensors"
_BACKBONE: Final = "backbone."
_HEADS: Final = "heads."
_IGNORED: Final = "num_batches_tracked"
_OLD_DENSENET: Final = re.compile(r"\b(norm|conv)\.([12])\.")
_OLD_PYRAMID: Final = re.compile(r"\b((?:inner|layer)_blocks\.\d)\.(weight|bias)$")
_OLD_HEADS: Final = re.compile(r"\b((?:classification|regression)_head\.conv)\.(\d)\.(weight|bias)$")
_STEMS: Final = ("auto", "rgb", "planes")

# timm's name of the weights: those of torchvision where there are, the ones with the plain training recipe.
_TIMM_NAMES: Final = {
    "resnet18": "resnet18.tv_in1k",
    "resnet34": "resnet34.tv_in1k",
    "resnet50": "resnet50.tv_in1k",
    "resnet101": "resnet101.tv_in1k",
    "densenet121": "densenet121.tv_in1k",
    "densenet169": "densenet169.tv_in1k",
    "mobilenetv2_100": "mobilenetv2_100.ra_in1k",
    "vgg19": "vgg19.tv_in1k",
}


@dataclass(frozen=True)
class InitReport:
    """What a starting point gave to a model.

    Attributes:
        source: ``"random"``, timm's name of the weights, the file's name, or ``"tensors"``.
        loaded: Names of the model's tensors that were set, as in ``model.state_dict()``, adapted ones
            included.
        missing: Names of the model's tensors that keep their random initialization; new heads are among them.
        unexpected: Names in the source that the model has no place for (a classifier, later stages).
        adapted: One sentence for each thing that was changed on the way in (the first convolution).
        fraction: Share of the model's parameters (not buffers) that were loaded.
        backbone_fraction: The same for the backbone alone.
    """

    source: str
    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    fraction: float = 0.0
    backbone_fraction: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """For a run's manifest: the counts and fractions, and the names of what was not used."""
        return {
            "source": self.source,
            "loaded": len(self.loaded),
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "adapted": list(self.adapted),
            "fraction": self.fraction,
            "backbone_fraction": self.backbone_fraction,
        }


def initialize(
    model: FractureModel,
    init: str | Path | Mapping[str, Tensor] = "random",
    *,
    seed: int | None = None,
    stem: str = "auto",
    rgb_mean: tuple[float, float, float] = IMAGENET_MEAN,
    rgb_std: tuple[float, float, float] = IMAGENET_STD,
) -> InitReport:
    """Set a model's weights from a starting point, in place.

    A file may name its tensors as timm and torchvision do, with or without a common prefix (``module.``,
    ``features.``, ``backbone.``), or as this library does, in which case heads of the same shape are loaded
    too.

    The first convolution of an RGB network is rewritten for our planes. A gray pixel p in [0, 1] arrives as
    x = 2 p - 1, and the RGB network saw (p - mean) / std in each channel, so its kernel W becomes the sum
    over channels of W / (2 std) for x, and of W (1/2 - mean) / std for a constant 1. With ``spec.stem_rgb``
    the constant is the valid mask, itself a plane, and the rewriting is exact everywhere: outside the film
    and beyond the border the RGB network saw zeros, and so does this one. Without it the constant goes into
    the running mean of the first batch normalization, which is exact except within the kernel's reach of a
    border. Two planes share the kernel, half each.

    Args:
        model: The model to change.
        init: ``"random"`` draws everything anew; ``"pretrained"`` asks timm for ImageNet weights (needs the
            network or timm's cache); a path to a ``.safetensors`` file; or a state dict, of any
            floating dtype.
        seed: Seed of the random initialization, see :func:`fracture.models.build_model`.
        stem: How to read the source's first convolution: ``"rgb"`` (three channels, normalized), ``"planes"``
            (ours, or one gray channel in [-1, 1]), or ``"auto"``: planes if the source has heads of this
            library or one channel, else RGB.
        rgb_mean: Mean that the source's RGB input was normalized with; ``"pretrained"`` takes timm's.
        rgb_std: The same for the standard deviation.

    Returns:
        What was loaded, missing, unexpected and adapted.

    Raises:
        ModelError: A random start for ``norm="frozen"``, an unknown ``stem``, or a backbone without
            pretrained weights.
        WeightsNotFoundError: No such file, or the hub cannot be reached.
        WeightsIntegrityError: The file is not a safetensors file, matches nothing, or holds tensors of other
            shapes.
    """
    if stem not in _STEMS:
        raise ModelError("unknown reading of the first convolution", got=repr(stem), allowed=_STEMS)
    if isinstance(init, str) and init == "random":
        return _random(model, seed)
    if isinstance(init, str) and init == "pretrained":
        name, tensors, rgb_mean, rgb_std = pretrained_tensors(model.spec.backbone, model.spec.geometry)
    elif isinstance(init, Mapping):
        name, tensors = "tensors", dict(init)
    else:
        name, tensors = Path(init).name, read_tensors(init)
    return _load(model, tensors, name, stem, rgb_mean, rgb_std)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        WeightsNotFoundError: No such file.
        WeightsIntegrityError: Not a safetensors file, or a damaged one.
    """
    path = Path(path)
    check_start("batch", path)
    try:
        return dict(load_file(path))
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsIntegrityError(
            f"{path.name} is not a readable safetensors file ({error})",
            hint="PyTorch checkpoints are pickles, not read here: convert with safetensors.torch.save_file",
        ) from error


def _random(model: FractureModel, seed: int | None) -> InitReport:
    check_start(model.spec.norm, "random")
    fresh = build_model(model.spec, seed=seed)
    model.load_state_dict(fresh.state_dict())
    return InitReport(source="random", missing=tuple(_wanted(model)))


def pretrained_tensors(
    network: str, geometry: str = "torchvision"
) -> tuple[str, dict[str, Tensor], tuple[float, float, float], tuple[float, float, float]]:
    """ImageNet weights through timm, from the hub's cache or fetched: timm's name, tensors, mean and deviation of RGB.

    Args:
        network: One of timm's names for ResNet, DenseNet, MobileNet or VGG.
        geometry: Of the network that is to take them.

    Raises:
        ModelError: timm has no such weights, or of another geometry.
        WeightsNotFoundError: They are not in the cache and could not be fetched.
        WeightsIntegrityError: What was fetched is not a safetensors file.
    """
    import timm
    from huggingface_hub import hf_hub_download

    if network not in _TIMM_NAMES:
        raise ModelError(
            f"no weights for {network} are known here",
            allowed=tuple(_TIMM_NAMES),
            hint="give a safetensors file; pickles (as of the DRN authors) must be converted to one",
        )
    if geometry == "caffe":
        raise ModelError(
            "timm's weights have torchvision's geometry",
            got="geometry='caffe'",
            hint="use geometry='torchvision', or give the path of MSRA weights",
        )
    name = _TIMM_NAMES[network]
    config: Any = timm.models.get_pretrained_cfg(name)
    repository = config.hf_hub_id if "/" in config.hf_hub_id else f"timm/{name}"
    try:
        path = hf_hub_download(repository, _HUB_FILE)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsNotFoundError(
            f"the ImageNet weights {name} are neither in the hub's cache nor could they be fetched "
            f"({type(error).__name__})",
            hint=f"offline, fetch https://huggingface.co/{repository}/resolve/main/{_HUB_FILE} on another "
            "machine and give the file's path instead of 'pretrained'",
        ) from error
    mean, std = (tuple(float(v) for v in values) for values in (config.mean, config.std))
    return name, read_tensors(path), (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def check_start(norm: str, init: object, *, frozen_stages: int = 0) -> None:
    """What can be said of a starting point before any film is read or any network is built.

    Args:
        norm: The network's normalization.
        init: As in :func:`initialize`.
        frozen_stages: Stages that will not learn.

    Raises:
        ModelError: A random start for ``norm = "frozen"`` or for stages that never learn.
        WeightsNotFoundError: No such file.
    """
    if init == "random":
        if norm == "frozen":
            raise ModelError(
                "norm='frozen' needs stored statistics, and a random start has none",
                hint="load weights (--init pretrained or --init FILE), or train from random numbers with "
                "--set model.norm=group" + " --set optimizer.freeze_stages=0" * bool(frozen_stages),
            )
        if frozen_stages:
            raise ModelError(
                f"a random start with optimizer.freeze_stages = {frozen_stages} would keep those stages random forever",
                hint="load weights (--init), or --set optimizer.freeze_stages=0",
            )
    elif isinstance(init, str | Path) and init != "pretrained" and not Path(init).is_file():
        raise WeightsNotFoundError(
            "no such weight file",
            got=str(init),
            hint="give 'random', 'pretrained', or the path of a .safetensors file",
        )


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    source: str,
    *,
    network: str,
    trunk: str,
    homes: Sequence[str],
    adapt: Callable[[str, Tensor], Tensor] | None = None,
) -> InitReport:
    """Set a module's weights from tensors that may be named otherwise: what every network of this library starts by.

    A trunk is filled whole or not at all; heads are filled where they are there and of the same shape.

    Args:
        module: Changed in place, and only where nothing is raised.
        tensors: Named as by timm, torchvision (its older releases too) or this library, with or without a prefix.
        source: What to call them.
        network: What to call the trunk.
        trunk: Prefix of the module's tensors that must be filled, such as ``"backbone."``.
        homes: Prefixes of the module's names that the tensors' names may lack.
        adapt: Changes a tensor on its way to the name that is given first.

    Raises:
        WeightsIntegrityError: The trunk is not filled, or has other shapes.
    """
    wanted = _wanted(module)
    named = _renamed({_modern(k): v for k, v in tensors.items() if not k.endswith(_IGNORED)}, wanted, homes)
    needed = {k for k in wanted if k.startswith(trunk)}
    if missing := sorted(needed - named.keys()):
        raise WeightsIntegrityError(
            f"{source} does not hold a {network}: it fills {len(needed) - len(missing)} of its {len(needed)} tensors, "
            f"and not {missing[0].removeprefix(trunk)}",
            got=", ".join(sorted(tensors)[:3]) or "no tensors",
            hint="tensors must be named as in timm or torchvision, and be of the trunk that the recipe names",
        )
    found: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for key, value in named.items():
        if key not in wanted:
            unexpected.append(key.removeprefix(trunk))
            continue
        value = value.detach().to(torch.float32)
        if adapt is not None:
            value = adapt(key, value)
        if value.shape == wanted[key].shape:
            found[key] = value
        elif key in needed:
            raise WeightsIntegrityError(
                f"{source}: {key.removeprefix(trunk)} has another shape than in {network}",
                got=tuple(value.shape),
                allowed=str(tuple(wanted[key].shape)),
            )
        else:  # heads of another task or size start anew
            unexpected.append(key)
    state = module.state_dict()
    state.update({k: v.to(state[k].dtype) for k, v in found.items()})
    module.load_state_dict(state)
    parameters = {k: p.numel() for k, p in module.named_parameters()}
    return InitReport(
        source=source,
        loaded=tuple(found),
        missing=tuple(k for k in wanted if k not in found),
        unexpected=tuple(unexpected),
        fraction=_share(parameters, found),
        backbone_fraction=_share({k: n for k, n in parameters.items() if k.startswith(trunk)}, found),
    )


def _wanted(module: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in module.state_dict().items() if not k.endswith(_IGNORED)}


def _load(
    model: FractureModel,
    tensors: dict[str, Tensor],
    source: str,
    stem: str,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> InitReport:
    if stem == "auto":
        stem = "planes" if any(f".{_HEADS}" in f".{key}" for key in tensors) else "rgb"
    conv = f"{_BACKBONE}{model.backbone.stem_conv}.weight"
    norm = f"{_BACKBONE}{model.backbone.stem_norm}.running_mean"
    adapted: list[str] = []
    constants: list[Tensor] = []

    def adapt(key: str, value: Tensor) -> Tensor:
        if key != conv:
            return value
        value, constant, note = _adapt_stem(value, model.state_dict()[conv].shape, model.spec, stem, mean, std)
        adapted.extend([note] if note else [])
        constants.extend([] if constant is None else [constant])
        return value

    report = fill(
        model, tensors, source, network=model.spec.backbone, trunk=_BACKBONE, homes=("", _BACKBONE), adapt=adapt
    )
    for constant in constants:
        if norm in report.loaded:
            model.get_buffer(norm).sub_(constant)
            adapted.append(f"{model.backbone.stem_norm}: running mean took the constant part of the normalization")
        else:
            adapted.append("first convolution: the constant part of the normalization was dropped (no running mean)")
    return replace(report, adapted=tuple(adapted))


def _share(sizes: Mapping[str, int], found: Mapping[str, Tensor]) -> float:
    return sum(n for k, n in sizes.items() if k in found) / max(1, sum(sizes.values()))


def _modern(key: str) -> str:
    """A name of torchvision's first releases (DenseNet, feature pyramid, RetinaNet's heads) as it is now."""
    if ".denselayer" in key:
        return _OLD_DENSENET.sub(r"\1\2.", key)
    key = _OLD_PYRAMID.sub(r"\1.0.\2", key)
    return _OLD_HEADS.sub(lambda found: f"{found[1]}.{int(found[2]) // 2}.0.{found[3]}", key)


def _renamed(tensors: dict[str, Tensor], wanted: Mapping[str, Tensor], homes: Sequence[str]) -> dict[str, Tensor]:
    """The source's tensors under our names: drop the prefix, or none, that makes the most names match."""
    prefixes = {""}
    for key in tensors:
        parts = key.split(".")
        prefixes.update(".".join(parts[:n]) + "." for n in (1, 2) if n < len(parts))
    best: dict[str, Tensor] = {}
    most = -1
    for old in sorted(prefixes, key=len):
        for new in homes:
            names = {new + k.removeprefix(old) if k.startswith(old) else k: v for k, v in tensors.items()}
            matches = sum(k in wanted for k in names)
            if matches > most:
                best, most = names, matches
    return best


def _adapt_stem(
    weight: Tensor,
    shape: torch.Size,
    spec: ModelSpec,
    stem: str,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> tuple[Tensor, Tensor | None, str]:
    """The first kernel for our planes; the constant per output channel if no plane carries it; a note."""
    planes = spec.planes
    if weight.ndim != 4:
        raise WeightsIntegrityError("the first convolution must have four axes", got=tuple(weight.shape))
    channels = weight.shape[1]
    if stem == "rgb" and channels == 3:
        scale = torch.tensor(std).view(1, 3, 1, 1)
        offset = ((0.5 - torch.tensor(mean)) / torch.tensor(std)).view(1, 3, 1, 1)
        kernel = (weight / (2 * scale)).sum(dim=1, keepdim=True) / planes
        constant = (weight * offset).sum(dim=1, keepdim=True)
        kernels = [kernel] * planes
        if spec.stem_rgb:
            note = f"first convolution: normalized RGB folded exactly into {planes} plane(s) and the mask"
            return torch.cat([*kernels, constant], dim=1), None, note
        note = f"first convolution: normalized RGB folded into {planes} plane(s), exact away from borders"
        return torch.cat(kernels, dim=1), constant.sum(dim=(1, 2, 3)), note
    if channels == shape[1]:
        return weight, None, ""
    if channels == 1:
        kernels = [weight / planes] * planes
        if spec.stem_rgb:
            kernels.append(torch.zeros_like(weight))
        return (
            torch.cat(kernels, dim=1),
            None,
            f"first convolution: one gray channel shared by {planes} plane(s)",
        )
    raise WeightsIntegrityError(
        "the first convolution has a number of channels that cannot be adapted",
        got=channels,
        allowed=(1, 3, shape[1]),
    )
