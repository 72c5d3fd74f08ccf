"""Commands that write weights: nothing of somebody else is replaced, two at once are told, a full disk is said."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from fracture.atomic import hold
from fracture.calibration import assemble, calibrate
from fracture.cli import app as commands
from fracture.data.records import AnnotatedSet
from fracture.errors import ConfigurationError, FractureError, OutputError
from fracture.finetune import finetune
from fracture.hip.store import STORE as HIPS
from fracture.limb.card import Card
from fracture.limb.store import STORE
from fracture.preprocess import PreprocessSpec
from fracture.retraining import retrain
from fracture.training.cache import FilmCache
from tests.training.conftest import draw_film
from tests.training.test_train_faults import full_disk, posix


@pytest.fixture
def films(tmp_path: Path) -> AnnotatedSet:
    """Sixty drawn films, half of them fractured, thirty groups."""
    root = tmp_path / "films"
    root.mkdir()
    drawn = (replace(draw_film(root / f"{n:02d}.png", n), regions=("wrist",)) for n in range(60))
    return AnnotatedSet(tuple(drawn), "drawn", root)


@pytest.fixture
def weights(tiny_weights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_weights, tmp_path / "weights"))


@posix
def test_a_disk_that_fills_up_in_calibration(weights: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    """It says so, the card is as it was, no half file is left, and the same call goes on once there is room."""
    before = (weights / "card.json").read_bytes()
    options: dict[str, Any] = {"out": tmp_path / "oof", "precision": "float32", "device": "cpu"}
    with full_disk(1000), pytest.raises(OutputError, match=r"the disk is full.*same command again"):
        calibrate(weights, films, **options)
    assert (weights / "card.json").read_bytes() == before
    assert list(tmp_path.rglob("*.part")) == []
    assert len(calibrate(weights, films, **options).predictions) == 60
    assert Card.read(weights).metrics["film"]["all"]["films"] == 60


RECIPE = """
name = "tiny"
model = { backbone = "resnet18", norm = "group" }
init = "random"
loop = { epochs = 1, batch = 4 }
[[member]]
name = "one"
"""


@posix
def test_a_disk_that_fills_up_in_retraining(
    films: AnnotatedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stage is said to be done, no half file is left, and the same call is no call with other inputs."""
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    out = tmp_path / "out"
    options: dict[str, Any] = {"out": out, "cache": tmp_path / "cache", "device": "cpu", "progress": False}
    with full_disk(4000), pytest.raises(OutputError, match=r"the disk is full.*same command again"):
        retrain(recipe, films, **options)
    assert list(tmp_path.rglob("*.part")) == []
    assert [path.name for path in (out / "stages").glob("*.json")] in ([], ["train-begun.json"])
    monkeypatch.setattr("fracture.retraining.pipeline.train", lambda *_, **__: SimpleNamespace(finished=False))
    assert not retrain(recipe, films, **options).finished


@pytest.mark.parametrize("name", ["weights", "report", "model_card.md"])
def test_retraining_replaces_nothing_that_it_did_not_make(films: AnnotatedSet, tmp_path: Path, name: str) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=f"did not make; got {name}"):
        retrain(tmp_path / "tiny.toml", films, out=tmp_path / "out", device="cpu", progress=False)


def test_predictions_of_calibration_replace_no_file_of_another(
    weights: Path, films: AnnotatedSet, tmp_path: Path
) -> None:
    (tmp_path / "oof").mkdir()
    (tmp_path / "oof" / "predictions.jsonl").write_text("my notes\n")
    with pytest.raises(ConfigurationError, match="did not write"):
        calibrate(weights, films, out=tmp_path / "oof", device="cpu")
    assert (tmp_path / "oof" / "predictions.jsonl").read_text() == "my notes\n"


