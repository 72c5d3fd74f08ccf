"""Films of one study judged together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

import fracture
from fracture.adapt.studies import adapt_studies
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import ConfigurationError, DataError, UnreadableFileError
from fracture.limb.attention import Attention, fit_attention
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


@given(SHARES, st.floats(-4, 4))
def test_attention_lies_between_and_and_or(shares: list[float], sharpness: float) -> None:
    rule = Attention(sharpness, 0.0)
    assert fused(shares, "and") - 1e-6 <= fused(shares, rule) <= fused(shares, "or") + 1e-6
    assert rule.weights(shares).sum() == pytest.approx(1)
    assert fused(shares, Attention(0.0, 0.0)) == pytest.approx(fused(shares, "mean"), abs=1e-6)


def _studies(seed: int, *, one_view_shows_it: bool) -> tuple[list[list[float]], list[bool]]:
    """Fractures that one view of three shows, or normal films of which one looks fractured."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(120) < 0.5).tolist()
    odds = rng.normal(-2, 0.7, (120, 3))
    for row, fractured in zip(odds, labels, strict=True):
        if one_view_shows_it:
            row[rng.integers(3)] += 5.0 * fractured
        else:
            row[:] += 5.0
            row[rng.integers(3)] -= 5.0 * (not fractured)
    return (1 / (1 + np.exp(-odds))).tolist(), labels


def test_attention_learns_which_film_to_believe() -> None:
    sharp = fit_attention(*_studies(0, one_view_shows_it=True), weights_checksum="a")
    assert sharp.sharpness > 0.2
    assert fit_attention(*_studies(0, one_view_shows_it=False)).sharpness < -0.1
    others, labels = _studies(1, one_view_shows_it=True)
    called = np.array([sharp.fused(one) >= 0.5 for one in others])
    assert called[np.array(labels)].mean() > 0.85
    assert called[~np.array(labels)].mean() < 0.2
    with pytest.raises(DataError, match="too few studies"):
        fit_attention(others[:20], labels[:20])
    with pytest.raises(ConfigurationError, match="other weights"):
        StudyPrediction(source="s", films=(film("a", 0.9), film("b", 0.4)), rule=sharp)


def test_attention_is_learned_from_results_and_labels(tmp_path: Path) -> None:
    suspicions, labels = _studies(0, one_view_shows_it=True)
    results = tmp_path / "studies.jsonl"
    lines, films = [], []
    for number, (shares, fractured) in enumerate(zip(suspicions, labels, strict=True)):
        names = [f"film_{number}_{view}.png" for view in range(3)]
        study = StudyPrediction(source=str(number), films=tuple(map(film, names, shares)))
        lines.append(json.dumps(study.to_dict()))
        films += [Film(source=name, fractured=fractured and i == 1, width=4, height=4) for i, name in enumerate(names)]
    results.write_text("\n".join(lines), encoding="utf-8")
    annotated = AnnotatedSet(name="set", root=tmp_path, films=tuple(films))
    rule = adapt_studies(results, annotated)
    assert (rule.studies, rule.fractured) == (120, sum(labels))
    rule.write(tmp_path / "rule.json")
    assert Attention.read(tmp_path / "rule.json") == rule
    study = StudyPrediction(source="s", films=(film("a", 0.99), film("b", 0.1)), rule=rule)
    assert study.to_dict()["rule"] == "attention"
    assert study.suspicion > fused([0.99, 0.1], "mean")
    with pytest.raises(DataError, match="says nothing of"):
        adapt_studies(results, AnnotatedSet(name="few", root=tmp_path, films=tuple(films[:3])))
