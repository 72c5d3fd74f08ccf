"""Aims, and whether they were reached: from a TOML or JSON file, so that the library knows no project's own.

    [[aim]]
    name = "image AUC, all films"
    at_least = 0.95                                  # or at_most
    from = "card"                                    # card, report, or the kind of an extra result (cost, ...)
    path = ["metrics", "film", "all", "auc"]
    percent = false

A path's step is a key, a key that ends with ``*`` (the one key that begins so), a number in a list, or the ``name`` of
a list's entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fracture.errors import ConfigurationError
from fracture.evaluation.stats.estimate import Estimate
from fracture.reporting.markdown import as_estimate
from fracture.schema import read_json, read_toml, validated

_LARGEST = 2**20  # bytes of a file of aims (ours)


class Aim(BaseModel):
    """What was aimed at, and where the measured value stands."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    name: str = Field(min_length=1)
    at_least: float | None = None
    at_most: float | None = None
    source: str = Field(default="card", alias="from")
    path: tuple[Annotated[int, Field(strict=True)] | str, ...] = Field(min_length=1)
    percent: bool = False
    digits: int | None = Field(default=None, ge=0, le=9)

    @model_validator(mode="after")
    def _one_side(self) -> Aim:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("an aim has either at_least or at_most")
        return self

    @property
    def bound(self) -> float:
        """The number aimed at."""
        return float(self.at_least if self.at_least is not None else self.at_most or 0.0)

    @property
    def text(self) -> str:
        """The aim as a table cell."""
        word = "at least" if self.at_least is not None else "at most"
        return f"{word} {self.number(self.bound, trimmed=True)}" + (" %" if self.percent else "")

    @property
    def places(self) -> int:
        """Decimals that are shown."""
        return self.digits if self.digits is not None else (1 if self.percent else 3)

    @property
    def scale(self) -> float:
        """What a value is multiplied by before it is shown."""
        return 100.0 if self.percent else 1.0

    def number(self, value: float, *, trimmed: bool = False) -> str:
        """A value in the aim's unit; trimmed of trailing zeros beyond the second decimal where asked."""
        places = self.places
        text = f"{value * self.scale:.{places}f}"
        while trimmed and places > 2 and text.endswith("0"):
            text, places = text[:-1], places - 1
        return text


class _Aims(BaseModel):
    """What a file of aims holds."""

    model_config = ConfigDict(extra="forbid")

    aim: tuple[Aim, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An aim against what was measured.

    Attributes:
        aim: The aim.
        measured: The value with its interval; ``None`` or without a value where it was not measured.
        reached: Whether the point estimate is on the right side; ``None`` where there is none.
        text: "reached", "missed by 0.071", or why nothing can be said.
    """

    aim: Aim
    measured: Estimate | None
    reached: bool | None
    text: str


def read_aims(path: str | Path) -> tuple[Aim, ...]:
    """Read aims from TOML (``[[aim]]``) or JSON (``{"aim": [...]}``).

    Raises:
        ConfigurationError: No such file, another content, or an aim with faults, all named at once.
    """
    file = Path(path)
    content = read_json(file, limit=_LARGEST, error=ConfigurationError) if file.suffix == ".json" else read_toml(file)
    return validated(_Aims, content, f"{file} does not hold aims", hint="see fracture.reporting").aim


def find(content: Any, path: Sequence[int | str]) -> Any:
    """What lies at a path of a JSON document; ``None`` where the path leads nowhere.

    Raises:
        ConfigurationError: A step with ``*`` that fits several keys.
    """
    for step in path:
        if isinstance(content, Mapping):
            content = content.get(_key(content, str(step)))
        elif isinstance(content, Sequence) and not isinstance(content, str):
            if isinstance(step, int):
                content = content[step] if -len(content) <= step < len(content) else None
            else:
                named = (row for row in content if isinstance(row, Mapping) and row.get("name") == step)
                content = next(named, None)
        else:
            return None
    return content


def verdict(aim: Aim, sources: Mapping[str, Any]) -> Verdict:
    """Judge an aim by its point estimate.

    Args:
        aim: The aim.
        sources: Documents by kind: ``card``, ``report``, and further results.

    Raises:
        ConfigurationError: A path that leads to something other than a number.
    """
    if aim.source not in sources:
        return Verdict(aim, None, None, f"not measured (no {aim.source} given)")
    found = find(sources[aim.source], aim.path)
    if found is None:
        return Verdict(aim, None, None, f"not measured (not in the {aim.source})")
    measured = as_estimate(found)
    if measured is None:
        raise ConfigurationError(
            f"aim {aim.name!r}: its path does not lead to a number",
            got=list(aim.path),
            allowed="a number or an estimate",
        )
    if measured.value is None:
        return Verdict(aim, measured, None, f"not defined: {measured.reason or 'the files do not say why'}")
    gap = measured.value - aim.bound if aim.at_least is not None else aim.bound - measured.value
    if gap >= 0:
        beyond = _worse_end(aim, measured) < 0
        return Verdict(aim, measured, True, "reached" + (", but the interval crosses the aim" if beyond else ""))
    unit = " points" if aim.percent else ""
    distance = aim.number(-gap)
    if float(distance) == 0:  # below the last decimal shown: never "missed by 0.00"
        distance = f"less than {aim.number(10.0**-aim.places / aim.scale)}"
    return Verdict(aim, measured, False, f"missed by {distance}{unit}")


def _worse_end(aim: Aim, measured: Estimate) -> float:
    """How far the worse end of the interval lies beyond the aim: negative where it misses it, 0 without interval."""
    if measured.low is None or measured.high is None:
        return 0.0
    return measured.low - aim.bound if aim.at_least is not None else aim.bound - measured.high


def _key(content: Mapping[str, Any], step: str) -> str:
    if not step.endswith("*") or step in content:
        return step
    fitting = [key for key in content if key.startswith(step[:-1])]
    if len(fitting) > 1:
        raise ConfigurationError("a step of a path fits several entries", got=step, allowed=fitting)
    return fitting[0] if fitting else step
