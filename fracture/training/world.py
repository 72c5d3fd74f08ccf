"""Processes that train one network together, and what a single one does instead.

Gradients are summed over the processes by hand, once per optimizer step: with the loss's denominators counted over
the whole step, the sum is the gradient of one large batch. No wrapper hooks into the model, so that unused parameters,
empty shares and accumulation need no special case; the price is that communication does not overlap the backward pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among its fellows; the default is one alone.

    Attributes:
        rank: This process.
        size: Processes in all.
        device: Where tensors that are communicated live.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes, in float64."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(v) for v in tensor.tolist()]

    def sum_gradients(self, model: nn.Module) -> None:
        """Each gradient becomes its sum over the processes; a missing one counts as zero."""
        if self.size == 1:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        dist.all_reduce(flat)
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter).clone(memory_format=torch.preserve_format)

    def average_buffers(self, model: nn.Module) -> None:
        """Running statistics of batch normalization become their mean over the processes."""
        if self.size == 1:
            return
        buffers = [b for b in model.buffers() if b.is_floating_point()]
        if not buffers:
            return
        flat = torch.cat([b.flatten() for b in buffers])
        dist.all_reduce(flat)
        for buffer, part in zip(buffers, torch.split(flat, [b.numel() for b in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer) / self.size)

    def gathered(self, items: list[T]) -> list[T]:
        """The items of all processes, in the order of the ranks, on all of them."""
        if self.size == 1:
            return items
        every: list[list[T]] = [[] for _ in range(self.size)]
        with torch.inference_mode(False):  # torch 2.4 writes into its own buffers here, which inference forbids
            dist.all_gather_object(every, items)
        return [item for part in every for item in part]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """The world that ``torchrun`` made (``WORLD_SIZE`` above one), or one process alone.

    NCCL on CUDA, gloo elsewhere. Every process must have the same model, which the seed gives.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    mine = not dist.is_initialized()
    if mine:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    finally:
        if mine:
            dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """The device of this process: CUDA devices are dealt out by ``LOCAL_RANK``."""
    if str(device) == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device
