"""``fracture.toml``: options that a person or a department always gives, written down once.

What is typed on the command line goes before the file, the file before the built-in default. One file is in force: the
one that ``$FRACTURE_CONFIG`` names (empty: none), else ``fracture.toml`` in the current folder, else in the user's
folder of settings (``~/.config/fracture``, or below ``$XDG_CONFIG_HOME``). Commands alone read it; Python never does.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fracture.errors import ConfigurationError
from fracture.regular import read_regular

NAME = "fracture.toml"
VARIABLE = "FRACTURE_CONFIG"
_LARGEST = 2**20  # bytes


def file_in_force() -> Path | None:
    """The file that commands take defaults from; it need not exist where the variable names it."""
    if (named := os.environ.get(VARIABLE)) is not None:
        return Path(named) if named else None
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "fracture"
    return next((path for path in (Path(NAME), home / NAME) if path.is_file()), None)


def defaults_for(commands: Any) -> dict[str, Any]:
    """The defaults in force, by command and by the name that its function gives the option.

    Args:
        commands: The parser's group of all commands.

    Raises:
        ConfigurationError: No TOML, or a table or key that is no command or no option.
        UnreadableFileError: It cannot be read.
    """
    if (path := file_in_force()) is None:
        return {}
    import tomllib

    try:
        content = tomllib.loads(read_regular(path, _LARGEST).decode())
    except ValueError as error:
        raise ConfigurationError(f"{path} is not a TOML file", got=error) from error
    everywhere = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    used: set[str] = set()
    found = _table(path, commands, tables, everywhere, used, ())
    if unknown := [key for key in everywhere if key not in used]:
        raise _unknown(path, "option of any command", unknown[0], {name for name, _ in _all_options(commands)})
    return found


def _table(
    path: Path,
    group: Any,
    tables: Mapping[str, Any],
    everywhere: Mapping[str, Any],
    used: set[str],
    at: tuple[str, ...],
) -> dict[str, Any]:
    if unknown := [name for name in tables if name not in group.commands]:
        raise _unknown(path, "command", ".".join((*at, unknown[0])), [".".join((*at, name)) for name in group.commands])
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        table, here = tables.get(name, {}), (*at, name)
        if not isinstance(table, Mapping):
            raise ConfigurationError(f"{path}: {'.'.join(here)} is a command", got=table, hint=f"[{'.'.join(here)}]")
        if hasattr(command, "commands"):
            found[name] = _table(path, command, table, everywhere, used, here)
            continue
        options = dict(_options(command))
        for key in table:
            if key not in options:
                raise _unknown(path, f"option of `fracture {' '.join(here)}`", key, options)
        used.update(everywhere.keys() & options.keys())
        found[name] = {options[key]: value for key, value in {**everywhere, **table}.items() if key in options}
    return found


def _options(command: Any) -> Iterator[tuple[str, str]]:
    """Options as they are typed, without dashes in front, and as the command's function calls them."""
    for parameter in command.params:
        for spelled in parameter.opts:  # of --near/--no-near the first: `near = false` switches it off
            if spelled.startswith("-") and spelled != "--help":
                yield spelled.lstrip("-"), parameter.name


def _all_options(group: Any) -> Iterator[tuple[str, str]]:
    for command in group.commands.values():
        yield from _all_options(command) if hasattr(command, "commands") else _options(command)


def _unknown(path: Path, what: str, key: str, known: Iterable[str]) -> ConfigurationError:
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else None
    return ConfigurationError(f"{path}: no {what}", got=key, allowed=None if near else known, hint=hint)
