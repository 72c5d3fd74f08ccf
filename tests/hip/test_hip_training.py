"""Training of both stages: recipes, presentations, patches, resuming to the last bit, the folder that comes out."""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

import fracture
from fracture.atomic import hold
from fracture.cli.hip import hip as app
from fracture.errors import CardError, ConfigurationError, DataError, ModelError, OutputError, WeightsNotFoundError
from fracture.hip.crops import CropSpec, crop_box, crop_hip
from fracture.hip.pipeline import HipReader
from fracture.hip.records import read_hips
from fracture.hip.training import train
from fracture.hip.training_config import RECIPES, HipRecipe, HipSampling, load_hip_recipe
from fracture.hip.training_data import HipPictures
from fracture.training import patches, recipe_names
from fracture.training.loop import Loop
from fracture.training.patches import PatchCache
from fracture.training.presentations import presentations
from fracture.wing.verification import verify_weights
from tests.hip.conftest import write_set


def recipe(cache: Path, **changes: Any) -> HipRecipe:
    tables = {
        "name": "tiny",
        "loop": {"epochs": 2, "batch": 2, "workers": 0, "steps_per_epoch": 2, "cache": str(cache)},
        "localizer": {
            "model": {"body": "resnet18", "levels": [2], "channels": 16, "anchors": [32, 64, 128]},
            "preprocess": {"size": 96},
        },
        "classifier": {
            "model": {"trunk": "resnet18", "stages": 2},
            "crop": {"size": 32},
            "sampling": {"variants": 2, "fresh": True},
        },
    }
    return HipRecipe.from_dict(tables).replace(changes)


def test_the_shipped_recipes_say_what_the_paper_says() -> None:
    assert recipe_names(RECIPES) == ("krogue2020", "small")
    paper = load_hip_recipe("krogue2020")
    one, two = paper.localizer, paper.classifier
    assert one.model.body == "resnet50"
    assert one.loop.batch == 16
    assert (one.loop.epochs, one.loop.steps_per_epoch) == (347, 72)  # 24,984 of the paper's 25,000 iterations
    assert (one.augmentation.crop, one.sampling.fresh) == (1.0, True)  # every film is cropped, anew each time
    assert (one.init, two.init) == ("pretrained", "pretrained")
    assert one.rules.iou == 0.3
    assert one.augmentation.flip == 0
    assert two.model.trunk == "densenet169"
    assert two.model.se_reduction == 16
    assert (two.crop.size, two.loop.batch, two.loop.patience) == (224, 25, 10)
    assert (two.optimizer.lr, two.optimizer.decay, two.optimizer.name) == (1e-5, 0.9, "adam")
    assert two.class_weighted
    assert not two.sampling.balanced
    assert not two.sampling.fresh  # the 14 images of a hip are made once
    assert len(two.augmentation.margins) == 2
    assert two.split.shares == {"train": 0.6, "tune": 0.25, "validation": 0.15}
    assert HipRecipe.from_dict(paper.to_dict()) == paper
    small = load_hip_recipe("small")
    assert HipRecipe.from_dict(small.to_dict()) == small


def test_unknown_and_contradictory_settings() -> None:
    with pytest.raises(ConfigurationError, match="epoch"):
        HipRecipe.from_dict({"loop": {"epoch": 3}})
    with pytest.raises(ConfigurationError, match="trunk"):
        HipRecipe.from_dict({"classifier": {"model": {"trunk": "alexnet"}}})
    with pytest.raises(ConfigurationError, match="fusion"):
        HipRecipe.from_dict({"classifier": {"sampling": {"views": 2}}})
    with pytest.raises(ConfigurationError, match="no such training recipe"):
        load_hip_recipe("krogue")


def test_the_cache_is_set_where_the_detectors_is_and_older_recipes_are_still_read() -> None:
    new = HipRecipe.from_dict({"data": {"cache": "x"}})
    assert HipRecipe.from_dict({"loop": {"cache": "x"}}) == new
    assert new.localizer.data.cache == "x"
    assert new.classifier.differences(new.replace({"data": {"cache": "y"}}).classifier) == []


