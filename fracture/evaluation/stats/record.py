"""A record that is a JSON-ready dictionary of its fields."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

__all__ = ["Record", "plain"]


def plain(value: Any) -> Any:
    """Records as dictionaries, tuples as lists, also inside each other; anything else as it is."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return value


class Record:
    """For dataclasses: ``to_dict`` gives every field under its own name."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
