"""For mkdocs: pages that lie beside ``docs/`` are pages of the site too, and links between them hold on both sides."""

from __future__ import annotations

import posixpath
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[2]
BESIDE = (
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "weights/*/README.md",
    "weights/README.md",
    "examples/README.md",
)
PROJECT = "project/"
REFERENCE = "reference/"
ROOMS = (
    *("adapt", "calibration", "data", "deidentification", "errors", "evaluation", "finetune", "hip", "joints", "label"),
    *("models", "preprocess", "regions", "results", "retraining", "simulate", "spine", "training"),
    *(f"wing.{room}" for room in ("contract", "reader", "result", "runner", "scene", "store", "volume")),
)
"""Whose public names have a page each, beside those of the package itself."""
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#|/)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie beside ``docs/``, and a page of every room's public names."""
    for room in ROOMS:
        module = import_module(f"fracture.{room}")
        names = "".join(f"::: fracture.{room}.{name}\n" for name in sorted(module.__all__))
        content = f"# fracture.{room}\n\n{(module.__doc__ or '').split(chr(10))[0]}\n\n{names}"
        files.append(File.generated(config, f"{REFERENCE}{room}.md", content=content))
    for pattern in BESIDE:
        for path in sorted(REPOSITORY.glob(pattern)):
            name = PROJECT + path.relative_to(REPOSITORY).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ARG001 - given by name
    """Links as they hold in the repository, turned into links of the site; to what is no page, into its name."""
    here = page.file.src_uri
    if here.startswith(REFERENCE):
        return markdown
    if here == "api.md":
        pages = ", ".join(f"[{room}]({REFERENCE}{room}.md)" for room in ROOMS)
        return f"{markdown}\n## Room by room\n\nEvery public name with what its `help()` says: {pages}.\n"
    at = here.removeprefix(PROJECT) if here.startswith(PROJECT) else "docs/" + here

    def turned(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(at), match[1]))
        there = target.removeprefix("docs/") if target.startswith("docs/") else PROJECT + target
        return (
            posixpath.relpath(there, posixpath.dirname(here)) if files.get_file_from_path(there) else "PLAIN:" + target
        )

    text = _LINK.sub(turned, markdown)
    return re.sub(r"\[([^\]]*)\]\(PLAIN:([^)]*)\)", r"\1 (`\2`)", text)
