"""``help()`` of whatever is public teaches: what it takes and what it raises, or where that stands."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

_ELSEWHERE = re.compile(r":(?:func|meth|class):`|\b[Aa]s for\b")


def _functions(repository: Path) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Functions, and methods of classes, that have a place on the site's pages of rooms."""
    pytest.importorskip("mkdocs", reason="needs the extra [docs]")
    for room in (
        "fracture",
        *(f"fracture.{room}" for room in run_path(str(repository / "docs/site/hooks.py"))["ROOMS"]),
    ):
        module = import_module(room)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing):
                for member, found in vars(thing).items():
                    inner = getattr(found, "__func__", found)
                    if inspect.isfunction(inner) and not member.startswith("_"):
                        yield f"{room}.{name}.{member}", inner
            elif inspect.isfunction(thing):
                yield f"{room}.{name}", thing


def test_help_tells_what_is_taken_and_what_is_raised(repository: Path) -> None:
    found = dict(_functions(repository))
    assert len(found) > 300
    lacking = []
    for name, function in found.items():
        text = inspect.getdoc(function) or ""
        taken = [p for p in inspect.signature(function).parameters if p not in ("self", "cls") and p[0] != "_"]
        untold = [p for p in taken if not re.search(rf"\b{re.escape(p)}\b", text)]
        if len(taken) > 1 and untold and not _ELSEWHERE.search(text):
            lacking.append(f"{name} does not say what {', '.join(untold)} is")
        raises = re.search(r"^\s+raise \w+Error\(", inspect.getsource(function), re.MULTILINE)
        if raises and "Raises:" not in text and not _ELSEWHERE.search(text):
            lacking.append(f"{name} does not say what it raises")
    assert not lacking, "\n".join(lacking)
