"""The guide's code runs, and does what the guide says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def test_the_guide_s_code_runs(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, "docs/extending.md", "exec"), names)
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / name)
    (tmp_path / "set.txt").write_text("a.png 2 3 12 13\nb.png\n")
    films = names["read_lines"](tmp_path / "set.txt")
    assert [(film.source, film.fractured, film.boxes) for film in films] == [
        ("a.png", 1, ((2, 3, 12, 13),)),
        ("b.png", 0, ()),
    ]


def test_the_files_it_names_are_there(repository: Path) -> None:
    text = (repository / "docs" / "extending.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:fracture|tests|docs)/[\w/]+\.py", text))
    assert len(named) >= 7
    assert all((repository / name).is_file() for name in named)
