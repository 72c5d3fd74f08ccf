"""The networks of any wing as files for other programs: ONNX or OpenVINO's, with all that is needed to feed them.

What is exported is what the wing's self-test runs: it is run once with torch, and each network's inputs and answers are
kept beside its file, so that anybody can tell whether the file says the same elsewhere.
"""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from fracture.atomic import write_atomic, write_json
from fracture.errors import ConfigurationError, DataError, ModelError
from fracture.regular import sha256_of
from fracture.wing.contract import Wing
from fracture.wing.engine_choice import PACKAGES, lacking, versions
from fracture.wing.engine_formats import FORMATS, Flat, leaves, plain
from fracture.wing.engines import TOLERANCE, difference, exporting
from fracture.wing.runner import Run, recorded_runs
from fracture.wing.store import Weights

EXPORT: Final = "export.json"
_FORMAT: Final = "fracture-export/1"
_AXES: Final = {4: ("batch", None, "height", "width"), 3: ("batch", None, "length"), 2: ("batch", None)}
_CONTRACT: Final = ("preprocess", "crop", "model")  # what a card says of a network's inputs


def export(wing: Wing[Any], weights: Weights[Any], to: str, out: Path) -> Iterator[str]:
    """Write every network of a set of weights, one line for each when it is written and agrees with torch.

    ``NAME.onnx``, or ``NAME.xml`` and ``NAME.bin``; ``NAME.test.safetensors`` with the inputs ``in.*`` and outputs
    ``out.N`` of the self-test; the card; and ``export.json``: inputs and outputs, what the card says of how inputs are
    made, versions, SHA-256 of every file.

    Args:
        wing: Whose weights they are.
        weights: Opened.
        to: ``"onnx"`` or ``"openvino"``.
        out: A new or empty folder.

    Raises:
        ConfigurationError: An unknown format, one whose package is not installed, a folder that holds something, or
            a card without a self-test.
        ModelError: A network cannot be exported, or answers otherwise than torch then.
    """
    if to not in PACKAGES:
        raise ConfigurationError("unknown format of an export", got=repr(to), allowed=tuple(PACKAGES))
    if missing := lacking(to):
        raise ConfigurationError(
            f"--to {to} needs a package that is not installed",
            got=f"no {', no '.join(missing)}",
            hint=f"pip install 'fracture-radiographs[{to}]'",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError("the folder holds something", got=str(out), hint="give a new or an empty one")
    return _exported(wing, weights, to, out)


def _exported(wing: Wing[Any], weights: Weights[Any], to: str, out: Path) -> Iterator[str]:
    runs: dict[str, Run] = {}
    with recorded_runs() as ran:
        for _ in wing.self_tests(weights):
            pass
    if not ran:
        raise ConfigurationError(
            "the card has no self-test, and an export is what the self-test runs", got=weights.card.label
        )
    for run in ran:
        runs.setdefault(run.runner.name or f"network{len(runs)}", run)
    parts = {Path(part.file).stem: part.model_dump(mode="json") for part in weights.card.files}
    networks = {}
    for name, run in runs.items():
        networks[name] = told = _write(name, run, to, out, parts.get(name, {}))
        yield f"{name}: {', '.join(told['files'])}, at most {told['off']:.1e} from torch's answers"
    weights.card.write(out)
    document = {
        "format": _FORMAT,
        "wing": wing.name,
        "card": weights.card.FILE,
        "weights": weights.card.label,
        "checksum": weights.card.checksum,
        "to": to,
        "versions": versions(to),
        "networks": networks,
    }
    write_json(out / EXPORT, document)
    yield f"{EXPORT} and {weights.card.FILE} beside them"


def _write(name: str, run: Run, to: str, out: Path, part: Mapping[str, Any]) -> dict[str, Any]:
    from safetensors.numpy import save

    form = FORMATS[to]
    inputs = {key: plain(value) for key, value in run.inputs.items()}
    outputs = [one.float().contiguous().numpy() for one in leaves(run.outputs)]
    arrays = list(inputs.values())
    with tempfile.TemporaryDirectory(prefix="fracture-export-", ignore_cleanup_errors=True) as made:
        with exporting(to):
            form.write(Flat(run.runner.network, tuple(inputs)), arrays, Path(made))
            off = difference(form.open(Path(made), torch.float32), arrays, outputs)
        if not off <= TOLERANCE:
            raise ModelError(
                f"{name}: the exported network answers differently", got=f"off by {off:.2g}", allowed=f"{TOLERANCE:g}"
            )
        files = []
        for file in form.files:
            files.append(name + Path(file).suffix)
            write_atomic(out / files[-1], functools.partial(shutil.copyfile, Path(made) / file))
    tensors = {f"in.{key}": value for key, value in inputs.items()}
    tensors |= {f"out.{number}": value for number, value in enumerate(outputs)}
    test = f"{name}.test.safetensors"
    write_atomic(out / test, lambda path: path.write_bytes(save(tensors)))
    return {
        "files": {file: sha256_of(out / file) for file in files},
        "test": {test: sha256_of(out / test)},
        "inputs": {key: {"dtype": str(value.dtype), "shape": _shape(value)} for key, value in inputs.items()},
        "outputs": list(_paths(run.outputs)),
        "off": off,
        "contract": {key: part[key] for key in _CONTRACT if key in part},
    }


def check_export(folder: Path) -> Iterator[str]:
    """Run every network of an export on its self-test, one line for each that says what torch said.

    Raises:
        DataError: No export, or a file that is not what ``export.json`` says.
        ConfigurationError: The engine is not installed.
        ModelError: A network answers otherwise.
    """
    from safetensors.numpy import load

    try:
        document = json.loads((folder / EXPORT).read_bytes())
        to, networks = document["to"], document["networks"]
        for told in networks.values():
            for file, digest in {**told["files"], **told["test"]}.items():
                if sha256_of(folder / file) != digest:
                    raise DataError(f"{folder / file} is not the file that was exported", allowed=f"SHA-256 {digest}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder} holds no export", got=error) from error
    if to not in PACKAGES or lacking(to):
        raise ConfigurationError("the engine is not installed", got=repr(to), allowed=tuple(PACKAGES))
    form = FORMATS[to]
    for name, told in networks.items():
        tensors = load((folder / next(iter(told["test"]))).read_bytes())
        given = [tensors[f"in.{key}"] for key in told["inputs"]]
        right = [tensors[f"out.{number}"] for number in range(len(told["outputs"]))]
        with tempfile.TemporaryDirectory(prefix="fracture-export-", ignore_cleanup_errors=True) as made:
            for file, own in zip(told["files"], form.files, strict=True):
                (Path(made) / own).write_bytes((folder / file).read_bytes())
            off = difference(form.open(Path(made), torch.float32), given, right)
        if not off <= TOLERANCE:
            raise ModelError(f"{name} answers differently here", got=f"off by {off:.2g}", allowed=f"{TOLERANCE:g}")
        yield f"{name}: at most {off:.1e} from torch's answers"


def _shape(value: Any) -> list[str | int]:
    axes = _AXES.get(value.ndim, ("batch", *[None] * (value.ndim - 1)))
    return [size if axis is None else axis for axis, size in zip(axes, value.shape, strict=True)]


def _paths(found: Any, path: str = "") -> Iterator[str]:
    """Names of the outputs, in order."""
    if isinstance(found, torch.Tensor):
        yield path
    elif found is not None:
        named = found if isinstance(found, Mapping) else found._asdict() if hasattr(found, "_asdict") else None
        pairs = named.items() if named is not None else enumerate(found)
        for key, one in pairs:
            yield from _paths(one, f"{path}.{key}" if path else str(key))
