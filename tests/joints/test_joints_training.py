"""From films with marked points to weights with a card, in one command that goes on where it was stopped."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from fracture import simulate
from fracture.cli.main import app
from fracture.errors import ConfigurationError
from fracture.joints.card import JointsCard
from fracture.joints.records import read_landmarks
from fracture.joints.training import train
from fracture.training.checkpoint import read_checkpoint
from fracture.training.finished import for_card
from tests import warm

SHORT = ("loop.epochs=1", "finder:copies=1", "placer:copies=1", "finger:pictures=4", "wrist:pictures=4")


@pytest.mark.slow
def test_one_command_goes_from_films_to_a_card(tmp_path: Path) -> None:
    simulate.write_joints(tmp_path / "films", 3, size=(192, 160))
    (tmp_path / "card.toml").write_text('name = "mine"\nlicense = "CC0-1.0"\n', encoding="utf-8")
    data, out = tmp_path / "films" / "annotations.json", tmp_path / "run"
    words = ["joints", "train", str(data), "--out", str(out), "--card", str(tmp_path / "card.toml"), "--quiet"]
    words += [word for setting in SHORT for word in ("--set", setting)]
    simulate.write_joints(tmp_path / "more", 1, seed=5, size=(192, 160))
    words += ["--train-only", str(tmp_path / "more" / "annotations.json")]
    first = CliRunner().invoke(app, [*words, "--stage", "placer"])
    assert first.exit_code == 0, first.output
    assert f"run: {out}" in first.output  # no finder yet, so no weights
    made = CliRunner().invoke(app, words)
    assert made.exit_code == 0, made.output
    assert f"weights: {out / 'weights'}" in made.output
    seen = {
        name: json.loads((out / f"{name}.json").read_text(encoding="utf-8"))["training"]["films"]["train"]["films"]
        for name in ("finder", "placer", "scores_finger")
    }
    assert seen == {"finder": 4, "placer": 4, "scores_finger": 3}  # of the annotated films, scores hold one out
    card = JointsCard.read(out / "weights")
    assert (card.name, card.license) == ("mine", "CC0-1.0")
    located = {name: part.model.located for name, part in card.scores.items()}
    assert located == {"finger": False, "wrist": True}  # the films show no foot
    assert card.self_test is not None
    written = (out / "placer.safetensors").stat().st_mtime_ns
    assert CliRunner().invoke(app, words).exit_code == 0
    assert (out / "placer.safetensors").stat().st_mtime_ns == written  # what is finished is left as it is
    verified = CliRunner().invoke(app, ["joints", "verify", str(out / "weights")])
    assert verified.exit_code == 0, verified.output
    with pytest.raises(ConfigurationError, match="stages"):
        train(read_landmarks(data), out, stages=("toes",))


CHANGES = {
    "finger": {"pictures": 6, "loop": {"epochs": 2, "batch": 2, "checkpoint_minutes": 1e-9}},
}
_KILLED = f"""
import os, signal, sys
from fracture.joints.records import read_landmarks
from fracture.joints.training import train
from fracture.training import checkpoint

writes, original = 0, checkpoint.save_file

def dying(tensors, path, metadata=None):
    global writes
    original(tensors, path, metadata=metadata)
    writes += "scores_finger" in path
    if writes == 3:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_file = dying
train(read_landmarks(sys.argv[1]), sys.argv[2], stages=("finger",), changes={CHANGES}, progress=False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_in_the_middle_of_a_stage_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    simulate.write_joints(tmp_path / "films", 3, size=(192, 160))
    data = tmp_path / "films" / "annotations.json"
    code, _, said = warm.run("-c", _KILLED, str(data), str(tmp_path / "run"))
    assert code == -signal.SIGKILL, said
    assert not (tmp_path / "run" / "scores_finger.safetensors").exists()
    assert 0 < read_checkpoint(tmp_path / "run" / "scores_finger" / "latest.safetensors")[1]["steps"] < 6
    for name in ("run", "whole"):
        train(read_landmarks(data), tmp_path / name, stages=("finger",), changes=CHANGES, progress=False)
    one, other = (load_file(tmp_path / name / "scores_finger.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_card_names_no_folder_of_the_machine_that_trained() -> None:
    start = {"source": "/home/me/run/scores_finger.safetensors", "missing": ["a", "b"]}
    assert for_card({"start": start})["start"] == {"source": "scores_finger.safetensors", "missing": 2}
