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

_ARRAY = re.compile(r"NDArray|ndarray|Tensor|(?:Float|Int|Bool)Array|ArrayLike")
_SHAPE = re.compile(
    r"\([^()]*,[^()]*\)|\b(?:scalar|shape|one (?:per|for each)|2-D|of (?:the same|equal) size|state dict)\b"
)
_TYPE = re.compile(r"float|\bu?int(?:eger|\d)*|bool|\bdtype")
_VALUES = re.compile(
    r"0/1|\[0, 1\]|numbers?\b|scores?\b|counts\b|labels\b|clusters?\b|groups?\b|thresholds\b", re.IGNORECASE
)
_BOX = re.compile(r"x0, y0, x1, y1")
_MM = r"\bmm\b|[Mm]illimeters?\b"
_ELSEWHERE = re.compile(r":(?:func|meth|class):`|\b[Aa]s for\b")


def _public(repository: Path) -> Iterator[tuple[str, Any]]:
    """What has a place on the site's pages of rooms."""
    pytest.importorskip("mkdocs", reason="needs the extra [docs]")
    for room in (
        "fracture",
        *(f"fracture.{room}" for room in run_path(str(repository / "docs/site/hooks.py"))["ROOMS"]),
    ):
        module = import_module(room)
        yield from ((f"{room}.{name}", getattr(module, name)) for name in module.__all__)


def _functions(repository: Path) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Functions, and methods of classes."""
    for name, thing in _public(repository):
        if inspect.isclass(thing):
            for member, found in vars(thing).items():
                inner = getattr(found, "__func__", found)
                if inspect.isfunction(inner) and not member.startswith("_"):
                    yield f"{name}.{member}", inner
        elif inspect.isfunction(thing):
            yield name, thing


def _values(repository: Path) -> Iterator[tuple[str, str, str, str]]:
    """Fields and properties of classes: class, name, annotation, and the docstring that tells of it."""
    for name, thing in _public(repository):
        if inspect.isclass(thing):
            for field, annotation in inspect.get_annotations(thing).items():
                if field[0] != "_" and "ClassVar" not in str(annotation):
                    yield name, field, str(annotation), inspect.getdoc(thing) or ""
            for member, found in vars(thing).items():
                getter = getattr(found, "fget", None) or getattr(found, "func", None)
                if getter is not None and member[0] != "_":
                    yield name, member, str(inspect.get_annotations(getter).get("return")), inspect.getdoc(getter) or ""


def _told(text: str, name: str) -> str:
    """What the docstring says of one argument, or of all of them before; of a result all of it."""
    found = re.search(rf"^\s*(?:\w+, )*\*{{0,2}}{name}(?:, \w+)*: (.*(?:\n\s{{8,}}.*)*)", text, re.MULTILINE)
    return f"{found[1]} {re.split('(?:Args|Attributes):', text)[0]}" if found else text


def _untold(text: str, name: str, annotation: str) -> Iterator[str]:
    """What is not said of an array, a box, or a length."""
    told = text if name == "return" else _told(text, name)
    if _ELSEWHERE.search(told):
        return
    if _ARRAY.search(annotation):
        if not _SHAPE.search(told):
            yield f"the shape of {name}"
        if not (_TYPE.search(told) or ("ArrayLike" in annotation and _VALUES.search(told))):
            yield f"the dtype of {name}"
    if re.search(r"(?:^|_)box(?:es)?$", name) and re.search(r"Array|Tensor|\[float", annotation):
        if not _BOX.search(text):
            yield f"the order of the numbers of {name}"
        if "pixel" not in text:
            yield f"the pixels of {name}"
    for ending, unit in (("_mm", _MM), ("_px", r"\bpixels?\b"), ("spacing", _MM)):
        if name.endswith(ending) and not re.search(unit, text):
            yield f"the unit of {name}"


def test_help_tells_shapes_types_units_and_order(repository: Path) -> None:
    lacking, asked = set(), 0
    for name, function in _functions(repository):
        text = inspect.getdoc(function) or ""
        for argument, annotation in inspect.get_annotations(function).items():
            asked += bool(_ARRAY.search(str(annotation)))
            lacking |= {f"{name} does not say {what}" for what in _untold(text, argument, str(annotation))}
    for name, value, annotation, text in _values(repository):
        asked += bool(_ARRAY.search(annotation))
        lacking |= {f"{name} does not say {what}" for what in _untold(text, value, annotation)}
    assert asked > 150
    assert not lacking, "\n".join(sorted(lacking))


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
