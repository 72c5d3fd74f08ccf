"""Everything again in small: simulated films, tiny networks, all stages, and nothing done twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import fracture
from fracture.cli import app
from fracture.data.coco_writer import write_coco
from fracture.data.readers import read_annotations
from fracture.errors import ConfigurationError
from fracture.evaluation.files.references import read_reference
from fracture.input_check.fit import make_input_check
from fracture.limb.card import Card
from fracture.retraining import CardTexts, Retrained, retrain
from fracture.retraining.stages import Stages
from fracture.training.stop import StopRequest

from .conftest import FILMS

RECIPE = """
name = "tiny"
seed = 1
[model]
backbone = "resnet18"
stages = 2
output_stride = 8
norm = "group"
[preprocess]
size = 64
shape = "stride"
[split]
shares = { train = 0.25, validation = 0.75 }
[sampling]
films_per_epoch = 8
[optimizer]
ema = 0.5
[loop]
epochs = 2
batch = 4
workers = 0
overlays = 0
maps = false
threads = 1
[[member]]
name = "one"
[[member]]
name = "two"
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    kept = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(kept)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def made(result: Retrained) -> list[str]:
    return [stage.name for stage in result.stages if stage.made]


def again(recipe: Path, films: Path, out: Path, **more: Any) -> Retrained:
    options = {"resamples": 100, "precision": "float32", "device": "cpu", "progress": False, **more}
    return retrain(recipe, films, out=out, cache=out / "cache", **options)


