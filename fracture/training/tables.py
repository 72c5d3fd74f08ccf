"""Recipes as nested tables: read from TOML, laid over each other, flattened to be compared."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fracture.errors import ConfigurationError

_LARGEST_RECIPE = 2**20  # bytes; a recipe is text that people write


def read_recipe(source: str | Path, shipped: Path) -> tuple[dict[str, Any], str]:
    """The tables of a TOML file, or of the recipe of that name in the folder ``shipped``; and the recipe's name.

    Raises:
        ConfigurationError: No such file or name, not a text of up to 1 MiB, or not TOML.
    """
    known = ", ".join(sorted(path.stem for path in shipped.glob("*.toml")))
    path = Path(source)
    try:
        path = path if path.is_file() else shipped / f"{source}.toml"
        if not path.is_file():
            raise ConfigurationError("no such training recipe", got=str(source), allowed=f"a TOML file, or {known}")
    except (OSError, ValueError) as error:  # a name that no file can have
        raise ConfigurationError(f"the recipe {source} cannot be read", got=error) from error
    return read_toml(path), path.stem


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigurationError: It cannot be read, is not a text of up to 1 MiB, or not TOML.
    """
    try:
        if path.stat().st_size > _LARGEST_RECIPE:
            raise ConfigurationError(f"{path} is too large for a recipe", allowed=f"{_LARGEST_RECIPE} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path.name} is not a TOML file", got=str(error) or type(error).__name__) from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read", got=error) from error


def flat_table(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, ``{"section.key": value}``; shares are one setting."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and key != "shares":
            flat |= flat_table(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def merge_tables(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables with changes laid over them; shares are one setting and are replaced whole."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping) and key != "shares"
        merged[key] = merge_tables(old, value) if both else value  # type: ignore[arg-type]
    return merged
