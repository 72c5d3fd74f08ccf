"""From films with marked points to weights with a card, in one command that goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fracture import simulate
from fracture.cli.main import app
from fracture.errors import ConfigurationError
from fracture.joints.card import JointsCard
from fracture.joints.records import read_landmarks
from fracture.joints.training import train

SHORT = ("loop.epochs=1", "finder:copies=1", "placer:copies=1", "finger:pictures=4", "wrist:pictures=4")


@pytest.mark.slow
def test_one_command_goes_from_films_to_a_card(tmp_path: Path) -> None:
    simulate.write_joints(tmp_path / "films", 3, size=(192, 160))
    (tmp_path / "card.toml").write_text('name = "mine"\nlicense = "CC0-1.0"\n', encoding="utf-8")
    data, out = tmp_path / "films" / "annotations.json", tmp_path / "run"
    words = ["joints", "train", str(data), "--out", str(out), "--card", str(tmp_path / "card.toml"), "--quiet"]
    words += [word for setting in SHORT for word in ("--set", setting)]
    first = CliRunner().invoke(app, [*words, "--stage", "placer"])
    assert first.exit_code == 0, first.output
    assert f"run: {out}" in first.output  # no finder yet, so no weights
    made = CliRunner().invoke(app, words)
    assert made.exit_code == 0, made.output
    assert f"weights: {out / 'weights'}" in made.output
    card = JointsCard.read(out / "weights")
    assert (card.name, card.license) == ("mine", "CC0-1.0")
    assert set(card.scores) == {"finger", "wrist"}  # the films show no foot
    assert card.self_test is not None
    written = (out / "placer.safetensors").stat().st_mtime_ns
    assert CliRunner().invoke(app, words).exit_code == 0
    assert (out / "placer.safetensors").stat().st_mtime_ns == written  # what is finished is left as it is
    verified = CliRunner().invoke(app, ["joints", "verify", str(out / "weights")])
    assert verified.exit_code == 0, verified.output
    with pytest.raises(ConfigurationError, match="stages"):
        train(read_landmarks(data), out, stages=("toes",))
