"""Networks run by another engine in torch's place: an optional :class:`fracture.wing.runner.Runner`.

An engine computes on the CPU, in float32 or, where it can and torch would too, in bfloat16. It gets a network when the
first batch arrives, from this user's cache (:mod:`fracture.wing.engine_cache`) or from torch. Its answers are compared
with torch's in float32 at each process's first batch, and at each new shape of the inputs: an engine that says
something else on this machine is refused, before any film is judged by it.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fracture.errors import ConfigurationError, FractureError, ModelError
from fracture.models.devices import Precision, resolve_precision
from fracture.wing.engine_cache import Entry, kept, key_of, new_entry
from fracture.wing.engine_choice import BFLOAT16, ENGINES, PACKAGES, Engine, choose, lacking
from fracture.wing.engine_formats import FORMATS, Call, Flat, leaves, network_of, plain
from fracture.wing.runner import Runner, TorchRunner, Values

TOLERANCE: Final = 1e-3
"""How far an engine's answers may be from torch's where they are compared in float32, relative to the largest number of
each (at least 1); ours."""
TOLERANCE_BFLOAT16: Final = 0.1
"""The same for an engine that computes in bfloat16, whose numbers have 8 binary digits; ours. What ships was off by at
most 0.04, as torch's own bfloat16 was; a network that is not the same is off by about 1."""


def resolve_engine(
    engine: Engine, *, checksum: str, device: torch.device, precision: Precision, float32: bool = False
) -> tuple[Engine, torch.dtype]:
    """What runs networks here, and in which precision; the one place where that is decided. No engine is imported.

    Args:
        engine: ``"auto"`` is what :func:`fracture.wing.engine_choice.choose` says, on the CPU; else torch.
        checksum: Of the card.
        device: Where networks run.
        precision: As for :func:`fracture.load`: of torch, and of the engines that have it (``BFLOAT16``). Another
            computes in float32 where ``"auto"`` stands.
        float32: The networks run in float32 whatever precision is asked for.

    Raises:
        ConfigurationError: An unknown engine, one that is not installed, or one with a device or precision that it does
            not have.
    """
    if engine not in ENGINES:
        raise ConfigurationError("unknown engine", got=repr(engine), allowed=ENGINES)
    dtype = torch.float32 if float32 else resolve_precision(precision, device)
    if engine == "auto":
        having = BFLOAT16 if precision == "bfloat16" and not float32 else tuple(PACKAGES)
        engine = choose(checksum, stated(precision, device), having).engine if device.type == "cpu" else "torch"
    if engine == "torch":
        return engine, dtype
    if missing := lacking(engine):
        raise ConfigurationError(
            f"engine={engine!r} needs a package that is not installed",
            got=f"no {', no '.join(missing)}",
            hint=f"pip install 'fracture-radiographs[{engine}]', or use engine='torch'",
        )
    if device.type != "cpu":
        raise ConfigurationError(
            f"engine={engine!r} runs on the CPU", got=f"device={str(device)!r}", allowed="device='cpu'"
        )
    if engine in BFLOAT16:
        return engine, dtype
    if precision == "bfloat16" and not float32:
        raise ConfigurationError(
            f"engine={engine!r} computes in float32", got="precision='bfloat16'", allowed=("auto", "float32")
        )
    return engine, torch.float32


def stated(precision: Precision, device: torch.device) -> Precision:
    """The precision that was asked for, ``"auto"`` where it is what would be taken anyway."""
    return "auto" if resolve_precision(precision, device) == resolve_precision("auto", device) else precision


def make_runner(
    network: Callable[..., Any], *, device: torch.device, dtype: torch.dtype, engine: Engine, name: str = ""
) -> Runner:
    """A network ready to answer, by the engine asked for; see :class:`TorchRunner` for the network and its name.

    Another engine takes the network in float32, in place: rounded where ``dtype`` is bfloat16, as torch has it.
    """
    if engine == "torch":
        return TorchRunner(network, device=device, dtype=dtype, name=name)
    if (module := network_of(network)) is not None:
        module.float()
    return EngineRunner(TorchRunner(network, device=device, dtype=torch.float32, name=name), engine, dtype)


