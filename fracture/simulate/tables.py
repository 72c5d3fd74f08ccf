"""Numbers of the anatomy, kept as TOML beside the code that draws from them."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["table"]


@lru_cache
def table(name: str) -> dict[str, Any]:
    """The tables of ``name``.toml, read once; not to be changed by the caller."""
    return tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text(encoding="utf-8"))
