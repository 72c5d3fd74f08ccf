"""A record that is a JSON-ready dictionary of its fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np


def plain(value: Any) -> Any:
    """Records as dictionaries, tuples and arrays as lists, also inside each other; NaN and infinity as None."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Record:
    """For dataclasses: ``to_dict`` gives every field under its own name, or as the class's ``keys`` say.

    ``class Row(Record, keys={"low": "low_limit", "film": None})``: under another name; not at all.
    """

    __slots__ = ()
    _keys: ClassVar[Mapping[str, str | None]] = {}

    def __init_subclass__(cls, keys: Mapping[str, str | None] | None = None) -> None:
        super().__init_subclass__()
        if keys is not None:
            cls._keys = keys

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        keys = {field.name: self._keys.get(field.name, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {key: plain(getattr(self, name)) for name, key in keys.items() if key is not None}
