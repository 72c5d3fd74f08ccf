"""The rules of ARCHITECTURE.md that import-linter cannot say: private names, lazy tables, what stands in the hall."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fracture
from fracture._lazy import homes_of

ROOT = Path(fracture.__file__).parent
HALL = {
    *("__init__", "__main__", "_lazy", "_moved", "_version", "detector", "errors"),
    *("atomic", "digits", "intervals", "iou", "regions", "regular", "schema", "tables"),
}
PACKAGES = ["fracture", *(m.name for m in pkgutil.walk_packages([str(ROOT)], "fracture.") if m.ispkg)]


def room_of(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def test_no_private_name_is_imported_from_another_module() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {node.module}.{name.name}"
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fracture")
        for name in node.names
        if name.name.startswith("_") and name.name != "__version__"
    ]
    assert found == []


def test_only_basic_modules_stand_in_the_hall() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} == HALL


def settings() -> dict[str, Any]:
    """What ``lint-imports`` is told."""
    text = (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
    told: dict[str, Any] = tomllib.loads(text)["tool"]["importlinter"]
    return told


def levels() -> dict[str, int]:
    """Room to its height, of the layers that ``lint-imports`` holds."""
    layers = [line.split(" | ") for line in settings()["contracts"][0]["layers"]]
    return {room: -depth for depth, rooms in enumerate(layers) for room in rooms}


def arrows(package: str) -> Iterator[tuple[str, str]]:
    """What a package's table of lazy names imports: (name, module)."""
    source = Path(importlib.import_module(package).__file__ or "").read_text(encoding="utf-8")
    if "lazy_names(" in source:
        yield from homes_of(source, package).items()


@pytest.mark.skipif(not (ROOT.parent / "pyproject.toml").exists(), reason="installed away from its clone")
def test_lazy_names_obey_the_layers() -> None:
    height, seen, upward = levels(), 0, []
    for package in PACKAGES:
        for name, home in arrows(package):
            seen += 1
            here, there = room_of(package), room_of(home)
            if package != "fracture" and here != there and height[there] >= height[here]:
                upward.append(f"{package}.{name} from {home}")
    assert seen > 100
    assert upward == []


@pytest.mark.skipif(not (ROOT.parent / "pyproject.toml").exists(), reason="installed away from its clone")
def test_the_contracts_have_no_exceptions() -> None:
    held = settings()
    assert not held.get("exclude_type_checking_imports")
    assert not any("ignore" in key for contract in held["contracts"] for key in contract)