@pytest.mark.slow
def test_from_films_to_the_card(films: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    texts = CardTexts(name="simulated", version="7", description="from simulated films", limitations=("a toy",))
    more: dict[str, Any] = {"texts": texts, "fast": ["two"], "input_check": True}
    # One false alarm in a hundred needs a hundred films.
    monkeypatch.setattr("fracture.retraining.weights.make_input_check", partial(make_input_check, false_alarms=0.05))

    # Asked to stop during the training: what was done is saved, and no later stage is begun.
    @contextmanager
    def asked() -> Iterator[StopRequest]:
        yield StopRequest(asked=True)

    with monkeypatch.context() as patch:
        patch.setattr("fracture.training.driver.stop_on_signals", asked)
        stopped = again(recipe, films, out, **more)
    assert not stopped.finished
    assert stopped.stages == ()
    assert (out / "run" / "one" / "latest.safetensors").exists()
    assert not (out / "weights").exists()

    # Killed while calibrating: the training is kept, the weights are not there.
    with monkeypatch.context() as patch:
        patch.setattr("fracture.retraining.weights.calibrate", _killed)
        with pytest.raises(KeyboardInterrupt):
            again(recipe, films, out, **more)
    assert not (out / "weights").exists()

    result = again(recipe, films, out, **more)
    assert result.finished
    assert made(result) == ["weights", "report", "card"]
    assert not (out / "weights.part").exists()
    facts = json.loads((out / "run" / "one.json").read_text())["training"]
    assert (facts["epochs"], facts["presentations"]) == (2, 16)

    # The weights load, predict, and say what they are.
    card = Card.read(result.weights)
    assert (card.label, card.limitations) == ("simulated 7", ("a toy",))
    assert card.metrics["film"]["all"]["films"] == facts["films"]["validation"]["films"]
    detector = fracture.load(result.weights, device="cpu", precision="float32")
    annotated = read_annotations(films)
    prediction = detector.predict(annotated.image_path(annotated[0]))
    assert 0 <= prediction.probability <= 1
    assert prediction.model == "simulated"
    assert card.fast is not None
    assert [member.file for member in card.fast.members] == ["two.safetensors"]
    assert card.input_check is not None
    assert card.input_check.member == "two.safetensors"
    quick = fracture.load(result.weights, device="cpu", precision="float32", fast=True)
    assert list(quick.predict(annotated.image_path(annotated[0])).member_scores) == ["two"]
    page = result.page.read_text(encoding="utf-8")
    assert "# simulated 7" in page
    assert "## The fast subset" in page
    assert "## Input check" in page
    area = card.metrics["film"]["all"]["auc"]["value"]
    assert (
        f"| all | {facts['films']['validation']['films']} | {facts['films']['validation']['fractured']} | {area:.3f}"
        in page
    )
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["headline"][0]["result"]["auc"]["value"] == pytest.approx(area)

    # A second call does nothing; a change does what depends on it and no more.
    def written() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and p.name != ".lock"}

    before = written()
    assert made(again(recipe, films, out, **more)) == []
    assert written() == before
    (tmp_path / "misses.md").write_text("Nobody looked.", encoding="utf-8")
    assert made(again(recipe, films, out, **more, misses=tmp_path / "misses.md")) == ["card"]
    result.page.write_text("typed by hand", encoding="utf-8")
    assert made(again(recipe, films, out, **more, misses=tmp_path / "misses.md")) == ["card"]
    assert "Nobody looked." in result.page.read_text(encoding="utf-8")

    # Other settings or other films need another folder.
    recipe.write_text(RECIPE.replace("epochs = 2", "epochs = 3"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="other inputs; got different: member one, member two"):
        again(recipe, films, out, **more)


def _killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_members_of_several_folds_are_calibrated_out_of_fold(films: Path, recipe: Path, tmp_path: Path) -> None:
    text = RECIPE.replace("shares = { train = 0.25, validation = 0.75 }", "folds = 3\ntune_fold = false")
    text = text.replace(
        'name = "two"', 'name = "two"\nsplit = { fold = 1 }\n[[member]]\nname = "three"\nsplit = { fold = 2 }'
    )
    recipe.write_text(text.replace("epochs = 2", "epochs = 1"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="several folds"):
        again(recipe, films, tmp_path / "out", fast=["two"])
    luck = {"calibrate_members": False}  # after one epoch a member may rank the films the wrong way round
    result = again(recipe, films, tmp_path / "out", **luck)
    card = Card.read(result.weights)
    assert len(card.members) == 3
    assert card.name == "tiny"
    assert card.metrics["film"]["all"]["films"] == FILMS  # every film was held out once
    lines = (tmp_path / "out" / "held_out" / "predictions.jsonl").read_text().splitlines()
    assert len({json.loads(line)["source"] for line in lines}) == FILMS
    assert fracture.load(result.weights, device="cpu").predict(films / "simulated_00000.png").thresholds
    assert made(again(recipe, films, tmp_path / "out", **luck)) == []


def test_command(films: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, Any] = {}

    def note(*arguments: Any, **options: Any) -> Retrained:
        called.update(options, arguments=arguments)
        return Retrained(tmp_path / "out", (), finished=called.get("finished", True))

    monkeypatch.setattr("fracture.retraining.pipeline.retrain", note)
    (tmp_path / "card.toml").write_text('name = "mine"\nlimitations = ["a", "b"]\n')
    arguments = ["retrain", str(recipe), "--data", str(films), "--out", str(tmp_path / "out")]
    more = ["--card", str(tmp_path / "card.toml"), "--init", "one=a.safetensors", "--init", "pretrained", "--quiet"]
    done = CliRunner().invoke(app, [*arguments, *more])
    assert done.exit_code == 0, done.output
    assert called["init"] == {"one": "a.safetensors", "": "pretrained"}
    assert called["texts"] == CardTexts(name="mine", limitations=("a", "b"))
    assert str(tmp_path / "out" / "weights") in done.stdout
    called["finished"] = False
    assert CliRunner().invoke(app, arguments).exit_code == 143
    twice = CliRunner().invoke(app, [*arguments, "--init", "x", "--init", "y"])
    assert isinstance(twice.exception, ConfigurationError)


def test_what_cannot_be_done_is_said_first(films: Path, recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such member; got three"):
        again(recipe, films, tmp_path / "out", init={"three": "random"})
    for wrong in (["three"], ["one", "two"], ["one", "one"]):
        with pytest.raises(ConfigurationError, match="fast subset names some of the members"):
            again(recipe, films, tmp_path / "out", fast=wrong)
    with pytest.raises(ConfigurationError, match=r"faults; got name: .*licence: "):
        CardTexts.of({"name": "No Name", "licence": "x"})
    (tmp_path / "aims.toml").write_text('[[aim]]\nnane = "AUC"\n')
    with pytest.raises(ConfigurationError, match=r"aim\.0\.nane: unknown key"):
        again(recipe, films, tmp_path / "out", aims=tmp_path / "aims.toml")
    with pytest.raises(ConfigurationError, match=r"misses\.md cannot be read"):
        again(recipe, films, tmp_path / "out", misses=tmp_path / "misses.md")
    (tmp_path / "card.toml").write_text("name =")
    with pytest.raises(ConfigurationError, match="is not a TOML file"):
        CardTexts.read(tmp_path / "card.toml")
    recipe.write_text(RECIPE.replace('name = "tiny"', 'name = "A Name"'), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="the recipe's name A Name"):
        again(recipe, films, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_records(tmp_path: Path) -> None:
    stages, calls = Stages(tmp_path), []

    def make() -> list[Path]:
        calls.append(1)
        (tmp_path / "a.txt").write_text(f"{len(calls)}")
        return [tmp_path / "a.txt"]

    assert stages.run("x", {"n": (1, 2)}, make).made
    assert not stages.run("x", {"n": [1, 2]}, make).made
    assert stages.run("x", {"n": [1, 3]}, make).made
    (tmp_path / "a.txt").write_text("changed")
    assert stages.run("x", {"n": [1, 3]}, make).made
    (tmp_path / "a.txt").unlink()
    assert stages.run("x", {"n": [1, 3]}, make).made
    (tmp_path / "stages" / "x.json").write_text('{"format": "fracture-stage/1"')  # cut off
    assert stages.run("x", {"n": [1, 3]}, make).made
    assert len(calls) == 5

    def fails() -> list[Path]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.run("x", {"n": 9}, fails)
    assert stages.run("x", {"n": [1, 3]}, make).made  # nothing says that the old outputs are whole


def test_reference(films: Path, tmp_path: Path) -> None:
    annotated = read_annotations(films)
    write_coco(annotated, tmp_path / "reference.json")
    read = read_reference(tmp_path / "reference.json", groups="group")
    assert read.names == tuple(film.source for film in annotated)
    assert read.labels.tolist() == [bool(film.fractured) for film in annotated]
    assert read.groups == tuple(film.group for film in annotated)
    assert read.boxes is not None
    assert [tuple(box) for box in read.boxes.boxes] == [pytest.approx(box) for film in annotated for box in film.boxes]
    again = read_annotations(tmp_path / "reference.json")
    assert [f.regions for f in again] == [f.regions for f in annotated]
    assert set(read.attributes["site"]) == {"simulated"}
