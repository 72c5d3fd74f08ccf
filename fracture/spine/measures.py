"""Reports of both spine wings: what was counted, estimates with intervals, and the same as lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fracture.atomic import write_json, write_text
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.record import plain


class Measure(NamedTuple):
    """An estimate, its name in the report's JSON, what people call it, and whether it is a share."""

    name: str
    label: str
    estimate: Estimate
    share: bool = False


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured on some studies.

    Attributes:
        title: What they are.
        facts: What else is reported, by its name there.
        rows: Estimates.
        more: Further lines for people.
    """

    title: str
    facts: Mapping[str, Any]
    rows: tuple[Measure, ...]
    more: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Estimate:
        return next(row.estimate for row in self.rows if row.name == name)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {**plain(self.facts), **{row.name: row.estimate.to_dict() for row in self.rows}}

    @property
    def lines(self) -> list[str]:
        """For people."""
        rows = [f"{one.label}: {one.estimate.text(percent=one.share)} (n = {one.estimate.n})" for one in self.rows]
        return [self.title, *(f"  {line}" for line in (*rows, *self.more))]


def write_report(folder: Path, found: Measures | Sequence[Measures]) -> list[str]:
    """Write ``report.json`` and ``report.txt``, and give the latter's lines.

    Raises:
        OutputError: They cannot be written.
    """
    every = [found] if isinstance(found, Measures) else list(found)
    lines = [line for one in every for line in one.lines]
    write_json(
        folder / "report.json", found.to_dict() if isinstance(found, Measures) else [one.to_dict() for one in every]
    )
    write_text(folder / "report.txt", "\n".join(lines) + "\n")
    return lines
