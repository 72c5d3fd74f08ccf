"""How each engine gets a network from torch: a file that is written once, and opened by the engine alone.

Nothing here is a pickle: OpenVINO reads its own intermediate representation, onnxruntime reads ONNX.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Arrays: TypeAlias = "Sequence[NDArray[Any]]"
Call: TypeAlias = Callable[[Arrays], "list[NDArray[Any]]"]


@dataclass(frozen=True, slots=True)
class Format:
    """How an engine gets a network.

    Attributes:
        files: Names of its files, the one that is opened first.
        write: Writes the files of a network into a folder; traced with free batch, height and width.
        open: Makes the files ready to answer, in a precision that the engine has, on this process's number of threads.
            Inputs and outputs are float32 in any case.
    """

    files: tuple[str, ...]
    write: Callable[[Flat, Arrays, Path], None]
    open: Callable[[Path, torch.dtype], Call]


class Flat(nn.Module):
    """A network whose outputs are one tuple of tensors, as engines know them.

    Args:
        network: A module, a method of one, or a function.
        names: Of its inputs, in order.
    """

    def __init__(self, network: Callable[..., Any], names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.owner = network_of(network)  # so that its tensors are parameters of this module
        self._call = network

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Inputs in order to outputs in order."""
        return tuple(leaves(self._call(**dict(zip(self.names, values, strict=True)))))


def network_of(network: Callable[..., Any]) -> nn.Module | None:
    """The module that a network is, or is a method of; None for any other function."""
    owner = network if isinstance(network, nn.Module) else getattr(network, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def leaves(found: Any) -> Iterator[torch.Tensor]:
    """The tensors of nested mappings and named tuples, in order; ``None`` has none."""
    if isinstance(found, torch.Tensor):
        yield found
    elif found is not None:
        for one in found.values() if isinstance(found, Mapping) else found:
            yield from leaves(one)


def plain(values: Any) -> NDArray[Any]:
    """Inputs as engines take them: floating point in float32, whole numbers as they are."""
    if isinstance(values, torch.Tensor) and values.dtype == torch.bfloat16:  # which numpy does not know
        values = values.float()
    array: NDArray[Any] = np.ascontiguousarray(values)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _write_openvino(network: Flat, arrays: Arrays, folder: Path) -> None:
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's, about the checks of shapes in a forward pass
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            network, tuple(torch.from_numpy(array) for array in arrays), check_trace=False
        )
    # By the front end itself: openvino.convert_model does the same, and reports to openvino-telemetry.
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # named, for the front end does not keep it alive
    model = frontend.convert(frontend.load(decoder))
    openvino.save_model(model, folder / "network.xml", compress_to_fp16=False)


def _open_openvino(folder: Path, dtype: torch.dtype) -> Call:
    import openvino

    # Stated, since its silent default is bfloat16 where the processor has it.
    hint = "bf16" if dtype == torch.bfloat16 else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(folder / "network.xml", "CPU", settings)

    def call(given: Arrays) -> list[NDArray[Any]]:
        found = compiled(list(given))
        return [np.array(found[one]) for one in compiled.outputs]

    return call


def _write_onnx(network: Flat, arrays: Arrays, folder: Path) -> None:
    # Two of each, since torch.export takes a batch of one for a constant.
    given = tuple(torch.from_numpy(np.concatenate([array, array])) for array in arrays)
    free = tuple({axis: torch.export.Dim.AUTO for axis in range(array.ndim) if axis != 1} for array in arrays)
    with warnings.catch_warnings(), _quiet("torch.fx.experimental.symbolic_shapes"), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network, given, dynamo=True, dynamic_shapes=(free,), input_names=network.names, verbose=False
        )
    assert program is not None
    program.save(folder / "network.onnx")


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """A logger says only what is an error: torch's tells at length of sizes that it cannot reason about."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _open_onnx(folder: Path, dtype: torch.dtype) -> Call:
    import onnxruntime

    assert dtype == torch.float32  # it has no bfloat16 on the CPU

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others may need the processor
    session = onnxruntime.InferenceSession(folder / "network.onnx", options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def call(given: Arrays) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = session.run(None, dict(zip(names, given, strict=True)))
        return found

    return call


FORMATS: Final = {
    "openvino": Format(("network.xml", "network.bin"), _write_openvino, _open_openvino),
    "onnx": Format(("network.onnx",), _write_onnx, _open_onnx),
}