class EngineRunner:
    """A network that another engine runs; safe to call from threads.

    Args:
        reference: The network in torch, in float32 on the CPU.
        engine: ``"openvino"`` or ``"onnx"``.
        dtype: What the engine computes in; float32, or bfloat16 for one of ``BFLOAT16``.
    """

    def __init__(self, reference: TorchRunner, engine: Engine, dtype: torch.dtype = torch.float32) -> None:
        self.reference, self.engine, self.dtype = reference, engine, dtype
        self._tolerance = TOLERANCE_BFLOAT16 if dtype == torch.bfloat16 else TOLERANCE
        self._form = FORMATS[engine]
        self._lock = threading.Lock()
        self._outputs: Mapping[str, Any] | None = None
        self._entry: Entry | None = None
        self._call: Call | None = None
        self._made = False

    def run(self, inputs: Mapping[str, Values]) -> Mapping[str, Any]:
        """See :meth:`fracture.wing.runner.Runner.run`; float32 tensors on the CPU.

        Raises:
            ModelError: The engine's answers differ from torch's by more than its precision explains.
        """
        names, arrays = tuple(inputs), [plain(one) for one in inputs.values()]
        with self._lock:
            shape = _shape_of(arrays)
            if self._outputs is None or self._entry is None or shape not in self._entry.shapes:
                self._compare(names, arrays, shape)
            assert self._call is not None
            found = self._call(arrays)
        nested: Mapping[str, Any] = rebuilt(self._outputs, iter([torch.from_numpy(one) for one in found]))
        return nested

    def _compare(self, names: tuple[str, ...], arrays: Sequence[NDArray[Any]], shape: str) -> None:
        expected = self.reference.run(dict(zip(names, arrays, strict=True)))
        right = [one.float().numpy() for one in leaves(expected)]
        if self._call is None:
            self._open(names)
        off = float("inf") if self._call is None else difference(self._call, arrays, right)
        if off > self._tolerance and not self._made:  # what was kept is none or broken: once a process it is made anew
            off = self._make(names, arrays, right)
        if off > self._tolerance or self._entry is None:
            raise ModelError(
                f"engine {self.engine!r} answers differently from torch on this machine",
                got=f"off by {off:.2g}",
                allowed=f"{self._tolerance:g}",
                hint="use engine='torch'",
            )
        self._outputs = expected
        if shape not in self._entry.shapes:
            self._entry = self._entry.compared(shape, self._form.files)

    def _open(self, names: tuple[str, ...]) -> None:
        self._entry = kept(self._key(names), self._form)
        if self._entry is not None:
            try:
                self._call = self._form.open(self._entry.folder, self.dtype)
            except Exception:  # noqa: BLE001 - whatever the engine raises of a file that it cannot use
                self._entry = None

    def _make(self, names: tuple[str, ...], arrays: Sequence[NDArray[Any]], right: Sequence[NDArray[Any]]) -> float:
        self._made = True
        with (
            exporting(self.engine),
            tempfile.TemporaryDirectory(prefix="fracture-engine-", ignore_cleanup_errors=True) as made,
        ):
            self._form.write(Flat(self.reference.network, names), arrays, Path(made))
            self._entry = new_entry(self._key(names), Path(made))
            self._call = self._form.open(self._entry.folder, self.dtype)
            return difference(self._call, arrays, right)

    def _key(self, names: tuple[str, ...]) -> dict[str, str] | None:
        network = self.reference.network
        what = f"{getattr(network, '__name__', '')}({', '.join(names)}) {self.dtype}"
        return key_of(network_of(network), what, self.engine)


def _shape_of(arrays: Sequence[NDArray[Any]]) -> str:
    """What a traced network may depend on: every size but that of the batch, and whether it is one of several."""
    return "; ".join(f"{'one' if a.shape[0] == 1 else 'several'} {'x'.join(map(str, a.shape[1:]))}" for a in arrays)


@contextlib.contextmanager
def exporting(engine: str) -> Iterator[None]:
    """What torch's exporters and an engine raise of a network that they cannot take, as one of our errors.

    Raises:
        ModelError: There is no way to write, open or run it.
    """
    try:
        yield
    except (MemoryError, FractureError):
        raise
    except Exception as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ModelError(
            f"this network cannot be exported for {engine!r}",
            got=f"{type(error).__name__}: {said[:200]}",
            allowed="a network whose shapes follow from the shapes of its inputs, of operators that the engine has",
            hint="use engine='torch', or another format; the whole message is this error's __cause__",
        ) from error


def difference(call: Call, arrays: Sequence[NDArray[Any]], right: Sequence[NDArray[Any]]) -> float:
    """How far an engine's answers are off, relative to the largest number of each (at least 1); infinite
    where their shapes differ or one is NaN."""
    found = call(arrays)
    if [one.shape for one in found] != [one.shape for one in right]:
        return float("inf")
    pairs = [(a, b) for a, b in zip(found, right, strict=True) if b.size]
    off = [float(np.abs(a - b).max()) / max(1.0, float(np.abs(b).max())) for a, b in pairs]
    return max((one if one == one else float("inf") for one in off), default=0.0)


def rebuilt(like: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """The same nest with other tensors."""
    if isinstance(like, torch.Tensor):
        return next(tensors)
    if like is None:
        return None
    if isinstance(like, Mapping):
        return {name: rebuilt(one, tensors) for name, one in like.items()}
    parts = [rebuilt(one, tensors) for one in like]
    return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)
