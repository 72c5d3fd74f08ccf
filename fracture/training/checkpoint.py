"""Checkpoints: a safetensors file holds tensors and, as JSON in its header, everything else. Nothing is pickled.

A large checkpoint is a few files of at most :data:`PART_BYTES`, so that each passes where large files do not (a lent
machine, a mail, a repository). ``latest.safetensors`` is always the one that is asked for: it names the others.

They are written by :mod:`fracture.atomic`: whatever happens there is a whole checkpoint, the new one or the one before.
Further files come first and under new names, the one that names them last, and then those of the checkpoint before go.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fracture.atomic import write_atomic
from fracture.errors import WeightsIntegrityError
from fracture.training.optim import Ema

FORMAT: Final = "fracture-checkpoint/1"
PART_FORMAT: Final = "fracture-checkpoint-part/1"
PART_BYTES: Final = 15_000_000
"""Most bytes of tensors in one file (ours): 16 MB with the header, whatever a megabyte is."""


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


def write_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, part_bytes: int = PART_BYTES
) -> None:
    """Write a checkpoint so that it is whole or the one before stays.

    Args:
        path: Target; what does not fit into it lies beside it, as ``<stem>.<8 hex digits>.<number>.safetensors``.
        tensors: On the CPU, contiguous.
        state: Anything that JSON knows.
        part_bytes: Most bytes of tensors in one file; a tensor that is larger has a file of its own.

    Raises:
        OutputError: The disk is full or cannot be written; the checkpoint before is untouched.
    """
    first, *others = _grouped(tensors, part_bytes)
    token = secrets.token_hex(4)
    names = [f"{path.stem}.{token}.{number}.safetensors" for number in range(2, len(others) + 2)]
    header = {"format": FORMAT, "state": json.dumps(state)}
    if names:
        header["parts"] = json.dumps(names)
    size = sum(map(_size, tensors.values()))
    try:
        for name, part in zip(names, others, strict=True):
            _write(path.with_name(name), part, {"format": PART_FORMAT, "name": name}, size)
        _write(path, first, header, size)
    finally:  # after an error the file may be the one before or, where the folder could not be flushed, the new one
        if (standing := _named_by(path)) is not None:
            _remove_all_but(path, standing)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint.

    Raises:
        WeightsIntegrityError: Not a checkpoint of this library, or damaged, or a file of it is missing.
    """
    tensors, header = _read(path, FORMAT)
    try:
        state = json.loads(header["state"])
        if not isinstance(state, dict):
            raise ValueError(f"its state is a {type(state).__name__}")
        names = _parts(path, header)
    except (ValueError, KeyError, RecursionError) as error:
        raise _unreadable(path, error) from error
    for name in names:
        part, own = _read(path.with_name(name), PART_FORMAT)
        if own.get("name") != name:
            raise WeightsIntegrityError(
                f"{path.with_name(name)}: a file of another checkpoint", got=own.get("name"), allowed=name
            )
        tensors.update(part)
    return tensors, state


def _grouped(tensors: Mapping[str, Tensor], most: int) -> list[dict[str, Tensor]]:
    """The tensors in their order, cut where a file would be larger than ``most`` bytes; at least one group."""
    groups: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in tensors.items():
        own = _size(value)
        if groups[-1] and size + own > most:
            groups.append({})
            size = 0
        groups[-1][name] = value
        size += own
    return groups


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, str], size: int) -> None:
    write_atomic(path, lambda temporary: save_file(tensors, str(temporary), metadata=header), size=size)


def _parts(path: Path, header: Mapping[str, str]) -> list[str]:
    """Names of the further files. Raises: ValueError: Not a list of such names."""
    names = json.loads(header.get("parts", "[]"))
    if not isinstance(names, list) or not all(isinstance(name, str) and _is_beside(path, name) for name in names):
        raise ValueError(f"its further files are {names!r}")
    return names


def _named_by(path: Path) -> list[str] | None:
    """The further files of the checkpoint that stands there, none where none does; ``None`` where it cannot be read
    now, since they may be all that is left of it.
    """
    try:
        if not path.exists():
            return []
        with safetensors.safe_open(str(path), framework="pt") as file:
            return _parts(path, file.metadata() or {})
    except (safetensors.SafetensorError, OSError, ValueError, RecursionError):
        return None


def _read(path: Path, form: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Raises: WeightsIntegrityError: As :func:`read_checkpoint`."""
    if not path.is_file():
        raise WeightsIntegrityError(f"{path}: no checkpoint there", hint="start the run in another folder")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != form:
                raise WeightsIntegrityError(f"{path}: not a checkpoint", got=header.get("format"), allowed=form)
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 - not a dict
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> WeightsIntegrityError:
    return WeightsIntegrityError(
        f"{path}: the checkpoint cannot be read", got=error, hint="start the run in another folder"
    )


def _is_beside(path: Path, name: str) -> bool:
    return re.fullmatch(re.escape(path.stem) + r"\.[0-9a-f]{8}\.[0-9]+\.safetensors", name) is not None


def _remove_all_but(path: Path, names: list[str]) -> None:
    """Further files of other checkpoints go, also of those that were not finished; what cannot be removed stays: it
    takes room and does no harm."""
    with contextlib.suppress(OSError):
        for other in path.parent.iterdir():
            if _is_beside(path, other.name) and other.name not in names:
                with contextlib.suppress(OSError):
                    other.unlink()


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