@pytest.mark.parametrize("store", [STORE, HIPS], ids=["limbs", "hips"])
def test_weights_replace_only_those_of_their_name(store: Any, tiny_weights: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    store.check_place(place, "mine")
    place.mkdir()
    store.check_place(place, "mine")
    (place / "one.safetensors").write_bytes(b"somebody's")
    with pytest.raises(ConfigurationError, match=r"one\.safetensors without a"):
        store.check_place(place, "mine")
    store.check_place(place, "mine", begun=True)
    shutil.copyfile(store.find() / store.card.FILE, place / store.card.FILE)
    name = store.card.read(place).name
    store.check_place(place, name)
    with pytest.raises(ConfigurationError, match=f"the weights {name}"):
        store.check_place(place, "mine")
    (place / store.card.FILE).write_text("{}")
    with pytest.raises(ConfigurationError, match="of something else"):
        store.check_place(place, name)
    with pytest.raises(ConfigurationError, match="got a file"):
        store.check_place(place / store.card.FILE, name)


def test_assembling_and_fine_tuning_ask_before_they_write(
    weights: Path, films: AnnotatedSet, tmp_path: Path, finished_run: Path
) -> None:
    before = {path.name: path.read_bytes() for path in weights.iterdir()}
    with pytest.raises(ConfigurationError, match="holds something else than the weights mine"):
        assemble(finished_run, weights, name="mine", version="1", description="d")
    with pytest.raises(ConfigurationError, match="holds something else than the weights mine"):
        finetune(tmp_path / "base", films, region="sternum", out=weights, name="mine", device="cpu")
    assert {path.name: path.read_bytes() for path in weights.iterdir()} == before


@pytest.fixture
def finished_run(tiny_weights: Path, tmp_path: Path) -> Path:
    """What `assemble` needs to see of a run before it asks about the place; and weights to tune beside it."""
    shutil.copytree(tiny_weights, tmp_path / "base")
    run = tmp_path / "run"
    run.mkdir()
    (run / "one.json").write_text(json.dumps({"sha256": "0"}))
    (run / "one.safetensors").write_bytes(b"")
    return run


def test_two_fine_tunings_into_one_folder(tiny_weights: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    out = tmp_path / "new"
    with (
        hold(out / ".lock", "it"),
        pytest.raises(OutputError, match=rf"the folder .*new is in use; got process {os.getpid()}"),
    ):
        finetune(tiny_weights, films, region="sternum", out=out, run=tmp_path / "elsewhere", device="cpu")
    assert [path.name for path in out.iterdir()] == [".lock"]
    assert not (tmp_path / "elsewhere").exists()


def test_what_killed_processes_left_in_a_cache_goes_after_a_day(tmp_path: Path) -> None:
    spec = PreprocessSpec(size=96, shape="stride", enlarge=False)
    folder = FilmCache(tmp_path, spec).folder
    old, new = folder / ".film.1.2.part", folder / ".film.3.4.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    FilmCache(tmp_path, spec)
    assert (old.exists(), new.exists()) == (False, True)


def invoke(arguments: list[str]) -> None:
    """A command line; the error that ends it is raised."""
    done = CliRunner().invoke(commands, arguments)
    if done.exception is not None:
        raise done.exception


TUNING = ("finetune", "WEIGHTS", "--data", "FILMS", "--region", "sternum", "--out", "OUT")


@pytest.mark.parametrize(
    "command",
    [
        ["calibrate", "WEIGHTS", "--data", "FILMS", "-o"],
        ["finetune", "WEIGHTS", "--data", "FILMS", "--region", "sternum", "--out", "OUT", "-o"],
        [
            "finetune",
            "WEIGHTS",
            "--data",
            "FILMS",
            "--region",
            "sternum",
            "--out",
            "OUT",
            "--old",
            "FILMS",
            "--old-option",
        ],
        ["input-check", "WEIGHTS", "--data", "FILMS", "--split", "SPLIT", "-o"],
    ],
    ids=lambda command: " ".join(command[:1] + command[-1:]),
)
def test_reader_options_of_commands(weights: Path, tmp_path: Path, command: list[str]) -> None:
    """A region that the file does not name is given by an option; one that the reader does not know is told."""
    (tmp_path / "films").mkdir()
    draw_film(tmp_path / "films" / "1.png", 1)
    (tmp_path / "films" / "films.csv").write_text("image,group,view,fractured\n1.png,a,frontal,0\n")
    places = {"WEIGHTS": weights, "FILMS": tmp_path / "films" / "films.csv", "OUT": tmp_path / "out", "SPLIT": "none"}
    given = [str(places.get(word, word)) for word in command]
    with pytest.raises(ConfigurationError, match="regoin"):
        invoke([*given, "regoin=wrist"])
    with pytest.raises(FractureError) as told:
        invoke([*given, "region=wrist"])
    assert "region=" not in str(told.value)
    assert not isinstance(told.value, ConfigurationError)


@pytest.mark.parametrize("command", ["train", "retrain"])
def test_reader_options_of_a_recipe(tmp_path: Path, command: str) -> None:
    (tmp_path / "films").mkdir()
    draw_film(tmp_path / "films" / "1.png", 1)
    (tmp_path / "films" / "films.csv").write_text("image,group,view,fractured\n1.png,a,frontal,0\n")
    data = str(tmp_path / "films" / "films.csv")
    (tmp_path / "tiny.toml").write_text('data = { options = { regoin = "wrist" } }\n' + RECIPE)
    with pytest.raises(ConfigurationError, match="regoin"):
        invoke(
            [command, str(tmp_path / "tiny.toml"), "--data", data, "--out", str(tmp_path / "out"), "--device", "cpu"]
        )