def test_the_papers_epoch_shows_every_hip_fourteen_times() -> None:
    shown = presentations([("", "normal")] * 5, HipSampling(), 14, seed=1, epoch=0)
    assert Counter((p.item, p.form) for p in shown) == Counter({(i, f): 1 for i in range(5) for f in range(14)})
    again = presentations([("", "normal")] * 5, HipSampling(), 14, seed=1, epoch=1)
    assert {(p.item, p.form): p.seed for p in shown} == {(p.item, p.form): p.seed for p in again}
    assert [p.item for p in shown] != [p.item for p in again]


def test_balance_and_shares() -> None:
    keys = [("real", "normal")] * 90 + [("real", "neck")] * 10 + [("sim", "neck")] * 300
    sampling = HipSampling(balanced=True, shares={"real": 0.5}, variants=10, fresh=True)
    shown = Counter(keys[p.item] for p in presentations(keys, sampling, 14, seed=1, epoch=0))
    total = sum(shown.values())
    assert total == 4000
    assert shown["real", "normal"] / total == pytest.approx(0.25, abs=0.03)
    assert shown["real", "neck"] / total == pytest.approx(0.25, abs=0.03)
    assert shown["sim", "neck"] / total == pytest.approx(0.5, abs=0.03)
    with pytest.raises(DataError, match="without training items"):
        presentations(keys, HipSampling(shares={"other": 0.5}), 14, seed=1, epoch=0)


