"""``fracture joints evaluate``, ``change`` and ``simulate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from fracture import simulate
from fracture.cli.main import app
from fracture.errors import ConfigurationError, DataError, EvaluationError
from fracture.joints.layout import BY_NAME, HAND
from fracture.joints.records import limbs_of, read_landmarks
from fracture.joints.table import JOINTS, ScoreTable, write_table


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["joints", *map(str, words)])


def table(path: Path, noise: float, seed: int = 0) -> Path:
    most = np.array([BY_NAME[name].maximum for name in JOINTS])
    values = np.floor(np.random.default_rng(9).random((8, 86)) * most * np.linspace(0, 1, 8)[:, None])
    values = np.clip(values + np.random.default_rng(seed).normal(0, 1, values.shape) * noise, 0, most)
    write_table(ScoreTable(tuple(f"P{k}" for k in range(8)), values), path)
    return path


def test_tables_are_judged_and_compared(tmp_path: Path) -> None:
    gold, near, far = (
        table(tmp_path / f"{name}.csv", noise) for name, noise in (("gold", 0), ("near", 0.3), ("far", 2))
    )
    out = tmp_path / "out.json"
    found = run("evaluate", gold, far, near, "--out", out, "--bootstrap", 50, "--ensembles")
    assert found.exit_code == 0, found.output
    assert found.output.index("near: sc1_wrmse") < found.output.index("far: sc1_wrmse")
    content = json.loads(out.read_text(encoding="utf-8"))
    assert set(content["algorithms"]) == {"near", "far"}
    assert [row["verdict"] for row in content["compared"]] == ["reference", "worse"]
    assert len(content["ensembles"]) == 2
    assert run("evaluate", gold, near, "--out", out, "--bootstrap", 20).exit_code == 0  # a report of ours is replaced
    for words in (("evaluate", gold, near, "--out", gold), ("evaluate", gold, near, near)):
        assert isinstance(run(*words).exception, ConfigurationError)
    assert isinstance(run("evaluate", near, gold, "--metric", "rmse").exception, EvaluationError)
    near.write_text(near.read_text(encoding="utf-8").replace("P3,", "P0,"), encoding="utf-8")
    assert isinstance(run("evaluate", gold, near).exception, DataError)


def lines(path: Path, *films: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps({"limbs": [{"columns": one}]}) + "\n" for one in films), encoding="utf-8")
    return path


def test_change_of_lines_and_of_tables(tmp_path: Path) -> None:
    before = lines(tmp_path / "before.jsonl", {"LH_mcp_J__2": 1.0, "LH_mcp_E__2": 0.1}, {"LF_mtp_E__1": 2.0})
    after = lines(tmp_path / "after.jsonl", {"LH_mcp_J__2": 3.0, "LH_mcp_E__2": 0.2}, {"LF_mtp_E__1": 2.5})
    limits = ("--narrowing", 0.5, "--erosion", 0.5)
    found = run("change", before, after, *limits, "--out", tmp_path / "change.json")
    assert found.exit_code == 0, found.output
    assert "LH_mcp_J__2" in found.output
    assert "LF_mtp_E__1" not in found.output
    assert "2 joints within repeatability" in found.output
    assert json.loads((tmp_path / "change.json").read_text(encoding="utf-8"))["joints"][0]["verdict"] == "progressed"
    tables = [table(tmp_path / f"{name}.csv", noise) for name, noise in (("a", 0), ("b", 0.1))]
    assert isinstance(run("change", *tables, *limits).exception, ConfigurationError)
    assert run("change", *tables, *limits, "--patient", "P5").exit_code == 0
    twice = lines(tmp_path / "twice.jsonl", {"LH_mcp_J__2": 1.0}, {"LH_mcp_J__2": 2.0})
    open_side = lines(tmp_path / "open.jsonl", {})
    for wrong in (twice, open_side):
        assert isinstance(run("change", before, wrong, *limits).exception, ConfigurationError)


def test_films_are_painted_into_at_their_points(tmp_path: Path) -> None:
    hand = simulate.hand(3, size=(192, 160), damaged=False)
    cv2.imwrite(str(tmp_path / "hand.png"), hand.film.pixels << 4)
    flat = [value for name in HAND for value in (*hand.points[name], 2)]
    content = {
        "categories": [{"id": 1, "name": "hand", "keypoints": list(HAND)}],
        "images": [{"id": 1, "file_name": "hand.png", "width": 160, "height": 192, "group": "g"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": flat}],
    }
    (tmp_path / "landmarks.json").write_text(json.dumps(content), encoding="utf-8")
    found = run("simulate", tmp_path / "landmarks.json", "--out", tmp_path / "out", "-n", 2, "--seed", 1)
    assert found.exit_code == 0, found.output
    painted = read_landmarks(tmp_path / "out" / "annotations.json")
    assert [film.group for film in painted] == ["g", "g"]
    assert limbs_of(painted[0])[0].points["mcp2"] == pytest.approx(hand.points["mcp2"], abs=0.01)
    images = [cv2.imread(str(painted.image_path(film)), cv2.IMREAD_UNCHANGED) for film in painted]
    assert (images[0] != images[1]).any()
    scores = json.loads((tmp_path / "out" / "annotations.json").read_text(encoding="utf-8"))["annotations"][0]["scores"]
    assert len(scores) == 22  # the points that the challenge scores on a hand
    assert isinstance(
        run("simulate", tmp_path / "landmarks.json", "--out", tmp_path / "out").exception, ConfigurationError
    )
