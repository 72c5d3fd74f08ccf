"""Public names are imported when first used, from one list that type checkers read too; old module names forward."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

import fracture
from fracture._moved import MOVED

INIT = """
from typing import TYPE_CHECKING
from fracture._lazy import lazy_names
if TYPE_CHECKING:
    from toy_rooms import room as room
    from toy_rooms.room import answer as answer, other
lazy_names(globals(), "own")
own = 1
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "toy_rooms").mkdir()
    (tmp_path / "toy_rooms" / "__init__.py").write_text(INIT)
    (tmp_path / "toy_rooms" / "room.py").write_text("answer = 42\nother = 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("toy_rooms", "toy_rooms.room"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("toy_rooms")


def test_names_come_when_they_are_used(toy: ModuleType) -> None:
    assert toy.__all__ == ["answer", "own", "room"]
    assert {"answer", "own", "room"} <= set(dir(toy))
    assert "toy_rooms.room" not in sys.modules
    assert toy.answer == 42
    assert toy.room is sys.modules["toy_rooms.room"]
    with pytest.raises(AttributeError, match="module 'toy_rooms' has no attribute 'other'"):
        toy.other  # noqa: B018


def test_every_public_name_of_every_package_exists() -> None:
    rooms = ("calibration", "data", "evaluation", "finetune", "hip", "input_check", "models", "reporting", "retraining")
    for package in (fracture, *(importlib.import_module(f"fracture.{room}") for room in (*rooms, "training"))):
        assert package.__all__
        assert all(getattr(package, name) is not None for name in package.__all__)
    assert "__version__" in fracture.__all__


@pytest.mark.parametrize("old", sorted(MOVED))
def test_old_module_names_forward(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, old, raising=False)
    if (parent := old.rpartition(".")[0]) in MOVED:
        importlib.import_module(MOVED[parent])
        monkeypatch.setitem(sys.modules, parent, sys.modules[MOVED[parent]])  # its own warning is not this test's
    with pytest.warns(DeprecationWarning, match=f"{old} is {MOVED[old]} now"):
        module = importlib.import_module(old)
    assert module is sys.modules[MOVED[old]]
    assert module.__name__ == module.__spec__.name == MOVED[old]  # type: ignore[union-attr]
