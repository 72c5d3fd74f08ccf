"""Public names of a package, written once: imported when first used, and known to type checkers."""

from __future__ import annotations

import ast
from importlib import import_module
from typing import Any


def homes_of(source: str, package: str) -> dict[str, str]:
    """Public name to the module that has it, as a package's source says under ``if TYPE_CHECKING:``."""
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    return {
        alias.name: statement.module or package
        for block in blocks
        if isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
        if alias.asname == alias.name
    }


def lazy_names(package: dict[str, Any], *defined: str) -> None:
    """Give a package ``__all__``, ``__dir__`` and a ``__getattr__`` that imports a name when it is first used.

    The names are those that the package's ``__init__`` imports under ``if TYPE_CHECKING:``, each as ``X as X``. Type
    checkers read that block as it stands (an alias of the same name is public); here it is read as a table.

    Args:
        package: ``globals()`` of the package, whose source must be at hand.
        *defined: Further public names, which the package defines itself.

    Raises:
        ImportError: The package's source cannot be read.
    """
    name, spec = package["__name__"], package["__spec__"]
    source = spec.loader.get_source(name)
    if source is None:
        raise ImportError(f"{name} was installed without its source, which lists its public names")
    homes = homes_of(source, name)

    def get(wanted: str) -> Any:
        home = homes.get(wanted)
        if home is None:
            raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
        if home == name:  # a room of the package itself
            return import_module(f"{name}.{wanted}")
        return getattr(import_module(home), wanted)

    public = sorted({*homes, *defined})
    package |= {"__getattr__": get, "__all__": public, "__dir__": lambda: sorted({*package, *public})}
