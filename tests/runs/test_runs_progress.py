"""How far a command is: told where there is no terminal too, and by one function alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fracture
from fracture.cli import app
from fracture.cli.run import run
from fracture.runs import progress
from fracture.runs.outputs import Outputs
from fracture.runs.progress import progress_bar
from tests.runs.fakes import Looker, dicom_film, write_film


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each thing done."""
    monkeypatch.setattr(progress, "EVERY", 0.0)


def counted(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"^fracture: (?:[^:]+: )?(\d+) of \d+ [a-z]+, ", text, re.MULTILINE)]


@pytest.mark.usefixtures("often")
def test_a_log_has_lines_and_no_bars(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, "reading", unit="study") as bar:
        for _ in range(3):
            bar.update(1)
    told = capsys.readouterr().err
    assert "fracture: reading: 2 of 3 studies, 00:0" in told
    assert counted(told)[-1] == 3
    assert "\r" not in told
    assert all(line.startswith("fracture: reading: ") for line in told.splitlines())


def test_nothing_is_told_that_is_short_or_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (True, False):
        with progress_bar(3, shown=shown) as bar:
            bar.update(3)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("often")
def test_commands_tell_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ("simulate", tmp_path / "set", "-n", "2", "--format", "png"),
        ("verify-data", "--no-near", tmp_path / "set"),
    ):
        told = CliRunner().invoke(app, [str(part) for part in command]).stderr
        assert counted(told)[-2:] == [1, 2], told
    for number in range(3):
        write_film(tmp_path / "in" / f"{number}.png", number)
    run([str(tmp_path / "in")], Outputs(json_file=tmp_path / "out.jsonl"), Looker().task)
    assert counted(capsys.readouterr().err)[-1] == 2  # the last one is told by the summary
    for number in range(3):
        (tmp_path / "dicom" / f"{number}").parent.mkdir(exist_ok=True)
        (tmp_path / "dicom" / f"{number}").write_bytes(dicom_film(BurnedInAnnotation="NO"))
    command = ("deidentify", tmp_path / "dicom", "--out", tmp_path / "copies", "--key", tmp_path / "key")
    assert counted(CliRunner().invoke(app, [str(part) for part in command]).stderr)[-1] == 2


def test_no_command_has_a_way_of_its_own() -> None:
    own = re.compile(r"^\s*(?:from tqdm import|import tqdm)|isatty\(", re.MULTILINE)
    root = Path(fracture.__file__).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if own.search(re.sub(r"if TYPE_CHECKING:\n(?:    .*\n|\n)+", "", path.read_text("utf-8")))
    }
    assert found == {"runs/progress.py"}