@pytest.mark.parametrize("fit", ["stretch", "square", "native", "top"])
def test_a_crop_of_a_patch_is_that_of_the_film(toy_set: Path, tmp_path: Path, fit: Any) -> None:
    path = toy_set / "images" / "3.png"
    spec = CropSpec(size=64, margin=1.3, fit=fit)
    cache = PatchCache(tmp_path)

    def shape(box: Any) -> Any:
        return crop_box(box, spec)

    for side, box in (("right", (10.0, 30.0, 60.0, 110.0)), ("left", (100.5, 30.25, 150.0, 110.0))):
        patch, inside = cache.load(path, box, reach=2, least=64, shape=shape)
        a = crop_hip(patch, inside, side, spec)
        b = crop_hip(fracture.read(path).pixels, box, side, spec)
        np.testing.assert_allclose(a.pixels, b.pixels, atol=2e-5)
        np.testing.assert_array_equal(a.mask, b.mask)
    target = next(tmp_path.glob("*.safetensors"))
    target.write_bytes(b"damaged")
    cache.load(path, (10.0, 30.0, 60.0, 110.0), reach=2, least=64, shape=shape)
    cache.load(path, (100.5, 30.25, 150.0, 110.0), reach=2, least=64, shape=shape)
    assert all(file.stat().st_size > 1000 for file in tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("fit", ["stretch", "square", "native", "top"])
@pytest.mark.parametrize("aspect", [2.0, 0.5])
def test_training_squares_pixels_that_are_not_as_inference_does(
    toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: Any, aspect: float
) -> None:
    path = toy_set / "images" / "3.png"
    film = dataclasses.replace(fracture.read(path), aspect=aspect)
    monkeypatch.setattr(patches, "read", lambda _: film)
    spec, box = CropSpec(size=64, margin=1.3, fit=fit), (30.0, 30.0, 80.0, 110.0)
    patch, inside = PatchCache(tmp_path).load(path, box, reach=2, least=64, shape=lambda box: crop_box(box, spec))
    a, b = crop_hip(patch, inside, "right", spec), crop_hip(film.pixels, box, "right", spec, aspect)
    assert np.abs(a.pixels - b.pixels)[a.mask & b.mask].mean() < 0.05
    assert (a.mask != b.mask).mean() < 0.05


def test_training_and_inference_make_the_same_input(toy_set: Path, tmp_path: Path) -> None:
    from fracture.preprocess.rgb import rgb_input

    config = recipe(tmp_path).classifier
    pictures = HipPictures(read_hips(toy_set), PatchCache(tmp_path), config)
    assert len(pictures.items) == 24  # a quarter of the 32 hips is dislocated
    item = pictures.items[1]
    crop = crop_hip(fracture.read(item.path).pixels, item.hip.box, item.hip.side, config.crop)
    np.testing.assert_allclose(pictures.plain(item), rgb_input(crop.pixels, crop.mask), atol=1e-4)


def test_labeled_boxes_of_other_lengths_make_the_same_pictures(toy_set: Path, tmp_path: Path) -> None:
    """With the crop "top", how far down the shaft somebody drew the box is not to be seen."""
    config = recipe(tmp_path, classifier={"crop": {"fit": "top"}, "augmentation": {"jitter": 0.1}}).classifier
    films = read_hips(toy_set)
    longer = json.loads((toy_set / "annotations.json").read_text())
    for annotation in longer["annotations"]:
        annotation["bbox"][3] -= 10
    (tmp_path / "annotations.json").write_text(json.dumps(longer))
    (tmp_path / "images").symlink_to(toy_set / "images")
    one = HipPictures(films, PatchCache(tmp_path / "cache"), config)
    other = HipPictures(read_hips(tmp_path), PatchCache(tmp_path / "cache"), config)
    for picture in one.order(1)[:6]:
        np.testing.assert_array_equal(one.make(picture)[0], other.make(picture)[0])


def test_a_run_from_films_to_weights_and_on_after_an_interruption(
    toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run goes through; another is stopped after the first step of each epoch and ends with the same weights."""
    extra = write_set(tmp_path / "sim", 3, classes=("arthroplasty", "internal_fixation"))
    config = recipe(tmp_path / "cache")
    whole = train(config, [toy_set], train_only=[extra], out=tmp_path / "whole", progress=False, device="cpu")
    assert whole.finished
    assert whole.weights is not None
    assert any("self-test" in line for line in verify_weights(whole.weights))
    text = (whole.weights / "hip_card.json").read_text()
    assert str(tmp_path) not in text  # folders of this machine mean nothing elsewhere
    card = json.loads(text)
    assert card["classes"]["arthroplasty"]["trained_on"] == "3 hips of this class"
    assert card["data"]["balance"]["binary"]["p_value"] > 0.05
    rows = (whole.folder / "classifier" / "predictions_validation.jsonl").read_text().splitlines()
    held = [json.loads(row) for row in rows]
    split = json.loads((whole.folder / "classifier" / "split.json").read_text())
    assert {row["source"] for row in held} <= set(split["parts"]["validation"])
    assert not any("sim" in source for part in split["parts"].values() for source in part)

    facts = tmp_path / "card.toml"
    facts.write_text('name = "hip-toy"\nversion = "1"\nlimitations = ["toys only"]\n')
    done = CliRunner().invoke(app, ["assemble", str(whole.folder), "--out", str(tmp_path / "w"), "--card", str(facts)])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "w" / "hip_card.json").read_text())["limitations"] == ["toys only"]
    with pytest.raises(CardError, match="nmae"):
        HipReader.assemble(whole.folder, tmp_path / "other", {"nmae": "x"})

    step = Loop._step

    def stopping(self: Loop, made: Any) -> None:
        step(self, made)
        self.stop.asked = self.state.step == 1

    monkeypatch.setattr(Loop, "_step", stopping)
    parted = tmp_path / "parted"
    turns = 0
    while not (run := train(config, [toy_set], train_only=[extra], out=parted, progress=False, device="cpu")).finished:
        turns += 1
        assert turns < 6
    assert turns == 4  # two stages of two epochs each
    assert run.stages == ("localizer", "classifier")
    for stage in run.stages:
        a = safetensors.torch.load_file(whole.folder / f"{stage}.safetensors")
        b = safetensors.torch.load_file(parted / f"{stage}.safetensors")
        assert all(torch.equal(a[name], b[name]) for name in a)

    with pytest.raises(ConfigurationError, match="other settings"):
        train(config.replace({"classifier": {"seed": 5}}), [toy_set], train_only=[extra], out=parted, progress=False)


def test_starts_are_checked_before_anything_is_read(toy_set: Path, tmp_path: Path, caplog: Any) -> None:
    nowhere = tmp_path / "none"
    with pytest.raises(WeightsNotFoundError, match="no such weight file"):
        train(recipe(tmp_path, classifier={"init": str(nowhere)}), [nowhere], out=tmp_path / "a", progress=False)
    with pytest.raises(ModelError, match=r"--set model\.norm=group"):
        train("small", [nowhere], out=tmp_path / "a", progress=False)
    assert not caplog.records
    with pytest.raises(DataError):
        train(recipe(tmp_path, optimizer={"lr": 1e-5}), [], out=tmp_path / "a", progress=False)
    assert "from random numbers at a rate of 1e-05" in caplog.text


def test_two_trainings_in_one_folder(toy_set: Path, tmp_path: Path) -> None:
    with hold(tmp_path / "run" / ".lock", "it"), pytest.raises(OutputError, match="is in use; got process"):
        train(recipe(tmp_path), [toy_set], out=tmp_path / "run", progress=False)


def test_nothing_to_train_on(toy_set: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no annotated hips"):
        train(recipe(tmp_path), [], out=tmp_path / "run", progress=False)
    with pytest.raises(ConfigurationError, match="unknown stage"):
        train(recipe(tmp_path), [toy_set], out=tmp_path / "run", stages=["detector"], progress=False)


@pytest.mark.slow
def test_the_localizer_learns_hips_and_their_sides(toy_set: Path, tmp_path: Path) -> None:
    config = recipe(
        tmp_path / "cache",
        loop={"batch": 4, "steps_per_epoch": 40, "patience": None},
        optimizer={"lr": 2e-3, "clip_norm": 5.0},
        localizer={
            "model": {"levels": [3], "channels": 32, "anchors": [40, 64, 128], "ratios": [1.0, 1.6]},
            "preprocess": {"size": 160},
            "augmentation": {"rotation": 8.0, "crop": 0.3},
            "sampling": {"fresh": True},
            "rules": {"score": 0.02},
            "split": {"shares": {"train": 0.8, "validation": 0.2}},
        },
    )
    run = train(config, [toy_set], out=tmp_path / "run", stages=["localizer"], progress=False, device="cpu")
    rows = (run.folder / "localizer" / "predictions_validation.jsonl").read_text().splitlines()
    overlaps = [json.loads(row)["iou"] for row in rows]  # 0 where the side is wrong
    assert len(overlaps) >= 4
    # By another processor's rounding 0.72 and 0.76 were seen; after forty steps one side was wrong.
    assert min(overlaps) > 0.15
    assert run.weights is None


@pytest.mark.parametrize("place", ["", "images"])
def test_films_without_hips_may_lie_beside_their_annotations(
    place: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``fracture simulate`` writes them, or as FracAtlas has them."""
    films = tmp_path / "set" / place
    films.mkdir(parents=True)
    (films / "a.png").write_bytes(b"a film")
    image = {"file_name": "a.png", "width": 9, "height": 9, "group": 0, "regions": ["hand"]}
    (tmp_path / "set" / "annotations.json").write_text(json.dumps({"images": [image], "licenses": []}))
    script = repository / "weights" / "hip-small" / "make_negatives.py"
    monkeypatch.setattr("sys.argv", [script.name, str(tmp_path / "set"), str(tmp_path / "neg")])
    runpy.run_path(str(script), run_name="__main__")
    assert (tmp_path / "neg" / "images" / "a.png").read_bytes() == b"a film"
