"""Recipes as nested tables: read from TOML, laid over each other, flattened to be compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fracture.errors import ConfigurationError
from fracture.schema import read_toml


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
