"""Results equal their copies, hash, and are short to look at; ``ok`` tells them apart for a type checker."""

from __future__ import annotations

import copy
import pickle
import tomllib
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
from tests.wing import narrowing

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


def test_ok_narrows_for_a_type_checker(results: dict[str, Any], repository: Path) -> None:
    """What `narrowing` assumes is checked by the project's own run of mypy, which must not lose it; here it runs."""
    settings = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert "tests/wing/narrowing.py" in settings["files"]
    assert settings["strict"]
    assert narrowing.limb(results["prediction"]) == results["prediction"].probability
    assert narrowing.limb(results["failure"]) == results["failure"].error.what
    assert narrowing.hips(results["hip film"]) == [hip.label for hip in results["hip film"].hips]
    with pytest.raises(UnreadableFileError):
        narrowing.hips(results["failure"])
