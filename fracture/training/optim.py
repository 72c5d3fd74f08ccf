"""Optimizer, learning rate over time, and the running mean of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fracture.errors import ConfigurationError
from fracture.models import FractureModel
from fracture.training.config import OptimizerConfig


def freeze(model: FractureModel, stages: int) -> None:
    """Stop the first ``stages`` stages of the backbone from learning.

    Raises:
        ConfigurationError: More stages than the backbone has.
    """
    names = model.backbone.stage_names
    if stages > len(names):
        raise ConfigurationError("optimizer.freeze_stages", got=stages, allowed=f"0 to {len(names)}")
    groups = model.parameter_groups()
    for name in names[:stages]:
        for parameter in groups[name]:
            parameter.requires_grad_(False)


def build_optimizer(model: FractureModel, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over the parameters that learn; backbone and heads are groups of their own.

    Weight decay, where set, spares vectors (biases and normalization), as is usual; the paper sets none.
    torch's fused step is not taken, though it is four times as fast on a CPU: where a gradient lies otherwise in memory
    than its parameter (channels last beside not, as after an exchange between processes), it pairs the wrong numbers
    without a word (torch 2.14).
    """
    groups = model.parameter_groups()
    heads = {id(p) for p in groups["heads"]}
    sets: list[dict[str, object]] = []
    learning = [p for p in model.parameters() if p.requires_grad]
    for rate, own in ((config.lr, False), (config.head_lr or config.lr, True)):
        for matrix in (True, False):
            chosen = [p for p in learning if (id(p) in heads) is own and (p.ndim >= 2) is matrix]
            decay = config.weight_decay if matrix else 0.0
            if chosen:
                sets.append({"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": decay})
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(sets, betas=config.betas)


def rate_at(step: int, total: int, config: OptimizerConfig) -> float:
    """Factor on the learning rate at a step: linear warm-up, then constant or a half cosine down to ``final_lr``.

    Args:
        step: Optimizer steps done before this one.
        total: Steps of the whole run.
        config: The schedule.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Ema:
    """Exponential running mean of a model's parameters and of its floating buffers.

    The decay grows as (1 + t) / (10 + t) up to its value, so that early steps do not tie the mean to the random start.

    Args:
        model: Whose weights; the mean starts as a copy of them.
        decay: The final decay per optimizer step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.mean = {name: value.detach().clone() for name, value in _floating(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the mean towards the model's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in _floating(model).items():
            self.mean[name].lerp_(value.detach(), 1 - decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's weights with the mean; a second call undoes it."""
        for name, value in _floating(model).items():
            kept = value.detach().clone()
            value.detach().copy_(self.mean[name])
            self.mean[name].copy_(kept)

    def load(self, mean: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a checkpoint."""
        for name in self.mean:
            self.mean[name].copy_(mean[name])
        self.updates = updates


def _floating(model: nn.Module) -> dict[str, Tensor]:
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: value for name, value in state.items() if value.is_floating_point()}
