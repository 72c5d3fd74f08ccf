"""Films of one study judged together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fracture
from fracture.errors import ConfigurationError, UnreadableFileError
from fracture.limb.prediction import Prediction
from fracture.limb.study import RULES, StudyPrediction, fused
from fracture.wing.result import Failure

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def film(name: str, probability: float) -> Prediction:
    return Prediction(
        source=name, width=4, height=4, probability=probability, threshold=0.5, fractured=probability >= 0.5
    )


@given(SHARES)
def test_the_rules_are_ordered_and_do_not_depend_on_the_order(shares: list[float]) -> None:
    low, mean, high = (fused(shares, rule) for rule in ("and", "mean", "or"))
    assert low - 1e-6 <= mean <= high + 1e-6
    for rule in RULES:
        assert fused(shares[::-1], rule) == pytest.approx(fused(shares, rule))
        assert fused(shares[:1], rule) == pytest.approx(shares[0], abs=1e-6)


@given(SHARES)
def test_films_that_are_called_alike_are_not_overruled(shares: list[float]) -> None:
    for rule in RULES:
        if min(shares) > 0.5:
            assert fused(shares, rule) >= 0.5
        if max(shares) < 0.5:
            assert fused(shares, rule) < 0.5


def test_it_says_which_views_differ() -> None:
    broken = Failure.of("c", UnreadableFileError("c: cut off"))
    study = StudyPrediction(source="s", films=(film("a", 0.9), film("b", 0.4), broken))
    assert (study.fractured, study.agree, study.differing) == (True, False, ("b",))
    assert study.suspicion == pytest.approx(0.71, abs=0.01)
    line = json.loads(json.dumps(study.to_dict()))
    assert line["failed"] == 1
    assert [one["source"] for one in line["films"]] == ["a", "b", "c"]
    strict = StudyPrediction(source="s", films=study.films, rule="and")
    assert (strict.fractured, strict.differing) == (False, ("a",))


def test_what_cannot_be_judged_is_told() -> None:
    with pytest.raises(ConfigurationError, match="cut off"):
        StudyPrediction(source="s", films=(Failure.of("c", UnreadableFileError("c: cut off")),))
    with pytest.raises(ConfigurationError, match="rule"):
        StudyPrediction(source="s", films=(film("a", 0.9),), rule="most")  # type: ignore[arg-type]


def test_a_detector_judges_a_study(tiny_weights: Path, tmp_path: Path) -> None:
    detector = fracture.load(tiny_weights, device="cpu", precision="float32")
    views = [np.random.default_rng(seed).integers(0, 255, (96, 80)).astype(np.uint8) for seed in (1, 2)]
    study = detector.predict_study([*views, tmp_path / "gone.png"], rule="or", name="left wrist")
    assert study.source == "left wrist"
    assert study.suspicion == max(one.suspicion for one in study.judged)
    assert [one.ok for one in study.films] == [True, True, False]
    assert len(study.scene().pages) == 2
    alone = detector.predict(views[0])
    assert study.judged[0].probability == pytest.approx(alone.probability, abs=1e-5)
    with pytest.raises(ConfigurationError):
        study.drop_pixels().scene()
    with pytest.raises(ConfigurationError, match="no film"):
        detector.predict_study([])


def test_studies_are_judged_one_after_the_other(tiny_weights: Path, tmp_path: Path) -> None:
    detector = fracture.load(tiny_weights, device="cpu", precision="float32")
    views = [np.random.default_rng(seed).integers(0, 255, (96, 80)).astype(np.uint8) for seed in (1, 2, 3)]
    gone = tmp_path / "gone.png"
    asked = [("a", views[:2]), ("b", [gone]), ("c", [gone, views[2]])]
    found = list(detector.predict_studies(iter(asked), rule="or", batch_size=2))
    assert [(one.source, one.ok) for one in found] == [("a", True), ("b", False), ("c", True)]
    assert isinstance(found[1], Failure)
    assert "gone.png" in str(found[1].error)
    first, last = found[0], found[2]
    assert isinstance(first, StudyPrediction)
    assert isinstance(last, StudyPrediction)
    assert (len(first.judged), len(last.judged)) == (2, 1)
    alone = detector.predict_study(views[:2], rule="or", name="a")
    assert first.suspicion == pytest.approx(alone.suspicion, abs=1e-5)
    with pytest.raises(ConfigurationError, match="rule"):
        detector.predict_studies(iter(asked), rule="most")  # type: ignore[arg-type]
    (page, other) = alone.scene().pages
    assert "Study of 2 films (or):" in page.lines[-2]
    assert ("agree" in page.lines[-1]) == alone.agree == ("agree" in other.lines[-1])
