"""The one place where a network is called for inference: its inputs placed, no gradients, its outputs by name.

Another engine takes torch's place here (:mod:`fracture.wing.engines`): what readers need is a :class:`Runner`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Run", "Runner", "TorchRunner", "place", "recorded_runs"]

Values: TypeAlias = "torch.Tensor | NDArray[Any]"


class Runner(Protocol):
    """A network that is ready to answer."""

    def run(self, inputs: Mapping[str, Values]) -> Mapping[str, Any]:
        """Outputs by name from inputs by name, a batch of each."""


class TorchRunner:
    """A torch network as it stands.

    Args:
        network: A module in evaluation mode, or a function of one; its parameters are the inputs' names. It gives a
            mapping, a named tuple, or one tensor, which is called ``"output"``.
        device: Where it is.
        dtype: Precision of its inputs; whole numbers and masks keep their type.
        name: What an export calls the network: as its file of weights, without the ending.
    """

    def __init__(
        self, network: Callable[..., Any], *, device: torch.device, dtype: torch.dtype, name: str = ""
    ) -> None:
        self.network, self.device, self.dtype, self.name = network, device, dtype, name

    def run(self, inputs: Mapping[str, Values]) -> Mapping[str, Any]:
        """See :meth:`Runner.run`; the outputs are on the network's device."""
        with torch.inference_mode():
            found = self.network(**{k: place(v, self.device, self.dtype) for k, v in inputs.items()})
        if isinstance(found, torch.Tensor):
            found = {"output": found}
        named: Mapping[str, Any] = found if isinstance(found, Mapping) else found._asdict()
        if (runs := _runs.get()) is not None:
            runs.append(Run(self, dict(inputs), named))
        return named


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A batch that a network was given, and what it said."""

    runner: TorchRunner
    inputs: Mapping[str, Values]
    outputs: Mapping[str, Any]


_runs: ContextVar[list[Run] | None] = ContextVar("_runs", default=None)


@contextlib.contextmanager
def recorded_runs() -> Iterator[list[Run]]:
    """What torch's networks are given and say in this block, in this thread; the list grows as it goes."""
    runs: list[Run] = []
    token = _runs.set(runs)
    try:
        yield runs
    finally:
        _runs.reset(token)


def place(values: Values, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A batch on a device; floating point in ``dtype``, images (B, C, H, W) with their channels last.

    ``values`` that are there already are not copied.
    """
    batch = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if not batch.is_floating_point():
        return batch.to(device)
    batch = batch.to(device, dtype)
    return batch.to(memory_format=torch.channels_last) if batch.ndim == 4 else batch
