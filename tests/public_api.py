"""The public names, signatures, JSON keys and commands as one text; ``python -m tests.public_api`` writes it anew."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import typer

import fracture
from fracture.cli.main import app
from fracture.errors import InputError
from fracture.hip.classes import CLASSES
from fracture.hip.prediction import Hip, HipFilm
from fracture.wing.result import Box, Failure

__all__ = ["FILE", "described"]

FILE = Path(__file__).with_name("public_api.txt")
_ROOMS = (
    "data",
    "errors",
    "evaluation",
    "hip",
    "joints",
    "models",
    "preprocess",
    "regions",
    "results",
    "simulate",
    "spine",
    "training",
)
_MORE = ("wing.contract", "wing.reader", "wing.result", "wing.runner", "wing.scene", "wing.store", "wing.volume")


def described() -> str:
    """One line for each thing that a user may have written down."""
    lines = list(_module("fracture", fracture))
    for room in (*_ROOMS, *_MORE):
        lines += ["", *_module(f"fracture.{room}", import_module(f"fracture.{room}"))]
    lines += ["", *_json()]
    lines += ["", *_commands("fracture", typer.main.get_command(app))]
    return "\n".join(lines) + "\n"


def _module(name: str, module: ModuleType) -> Iterator[str]:
    for public in sorted(module.__all__):
        yield from _thing(f"{name}.{public}", getattr(module, public))


def _thing(name: str, thing: Any) -> Iterator[str]:
    if inspect.ismodule(thing):
        yield f"{name}: module"
    elif inspect.isclass(thing):
        bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
        yield f"{name}: class({bases}){_signature(thing)}"
        fields = {f.name for f in dataclasses.fields(thing)} if dataclasses.is_dataclass(thing) else set()
        for member in sorted(set(dir(thing)) | fields):
            if not member.startswith(("_", "model_fields", "model_computed_fields")) and _ours(thing, member):
                found = inspect.getattr_static(thing, member, None)
                inner = getattr(found, "__func__", found)
                call = _signature(inner) if inspect.isfunction(inner) else ""
                yield f"{name}.{member}{call}"
    elif callable(thing):
        yield f"{name}{_signature(thing)}"
    else:
        yield f"{name}: {type(thing).__name__}"


def _ours(thing: type, member: str) -> bool:
    """Whether the library says it, not a base from elsewhere (which changes with that library's version)."""
    home = next((base for base in thing.__mro__ if member in vars(base)), thing)
    return home.__module__.partition(".")[0] == "fracture"


def _signature(thing: Any) -> str:
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values() if not p.name.startswith("_")]
    text = str(signature.replace(parameters=plain, return_annotation=signature.empty))
    # Neither addresses nor the place of the clone, nor which kind of system it lies on.
    return re.sub(r"(Posix|Windows)Path\('[^']*/fracture/", "Path('fracture/", re.sub(r" at 0x[0-9a-f]+", "", text))


def _json() -> Iterator[str]:
    film = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (96, 1))
    prediction = fracture.load(device="cpu", precision="float32").predict(film, candidates=True)
    hip = Hip(side="left", box=Box(0, 0, 9, 9, 0.5), probabilities=dict.fromkeys(CLASSES, 1 / 6))
    shown = {
        "Prediction": prediction.to_dict(),
        "HipFilm": HipFilm(source="", width=9, height=9, hips=(hip,)).to_dict(),
        "Hip": hip.to_dict(),
        "Box": hip.box.to_dict(),
        "Failure": Failure.of("", InputError("")).to_dict(),
    }
    for name, keys in shown.items():
        yield f"JSON of {name}: {', '.join(keys)}"


def _commands(name: str, command: Any) -> Iterator[str]:
    options = [
        "/".join((*p.opts, *p.secondary_opts)) if p.param_type_name == "option" else str(p.name).upper()
        for p in command.params
    ]
    yield f"$ {name} {' '.join(options)}".rstrip()
    for sub in sorted(getattr(command, "commands", {})):
        yield from _commands(f"{name} {sub}", command.commands[sub])


if __name__ == "__main__":
    FILE.write_text(described(), encoding="utf-8")
