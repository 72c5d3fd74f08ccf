from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fracture import read
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split, split_parts
from fracture.errors import ConfigurationError, DataError, FractureError, MissingDependencyError
from fracture.evaluation.files.predictions import read_predictions
from fracture.models import ModelSpec, build_model
from fracture.models.persistence import load_state
from fracture.preprocess import Geometry, PreprocessSpec, prepare
from fracture.training import Recipe, TrainingRun, train
from fracture.training.config import MemberConfig
from fracture.training.driver import make_split

from .conftest import SMALL

Build = Callable[..., MemberConfig]


@pytest.fixture(scope="module")
def run(drawn: AnnotatedSet, tmp_path_factory: pytest.TempPathFactory, cache_folder: Path) -> TrainingRun:
    """Two small networks: one with a map on both planes, one with the score alone."""
    base = MemberConfig.from_dict(SMALL).replace({"data": {"cache": str(cache_folder)}, "loop": {"overlays": 2}})
    both = base.replace({"name": "both", "model": {"inputs": ["raw", "lcn"]}})
    score = base.replace({"name": "score", "seed": 6, "model": {"map": False}, "loop": {"epochs": 1}})
    out = tmp_path_factory.mktemp("run")
    return train(Recipe("two", (both, score)), drawn, out=out, progress=False)


def test_files(run: TrainingRun) -> None:
    assert run.finished
    assert [member.name for member in run.members] == ["both", "score"]
    below = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    assert below == {
        f"{name}{suffix}"
        for name in ("both", "score")
        for suffix in (
            ".safetensors", ".json", "/config.json", "/manifest.json", "/split.json", "/latest.safetensors",
            "/best.safetensors", "/log.csv", "/curves.png", "/predictions_tune.jsonl",
            "/predictions_validation.jsonl", "/overlays/epoch_001.png", "/augmentation.png",
        )
    } | {
        ".lock", "both/overlays/epoch_002.png", "both/maps_tune.safetensors", "both/maps_validation.safetensors",
    }  # fmt: skip


def test_facts(run: TrainingRun, drawn: AnnotatedSet) -> None:
    for member in run.members:
        facts = json.loads((run.folder / f"{member.name}.json").read_text(encoding="utf-8"))
        assert facts == json.loads(json.dumps(member.facts))
        training = facts["training"]
        assert ModelSpec.from_dict(facts["model"]).regions == ("ankle", "wrist")
        assert PreprocessSpec.from_dict(facts["preprocess"]).channels == ModelSpec.from_dict(facts["model"]).inputs
        assert training["set_fingerprint"] == drawn.fingerprint()
        assert training["split"]["sha256"] == Split.read(run.folder / member.name / "split.json").checksum
        assert sum(part["films"] for part in training["films"].values()) == len(drawn)
        assert training["presentations"] == training["epochs"] * training["films"]["train"]["films"]
        assert training["versions"]["torch"] == torch.__version__
        assert training["start"]["source"] == "random"
        assert training["seconds"] > 0
        assert MemberConfig.from_dict(training["config"]).name == member.name


def test_no_group_is_in_two_parts(run: TrainingRun, drawn: AnnotatedSet) -> None:
    split = Split.read(run.folder / "both" / "split.json")
    groups = {name: {film.group for film in split.part(drawn, name)} for name in split.parts}
    assert not groups["train"] & groups["tune"]
    assert not groups["train"] & groups["validation"]
    assert not groups["tune"] & groups["validation"]


def test_the_shipped_file_gives_the_kept_predictions(run: TrainingRun, drawn: AnnotatedSet) -> None:
    member = run.members[0]
    model = build_model(ModelSpec.from_dict(member.facts["model"]))
    tensors = load_file(member.weights)
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    load_state(model, tensors)
    model.eval()
    spec = PreprocessSpec.from_dict(member.facts["preprocess"])
    folder = run.folder / member.name
    lines = [json.loads(line) for line in (folder / "predictions_validation.jsonl").read_text().splitlines()]
    with safe_open(str(folder / "maps_validation.safetensors"), framework="np") as maps:
        geometries = json.loads(maps.metadata()["geometries"])
        for line in lines:
            film = drawn.film(line["source"])
            prepared = prepare(read(drawn.image_path(film)), spec)
            with torch.inference_mode():
                output = model(torch.from_numpy(prepared.planes)[None], torch.from_numpy(prepared.mask)[None, None])
            assert line["logit"] == pytest.approx(output.score_logit.item(), abs=5e-3)
            assert line["probability"] == pytest.approx(torch.sigmoid(output.score_logit).item(), abs=2e-3)
            np.testing.assert_allclose(
                maps.get_tensor(film.source), output.map_logits[0, 0].sigmoid().numpy(), atol=5e-3
            )
            assert Geometry.from_dict(geometries[film.source]) == prepared.geometry
            assert line["reference"]["fractured"] == film.fractured
            assert line["group"] == film.group
            assert set(line["region_probabilities"]) == {"ankle", "wrist"}


def test_evaluation_reads_the_predictions(run: TrainingRun, drawn: AnnotatedSet) -> None:
    for member in run.members:
        found = read_predictions(run.folder / member.name / "predictions_validation.jsonl")
        assert len(found.names) == member.facts["training"]["films"]["validation"]["films"]
        assert found.failures == ()
        labels = np.array([drawn.film(name).fractured for name in found.names])
        pairs = found.scores[labels == 1][:, None] - found.scores[labels == 0][None, :]
        auc = float(((pairs > 0) + 0.5 * (pairs == 0)).mean())
        assert member.facts["training"]["auc"]["validation"] == pytest.approx(auc)


