"""Adapting weights to a site: what is promised, what is measured, and what stays as it was."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import beta
from typer.testing import CliRunner

import fracture
from fracture.adapt import Guarantee, adapt, fit_site
from fracture.adapt.measure import judged
from fracture.adapt.site import FEWEST_NORMAL
from fracture.calibration.cases import Case, examine_films
from fracture.cli import app
from fracture.data.records import AnnotatedSet
from fracture.errors import ConfigurationError, DataError
from fracture.limb.card import Card
from fracture.limb.operating_points import OperatingPoints
from fracture.wing.verification import verify_weights
from tests.drawn_films import annotated_films
from tests.weights import write_weights

CPU: dict[str, Any] = {"device": "cpu", "precision": "float32"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSet:
    return annotated_films(tmp_path_factory.mktemp("films"), 60)


@pytest.fixture
def weights(tiny_weights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_weights, tmp_path / "weights"))


@pytest.fixture(scope="module")
def examined(films: AnnotatedSet, tiny_weights: Path) -> list[Case]:
    return examine_films(fracture.load(tiny_weights, **CPU), films)[0]


def with_scores(cases: list[Case], scores: Any) -> list[Case]:
    """The same cases with other logits of their one member."""
    made = []
    for case, score in zip(cases, scores, strict=True):
        output = case.examined.output
        logit = float(np.log(score / (1 - score)))
        known = replace(output, member_logits=dict.fromkeys(output.member_logits, logit)).recalibrated({})
        made.append(replace(case, examined=replace(case.examined, output=known)))
    return made


def test_a_network_for_boxes_only_gets_no_calibrator(films: AnnotatedSet, tmp_path: Path) -> None:
    card = write_weights(tmp_path / "weights", sizes=(96, 96), channels=(("raw",), ("raw",)), pyramid=True)
    scored, boxes = card.members
    card.model_copy(update={"members": (scored, boxes.model_copy(update={"boxes_only": True}))}).write(
        tmp_path / "weights"
    )
    adapted = adapt(tmp_path / "weights", films, out=tmp_path / "ours", **CPU)
    first, second = Card.read(tmp_path / "ours").members
    assert first.calibration is not None
    assert second.boxes_only
    assert second.calibration is None
    assert adapted.card.members == (first, second)


def test_the_new_card_names_its_parent_and_is_its_own(weights: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in weights.iterdir() if path.is_file()}
    adapted = adapt(weights, films, out=tmp_path / "ours", **CPU)
    assert {path.name: path.read_bytes() for path in weights.iterdir() if path.is_file()} == before
    card, parent = Card.read(tmp_path / "ours"), Card.read(weights)
    assert card == adapted.card
    assert card.parent is not None
    assert card.parent["name"] == parent.name
    assert [m.sha256 for m in card.members] == [m.sha256 for m in parent.members]
    assert card.boxes == parent.boxes
    assert card.metrics["adaptation"] == adapted.report
    assert any("self-test: 0" in line for line in verify_weights(tmp_path / "ours"))
    detector = fracture.load(tmp_path / "ours", **CPU)
    source = films.image_path(films[0])
    found, old = detector.predict(source), fracture.load(weights, **CPU).predict(source)
    assert found.raw_probability == pytest.approx(old.raw_probability)  # the networks are the same
    assert found.threshold == adapted.report["thresholds"]["after"]["any"]["high_sensitivity"]


def test_regions_are_right_by_the_names_that_the_networks_know(
    weights: Path, examined: list[Case], films: AnnotatedSet, tmp_path: Path
) -> None:
    finer = {"fracatlas_hand": "wrist", "fracatlas_leg": "ankle", "fracatlas_hip": "pelvis_hip"}
    told = {case.film.source: tuple(finer.get(name, name) for name in case.told) for case in examined}
    other = {("wrist",): ("ankle",)}
    stated = [replace(film, regions=told[film.source]) for film in films]
    stated[0] = replace(stated[0], regions=other.get(stated[0].regions, ("wrist",)))
    assert {name for film in stated for name in film.regions} & set(finer.values())
    found = adapt(weights, AnnotatedSet(tuple(stated), "stated", films.root), out=tmp_path / "ours", **CPU).report
    assert found["likeness"]["regions_named"] == len(films)
    assert found["likeness"]["regions_right"] == len(films) - 1


def test_scores_become_the_share_of_fractured_films(examined: list[Case], tiny_weights: Path) -> None:
    card = Card.read(tiny_weights)
    found = fit_site(card, examined)
    scores = [
        p.probability
        for p in judged(found.card, examined, fracture.load(tiny_weights, **CPU).ensemble)["high_sensitivity"]
    ]
    positives, n = sum(bool(case.film.fractured) for case in examined), len(examined)
    smoothed = positives * (positives + 1) / (positives + 2) + (n - positives) / (n - positives + 2)
    assert np.mean(scores) == pytest.approx(smoothed / n, abs=1e-3)
    rarer = fit_site(card, examined, prevalence=0.05)
    odds = np.log(0.05 / 0.95) - np.log(positives / (n - positives))
    assert rarer.shift - found.shift == pytest.approx(odds)


def test_a_guarantee_needs_thirteen_fractured_films(examined: list[Case], tiny_weights: Path) -> None:
    card = Card.read(tiny_weights)
    fractured = [case for case in examined if case.film.fractured]
    normal = [case for case in examined if not case.film.fractured]
    found = fit_site(card, fractured[:13] + normal)
    assert found.guarantees["high_sensitivity"].films == 13
    assert found.guarantees["high_specificity"].films == len(normal)
    few = fit_site(card, fractured[:12] + normal)
    assert "high_sensitivity" not in few.guarantees
    assert "12 fractured films of the 13" in few.limits[0]
    with pytest.raises(DataError, match="too few normal films"):
        fit_site(card, fractured + normal[:19])


@pytest.mark.parametrize("n", [13, 20, 40, 200])
def test_the_likely_range_is_that_of_conformal_coverage(n: int) -> None:
    """Against draws: the share of the population at or above the k-th smallest of n scores."""
    promised = Guarantee.of(0.925, n)
    assert promised is not None
    rng = np.random.default_rng(n)
    k = int(np.floor(round(0.075 * (n + 1), 9)))
    covered = 1 - np.sort(rng.random((40_000, n)), axis=1)[:, k - 1]
    assert covered.mean() >= 0.925
    assert promised.likely == pytest.approx(tuple(np.quantile(covered, [0.05, 0.95])), abs=0.01)
    assert beta.mean(n + 1 - k, k) == pytest.approx(covered.mean(), abs=0.01)


def test_with_normal_films_only_the_share_flagged_is_set(examined: list[Case], tiny_weights: Path) -> None:
    card = Card.read(tiny_weights)
    normal = [case for case in examined if not case.film.fractured]
    scores = (np.arange(len(normal)) + 1.0) / 100
    cases = with_scores(normal, scores)
    found = fit_site(card, cases, flag=0.25)
    calls = judged(found.card, cases, fracture.load(tiny_weights, **CPU).ensemble)
    assert 0.2 <= np.mean([p.fractured for p in calls["high_sensitivity"]]) <= 0.25
    assert np.mean([p.fractured for p in calls["high_specificity"]]) <= 0.05
    assert "not known" in found.limits[0]
    assert Card.model_validate_json(found.card.model_dump_json()) == found.card
    fewest = fit_site(card, cases[:FEWEST_NORMAL], flag=0.2)  # as many as docs/adapt.md asks for
    point = OperatingPoints.from_dict(fewest.card.operating_points).nodes["any"].point("high_specificity")
    assert point is not None
    assert point.threshold == pytest.approx(FEWEST_NORMAL / 100)
    with pytest.raises(ConfigurationError, match="flag"):
        fit_site(card, cases)
    with pytest.raises(ConfigurationError, match="fractured films say more"):
        fit_site(card, examined, flag=0.2)
    with pytest.raises(ConfigurationError, match="share"):
        fit_site(card, cases, flag=1.5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_threshold_does_what_it_says_on_its_own_films(examined: list[Case], tiny_weights: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = with_scores(examined, rng.uniform(0.01, 0.99, len(examined)))
    found = fit_site(Card.read(tiny_weights), cases)
    calls = judged(found.card, cases, fracture.load(tiny_weights, **CPU).ensemble)
    truth = np.array([case.film.fractured for case in cases], bool)
    if all(p.operating_node == "any" for p in calls["high_sensitivity"]):
        assert np.mean([p.fractured for p, t in zip(calls["high_sensitivity"], truth, strict=True) if t]) >= 0.925
    if all(p.operating_node == "any" for p in calls["high_specificity"]):
        assert (
            np.mean([not p.fractured for p, t in zip(calls["high_specificity"], truth, strict=True) if not t]) >= 0.95
        )


def test_what_it_gains_is_measured_on_films_that_did_not_help(
    weights: Path, films: AnnotatedSet, tmp_path: Path
) -> None:
    adapted = adapt(weights, films, out=tmp_path / "ours", seed=3, **CPU)
    gain = adapted.report["gain"]
    assert gain["measured"]
    assert gain["films"] == 60
    row = gain["high_sensitivity"]["sensitivity"]
    assert row["n"] == 20
    assert {"before", "after", "difference"} <= set(row)
    assert "guarantee" in adapted.text.lower()
    few = films.select(lambda film: not film.fractured or film.source < "010.png")
    assert few.positives < 5
    unmeasured = adapt(weights, few, out=tmp_path / "few", **CPU)
    assert not unmeasured.report["gain"]["measured"]
    assert "was not measured" in unmeasured.text


def test_twenty_normal_films_are_enough_to_fit_but_not_to_measure(
    weights: Path, films: AnnotatedSet, tmp_path: Path
) -> None:
    kept = [film.source for film in films if not film.fractured][:20] + [f.source for f in films if f.fractured][:14]
    adapted = adapt(weights, films.subset(kept), out=tmp_path / "ours", **CPU)
    assert not adapted.report["gain"]["measured"]
    assert "20 normal films are too few" in adapted.text


def test_the_command(weights: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    table = tmp_path / "films.csv"
    rows = [f"{films.image_path(film)},{film.fractured},{film.group}" for film in films]
    (films.root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows.append(f"{films.root / 'broken.png'},0,x")
    table.write_text("\n".join(["image,fractured,group", *rows]) + "\n")
    arguments = ["adapt", str(weights), "--data", str(table), "--out", str(tmp_path / "ours"), "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    (films.root / "broken.png").unlink()
    assert result.exit_code == 1, result.output
    assert "60 films of this site were judged, 20 of them fractured; 1 could not be read." in result.output
    assert "broken.png" in result.output
    assert Card.read(tmp_path / "ours").name == "ours"
    again = CliRunner().invoke(app, [*arguments[:-3], str(weights), "--device", "cpu"])
    assert isinstance(again.exception, ConfigurationError)
