"""Small pieces of Markdown, and numbers as table cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fracture.errors import ConfigurationError
from fracture.evaluation.stats.estimate import Estimate


def cell(value: object) -> str:
    """Anything as the text of one table cell: one line, bars escaped."""
    if value is None:
        return ""
    text = ", ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def blocks(*parts: str) -> str:
    """The parts that are not empty, with blank lines between them."""
    return "\n\n".join(part for part in parts if part)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; empty text without rows.

    Raises:
        ConfigurationError: A row of another length than the header.
    """
    lines = ["| " + " | ".join(cell(name) for name in header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        if len(row) != len(header):
            raise ConfigurationError("a row of a table has another length than its header", got=row, allowed=header)
        lines.append("| " + " | ".join(cell(value) for value in row) + " |")
    return "\n".join(lines) if len(lines) > 2 else ""


def as_estimate(found: object) -> Estimate | None:
    """A number, or what cards and reports write of one (``value`` with ``interval`` or ``low`` and ``high``).

    Returns:
        The estimate; without a value where the file says that it is not defined. ``None`` where it is not a number.
    """
    if isinstance(found, bool):
        return None
    if isinstance(found, (int, float)):
        return Estimate(float(found))
    if not isinstance(found, Mapping) or "value" not in found:
        return None
    low, high = found.get("interval") or (found.get("low"), found.get("high"))
    value = found["value"]
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return None
    return Estimate(
        value,
        low,
        high,
        method=str(found.get("method") or ""),
        n=int(found.get("n") or 0),
        count=found.get("count"),
        reason=found.get("reason"),
    )


def shown(found: Any, *, percent: bool = False, digits: int | None = None, counts: bool = False) -> str:
    """A number with its interval as text, a whole number as it is; empty where there is none.

    Args:
        found: As :func:`as_estimate` takes it.
        percent, digits: As for ``Estimate.text``.
        counts: Put "116/125" behind a share.
    """
    estimate = as_estimate(found)
    if estimate is None:
        return ""
    if isinstance(found, int):
        return str(found)
    text = estimate.text(percent=percent, digits=digits)
    if counts and estimate.count is not None and estimate.n:
        text += f", {estimate.count}/{estimate.n}"
    return text
