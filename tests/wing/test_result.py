"""Results equal their copies, hash, and are short to look at; ``ok`` tells them apart for a type checker."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fracture
import fracture.hip
from fracture.errors import UnreadableFileError
from fracture.hip.prediction import HipFilm
from fracture.wing.result import Failure
from tests.hip.weights import write_hip_weights

FILM = np.random.default_rng(0).random((150, 200)).astype(np.float32)


@pytest.fixture(scope="module")
def results(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("wing") / "hips"
    write_hip_weights(folder)
    hips = fracture.hip.load(folder, device="cpu", precision="float32").read_film(FILM)
    return {
        "prediction": fracture.load(tiny_weights, device="cpu", precision="float32").predict(FILM, candidates=True),
        "hip film": hips,
        "hip": hips.hips[0],
        "failure": Failure("a.dcm", UnreadableFileError("a.dcm: empty file", hint="send it again")),
    }


@pytest.mark.parametrize("name", ["prediction", "hip film", "hip", "failure"])
def test_a_copy_is_equal(results: dict[str, Any], name: str) -> None:
    one = results[name]
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), copy.copy(one)):
        assert other == one
        assert hash(other) == hash(one)
        assert len({one, other}) == 1
    assert one != replace(one, source="elsewhere")
    assert one != "a prediction"


def test_what_differs_differs(results: dict[str, Any]) -> None:
    one = results["prediction"]
    assert one != one.drop_pixels()
    assert one != replace(one, probability_map=one.probability_map + np.float32(1e-3))
    assert one != replace(one, boxes=one.candidates[:1])
    assert one != replace(one, member_scores={})
    assert results["failure"] != Failure("a.dcm", UnreadableFileError("a.dcm: truncated"))
    hips: HipFilm = results["hip film"]
    assert hips != replace(hips, hips=hips.hips[:1])
    assert hips != results["prediction"]


@pytest.mark.parametrize("name", ["prediction", "hip film", "hip", "failure"])
def test_a_repr_is_short(results: dict[str, Any], name: str) -> None:
    text = repr(results[name])
    assert len(text) < 240
    assert "\n" not in text
    assert "source=" in text
    assert text.startswith(type(results[name]).__name__ + "(")


def test_ok_narrows_for_a_type_checker(tmp_path: Path, repository: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(
        "from typing import assert_type\n"
        "from fracture.hip.prediction import HipFilm\n"
        "from fracture.limb.prediction import Failure, Prediction\n"
        "def limb(r: Prediction | Failure) -> None:\n"
        "    if r.ok:\n"
        "        assert_type(r, Prediction)\n"
        "        print(r.probability, r.error)\n"
        "    else:\n"
        "        assert_type(r, Failure)\n"
        "        print(r.error.what)\n"
        "def hips(h: HipFilm | Failure) -> None:\n"
        "    if not h.ok:\n"
        "        raise h.error\n"
        "    print([hip.label for hip in h.hips])\n"
    )
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nfollow_imports = skip\n"  # the stubs of numpy and torch alone take a minute
        "[mypy-fracture.limb.prediction,fracture.hip.prediction,fracture.wing.*,fracture.errors]\n"
        "follow_imports = silent\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "user.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert [line for line in ran.stdout.splitlines() if line.startswith("user.py")] == [], ran.stdout
    assert "Success" in ran.stdout, ran.stdout + ran.stderr
