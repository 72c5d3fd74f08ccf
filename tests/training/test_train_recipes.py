"""The shipped recipes, shrunk until they run in a test: same networks and rules, fewer channels, pixels and films."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from fracture.data.records import AnnotatedSet
from fracture.training import Recipe, load_recipe, train


@pytest.mark.slow
def test_the_papers_ten_members_train(drawn: AnnotatedSet, cache_folder: Path, tmp_path: Path) -> None:
    recipe = load_recipe("jones2020").replace(
        {
            "model": {"width": 0.0625, "attention_width": 8},
            "preprocess": {"size": 64, "crop": False},
            "sampling": {"films_per_epoch": 8},
            "loop": {"epochs": 1, "batch": 4, "overlays": 0, "precision": "float32", "workers": 0},
            "data": {"cache": str(cache_folder)},
            "split": {"shares": {"train": 0.6, "tune": 0.2, "validation": 0.2}},
        }
    )
    run = train(recipe, drawn, out=tmp_path, progress=False)
    assert len(run.members) == 10
    sums = {member.facts["training"]["split"]["sha256"] for member in run.members}
    assert len(sums) == 1  # one split for all
    for member, config in zip(run.members, recipe.members, strict=True):
        row = member.facts["training"]["history"][0]
        assert (row["localization"] > 0) is config.model.map
        assert (tmp_path / member.name / "maps_validation.safetensors").exists() is config.model.map
        assert row["region"] == 0  # the paper has no region head
        weight = 10 / 11 if config.attention else 0.75
        if config.model.map:
            total = weight * row["localization"] + (1 - weight) * row["classification"]
            assert row["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
def test_ours_trains_from_a_file(drawn: AnnotatedSet, cache_folder: Path, tmp_path: Path) -> None:
    start = tmp_path / "resnet18.safetensors"
    save_file(timm.create_model("resnet18", pretrained=False).state_dict(), start)  # an RGB network, as ImageNet's
    ours = load_recipe("small_public")
    recipe = Recipe(ours.name, ours.select(["resnet18_both"]).members).replace(
        {
            "init": str(start),
            "preprocess": {"size": 64, "crop": False},
            "sampling": {"films_per_epoch": 16},
            "loop": {"epochs": 1, "batch": 8, "workers": 0},
            "data": {"cache": str(cache_folder)},
        }
    )
    member = train(recipe, drawn, out=tmp_path / "run", progress=False).members[0]
    training = member.facts["training"]
    assert training["start"]["backbone_fraction"] == 1.0
    assert set(training["films"]) == {"train", "validation"}
    assert training["history"][0]["tuning_auc"] is None
    assert training["best_epoch"] is None