def test_log_and_pictures(run: TrainingRun) -> None:
    folder = run.folder / "both"
    rows = list(csv.DictReader((folder / "log.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["loss"]) > 0 and 0 <= float(row["tuning_auc"]) <= 1 for row in rows)
    for picture in (folder / "curves.png", folder / "overlays" / "epoch_001.png", folder / "augmentation.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 200
            assert len(image.convert("L").getcolors()) > 20  # something is drawn


def test_a_finished_run_is_not_begun_again(run: TrainingRun, drawn: AnnotatedSet, monkeypatch: Any) -> None:
    config = MemberConfig.from_dict(json.loads((run.folder / "score" / "config.json").read_text()))
    monkeypatch.setattr("fracture.training.driver.Loop", None)
    again = train(config, drawn, out=run.folder, progress=False)
    assert again.members[0].facts == json.loads(json.dumps(run.members[1].facts))


def test_another_configuration_needs_another_folder(run: TrainingRun, drawn: AnnotatedSet) -> None:
    config = MemberConfig.from_dict(json.loads((run.folder / "score" / "config.json").read_text()))
    changed = config.replace({"optimizer": {"lr": 0.5}, "loop": {"workers": 0}})
    with pytest.raises(ConfigurationError, match=r"other settings; got different: optimizer\.lr;"):
        train(changed, drawn, out=run.folder, progress=False)
    with pytest.raises(ConfigurationError, match="the split of the films"):
        train(config, drawn.select(lambda film: film.group != "g3"), out=run.folder, progress=False)


def test_a_starting_point_that_does_not_fit_does_not_bind_the_folder(
    drawn: AnnotatedSet, tmp_path: Path, cache_folder: Path
) -> None:
    base = MemberConfig.from_dict(SMALL).replace({"data": {"cache": str(cache_folder)}})
    for name in ("one.safetensors", "two.safetensors"):
        save_file({"foreign": torch.zeros(1)}, tmp_path / name)
        with pytest.raises(FractureError, match=name):
            train(base.replace({"init": str(tmp_path / name)}), drawn, out=tmp_path / "run", progress=False)


def test_unreadable_films_are_told_at_once(small: Build, drawn: AnnotatedSet, tmp_path: Path) -> None:
    for film in drawn:
        (tmp_path / film.source).write_bytes(drawn.image_path(film).read_bytes())
    copied = AnnotatedSet(drawn.films, "copied", tmp_path)
    for name in ("film03.png", "film10.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    with pytest.raises(DataError, match=r"2 of 40 films cannot be read.*film03\.png.*film10\.png.*skip"):
        train(small(), copied, out=tmp_path / "run", progress=False)
    config = small(data={"on_unreadable": "skip"}, loop={"epochs": 1})
    facts = train(config, copied, out=tmp_path / "run2", progress=False).members[0].facts["training"]
    assert facts["unreadable"] == ["film03.png", "film10.png"]
    assert sum(part["films"] for part in facts["films"].values()) == 38


def test_folds(small: Build, drawn: AnnotatedSet, tmp_path: Path) -> None:
    held: list[str] = []
    for fold in range(4):
        config = small(split={"folds": 4, "fold": fold, "seed": 1})
        base, turn = make_split(drawn, config)
        assert set(turn.parts) == {"train", "tune", "validation"}
        _, wide = make_split(drawn, config.replace({"split": {"tune_fold": False}}))
        assert set(wide.parts) == {"train", "validation"}
        assert wide.parts["validation"] == turn.parts["validation"]
        assert set(wide.parts["train"]) == set(turn.parts["train"]) | set(turn.parts["tune"])
        held += turn.parts["validation"]
    assert sorted(held) == sorted(film.source for film in drawn)
    base.write(tmp_path / "split.json")
    same, _ = make_split(drawn, small(split={"file": str(tmp_path / "split.json"), "fold": 2}))
    assert same.checksum == base.checksum
    with pytest.raises(DataError, match="another version"):
        make_split(drawn.select(lambda f: f.fractured == 1), small(split={"file": str(tmp_path / "split.json")}))


def test_no_data_and_no_tensorboard(small: Build, drawn: AnnotatedSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no annotated set"):
        train(small(), out=tmp_path, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
        with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
            train(small(loop={"tensorboard": True}), drawn, out=tmp_path, progress=False)


def test_tensorboard_gets_every_number(small: Build, drawn: AnnotatedSet, tmp_path: Path) -> None:
    import sys
    import types

    written: list[tuple[str, float, int]] = []

    class Recorder:
        def __init__(self, folder: str) -> None:
            self.folder = folder

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None: ...

        def close(self) -> None:
            written.append(("closed", 0.0, -1))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Recorder  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", module)
        result = train(small(loop={"tensorboard": True, "epochs": 1}), drawn, out=tmp_path, progress=False)
    row = result.members[0].facts["training"]["history"][0]
    assert ("loss", row["loss"], 1) in written
    assert ("tuning_auc", row["tuning_auc"], 1) in written
    assert written[-1] == ("closed", 0.0, -1)


def test_a_start_from_a_file(run: TrainingRun, small: Build, drawn: AnnotatedSet, tmp_path: Path) -> None:
    """A member of a run starts another: fine-tuning in its simplest form."""
    start = run.members[1].weights
    config = small(init=str(start), model={"map": False}, loop={"epochs": 1}, optimizer={"lr": 1e-9, "ema": None})
    member = train(config, drawn, out=tmp_path, progress=False).members[0]
    assert member.facts["training"]["start"]["fraction"] == 1.0
    before, after = load_file(start), load_file(member.weights)
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in before)


def test_split_parts_are_the_papers_by_default(drawn: AnnotatedSet) -> None:
    base, turn = make_split(drawn, MemberConfig())
    assert turn.checksum == split_parts(drawn, seed=0).checksum == base.checksum
