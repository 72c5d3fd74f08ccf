"""The other commands that write: their outputs replace no input and nothing that is not theirs either."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fracture.cli import app
from fracture.errors import ConfigurationError


def invoke(*arguments: Path | str) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result: Result) -> bool:
    """By the error itself, or by a command that tells it."""
    return isinstance(result.exception, ConfigurationError) or (result.exit_code == 2 and "replace" in result.stderr)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that is not to be changed."""
    folder = tmp_path_factory.mktemp("simulated") / "set"
    assert invoke("simulate", folder, "-n", "4", "--format", "png").exit_code == 0
    return folder


@pytest.fixture
def films(simulated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(simulated, tmp_path / "set"))


@pytest.mark.parametrize(
    "command", [("split-data",), ("sample-test",), ("augment-sheet",), ("verify-data", "--no-near", "--json")]
)
def test_commands_on_sets(command: tuple[str, ...], films: Path, tmp_path: Path) -> None:
    name, *options = command

    def ask(target: Path) -> Result:
        return invoke(name, films, *options, target)

    film = next(films.glob("*.png"))
    for target in (films / "annotations.json", film):
        before = target.read_bytes()
        assert refused(ask(target))
        assert target.read_bytes() == before
    made = tmp_path / "made.png"
    for _ in range(2):  # its own of before is replaced
        result = ask(made)
        assert not refused(result), result.output
        assert made.is_file()


def test_simulate_leaves_a_set_alone(films: Path) -> None:
    before = (films / "annotations.json").read_bytes()
    assert isinstance(invoke("simulate", films, "-n", "1").exception, ConfigurationError)
    assert (films / "annotations.json").read_bytes() == before


def test_model_card(tmp_path: Path, tiny_weights: Path) -> None:
    extra = tmp_path / "extra.json"
    extra.write_text(json.dumps({"kind": "cost"}))
    notes = tmp_path / "notes.md"
    notes.write_text("# notes\n")
    for target in (extra, notes, tiny_weights / "card.json"):
        before = target.read_bytes()
        assert refused(invoke("model-card", tiny_weights, "--extra", extra, "--out", target))
        assert target.read_bytes() == before
    out = tmp_path / os.fsdecode(b"card\xff.md")
    for _ in range(2):
        result = invoke("model-card", tiny_weights, "--out", out)
        assert result.exit_code == 0, result.output
        assert b"tiny" in out.read_bytes().lower()


@pytest.mark.usefixtures("one_figure")
def test_evaluate(tmp_path: Path) -> None:
    films = [os.fsdecode(b"a\xff.png"), "Łódź.png", *(f"{k}.png" for k in range(18))]
    lines = [{"source": name, "probability": 0.04 * k, "fractured": k > 9} for k, name in enumerate(films)]
    out = tmp_path / "out"
    out.mkdir()
    predictions, reference = out / "report.json", tmp_path / "reference.json"
    coco = {
        "images": [{"id": k, "file_name": name, "width": 8, "height": 8} for k, name in enumerate(films)],
        "annotations": [{"id": k, "image_id": k, "category_id": 1, "bbox": [1, 1, 4, 4]} for k in range(8, 20)],
        "categories": [{"id": 1, "name": "fracture"}],
    }
    reference.write_text(json.dumps(coco))
    predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = predictions.read_bytes()
    options = ("--bootstrap", "100", "--worst", "4")
    assert refused(invoke("evaluate", predictions, reference, "--out", out, *options))
    assert predictions.read_bytes() == before
    moved = predictions.rename(tmp_path / "predictions.jsonl")
    (out / "report.html").write_text("somebody's page")
    assert refused(invoke("evaluate", moved, reference, "--out", out, *options))
    (out / "report.html").unlink()
    for _ in range(2):
        result = invoke("evaluate", moved, reference, "--out", out, *options)
        assert result.exit_code == 0, result.output
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["format"].startswith("fracture-evaluation")
