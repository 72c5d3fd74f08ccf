"""Runs in processes of their own: killed, asked to leave, and several that train together."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from fracture.data.readers import read_annotations
from fracture.training import train
from fracture.training.checkpoint import read_checkpoint
from fracture.training.config import MemberConfig
from tests import warm
from tests.ports import free_port

Build = Callable[..., MemberConfig]


def recipe_file(config: MemberConfig, folder: Path) -> Path:
    """The configuration as a recipe of one member."""
    tables = config.to_dict()
    tables["preprocess"].pop("version")
    lines: list[str] = []
    for section, values in tables.items():
        if section == "augmentation" or not isinstance(values, dict):
            continue
        lines.append(f"[{section}]")
        for key, value in values.items():
            if key == "shares":
                value = "{ " + ", ".join(f"{k} = {v}" for k, v in value.items()) + " }"
                lines.append(f"{key} = {value}")
            elif value is not None:
                lines.append(f"{key} = {json.dumps(value)}")
    head = [f"{key} = {json.dumps(tables[key])}" for key in ("name", "seed", "init", "region_head")]
    path = folder / "recipe.toml"
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return path


def command(recipe: Path, data: Path, out: Path) -> list[str]:
    options = ["--data", str(data), "--out", str(out), "--device", "cpu", "--quiet"]
    return ["-m", "fracture.training", str(recipe), *options]


def steps_done(checkpoint: Path) -> int:
    try:
        with safe_open(str(checkpoint), framework="pt") as file:
            return int(json.loads(file.metadata()["state"])["steps"])
    except (SafetensorError, OSError):
        return 0


def leave_after(arguments: list[str], checkpoint: Path, steps: int, number: signal.Signals) -> tuple[int, str]:
    """Start it, wait until so many steps are saved, send the signal; its exit code and what it said."""
    process = warm.start(*arguments)
    while steps_done(checkpoint) < steps and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    return process.wait(), process.stderr


def test_asked_to_leave_then_killed_then_finished(small: Build, drawn_file: Path, tmp_path: Path) -> None:
    config = small(loop={"epochs": 3, "checkpoint_minutes": 1e-9})
    whole = train(config, read_annotations(drawn_file), out=tmp_path / "whole", progress=False).members[0]

    arguments = command(recipe_file(config, tmp_path), drawn_file, tmp_path / "parted")
    checkpoint = tmp_path / "parted" / "small" / "latest.safetensors"
    code, said = leave_after(arguments, checkpoint, 1, signal.SIGTERM)
    assert code == 143, said
    assert "everything is saved" in said
    asked = steps_done(checkpoint)
    code, said = leave_after(arguments, checkpoint, asked + 2, signal.SIGKILL)
    assert code == -signal.SIGKILL, said
    assert asked < steps_done(checkpoint) < 9
    assert not (tmp_path / "parted" / "small.safetensors").exists()
    code, _, said = warm.run(*arguments)
    assert code == 0, said

    parted = load_file(tmp_path / "parted" / "small.safetensors")
    for name, tensor in load_file(whole.weights).items():
        assert torch.equal(tensor, parted[name]), name
    # Not only after rounding to half precision: the whole state, moments and running mean included.
    ends = [read_checkpoint(tmp_path / run / "small" / "latest.safetensors")[0] for run in ("whole", "parted")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_two_processes_are_two_micro_batches(small: Build, drawn_file: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "model": {"dropout": 0.0, "norm": "group"},
        # One canvas for all films: with ragged ones a film's padding depends on its company.
        "preprocess": {"shape": "square"},
        "loop": {"epochs": 2, "micro_batch": 4},
    }
    config = small(**settings)
    one = train(config, read_annotations(drawn_file), out=tmp_path / "one", progress=False).members[0]
    arguments = command(recipe_file(config, tmp_path), drawn_file, tmp_path / "two")
    port = str(free_port())
    # What torchrun tells each of its processes.
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [warm.start(*arguments, RANK=str(rank), LOCAL_RANK=str(rank), **told) for rank in range(2)]
    for process in ranks:
        assert process.wait() == 0, process.stderr[-3000:]
    two = json.loads((tmp_path / "two" / "small.json").read_text(encoding="utf-8"))
    assert (one.facts["training"]["processes"], two["training"]["processes"]) == (1, 2)
    for a, b in zip(one.facts["training"]["history"], two["training"]["history"], strict=True):
        for term in ("loss", "localization", "classification", "region"):
            assert b[term] == pytest.approx(a[term], rel=1e-4)
        assert b["films"] == a["films"]
    ends = [read_checkpoint(tmp_path / run / "small" / "latest.safetensors")[0] for run in ("one", "two")]
    for name, tensor in ends[0].items():
        if name.startswith("model."):
            torch.testing.assert_close(ends[1][name], tensor, rtol=1e-3, atol=1e-3)
    lines = [
        [
            json.loads(line)
            for line in (tmp_path / run / "small" / "predictions_validation.jsonl").read_text().splitlines()
        ]
        for run in ("one", "two")
    ]
    for a, b in zip(*lines, strict=True):
        assert a["source"] == b["source"]
        assert b["probability"] == pytest.approx(a["probability"], abs=2e-3)
