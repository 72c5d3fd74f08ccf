"""Engines beside torch, on films of one's own: what ``fracture engines`` measures, for ``engine="auto"``."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fracture.errors import ConfigurationError, FractureError
from fracture.runs.inputs import collect
from fracture.wing.contract import Wing
from fracture.wing.engine_choice import BFLOAT16, PACKAGES, Measured, lacking
from fracture.wing.engines import TOLERANCE
from fracture.wing.reader import FilmReader
from fracture.wing.store import Weights

FILMS = 6
"""Films that are enough for the median of their ratios (ours)."""
ROUNDING = 3.0
"""How much further from torch's float32 an engine's numbers may be than those of torch in bfloat16, where that is what
it replaces (ours: so much larger may the largest of a few rounding errors be than that of a few others)."""


def compare_engines(
    wing: Wing[Any],
    weights: Weights[Any],
    paths: Sequence[str],
    *,
    say: Callable[[str], object],
    precision: str = "auto",
) -> dict[str, Measured]:
    """Read films by torch and by every engine that is installed, in alternation, on the CPU.

    Results are held against torch's in float32. By default torch computes in bfloat16 where the processor multiplies in
    it, and so do the engines that have it; it is torch's time in that precision that an engine has to beat, and torch's
    own differences from float32 that say how large an engine's may be: what is no number differs on no more films, and
    no number is off by more than ``TOLERANCE`` or, if that is larger, :data:`ROUNDING` times what torch's are off by.

    Args:
        wing: What reads them.
        weights: Of it.
        paths: Of films, or of folders with films; or what the wing takes else. Of more than :data:`FILMS` so many are
            drawn at random, and those that cannot be read are left out.
        say: Told of an engine that cannot be used, in words.
        precision: As for :func:`fracture.load`.

    Raises:
        ConfigurationError: No other engine that has this precision is installed, the wing has none, or no film can be
            read.
    """
    names = [name for name in PACKAGES if not lacking(name) and (precision != "bfloat16" or name in BFLOAT16)]
    if not names:
        raise ConfigurationError(
            "no engine beside torch is installed",
            got=f"precision={precision!r}",
            hint="pip install 'fracture-radiographs[openvino]', or [onnx]",
        )
    torch = wing.open(weights, device="cpu", precision=precision, engine="torch")
    exact = wing.open(weights, device="cpu", precision="float32", engine="torch")
    films = list(collect(paths).films) if isinstance(torch, FilmReader) else list(paths)
    drawn = films if len(films) <= FILMS else random.Random(0).sample(films, FILMS)
    usable = [film for film in drawn if next(iter(torch.predict_many([film]))).ok]
    if not usable:
        raise ConfigurationError("no film to measure with", got=f"{len(drawn)} that cannot be read")
    found = {}
    for name in names:
        other = wing.open(weights, device="cpu", precision=precision, engine=name)
        try:
            found[name] = _beside(name, torch, exact, other, usable)
        except FractureError as error:
            say(f"{name}: {error}")
    return found


def _beside(name: str, torch: Any, exact: Any, other: Any, films: Sequence[Any]) -> Measured:
    ratios, own, differences = [], [], []
    for film in films:  # untimed: an engine is built at its first film, and compared at each new shape
        right, default, found = (_read(reader, film)[0] for reader in (exact, torch, other))
        if not found.ok:
            raise ConfigurationError("a film cannot be read by this engine", got=found.error)
        own.append(largest_difference(right.to_dict(), default.to_dict()))
        differences.append(largest_difference(right.to_dict(), found.to_dict()))
    for turn, film in enumerate(films):
        seconds = {}
        for reader in (torch, other) if turn % 2 else (other, torch):
            seconds[id(reader)] = _read(reader, film)[1]
        ratios.append(seconds[id(other)] / seconds[id(torch)])
    (unlike, largest), (unlike_default, largest_default) = _worst(differences), _worst(own)
    same = unlike <= unlike_default and largest <= max(TOLERANCE, ROUNDING * largest_default)
    return Measured.now(name, ratio=statistics.median(ratios), difference=largest, same=same, films=len(films))


def _worst(differences: Sequence[float]) -> tuple[int, float]:
    """On how many films something else than a number differs, and the largest difference on the others."""
    finite = [one for one in differences if math.isfinite(one)]
    return len(differences) - len(finite), max(finite, default=0.0)


def _read(reader: Any, film: Any) -> tuple[Any, float]:
    begun = time.perf_counter()
    (result,) = reader.predict_many([film], workers=0)
    return result, time.perf_counter() - begun


def largest_difference(one: Any, two: Any) -> float:
    """How far the numbers of two results are apart, relative to the first one's (at least 1); ``seconds`` is left out.

    Infinite where anything else in them is not equal.
    """
    pairs = [dict(_flat(result)) for result in (one, two)]
    if pairs[0].keys() != pairs[1].keys():
        return float("inf")
    largest = 0.0
    for key, a in pairs[0].items():
        b = pairs[1][key]
        if isinstance(a, float) and isinstance(b, float):
            off = abs(a - b) / max(1.0, abs(a))
            largest = max(largest, off if off == off else float("inf"))
        elif a != b:
            return float("inf")
    return largest


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key != "seconds":
                yield from _flat(one, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        yield f"{path}#", len(value)
        for index, one in enumerate(value):
            yield from _flat(one, f"{path}[{index}]")
    else:
        yield path, float(value) if isinstance(value, int) and not isinstance(value, bool) else value
