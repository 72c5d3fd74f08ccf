"""Numbers and names of the anatomy, kept as TOML beside the code that draws from them, in ``simulate/``.

Here, below that room, since a wing that only needs names must not import what draws (scipy takes half a second).
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

_FOLDER: Final = Path(__file__).with_name("simulate")


@lru_cache
def table(name: str) -> dict[str, Any]:
    """The tables of ``name``.toml, read once, arrays as tuples; not to be changed by the caller."""
    read: dict[str, Any] = _frozen(tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8")))
    return read


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(inner) for key, inner in value.items()}
    return tuple(_frozen(inner) for inner in value) if isinstance(value, list) else value
