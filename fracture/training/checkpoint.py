"""Checkpoints: one safetensors file holds tensors and, as JSON in its header, everything else. Nothing is pickled.

They are written by :mod:`fracture.atomic`: whatever happens there is a whole checkpoint, the new one or the one before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fracture.atomic import write_atomic
from fracture.errors import WeightsIntegrityError
from fracture.training.optim import Ema

FORMAT = "fracture-checkpoint/1"


def gather(model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None) -> dict[str, Tensor]:
    """Every tensor that a run needs to go on exactly: weights, optimizer moments, running mean."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    names = {id(p): name for name, p in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"optimizer.{key}.{names[id(parameter)]}"] = torch.as_tensor(value)
    if ema is not None:
        tensors.update({f"ema.{name}": value for name, value in ema.mean.items()})
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def restore(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema | None,
    *,
    ema_updates: int = 0,
) -> None:
    """The inverse of :func:`gather`, in place.

    Raises:
        WeightsIntegrityError: The checkpoint is of another model or optimizer.
    """
    try:
        model.load_state_dict(_part(tensors, "model."))
        for name, parameter in model.named_parameters():
            state = {
                key.split(".", 2)[1]: value
                for key, value in tensors.items()
                if key.startswith("optimizer.") and key.endswith(f".{name}") and key.split(".", 2)[2] == name
            }
            if state:
                # "step" stays on the CPU, as torch keeps it; the moments follow their parameter in layout and device.
                optimizer.state[parameter] = {
                    key: value.clone() if key == "step" else torch.empty_like(parameter).copy_(value)
                    for key, value in state.items()
                }
        if ema is not None:
            ema.load(_part(tensors, "ema."), ema_updates)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        raise WeightsIntegrityError(
            "the checkpoint does not fit the model", got=error, hint="start the run in another folder"
        ) from error


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that it is whole or the one before stays.

    Args:
        path: Target.
        tensors: On the CPU, contiguous.
        state: Anything that JSON knows.

    Raises:
        OutputError: The disk is full or cannot be written; the checkpoint before is untouched.
    """
    header = {"format": FORMAT, "state": json.dumps(state)}

    def fill(temporary: Path) -> None:
        save_file(dict(tensors), str(temporary), metadata=header)

    write_atomic(path, fill, size=sum(t.numel() * t.element_size() for t in tensors.values()))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint.

    Raises:
        WeightsIntegrityError: Not a checkpoint of this library, or damaged.
    """
    if not path.is_file():
        raise WeightsIntegrityError(f"{path}: no checkpoint there", hint="start the run in another folder")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise WeightsIntegrityError(f"{path}: not a checkpoint", got=header.get("format"), allowed=FORMAT)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        state = json.loads(header["state"])
        if not isinstance(state, dict):
            raise ValueError(f"its state is a {type(state).__name__}")
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        raise WeightsIntegrityError(
            f"{path}: the checkpoint cannot be read", got=error, hint="start the run in another folder"
        ) from error
    return tensors, state


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
