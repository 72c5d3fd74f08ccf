"""The epochs in which the extent head learns alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fracture.data.records import AnnotatedSet
from fracture.errors import ConfigurationError, DataError
from fracture.training import Recipe, train
from fracture.training.config import MemberConfig
from fracture.training.loop import Loop, State
from fracture.training.stop import StopRequest

Build = Callable[..., MemberConfig]
MODEL = {"extents": True, "regions": ["ankle", "wrist"]}


@pytest.fixture
def config(small: Build) -> MemberConfig:
    return small(model=MODEL, extents={"epochs": 8, "lr": 3e-3}, loop={"epochs": 1, "overlays": 0, "patience": None})


def run(config: MemberConfig, drawn: AnnotatedSet, out: Path) -> dict[str, torch.Tensor]:
    result = train(Recipe("one", (config,)), drawn, out=out, progress=False)
    assert result.finished
    return load_file(result.members[0].weights)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_only_the_head_learns_and_the_manifest_tells_it(
    config: MemberConfig, drawn: AnnotatedSet, tmp_path: Path, norm: str
) -> None:
    config = config.replace({"model": {"norm": norm}})
    without = config.replace({"extents": {"epochs": 0}})
    sized, plain = run(config, drawn, tmp_path / "a"), run(without, drawn, tmp_path / "b")
    assert sized.keys() == plain.keys()
    for name, value in sized.items():  # batch statistics too
        assert torch.equal(value, plain[name]) != name.startswith("heads.extent"), name
    facts = json.loads((tmp_path / "a" / "small.json").read_text())["training"]
    assert (facts["epochs"], facts["extents"]["epochs"]) == (1, 8)
    rows = facts["extents"]["history"]
    assert rows[-1]["extent"] < 0.92 * rows[0]["extent"]
    assert rows[-1]["loss"] == pytest.approx(rows[-1]["extent"])
    assert "extents" not in json.loads((tmp_path / "b" / "small.json").read_text())["training"]
    assert (tmp_path / "a" / "small" / "extents" / "log.csv").exists()


def test_a_run_that_is_left_in_these_epochs_goes_on_to_the_same_weights(
    config: MemberConfig, drawn: AnnotatedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(config, drawn, tmp_path / "whole")

    def leaves(loop: Loop) -> State:
        if loop.folder.name == "extents" and loop.progress is None:
            stop = StopRequest()
            loop.stop = stop

            def ask(state: State, _: int) -> None:
                stop.asked = state.steps >= 4

            loop.progress = ask
        return original(loop)

    original = Loop.run
    with monkeypatch.context() as patched:
        patched.setattr(Loop, "run", leaves)
        assert not train(Recipe("one", (config,)), drawn, out=tmp_path / "parted", progress=False).finished
    parted = run(config, drawn, tmp_path / "parted")
    assert all(torch.equal(value, parted[name]) for name, value in whole.items())


def test_networks_that_stand_get_a_head(
    config: MemberConfig, small: Build, drawn: AnnotatedSet, tmp_path: Path
) -> None:
    """``loop.epochs = 0`` and a start from a file: what was trained before stays to the last bit."""
    before = run(small(loop={"epochs": 1, "overlays": 0, "patience": None}), drawn, tmp_path / "before")
    later = config.replace({"init": str(tmp_path / "before" / "small.safetensors"), "loop": {"epochs": 0}})
    after = run(later, drawn, tmp_path / "after")
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any(name.startswith("heads.extent") for name in after)


def test_the_head_may_learn_with_the_rest(config: MemberConfig, drawn: AnnotatedSet, tmp_path: Path) -> None:
    joint = config.replace({"extents": {"epochs": 0}, "loss": {"extent": 0.5}})
    facts = train(Recipe("one", (joint,)), drawn, out=tmp_path, progress=False).members[0].facts
    (row,) = facts["training"]["history"]
    assert 0 < row["extent"] < 1
    assert row["loss"] > 0.5 * row["extent"]


def test_what_cannot_be_is_refused(small: Build, config: MemberConfig, drawn: AnnotatedSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="extents"):
        small(extents={"epochs": 1})
    with pytest.raises(ConfigurationError, match="nothing"):
        small(loop={"epochs": 0})
    blind = AnnotatedSet(
        tuple(replace(film, boxes=()) for film in drawn),
        "blind",
        drawn.root,
        attribution="drawn by the tests",
    )
    with pytest.raises(DataError, match="boxes"):
        train(Recipe("one", (config,)), blind, out=tmp_path, progress=False)
    assert not list(tmp_path.rglob("latest.safetensors"))  # told before hours of training
