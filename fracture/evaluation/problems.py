"""Collecting the faults of a file, so that all of them are told at once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fracture.errors import DataError, UnreadableFileError

__all__ = ["Problems", "as_flag", "as_number", "load_json", "read_text"]

_SHOWN = 8


class Problems:
    """Faults found so far; ``raise_if_any`` tells them together."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, example: object) -> None:
        """Note one fault: its kind, and where or what it was."""
        self._found.setdefault(kind, []).append(str(example))

    def raise_if_any(self, hint: str | None = None) -> None:
        """Raise one error that lists every kind of fault with its count and first examples.

        Raises:
            DataError: Any fault was noted.
        """
        if not self._found:
            return
        parts = []
        for kind, examples in self._found.items():
            shown = ", ".join(examples[:_SHOWN])
            more = f" and {len(examples) - _SHOWN} more" if len(examples) > _SHOWN else ""
            parts.append(f"{kind} ({len(examples)}): {shown}{more}")
        raise DataError(f"{self.source}: " + "; ".join(parts), hint=hint)


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without byte order mark.

    Raises:
        UnreadableFileError: It is missing, a folder, or not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UnreadableFileError(f"{path}: there is no such file") from error
    except (IsADirectoryError, PermissionError) as error:
        raise UnreadableFileError(f"{path}: not a readable file", hint=error.strerror) from error
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"{path}: not a text file in UTF-8") from error


def load_json(path: Path, text: str) -> Any:
    """Parsed JSON; NaN and infinities, which JSON does not know, come as floats and are refused later.

    Raises:
        UnreadableFileError: Not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableFileError(f"{path}: not JSON (line {error.lineno}: {error.msg})") from error


def as_number(value: object) -> float | None:
    """A finite float from a number or a numeric text, ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def as_flag(value: object) -> bool | None:
    """Yes or no from true/false, 1/0 or their usual spellings, ``None`` for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return bool(value) if value in (0, 1) else None
    if isinstance(value, str):
        return {
            "1": True,
            "true": True,
            "yes": True,
            "1.0": True,
            "0": False,
            "false": False,
            "no": False,
            "0.0": False,
        }.get(value.strip().lower())
    return None
