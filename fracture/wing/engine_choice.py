"""Which engine runs networks here: the fastest of those that are installed and were measured on this machine.

``fracture engines FILM...`` measures: each engine beside torch, on films of one's own. What it found is kept in the
user's cache, and believed for the same weights, machine and versions alone. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import platform
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

from fracture.atomic import cache_folder, write_json

Engine = Literal["auto", "torch", "openvino", "onnx"]

PACKAGES: Final = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnxscript")}
"""What each engine but torch needs, the package that answers first."""
ENGINES: Final = ("auto", "torch", *PACKAGES)
BFLOAT16: Final = ("openvino",)
"""Engines that compute in bfloat16 too, where that is asked for or torch's default."""
WORTH: Final = 0.95
"""Share of torch's time from which on an engine is taken; ours: a smaller gain is less than the noise of measuring."""

_FLAGS = ("avx", "amx", "sse4", "f16c", "fma", "asimd", "sve", "bf16")  # beginnings of what engines choose kernels by


@dataclass(frozen=True, slots=True)
class Measured:
    """An engine beside torch, on the same films in alternation.

    Attributes:
        ratio: Its time of a film, as a share of torch's; the median.
        difference: Largest difference of a number in the results, relative to that number (at least 1).
        same: Its results are torch's, as :func:`fracture.wing.engine_measure.compare_engines` has it.
        films: How many.
        versions: Of torch and the engine.
        date: When.
    """

    ratio: float
    difference: float
    same: bool
    films: int
    versions: dict[str, str]
    date: str

    @classmethod
    def now(cls, engine: str, *, ratio: float, difference: float, same: bool, films: int) -> Measured:
        """With the versions that are installed, and today's date."""
        return cls(ratio, difference, same, films, versions(engine), datetime.now(UTC).date().isoformat())


@dataclass(frozen=True, slots=True)
class Choice:
    """What ``engine="auto"`` means.

    Attributes:
        engine: ``"torch"`` or another.
        why: In words.
    """

    engine: Literal["torch", "openvino", "onnx"]
    why: str


def choose(checksum: str, precision: str = "auto", among: Collection[str] = tuple(PACKAGES)) -> Choice:
    """The engine for the weights of a card, on this machine's CPU.

    Args:
        checksum: Of the card.
        precision: ``"auto"``, or another one that was asked for and is not the default here.
        among: The engines that have it.
    """
    there = [name for name in PACKAGES if name in among and not lacking(name)]
    if not there:
        return Choice("torch", "no other engine is installed")
    known = {name: found for name, found in _measured(checksum, precision).items() if name in there}
    good = {name: one for name, one in known.items() if one.same and one.ratio <= WORTH}
    if good:
        best = min(good, key=lambda name: good[name].ratio)
        one = good[best]
        told = f"{one.ratio:.2f} of torch's time on {one.films} films, measured {one.date}"
        return Choice(best, told)  # type: ignore[arg-type]
    if missing := [name for name in there if name not in known]:
        return Choice(
            "torch", f"{' and '.join(missing)} not measured here with these weights: fracture engines FILM..."
        )
    told = "; ".join(f"{name} {one.ratio:.2f}" if one.same else f"{name} differs" for name, one in known.items())
    return Choice("torch", f"none is faster (shares of torch's time: {told})")


def keep_measured(checksum: str, found: dict[str, Measured], precision: str = "auto") -> Path:
    """Write what was measured with the weights of a card in a precision, for :func:`choose`.

    Raises:
        OutputError: It cannot be written.
    """
    path = _record(checksum, precision)
    engines = {name: asdict(one) for name, one in found.items()}
    write_json(path, {"checksum": checksum, "machine": machine(), "engines": engines})
    return path


def lacking(engine: str) -> list[str]:
    """Packages that an engine needs and that are not installed; nothing is imported."""
    return [name for name in PACKAGES.get(engine, ()) if importlib.util.find_spec(name) is None]


def versions(engine: str) -> dict[str, str]:
    """Versions of torch and of an engine's packages, as installed."""
    found = {}
    for name in ("torch", *PACKAGES.get(engine, ())):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@functools.cache
def machine() -> dict[str, str]:
    """What an engine's speed and rounding depend on: the processor and the instructions that it has."""
    told: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            told.setdefault(key.strip(), value.strip())
    flags = told.get("flags", told.get("Features", "")).split()
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "instructions": " ".join(sorted(flag for flag in flags if flag.startswith(_FLAGS))),
    }


def folder_here() -> Path:
    """Where what belongs to this machine is kept."""
    return cache_folder("engines") / hashlib.sha256(json.dumps(machine()).encode()).hexdigest()[:16]


def _record(checksum: str, precision: str) -> Path:
    return folder_here() / f"measured-{checksum[:32]}{'' if precision == 'auto' else '-' + precision}.json"


def _measured(checksum: str, precision: str) -> dict[str, Measured]:
    """What was measured with these weights and the versions that are installed; empty where nothing can be believed."""
    try:
        record: dict[str, Any] = json.loads(_record(checksum, precision).read_bytes())
        if record["checksum"] != checksum or record["machine"] != machine():
            return {}
        found = {str(name): Measured(**one) for name, one in record["engines"].items()}
        return {name: one for name, one in found.items() if one.versions == versions(name) and one.ratio > 0}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
