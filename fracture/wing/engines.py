"""Networks run by OpenVINO in torch's place: an optional :class:`fracture.wing.runner.Runner`.

A network is traced when the first batch arrives, with free batch, height and width, and computes in float32 on the CPU.
The first batch is answered by torch too: an engine that says something else on this machine is refused, before any film
is judged by it.
"""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import torch

from fracture.errors import ConfigurationError, ModelError
from fracture.wing.runner import Runner, TorchRunner, Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ENGINES", "TOLERANCE", "Engine", "OpenVinoRunner", "check_engine", "make_runner"]

Engine = Literal["torch", "openvino"]

ENGINES: Final[tuple[Engine, ...]] = ("torch", "openvino")
TOLERANCE: Final = 1e-3
"""How far an engine's first answers may be from torch's, relative to the largest number of each (at least 1); ours."""

_Arrays: TypeAlias = "list[NDArray[Any]]"


def check_engine(engine: str, device: torch.device, precision: str) -> None:
    """Whether an engine can run here as asked; nothing of it is imported.

    Raises:
        ConfigurationError: An unknown engine, one that is not installed, or one with a device or precision that it does
            not have.
    """
    if engine not in ENGINES:
        raise ConfigurationError("unknown engine", got=repr(engine), allowed=ENGINES)
    if engine == "torch":
        return
    if importlib.util.find_spec("openvino") is None:
        raise ConfigurationError(
            f"engine={engine!r} needs a package that is not installed",
            got="no openvino",
            hint=f"pip install 'fracture-radiographs[{engine}]', or use engine='torch'",
        )
    if device.type != "cpu":
        raise ConfigurationError(
            f"engine={engine!r} runs on the CPU", got=f"device={str(device)!r}", allowed="device='cpu'"
        )
    if precision == "bfloat16":
        raise ConfigurationError(
            f"engine={engine!r} computes in float32", got="precision='bfloat16'", allowed=("auto", "float32")
        )


def make_runner(network: Callable[..., Any], *, device: torch.device, dtype: torch.dtype, engine: Engine) -> Runner:
    """A network ready to answer, by the engine asked for; see :class:`TorchRunner` for the network."""
    torch_runner = TorchRunner(network, device=device, dtype=dtype)
    return torch_runner if engine == "torch" else OpenVinoRunner(torch_runner)


class OpenVinoRunner:
    """A network that OpenVINO runs, built from torch's own at the first batch; safe to call from threads.

    Args:
        reference: The network in torch, in float32 on the CPU.
    """

    def __init__(self, reference: TorchRunner) -> None:
        self.reference = reference
        self._lock = threading.Lock()
        self._call: Callable[[_Arrays], _Arrays] | None = None
        self._shape: Mapping[str, Any] = {}

    def run(self, inputs: Mapping[str, Values]) -> Mapping[str, Any]:
        """See :meth:`fracture.wing.runner.Runner.run`; float32 tensors on the CPU.

        Raises:
            ModelError: The engine's first answers differ from torch's by more than ``TOLERANCE``.
        """
        arrays = [np.ascontiguousarray(v, np.float32) for v in inputs.values()]
        with self._lock:
            if self._call is None:
                self._build(tuple(inputs), arrays)
            assert self._call is not None
            found = self._call(arrays)
        rebuilt: Mapping[str, Any] = _filled(self._shape, iter([torch.from_numpy(np.array(v)) for v in found]))
        return rebuilt

    def _build(self, names: tuple[str, ...], arrays: _Arrays) -> None:
        expected = self.reference.run(dict(zip(names, arrays, strict=True)))
        call = _compiled(self.reference, names, arrays)
        for here, there in zip(call(arrays), _leaves(expected), strict=True):
            right = there.float().numpy()
            off = float(np.abs(here - right).max()) if here.shape == right.shape else float("inf")
            if not off <= TOLERANCE * max(1.0, float(np.abs(right).max())):
                raise ModelError(
                    "engine 'openvino' answers differently from torch on this machine",
                    got=f"off by {off:.2g}",
                    allowed=f"{TOLERANCE:g}",
                    hint="use engine='torch'",
                )
        self._call, self._shape = call, expected


def _compiled(reference: TorchRunner, names: tuple[str, ...], arrays: _Arrays) -> Callable[[_Arrays], _Arrays]:
    """The network in OpenVINO, traced with free batch, height and width."""
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    def flat(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(_leaves(reference.network(**dict(zip(names, values, strict=True)))))

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's, about the checks of shapes in a forward pass
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            flat, tuple(torch.from_numpy(array) for array in arrays), check_trace=False
        )
    # By the front end itself: openvino.convert_model does the same, and reports to openvino-telemetry.
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # named, for the front end does not keep it alive
    model = frontend.convert(frontend.load(decoder))
    # Stated, since its silent default is bfloat16 where the processor has it.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def call(given: _Arrays) -> _Arrays:
        found = compiled(given)
        return [found[one] for one in compiled.outputs]

    return call


def _leaves(found: Any) -> Iterator[torch.Tensor]:
    """The tensors of nested mappings and named tuples, in order; ``None`` has none."""
    if isinstance(found, torch.Tensor):
        yield found
    elif found is not None:
        for one in found.values() if isinstance(found, Mapping) else found:
            yield from _leaves(one)


def _filled(like: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """The same nest with other tensors."""
    if isinstance(like, torch.Tensor):
        return next(tensors)
    if like is None:
        return None
    if isinstance(like, Mapping):
        return {name: _filled(one, tensors) for name, one in like.items()}
    parts = [_filled(one, tensors) for one in like]
    return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)
