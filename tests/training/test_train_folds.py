"""A recipe trained for every fold, in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fracture.errors import ConfigurationError, TrainingError
from fracture.training import FoldRun, folds as folds_module, train_folds

RECIPE = """
name = "tiny"
[model]
backbone = "resnet18"
stages = 2
norm = "group"
[preprocess]
size = 64
shape = "stride"
crop = false
[loop]
epochs = {epochs}
patience = 100000
batch = 8
workers = 0
threads = 1
overlays = 0
precision = "float32"
[[member]]
name = "one"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(epochs=1), encoding="utf-8")
    return path


def test_each_fold_is_held_out_once_and_finished_ones_stay(recipe: Path, drawn_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fracture", "train", str(recipe), "--data", str(drawn_file)]
    command += ["--out", str(tmp_path / "runs"), "--folds", "3", "--processes", "2"]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert sorted(line.partition(":")[0] for line in first.stdout.splitlines()) == ["fold 0", "fold 1", "fold 2"]
    assert first.stdout.count("validation AUC") == 3
    held: list[str] = []
    for fold in range(3):
        lines = (tmp_path / f"runs/fold{fold}/one/predictions_validation.jsonl").read_text().splitlines()
        held += [json.loads(line)["source"] for line in lines]
    assert len(held) == len(set(held)) == 40  # every film once
    made = [(tmp_path / f"runs/fold{fold}/one.safetensors").stat().st_mtime_ns for fold in range(3)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert made == [(tmp_path / f"runs/fold{fold}/one.safetensors").stat().st_mtime_ns for fold in range(3)]


def test_a_stop_reaches_all_and_the_same_call_goes_on(drawn_file: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "long.toml"
    recipe.write_text(RECIPE.format(epochs=100000), encoding="utf-8")
    command = [sys.executable, "-m", "fracture", "train", str(recipe), "--data", str(drawn_file)]
    command += ["--out", str(tmp_path / "runs"), "--folds", "3", "--processes", "2"]
    for _ in range(2):  # the second call goes on where the first one stopped
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 120
        logs = [tmp_path / f"runs/fold{fold}/one/log.csv" for fold in range(2)]
        before = [log.stat().st_size if log.exists() else 0 for log in logs]
        while not all(log.exists() and log.stat().st_size > size for log, size in zip(logs, before, strict=True)):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 143, errors
        assert "the same command resumes" in errors
        assert all((tmp_path / f"runs/fold{fold}/one/latest.safetensors").exists() for fold in range(2))
        assert not (tmp_path / "runs/fold2").exists()  # was not begun


def test_a_fault_of_one_leaves_the_others_alone(recipe: Path, drawn_file: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "runs", list[FoldRun]()
    out.mkdir()
    (out / "fold1").write_text("no folder", encoding="utf-8")
    with pytest.raises(TrainingError, match="1 of 3 trainings failed") as caught:
        train_folds(recipe, out, 3, arguments=["--data", str(drawn_file), "--quiet"], told=told.append)
    assert "fold 1" in str(caught.value)
    assert sorted((one.fold, one.code == 0) for one in told) == [(0, True), (1, False), (2, True)]
    assert (out / "fold2/one.safetensors").exists()


def test_folds_that_cannot_be_are_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="3 or more"):
        train_folds(recipe, tmp_path / "runs", 2)
    with pytest.raises(ConfigurationError, match="folds decide"):
        train_folds(recipe, tmp_path / "runs", 3, arguments=["--set", "split.fold=1"])
    wrong = [sys.executable, "-m", "fracture", "train", str(recipe), "--out", "x", "--processes", "2"]
    assert b"goes with --folds" in subprocess.run(wrong, capture_output=True, check=False).stderr


def test_nothing_trains_on_when_the_caller_fails(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen[str]] = []
    start = subprocess.Popen

    def sleeper(*_: object, **options: object) -> subprocess.Popen[str]:
        options.pop("stderr")
        begun.append(start([sys.executable, "-c", "import time; time.sleep(60)"], **options))  # type: ignore[call-overload]
        return begun[-1]

    monkeypatch.setattr(folds_module.subprocess, "Popen", sleeper)
    monkeypatch.setattr(folds_module.time, "sleep", lambda _: (_ for _ in ()).throw(RuntimeError("the caller's fault")))
    with pytest.raises(RuntimeError, match="the caller"):
        train_folds(recipe, tmp_path / "runs", 3, processes=2)
    assert len(begun) == 2
    assert all(process.poll() is not None for process in begun)
