"""The tree of errors is whole, drawn, public, and says of each kind what to do."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import fracture
from fracture import errors


def kinds(base: type[errors.FractureError]) -> Iterator[type[errors.FractureError]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith("fracture."):
            yield kind
            yield from kinds(kind)


def test_every_kind_is_drawn_public_and_says_what_to_do() -> None:
    elsewhere = [
        path
        for path in Path(fracture.__file__).parent.rglob("*.py")
        if path.name != "errors.py" and re.search(r"^class \w+\(.*Error\b", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert not elsewhere  # they would not be in the index
    found = set(kinds(errors.FractureError))
    assert len(found) >= 20
    for kind in found:
        assert kind.__name__ in errors.__all__
        assert f"── {kind.__name__} " in (errors.__doc__ or ""), kind
        said = inspect.cleandoc(kind.__doc__ or "")
        assert "\n\nWhat to do: " in said, kind
        assert len(said.partition("\n\nWhat to do: ")[2]) > 15
