"""What all results share: they equal their copies, hash, and are short to look at."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

__all__ = ["ResultBase"]


class ResultBase:
    """A frozen dataclass that equals its copies, arrays and errors included, so that pickling keeps it what it is.

    ``repr`` shows ``_shown``, of a tuple only how long it is: a line or two; the rest is there to be asked for.
    """

    __slots__ = ()
    _shown: tuple[str, ...] = ()
    source: str

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _same_fields(self, other)

    def __hash__(self) -> int:
        return hash((type(self), self.source))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_short(getattr(self, name))}" for name in self._shown)
        return f"{type(self).__name__}({shown})"


def _same_fields(one: Any, other: Any) -> bool:
    return all(_same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return isinstance(one, int | float) and isinstance(other, int | float) and bool(one == other)
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, BaseException):
        return bool(one.args == other.args)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if is_dataclass(one):
        return _same_fields(one, other)
    return bool(one == other)


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return str(len(value))
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
