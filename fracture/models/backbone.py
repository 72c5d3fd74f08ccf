"""What every backbone shares: named stages in order, a stride-8 tap, checkpointing, normalization."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fracture.errors import ModelError
from fracture.models.spec import Norm

S = TypeVar("S")
M = TypeVar("M", bound=nn.Module)


class BackboneOutput(NamedTuple):
    """Features of a backbone.

    Attributes:
        deep: (B, channels, H / stride, W / stride), the last stage.
        skip: (B, skip_channels, H / 8, W / 8), the last stage at stride 8 before any dilated one.
    """

    deep: Tensor
    skip: Tensor


class Backbone(nn.Module):
    """A chain of stages from planes to features. Subclasses fill the attributes and register their modules.

    Attributes:
        channels: Channels of the deepest features.
        skip_channels: Channels of the stride-8 tap.
        stride: Input pixels per cell of the deepest features.
        plan: Stages from input to output: (stage name, names of the child modules it applies in order).
        skip_stage: The stage whose output is the stride-8 tap.
        stem_conv: Name of the first convolution, which has no bias.
        stem_norm: Name of the normalization that takes the first convolution's output directly.
        checkpointed: Names of the stages whose activations are recomputed in the backward pass instead of
            kept.
    """

    channels: int
    skip_channels: int
    stride: int
    plan: tuple[tuple[str, tuple[str, ...]], ...]
    skip_stage: str
    stem_conv: str
    stem_norm: str

    def __init__(self) -> None:
        super().__init__()
        self.checkpointed: frozenset[str] = frozenset()

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages from input to output."""
        return tuple(name for name, _ in self.plan)

    def set_checkpointing(self, stages: Collection[str] | bool) -> None:
        """Choose the stages that trade time for memory in training.

        Checkpointing changes neither outputs, gradients nor the running statistics of batch normalization.

        Args:
            stages: Stage names; ``True`` for all, ``False`` for none. For DRN-D-22 and one film of 1024 x 1024 in
                float32 we measured, on a CPU, 1174 MB kept after the forward pass with none, 1027 MB with the first
                four stages, 489 MB with all; the peaks of the step were 1232, 1089 and 792 MB.

        Raises:
            ModelError: A name that is not a stage.
        """
        if isinstance(stages, bool):
            stages = self.stage_names if stages else ()
        unknown = sorted(set(stages) - set(self.stage_names))
        if unknown:
            raise ModelError("no such stage to checkpoint", got=", ".join(unknown), allowed=self.stage_names)
        self.checkpointed = frozenset(stages)

    def forward(self, x: Tensor) -> BackboneOutput:
        """(B, planes, H, W) to the deepest features and the stride-8 tap."""
        skip = x
        for name, modules in self.plan:
            if name in self.checkpointed and self.training and torch.is_grad_enabled():
                x = self._recomputed(modules, x)
            else:
                x = self._apply_stage(modules, x)
            if name == self.skip_stage:
                skip = x
        return BackboneOutput(deep=x, skip=skip)

    def _apply_stage(self, modules: tuple[str, ...], x: Tensor) -> Tensor:
        for name in modules:
            x = self.get_submodule(name)(x)
        return x

    def _recomputed(self, modules: tuple[str, ...], x: Tensor) -> Tensor:
        norms = [m for name in modules for m in self.get_submodule(name).modules() if isinstance(m, nn.BatchNorm2d)]
        result = checkpoint(
            self._apply_stage,
            modules,
            x,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), _without_updates(norms)),
        )
        if not isinstance(result, Tensor):
            raise ModelError("a checkpointed stage returned no tensor", got=type(result).__name__)
        return result


@contextlib.contextmanager
def _without_updates(norms: list[nn.BatchNorm2d]) -> Iterator[None]:
    """Batch normalization as in training, but without a second update of the running statistics."""
    kept = [(m.momentum, m.num_batches_tracked) for m in norms]
    for m in norms:
        m.momentum = 0.0
        m.num_batches_tracked = None
    try:
        yield
    finally:
        for m, (momentum, count) in zip(norms, kept, strict=True):
            m.momentum = momentum
            m.num_batches_tracked = count


class _Fixed(nn.Module):
    """Stays in evaluation mode: stored statistics are used, in training too; scale and shift learn."""

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - whatever is asked for
        """Evaluation mode."""
        return super().train(False)


class FixedBatchNorm2d(_Fixed, nn.BatchNorm2d):
    """Batch normalization by its stored statistics."""


_FIXED: dict[type[nn.BatchNorm2d], type[nn.BatchNorm2d]] = {nn.BatchNorm2d: FixedBatchNorm2d}


def _fixed(kind: type[nn.BatchNorm2d]) -> type[nn.BatchNorm2d]:
    """The same of a layer of timm's that holds the activation too."""
    if kind not in _FIXED:
        _FIXED[kind] = type(f"Fixed{kind.__name__}", (_Fixed, kind), {})
    return _FIXED[kind]


def group_count(channels: int) -> int:
    """Groups for group normalization: 32 as in Wu and He 2018, fewer where a group would hold a single channel."""
    return max(n for n in range(1, min(32, max(1, channels // 2)) + 1) if channels % n == 0)


def convert_norm(module: nn.Module, norm: Norm) -> None:
    """Replace every batch normalization below ``module`` by the chosen kind, in place, keeping scale and shift.

    timm's layers that hold the activation too stay such layers. The names of the parameters stay the same, so that
    weights for one kind load into another.
    """
    if norm == "batch":
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.BatchNorm2d):
                continue
            if norm == "frozen":
                child.__class__ = _fixed(type(child))
                child.eval()
                continue
            groups, channels = group_count(child.num_features), child.num_features
            new: Any
            if type(child) is nn.BatchNorm2d:
                new = nn.GroupNorm(groups, channels, eps=child.eps)
            else:
                layers: Any = importlib.import_module("timm.layers")
                new = layers.GroupNormAct(channels, groups, eps=child.eps)
                new.drop, new.act = child.drop, child.act
            new.load_state_dict({"weight": child.weight.data, "bias": child.bias.data})
            setattr(parent, name, new)


def seeded(kind: Callable[[S], M], spec: S, seed: int | None) -> M:
    """``kind(spec)``; with a seed always the same random weights, torch's generator left as it was."""
    if seed is None:
        return kind(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(spec)


class Untrained(nn.Module):
    """A network without a trunk that was trained before."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All are ``"heads"``."""
        return {"heads": list(self.parameters()), "trunk": []}
