"""A recipe trained for every fold, in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fracture.data.records import AnnotatedSet
from fracture.data.splits import split_parts
from fracture.errors import FractureError, TrainingError
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


def command(recipe: Path, data: Path, out: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "fracture", "train", str(recipe), "--data", str(data), "--out", str(out)]
    return [*start, "--processes", "2", *more]


def held_out(run: Path) -> list[str]:
    lines = (run / "one/predictions_validation.jsonl").read_text().splitlines()
    return sorted(json.loads(line)["source"] for line in lines)


def test_each_fold_is_held_out_once_and_finished_ones_stay(recipe: Path, drawn_file: Path, tmp_path: Path) -> None:
    with recipe.open("a", encoding="utf-8") as file:  # a recipe's own split does not count
        file.write('[split]\nfile = "/nowhere.json"\n')
    asked = command(recipe, drawn_file, tmp_path / "my runs", "--folds", "3")
    first = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert sorted(line.partition(":")[0] for line in first.stdout.splitlines()) == ["fold 0", "fold 1", "fold 2"]
    assert first.stdout.count("validation AUC") == 3
    held: list[str] = []
    runs = [tmp_path / f"my runs/fold{fold}" for fold in range(3)]
    for run in runs:
        held += held_out(run)
        parts = json.loads((run / "one/turn.json").read_text())["parts"]
        assert not parts.get("tune")
        assert len(parts["train"]) + len(parts["validation"]) == 40  # nothing is laid aside for stopping
    assert len(held) == len(set(held)) == 40  # every film once
    made = [(run / "one.safetensors").stat().st_mtime_ns for run in runs]
    given = [*asked[:-1], str(tmp_path / "my runs/folds.json")]  # the file of the same folds
    assert subprocess.run(given, capture_output=True, check=False).returncode == 0
    assert made == [(run / "one.safetensors").stat().st_mtime_ns for run in runs]
    other = subprocess.run([*asked[:-1], "4"], capture_output=True, check=False)
    assert other.returncode == 2
    assert b"other folds" in other.stderr


def test_a_stop_reaches_all_and_the_same_call_goes_on(drawn_file: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "long.toml"
    recipe.write_text(RECIPE.format(epochs=100000), encoding="utf-8")
    asked = command(recipe, drawn_file, tmp_path / "runs", "--folds", "3")
    logs = [tmp_path / f"runs/fold{fold}/one/log.csv" for fold in range(2)]
    for early in (True, False, False):  # before the trainings listen; at work; and gone on
        before = [log.stat().st_size if log.exists() else 0 for log in logs]
        process = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 120
        while not (
            (tmp_path / "runs/fold1.log").exists()
            if early
            else all(log.exists() and log.stat().st_size > size for log, size in zip(logs, before, strict=True))
        ):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 143, errors
        assert "the same command resumes" in errors
        assert said.count("exit code 143") == 2
        assert not (tmp_path / "runs/fold2").exists()  # was not begun
    assert all((tmp_path / f"runs/fold{fold}/one/latest.safetensors").exists() for fold in range(2))


def test_a_fault_of_one_leaves_the_others_alone(recipe: Path, drawn_file: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "runs", list[FoldRun]()
    out.mkdir()
    (out / "fold1").write_text("no folder", encoding="utf-8")
    (out / "fold1.log").write_text("what an earlier call said", encoding="utf-8")
    with pytest.raises(TrainingError, match="1 of 3 trainings failed") as caught:
        train_folds(recipe, drawn_file, out=out, folds=3, told=told.append)
    assert "earlier" not in str(caught.value)
    assert sorted((one.fold, one.code == 0) for one in told) == [(0, True), (1, False), (2, True)]
    assert (out / "fold2/one.safetensors").exists()


@pytest.mark.parametrize(
    ("folds", "options", "match"),
    [
        (2, {}, "3 or more"),
        ("-1", {}, "3 or more"),
        (3, {"settings": ["one: split.fold=1"]}, "folds decide"),
        (3, {"settings": ["split.file=x"]}, "folds decide"),
        (3, {"processes": 0}, "1 or more"),
        (300, {}, "group"),
        ("split", {}, "three or more folds"),
    ],
)
def test_folds_that_cannot_be_are_refused(
    folds: int | str, options: dict[str, Any], match: str, recipe: Path, drawn: AnnotatedSet, drawn_file: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    if folds == "split":
        folds = str(tmp_path / "split.json")
        split_parts(drawn).write(folds)
    with pytest.raises(FractureError, match=match):
        train_folds(recipe, drawn_file, out=tmp_path / "runs", folds=folds, **options)
    assert not list((tmp_path / "runs").glob("fold*.log"))


def test_processes_go_with_folds(recipe: Path, drawn_file: Path, tmp_path: Path) -> None:
    found = subprocess.run(command(recipe, drawn_file, tmp_path / "x"), capture_output=True, check=False)
    assert found.returncode == 2
    assert b"goes with --folds" in found.stderr


def test_nothing_trains_on_when_the_caller_fails(
    recipe: Path, drawn_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def sleeper(*_: object, **options: Any) -> subprocess.Popen[bytes]:
        begun.append(start([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return begun[-1]

    def failing(_: float) -> None:
        raise RuntimeError("the caller's fault")

    monkeypatch.setattr(folds_module.subprocess, "Popen", sleeper)
    monkeypatch.setattr(folds_module.time, "sleep", failing)
    with pytest.raises(RuntimeError, match="the caller"):
        train_folds(recipe, drawn_file, out=tmp_path / "runs", folds=3, processes=2)
    assert [process.returncode for process in begun] == [-signal.SIGTERM] * 2
