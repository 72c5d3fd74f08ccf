"""Cross-fitting: no film has a part in the calibrators, thresholds and box rules that judge it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, reject, settings, strategies as st

from fracture.calibration.cases import Case
from fracture.calibration.fitting import Fitting, cross_fit
from fracture.calibration.metrics import measure_all
from fracture.calibration.platt import fit_platt
from fracture.calibration.sweep import Sweep
from fracture.errors import DataError
from fracture.limb.boxes import BoxParameters
from fracture.limb.operating_points import Method, OperatingPoints, find_threshold
from fracture.limb.prediction import Prediction
from tests.fake_cases import NO_ENSEMBLE, fake_card, fake_cases, fake_films

GRID = tuple(BoxParameters(threshold=t, min_area_px=0.0) for t in (0.1, 0.2, 0.3))
FOLDS = tuple(tuple(i for i in range(72) if (i // 3) % 3 == fold) for fold in range(3))


def fitting(
    cases: tuple[Case, ...], *, calibrate_members: bool = True, method: Method = "empirical", members: str = "ab"
) -> Fitting:
    card = fake_card(list(members))
    return Fitting(cases, Sweep.over(cases, GRID), card, calibrate_members, method, "made-up films")


def inputs(p: Prediction) -> tuple[object, ...]:
    """Everything that a decision rests on, and the decision."""
    return p.probability, p.fractured, p.thresholds, p.operating_node, p.map_threshold, p.boxes, p.candidates, p.reached


@cache
def straight(method: Method) -> tuple[tuple[Case, ...], tuple[Prediction, ...], tuple[Prediction, ...]]:
    cases = fake_cases(fake_films(72), "ab")
    return (cases, *cross_fit(fitting(cases, method=method), FOLDS, NO_ENSEMBLE))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 71), st.sampled_from(["empirical", "conformal"]))
def test_a_film_s_own_annotation_has_no_part_in_its_judgment(index: int, method: Method) -> None:
    cases, sensitive, specific = straight(method)
    film = cases[index].film
    other = replace(film, fractured=1 - film.fractured, boxes=() if film.boxes else ((0.0, 0.0, 9.0, 9.0),))
    flipped = tuple(replace(case, film=other) if case.film is film else case for case in cases)
    try:
        again, strict = cross_fit(fitting(flipped, method=method), FOLDS, NO_ENSEMBLE)
    except DataError:  # a film of the highest score that is now called normal: no threshold lies above it
        reject()
    mates = next(fold for fold in FOLDS if index in fold)
    for i in mates:  # nor in that of the other films of its fold
        assert inputs(again[i]) == inputs(sensitive[i])
        assert inputs(strict[i]) == inputs(specific[i])
    rest = [i for i in range(72) if i not in mates]
    assert all(again[i].probability != sensitive[i].probability for i in rest)  # it does have one in all others


def test_a_fold_is_judged_by_what_the_others_say() -> None:
    cases, sensitive, specific = straight("empirical")
    for fold in FOLDS:
        rest = [i for i in range(72) if i not in fold]
        labels = [cases[i].film.fractured for i in rest]
        members = {
            name: fit_platt([cases[i].examined.output.member_logits[name] for i in rest], labels) for name in "ab"
        }

        def score(case: Case, members: dict = members) -> float:
            return float(np.mean([members[n](z) for n, z in case.examined.output.member_logits.items()]))

        scores = [score(cases[i]) for i in rest]
        for i in fold:
            assert sensitive[i].probability == score(cases[i])
            assert sensitive[i].raw_probability == cases[i].examined.output.raw_score
            node = sensitive[i].operating_node
            own = [j for j, k in enumerate(rest) if node == "any" or cases[k].film.regions == cases[i].film.regions]
            for point, kind, target, p in (
                ("high_sensitivity", "sensitivity", 0.925, sensitive[i]),
                ("high_specificity", "specificity", 0.95, specific[i]),
            ):
                assert p.operating_point == point
                if p.operating_node != node:  # the two points may belong to different nodes
                    continue
                expected = find_threshold([scores[j] for j in own], [labels[j] for j in own], target=target, kind=kind)
                assert p.threshold == expected


@pytest.mark.parametrize("method", ["empirical", "conformal"])
def test_one_member_flags_the_same_films_with_and_without_a_calibrator(method: Method) -> None:
    cases = fake_cases(fake_films(72), "a")
    plain, _ = cross_fit(fitting(cases, calibrate_members=False, method=method, members="a"), FOLDS, NO_ENSEMBLE)
    scaled, _ = cross_fit(fitting(cases, method=method, members="a"), FOLDS, NO_ENSEMBLE)
    assert [p.fractured for p in scaled] == [p.fractured for p in plain]
    assert all(p.probability != q.probability for p, q in zip(scaled, plain, strict=True))


@pytest.mark.parametrize("method", ["empirical", "conformal"])
def test_what_is_found_says_where_from(method: Method) -> None:
    cases = fake_cases(fake_films(90), "ab")
    found = fitting(cases, method=method).on(range(90))
    assert all(member.calibration is not None for member in found.card.members)
    points = OperatingPoints.from_dict(found.card.operating_points)
    assert set(points.nodes) >= {"any", "upper_extremity", "fracatlas_hand", "lower_extremity", "fracatlas_leg"}
    labels = [case.film.fractured for case in cases]
    for node, thresholds in points.nodes.items():
        for name, kind, target in (
            ("high_sensitivity", "sensitivity", 0.925),
            ("high_specificity", "specificity", 0.95),
        ):
            p = thresholds.point(name)
            assert p is not None
            assert (p.node, p.target, p.target_kind, p.method) == (node, target, kind, method)
            assert (p.data, len(p.date)) == ("made-up films", 10)
            for value, interval in (
                (p.sensitivity, p.sensitivity_interval),
                (p.specificity, p.specificity_interval),
            ):
                assert value is not None
                assert interval is not None
                assert interval[0] <= value <= interval[1]
                assert interval[1] - interval[0] > 0.05
    root = points.nodes["any"].high_sensitivity
    assert root is not None
    assert (root.n_positive, root.n_negative) == (30, 60)
    scores = [case.score for case in found.cases]
    assert root.threshold == find_threshold(scores, labels, target=0.925, method=method)
    assert "made-up films" in str(points.nodes["any"].map_threshold_source)


def test_boxes_need_not_be_found_again_for_other_scores() -> None:
    films = fake_films(72, every=2)  # so that many of the films whose maps glow are annotated as normal
    cases, others = fake_cases(films, "ab"), fake_cases(films, "ab", salt="other")  # the same maps
    old, new = Sweep.over(cases, GRID), Sweep.over(others, GRID)
    values = [new.value(g, range(72)) for g in range(len(GRID))]
    assert [old.rescored(others).value(g, range(72)) for g in range(len(GRID))] == values
    assert [old.value(g, range(72)) for g in range(len(GRID))] != values  # the scores do matter


def test_too_few_films_are_refused_with_the_count() -> None:
    few = fake_cases(fake_films(36), "ab")  # 12 fractured
    with pytest.raises(DataError, match=r"no high_sensitivity threshold .* 36 films.*12 fractured films of the 13"):
        fitting(few).on(range(36))
    many = fake_cases(fake_films(54, every=1), "ab")
    with pytest.raises(DataError, match="no high_specificity threshold"):
        fitting(many, calibrate_members=False).on(range(54))


def test_metrics_hold_the_calibration_before_and_after() -> None:
    cases, sensitive, specific = straight("empirical")
    metrics = measure_all(cases, sensitive, specific)
    assert metrics["prevalence"]["value"] == pytest.approx(1 / 3)
    assert metrics["prevalence"]["n"] == 72
    labels = np.array([case.film.fractured for case in cases])
    for when, scores in (
        ("before", [p.raw_probability for p in sensitive]),
        ("after", [p.probability for p in sensitive]),
    ):
        told = metrics["calibration"][when]
        assert told["brier"]["value"] == pytest.approx(np.mean((np.array(scores) - labels) ** 2))
        assert 0 <= told["ece"]["value"] <= 1
        assert told["ece"]["interval"][0] <= told["ece"]["interval"][1]
    after = metrics["calibration"]["after"]
    assert after["brier"]["value"] < metrics["calibration"]["before"]["brier"]["value"]
    assert after["ece"]["value"] < metrics["calibration"]["before"]["ece"]["value"]
    plain, strict = cross_fit(fitting(cases, calibrate_members=False), FOLDS, NO_ENSEMBLE)
    assert "after" not in measure_all(cases, plain, strict)["calibration"]


def test_the_conformal_guarantee_survives_calibrated_members() -> None:
    """Three correlated members of different scales, 40 fractured films: 38 of 41 orders keep the next one found."""
    rng = np.random.default_rng(5)
    labels = np.repeat([1, 0], [40, 120])

    def draw(present: np.ndarray) -> np.ndarray:
        shared = rng.normal(size=present.size)
        own = rng.normal(size=(3, present.size))
        return np.array([[0.5], [1.0], [2.0]]) * (1.5 * present + 0.7 * shared + 0.7 * own)

    found = []
    for _ in range(150):
        seen, new = draw(labels), draw(np.ones(400))
        members = [fit_platt(z, labels) for z in seen]

        def score(logits: np.ndarray, members: list = members) -> np.ndarray:
            return np.mean(
                [1 / (1 + np.exp(-m.slope * z - m.intercept)) for m, z in zip(members, logits, strict=True)], axis=0
            )

        threshold = find_threshold(score(seen), labels, target=0.925, method="conformal")
        assert threshold is not None
        found.append(np.mean(score(new) >= threshold))
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) > 0.925 - 2.5 * error
    assert np.mean(found) == pytest.approx(38 / 41, abs=3 * error)
