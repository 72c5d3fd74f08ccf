from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fracture.errors import ConfigurationError
from fracture.training import Recipe, TrainingRun
from fracture.training.cli import train
from fracture.training.config import MemberConfig
from fracture.training.run import MemberResult
from tests import warm

TWO = """
name = "two"
[model]
backbone = "resnet18"
[[member]]
name = "a"
[[member]]
name = "b"
"""

Invoke = Callable[..., Any]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run the command with training replaced by a note of what it was called with."""
    recipe = tmp_path / "two.toml"
    recipe.write_text(TWO, encoding="utf-8")
    app = typer.Typer()
    app.command()(train)

    def run(*arguments: str, finished: bool = True) -> Any:
        called: dict[str, Any] = {}

        def note(recipe: Recipe, data: object, **options: Any) -> TrainingRun:
            called.update(recipe=recipe, data=data, **options)
            member = MemberResult("a", Path("runs/a.safetensors"), {"training": {"auc": {"validation": 0.81234}}})
            return TrainingRun(Path("runs"), (member,), finished)

        monkeypatch.setattr("fracture.training.run.train", note)
        result = CliRunner().invoke(app, [str(recipe), "--out", str(tmp_path / "runs"), *arguments])
        return result, called

    return run


def members(called: dict[str, Any]) -> dict[str, MemberConfig]:
    return {config.name: config for config in called["recipe"].members}


def test_settings_for_all_and_for_one(invoke: Invoke, tmp_path: Path) -> None:
    result, called = invoke(
        "--data", "films", "--set", "loop.epochs=3", "--set", "b:loop.epochs=4", "--set", "optimizer.name=adamw",
        "--set", "split.shares={train=0.9, validation=0.1}", "--init", "a=x.safetensors", "--cache", "here",
        "--member", "b", "--device", "cpu", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    a, b = members(called)["a"], members(called)["b"]
    assert (a.loop.epochs, b.loop.epochs) == (3, 4)
    assert (a.optimizer.name, b.optimizer.name) == ("adamw", "adamw")
    assert a.split.shares == {"train": 0.9, "validation": 0.1}
    assert (a.init, b.init) == ("x.safetensors", "random")
    assert (a.data.cache, b.data.cache) == ("here", "here")
    assert called["data"] == "films"
    assert called["members"] == ("b",)
    assert called["device"] == "cpu"
    assert called["progress"] is False
    assert "validation AUC 0.8123" in result.output


def test_one_start_for_all(invoke: Invoke) -> None:
    _, called = invoke("--init", "pretrained")
    assert {config.init for config in members(called).values()} == {"pretrained"}


def test_an_interrupted_run_has_an_exit_code_of_its_own(invoke: Invoke) -> None:
    result, _ = invoke(finished=False)
    assert result.exit_code == 143
    assert "the same command resumes" in result.output


@pytest.mark.parametrize("text", ["loop.epochs", "=3", "loop..epochs=3", "c:loop.epochs=3", "loop.epoch=3", "seed.x=1"])
def test_settings_that_are_none(invoke: Invoke, text: str) -> None:
    result, called = invoke("--set", text)
    assert called == {}
    assert isinstance(result.exception, ConfigurationError)


def test_module_reports_errors_in_one_line(tmp_path: Path) -> None:
    code, _, said = warm.run("-m", "fracture.training", "no_such_recipe", "--out", str(tmp_path))
    assert code == 2
    assert said.startswith("fracture train: ConfigurationError: no such training recipe")
    assert "Traceback" not in said


def test_a_configuration_needs_no_torch() -> None:
    code = (
        "import sys; from fracture.training import load_recipe; load_recipe('jones2020'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
