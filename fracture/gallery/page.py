"""``index.html``: one page that holds all films, opens from the disk, and fetches nothing.

Films are sorted by suspicion, the most suspicious first, those that failed at the end. Pictures are text within the
page that becomes an image only while its film is near the visible part, so that ten thousand films can be leafed
through. The template escapes every value, and a Content-Security-Policy forbids everything but the page's own style,
script and pictures.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fracture.atomic import write_atomic
from fracture.regions import plain_name
from fracture.wing.lines import flagged_of, suspicion_of
from fracture.wing.pieces import marks_css, marks_of
from fracture.wing.scene import NOTE, digits

MARK = b"<!DOCTYPE html>\n<!-- fracture gallery -->"
"""How a page of ours begins."""


def write_page(
    path: Path,
    lines: Sequence[Mapping[str, Any]],
    pictures: Callable[[str], list[dict[str, Any]]],
    run: Mapping[str, Any],
) -> None:
    """Write the page, film by film: memory holds the films' lines, not their pictures.

    Args:
        path: Written whole or not at all.
        lines: The films' JSON lines, in any order.
        pictures: From a film's ``source`` to its pictures (:func:`fracture.wing.pieces.piece_of`), ``[]`` where
            there are none.
        run: What is said of the run.

    Raises:
        OutputError: It cannot be written.
    """
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"digits": digits, "plain": plain_name, "marks": lambda page: Markup(marks_of(page))}
    style, script = marks_css() + _template("gallery.css"), _template("gallery.js")
    context = {
        "run": run,
        "counts": _counts(lines),
        "regions": Counter(name for line in lines for name in regions_of(line)).most_common(),
        "note": NOTE,
        "style": Markup(style),
        "script": Markup(script),
        "policy": f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
        "films": (_film(line, pictures) for line in sorted(lines, key=_place)),
    }
    template = environment.get_template("gallery.html.j2")

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.writelines(template.generate(**context))

    write_atomic(path, fill)


def regions_of(line: Mapping[str, Any]) -> list[str]:
    """Regions that a line states; none where it failed, or is of a wing without regions."""
    return [] if line.get("error") else list(line.get("regions") or ())


def _place(line: Mapping[str, Any]) -> tuple[bool, float, str]:
    """The most suspicious first, failures last."""
    found = suspicion_of(line)
    return line["error"] is not None, 1.0 if found is None else -found, str(line["source"])


def _counts(lines: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    kinds = Counter(_kind(line) for line in lines)
    return {"films": len(lines), **{kind: kinds[kind] for kind in ("flagged", "calm", "failed")}}


def _kind(line: Mapping[str, Any]) -> str:
    if line["error"] is not None:
        return "failed"
    return "flagged" if flagged_of(line) else "calm"


def _film(line: Mapping[str, Any], pictures: Callable[[str], list[dict[str, Any]]]) -> dict[str, Any]:
    source = str(line["source"])
    failed = line["error"] is not None
    return {
        "source": source,
        "kind": _kind(line),
        "suspicion": suspicion_of(line),
        "regions": regions_of(line),
        "error": None if not failed else f"{line['error']['type']}: {line['error']['message']}",
        "warnings": line.get("warnings") or [],
        "pages": [] if failed else pictures(source),
    }


def _template(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
