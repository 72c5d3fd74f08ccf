"""Ablations in small: networks that learn nothing, on films that the tests draw."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ablations
import pytest

from fracture.data.records import AnnotatedSet
from fracture.errors import ConfigurationError
from fracture.training import MemberConfig, load_recipe
from tests.conftest import REPOSITORY
from tests.training.conftest import draw_film

Build = Callable[..., MemberConfig]


@pytest.fixture
def base(small: Build) -> MemberConfig:
    return small(
        model={"pyramid": True, "map_skip": False, "output_stride": 16, "stages": 3},
        sampling={"films_per_epoch": 40},
        windows={"size": 64, "long_side": [64, 96], "stored": 96},
        split={"shares": {"train": 0.3, "validation": 0.7}},
    )


def test_what_is_trained_is_compared_and_not_trained_again(
    base: MemberConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = tuple(replace(draw_film(tmp_path / f"{n:02d}.png", n), group=f"g{n}") for n in range(90))
    films, out = AnnotatedSet(drawn, "drawn", tmp_path), tmp_path / "out"
    changes: dict[str, dict[str, Any]] = {"head": {"model": {"pyramid": False}}, "other": {"loss": {"region": 0.5}}}
    alone = ablations.ablations(base, films, changes, out=out, seeds=[1], windows=80, only=["base"], device="cpu")
    assert alone is not None
    assert alone["rows"] == []
    page = ablations.ablations(base, films, changes, out=out, seeds=[1], windows=80, only=["head"], device="cpu")
    assert page is not None
    assert len(page["rows"]) == 4
    for name, first, second, less in page["rows"]:
        assert name.startswith("head, seed 1: ")
        assert less["value"] == pytest.approx(second["value"] - first["value"])
    assert [path.name for path in sorted(out.iterdir())] == ["ablations.json", "base_1", "head_1"]
    monkeypatch.setattr(ablations, "train", None)
    again = ablations.ablations(base, films, changes, out=out, seeds=[1], windows=80, only=["base", "head"])
    assert again == page


def test_a_variant_is_the_base_with_one_part_changed(base: MemberConfig, small: Build) -> None:
    made = ablations.variant(base, {"model": {"pyramid": False}}, seed=7, windows=120, start="R18")
    assert made.loop.epochs == 3
    assert base.replace({"seed": 7}).differences(made) == ["init", "loop.epochs", "model.pyramid"]
    with pytest.raises(ConfigurationError, match="counts presentations"):
        ablations.variant(small(), {}, seed=7, windows=120, start=None)


def test_the_changes_of_the_model_card_fit_the_shipped_recipe() -> None:
    recipe = load_recipe(REPOSITORY / "weights/fracatlas-small/recipe.toml").select(["resnet18_pyramid"])
    changes = tomllib.loads((REPOSITORY / "docs/model_card/ablations.toml").read_text(encoding="utf-8"))
    assert sorted(changes) == ["head", "size", "trunk", "windows"]
    (base,) = recipe.members
    plain = ablations.variant(base, {}, seed=31, windows=12000, start=None)
    assert plain.loop.epochs == 3
    changed = {
        name: plain.differences(ablations.variant(base, change, seed=31, windows=12000, start=None))
        for name, change in changes.items()
    }
    assert changed == {
        "head": ["model.pyramid"],
        "size": ["preprocess.size", "windows.long_side", "windows.size"],
        "windows": ["windows.long_side", "windows.size"],
        "trunk": ["model.backbone", "model.geometry"],
    }
