"""Every notebook runs from top to bottom, and none holds an output or leaves a file behind."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_no_output_is_committed(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")


@pytest.mark.docs
@pytest.mark.slow
# The kernel's own machinery (zmq, asyncio) warns about itself.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_runs_from_top_to_bottom(
    path: Path, repository: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(repository))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # An optimizer's first step makes torch's compiler create its own folder among temporary files, and keep it.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("torch")))
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(repository)}}
    )
    # A temporary folder goes when its kernel ends by itself, for which a busy machine may need more than the usual 5 s.
    client.create_kernel_manager().shutdown_wait_time = 120.0
    client.execute()
    assert not [one.name for one in tmp_path.iterdir()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_opens_with_a_picture_and_ends_with_what_to_try_next(path: Path) -> None:
    first, *_, last = nbformat.read(path, as_version=4).cells
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", first.source)
    assert (path.parent / picture).is_file()
    assert last.source.startswith("## What to try next")
    for name in re.findall(r"(?:docs|notebooks)/[\w/.]+", last.source):
        assert (path.parent.parent / name.rstrip(".")).exists(), name
