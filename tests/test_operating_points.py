"""Thresholds: the golden rule values, what must hold for any scores, lookup, JSON, and the Wilson interval."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fracture.errors import CardError, EvaluationError, RegionError
from fracture.intervals import wilson
from fracture.limb.operating_points import (
    FilmThresholds,
    OperatingPoint,
    OperatingPoints,
    RegionThresholds,
    fewest_films,
    find_threshold,
    fit_operating_points,
    measure,
)

# /spec/golden-values.md, section 7: successes, n, lower and upper limit in percent
WILSON = [
    (2299, 2415, 94.270, 95.980),
    (2298, 2415, 94.225, 95.942),
    (11060, 13604, 80.636, 81.946),
    (0, 10, 0.0, 27.753),
    (5, 10, 23.659, 76.341),
    (10, 10, 72.247, 100.0),
]


@pytest.mark.parametrize(("successes", "n", "low", "high"), WILSON)
def test_wilson_golden_values(successes: int, n: int, low: float, high: float) -> None:
    assert np.multiply(wilson(successes, n), 100) == pytest.approx((low, high), abs=6e-4)


def test_wilson_at_the_ends_and_errors() -> None:
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0
    narrow, wide = wilson(5, 10, 0.5), wilson(5, 10, 0.99)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]
    for bad in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(EvaluationError, match="proportion"):
            wilson(*bad)
    with pytest.raises(EvaluationError, match="confidence"):
        wilson(1, 2, 1.0)


def positives(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(n).permutation(n) + 1.0, np.ones(n)  # scores 1..n: the k-th smallest is k


def test_golden_ranks_for_a_hundred_positives() -> None:
    scores, labels = positives(100)
    assert find_threshold(scores, labels, target=0.925) == 8
    assert (scores >= 8).sum() == 93
    assert find_threshold(scores, labels, target=0.925, method="conformal") == 7


@pytest.mark.parametrize(("n", "rank"), [(40, 4), (80, 7), (120, 10), (200, 16), (1000, 76), (13, 1), (1, 1)])
def test_the_empirical_rank_survives_floating_point(n: int, rank: int) -> None:
    # (1 - 0.925) * 40 is 2.9999999999999982 in floating point, and 3 by its digits
    assert find_threshold(*positives(n), target=0.925) == rank


@pytest.mark.parametrize(("n", "rank"), [(12, None), (13, 1), (39, 3), (25, 1), (26, 2), (199, 15)])
def test_the_conformal_rank(n: int, rank: int | None) -> None:
    assert find_threshold(*positives(n), target=0.925, method="conformal") == rank


def test_fewest_films() -> None:
    assert [fewest_films(t) for t in (0.925, 0.95, 0.9, 0.5)] == [13, 19, 9, 1]
    with pytest.raises(EvaluationError):
        fewest_films(1.0)


def test_specificity_is_met_at_the_smallest_observed_score() -> None:
    negatives = np.arange(100) / 100
    scores = np.append(negatives, [0.945, 0.955, 0.99])
    labels = np.append(np.zeros(100), np.ones(3))
    # Five of a hundred negatives may be called: the sixth highest is 0.94, the next observed score a positive's.
    assert find_threshold(scores, labels, target=0.95, kind="specificity") == 0.945
    assert measure(scores, labels, 0.945)["specificity"] == 0.95
    assert measure(scores, labels, 0.94)["specificity"] == 0.94
    assert find_threshold(scores, labels, target=0.95, kind="specificity", method="conformal") == 0.955


def test_specificity_is_undefined_where_no_score_lies_above() -> None:
    assert find_threshold([0.1] * 18 + [1.0, 1.0, 1.0], [0] * 20 + [1], target=0.95, kind="specificity") is None
    assert find_threshold([0.9], [1], target=0.95, kind="specificity") is None
    assert find_threshold([0.9], [0], target=0.95) is None


def test_ties_with_the_threshold_count_as_present() -> None:
    scores, labels = [0.5] * 10 + [0.9] * 90, [1] * 100
    assert find_threshold(scores, labels, target=0.925) == 0.5  # 0.9 would leave 90 of 100
    assert measure(scores, labels, 0.5)["sensitivity"] == 1.0


score_lists = st.lists(st.integers(0, 30).map(lambda v: v / 30), min_size=1, max_size=60)
targets = st.sampled_from([0.5, 0.8, 0.9, 0.925, 0.95, 0.99, 1.0])


@settings(max_examples=200, deadline=None)
@given(positive=score_lists, negative=score_lists, target=targets)
def test_sensitivity_is_reached_by_the_largest_observed_score(
    positive: list[float], negative: list[float], target: float
) -> None:
    scores = np.array(positive + negative)
    labels = np.array([1] * len(positive) + [0] * len(negative))
    threshold = find_threshold(scores, labels, target=target)
    assert threshold in scores
    reaching = [s for s in scores if (np.array(positive) >= s).sum() >= target * len(positive) - 1e-9]
    assert threshold == max(reaching)
    conformal = find_threshold(scores, labels, target=target, method="conformal")
    assert conformal is None or conformal <= threshold


@settings(max_examples=200, deadline=None)
@given(positive=score_lists, negative=score_lists, target=targets)
def test_specificity_is_reached_by_the_smallest_observed_score(
    positive: list[float], negative: list[float], target: float
) -> None:
    scores = np.array(positive + negative)
    labels = np.array([1] * len(positive) + [0] * len(negative))
    threshold = find_threshold(scores, labels, target=target, kind="specificity")
    reaching = [s for s in scores if (np.array(negative) < s).sum() >= target * len(negative) - 1e-9]
    assert threshold == min(reaching, default=None)
    conformal = find_threshold(scores, labels, target=target, kind="specificity", method="conformal")
    assert conformal is None or (threshold is not None and conformal >= threshold)


@settings(max_examples=60, deadline=None)
@given(
    positive=score_lists,
    negative=score_lists,
    target=targets,
    kind=st.sampled_from(["sensitivity", "specificity"]),
    method=st.sampled_from(["empirical", "conformal"]),
)
def test_a_monotone_transform_moves_the_threshold_with_it(
    positive: list[float], negative: list[float], target: float, kind: Any, method: Any
) -> None:
    scores = np.array(positive + negative)
    labels = np.array([True] * len(positive) + [False] * len(negative))
    before = find_threshold(scores, labels, target=target, kind=kind, method=method)
    after = find_threshold(np.exp(3 * scores) - 7, labels, target=target, kind=kind, method=method)
    assert after == (None if before is None else pytest.approx(np.exp(3 * before) - 7))


@pytest.mark.parametrize("kind", ["sensitivity", "specificity"])
@pytest.mark.parametrize("n", [19, 40, 99])
def test_the_conformal_rule_covers_new_films_on_average(kind: Any, n: int) -> None:
    target = 0.925 if kind == "sensitivity" else 0.95
    rng = np.random.default_rng(n)
    # The other class is spread densely above and below, so that a specificity threshold exists at every height.
    other = np.linspace(-1, 2, 301)
    rates = []
    for _ in range(3000):
        own = rng.random(n)
        scores = np.append(own, other)
        labels = np.append(np.full(n, kind == "sensitivity"), np.full(other.size, kind != "sensitivity"))
        threshold = find_threshold(scores, labels, target=target, kind=kind, method="conformal")
        assert threshold is not None
        threshold = min(max(threshold, 0.0), 1.0)
        rates.append(1 - threshold if kind == "sensitivity" else threshold)  # exact for a uniform new film
    k = math.floor(round((1 - target) * (n + 1), 9))
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) >= target - 3 * error
    assert np.mean(rates) == pytest.approx(1 - k / (n + 1), abs=3 * error + 0.01)  # and is not needlessly strict


@pytest.mark.parametrize(
    ("scores", "labels", "options"),
    [
        ([0.1, np.nan], [0, 1], {"target": 0.9}),
        ([0.1, 0.2], [0, 2], {"target": 0.9}),
        ([0.1, 0.2], [1], {"target": 0.9}),
        ([[0.1]], [[1]], {"target": 0.9}),
        ([0.1], [1], {"target": 0.0}),
        ([0.1], [1], {"target": 92.5}),
        ([0.1], [1], {"target": 0.9, "kind": "recall"}),
        ([0.1], [1], {"target": 0.9, "method": "youden"}),
    ],
)
def test_malformed_arguments_are_refused(scores: Any, labels: Any, options: Any) -> None:
    with pytest.raises(EvaluationError):
        find_threshold(scores, labels, **options)


def films(rng: np.random.Generator, n: int, region: str, shift: float) -> tuple[list[float], list[int], list[str]]:
    labels = (np.arange(n) % 2).tolist()
    scores = 1 / (1 + np.exp(-rng.normal(np.where(labels, 1.5, -1.5) + shift)))
    return scores.tolist(), labels, [region] * n


@pytest.fixture(scope="module")
def fitted() -> OperatingPoints:
    rng = np.random.default_rng(3)
    parts = [films(rng, 200, "fracatlas_hand", 0.5), films(rng, 160, "fracatlas_leg", -0.5), films(rng, 20, "hip", 0)]
    scores, labels, regions = ([value for part in parts for value in part[i]] for i in range(3))
    return fit_operating_points(
        scores,
        labels,
        regions,
        data="simulated scores",
        date="2025-01-31",
        map_thresholds={"any": 0.5, "fracatlas_leg": 0.3},
        map_threshold_source="a test",
    )


def test_fitting_counts_films_for_their_ancestors_and_leaves_out_small_nodes(fitted: OperatingPoints) -> None:
    assert list(fitted.nodes) == ["any", "upper_extremity", "lower_extremity", "fracatlas_hand", "fracatlas_leg"]
    root = fitted.nodes["any"].high_sensitivity
    assert root is not None
    assert (root.n_positive, root.n_negative) == (190, 190)
    assert fitted.omitted["hip/high_sensitivity"] == "10 fractured films of the 13 needed"
    assert fitted.omitted["pelvis_hip/high_specificity"] == "10 films without a fracture of the 19 needed"
    for node, thresholds in fitted.nodes.items():
        for point in (thresholds.high_sensitivity, thresholds.high_specificity):
            assert point is not None
            observed = point.sensitivity if point.target_kind == "sensitivity" else point.specificity
            interval = getattr(point, f"{point.target_kind}_interval")
            assert point.node == node
            assert observed is not None
            assert point.target <= observed <= point.target + 0.02
            assert interval[0] < observed < interval[1]
            assert (point.data, point.date) == ("simulated scores", "2025-01-31")


def test_a_node_may_lack_one_point_only() -> None:
    scores, labels = [*np.linspace(0.5, 1, 20), *np.linspace(0, 0.4, 5)], [1] * 20 + [0] * 5
    found = fit_operating_points(scores, labels, ["knee"] * 25, nodes=["knee"])
    assert found.nodes["knee"].high_sensitivity is not None
    assert found.nodes["knee"].high_specificity is None
    assert set(found.omitted) == {"knee/high_specificity"}
    everything = fit_operating_points(
        scores, labels, [["knee", "tibia_fibula"]] * 25, nodes=["knee"], minimum_negatives=1, minimum_positives=21
    )
    assert everything.nodes["knee"].high_sensitivity is None
    assert everything.nodes["knee"].high_specificity is not None


def test_conformal_fitting_names_its_reason() -> None:
    found = fit_operating_points(np.linspace(0, 1, 10), [1] * 10, [()] * 10, method="conformal", minimum_positives=5)
    assert not found.nodes
    assert found.omitted["any/high_sensitivity"] == "10 fractured films are too few for a conformal 0.925 sensitivity"


def test_fitting_refuses_what_does_not_fit() -> None:
    with pytest.raises(EvaluationError, match="regions"):
        fit_operating_points([0.1], [1], [])
    with pytest.raises(RegionError, match="unknown region"):
        fit_operating_points([0.1], [1], ["nose"])
    with pytest.raises(RegionError, match="operating point"):
        fit_operating_points([0.1], [1], ["knee"], targets={"balanced": 0.9})


def point(node: str, threshold: float, name: str = "high_sensitivity") -> OperatingPoint:
    kind: Any = name.removeprefix("high_")
    return OperatingPoint(
        name=name,
        node=node,
        threshold=threshold,
        target=0.9,
        target_kind=kind,
        method="empirical",
        n_positive=20,
        n_negative=30,
    )


def test_lookup_climbs_and_says_why(fitted: OperatingPoints) -> None:
    own = fitted.lookup(["fracatlas_leg"])
    assert (own["high_sensitivity"].node, own["high_sensitivity"].reason) == ("fracatlas_leg", "fracatlas_leg itself")
    assert (own.map_threshold, own.map_node) == (0.3, "fracatlas_leg")
    covered = fitted.lookup(["wrist"])
    assert covered["high_sensitivity"].node == "fracatlas_hand"
    assert "covers wrist" in covered["high_sensitivity"].reason
    climbed = fitted.lookup(["hip"])
    assert climbed["high_sensitivity"].node == "any"
    assert "nearest ancestor" in climbed["high_sensitivity"].reason
    assert "10 fractured films of the 13 needed" in climbed["high_sensitivity"].reason
    unknown = fitted.lookup()
    assert unknown["high_sensitivity"].node == "any"
    assert unknown.map_threshold == 0.5


def test_a_film_with_several_regions_is_judged_at_the_lowest_threshold() -> None:
    points = OperatingPoints(
        {
            "hand": RegionThresholds(high_sensitivity=point("hand", 0.4), map_threshold=0.6),
            "wrist": RegionThresholds(
                high_sensitivity=point("wrist", 0.3), high_specificity=point("wrist", 0.8, "high_specificity")
            ),
            "any": RegionThresholds(high_specificity=point("any", 0.7, "high_specificity"), map_threshold=0.5),
        }
    )
    film = points.lookup(["hand", "wrist"])
    assert film["high_sensitivity"].region == "wrist"
    assert film.thresholds == {"high_sensitivity": 0.3, "high_specificity": 0.7}  # hand climbs to any
    assert (film.map_threshold, film.map_node) == (0.5, "any")
    assert film.reached(0.3) == ("high_sensitivity",)
    assert film.reached(0.29) == ()
    assert film.reached(0.7) == ("high_sensitivity", "high_specificity")
    assert [film.strictest(p) for p in (0.1, 0.5, 0.7)] == [None, "high_sensitivity", "high_specificity"]


def test_a_point_that_no_node_has_is_an_error_only_when_asked_for() -> None:
    film = OperatingPoints({"hand": RegionThresholds(high_sensitivity=point("hand", 0.4))}).lookup(["foot"])
    assert film == FilmThresholds({})
    with pytest.raises(RegionError, match="no operating point 'high_sensitivity'"):
        film["high_sensitivity"]
    with pytest.raises(RegionError, match="unknown operating point"):
        film["balanced"]
    with pytest.raises(RegionError, match="unknown region"):
        OperatingPoints().lookup(["nose"])


def test_points_travel_through_json(fitted: OperatingPoints) -> None:
    text = json.dumps(fitted.to_dict(), allow_nan=False)
    assert OperatingPoints.from_dict(json.loads(text)) == fitted
    assert OperatingPoints.from_dict({}) == OperatingPoints()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown key"),
        ({"threshold": "0.5"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"threshold": None}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"method": "youden"}, "method"),
        ({"target_kind": "specificity"}, "target_kind"),
        ({"name": "balanced"}, "name"),
        ({"n_positive": 2.5}, "n_positive"),
        ({"sensitivity_interval": [0.1]}, "sensitivity_interval"),
        ({"node": "foot"}, "filed under"),
        ({"data": 3}, "data"),
    ],
)
def test_a_malformed_card_is_refused(change: dict[str, Any], message: str) -> None:
    card = {"nodes": {"hand": {"high_sensitivity": {**point("hand", 0.4).to_dict(), **change}}}}
    with pytest.raises(CardError, match=message):
        OperatingPoints.from_dict(card)


@pytest.mark.parametrize(
    "card",
    [
        {"node": {}},
        {"nodes": []},
        {"nodes": {"hand": {"high_specifity": {}}}},
        {"nodes": {"hand": {"high_sensitivity": 0.5}}},
        {"nodes": {"hand": {"high_sensitivity": {"threshold": 0.5}}}},
        {"nodes": {"hand": {"high_specificity": point("hand", 0.4).to_dict()}}},
        {"nodes": {"hand": {"map_threshold": 2}}},
        {"nodes": {"hand": {"map_threshold": 0}}},
    ],
)
def test_a_malformed_structure_is_refused(card: dict[str, Any]) -> None:
    with pytest.raises(CardError):
        OperatingPoints.from_dict(card)
