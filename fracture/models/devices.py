"""Where networks run, and in which precision."""

from __future__ import annotations

import functools
import os
from typing import Literal

import torch

from fracture.errors import ConfigurationError

Precision = Literal["auto", "float32", "bfloat16"]


def resolve_device(device: str) -> torch.device:
    """``"auto"`` is CUDA where there is one, else the CPU; anything else is torch's own name of a device.

    From here on torch's threads may run, and a process forked from this one has none of them: it would wait for them
    for ever (GNU OpenMP). Such a process therefore runs on one thread, as the workers of torch's own ``DataLoader`` do.

    Raises:
        ConfigurationError: No such device, here or at all.
    """
    _mind_forks()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ConfigurationError("unknown device", got=repr(device), allowed="auto, cpu, cuda, cuda:N, mps") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("no CUDA device here", got=repr(device), hint="use device='cpu' or 'auto'")
    return resolved


@functools.cache
def _mind_forks() -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
        os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """``"auto"`` is bfloat16 where the processor multiplies in it, else float32.

    Raises:
        ConfigurationError: An unknown precision.
    """
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if precision != "auto":
        raise ConfigurationError("unknown precision", got=repr(precision), allowed=("auto", "float32", "bfloat16"))
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.bfloat16
    return torch.float32


def _cpu_has_bfloat16() -> bool:
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        known = capabilities()
        return bool(known.get("amx_bf16") or known.get("avx512_bf16"))
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe()) if probe is not None else False
