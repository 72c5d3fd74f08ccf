"""AUC, average precision, Brier, calibration: against scikit-learn and plain loops; properties; the bootstrap."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn import metrics

from fracture.errors import EvaluationError
from fracture.evaluation import Bootstrap, cohen_kappa
from fracture.evaluation.stats.resampling import Resampler, bootstrap, bootstrap_columns, interval_of, replicates
from fracture.evaluation.stats.scores import (
    auc,
    auc_replicates,
    average_precision,
    brier,
    calibration_error,
    reliability,
)
from fracture.evaluation.stats.statistics import (
    AreaUnderCurve,
    AveragePrecision,
    BinnedCalibration,
    MeanOf,
    confusion_statistics,
    equal_mass_bins,
    folded_normal_mean,
)


def films(seed: int, n: int = 300, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Labels and heavily tied scores in [0, 1]."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.3
    labels[:2] = (True, False)
    scores = np.clip(rng.normal(0.4 + 0.25 * labels, 0.2), 0, 1)
    return labels, np.round(scores, decimals)


def whole(n: int) -> np.ndarray:
    return np.ones((1, n))


@pytest.mark.parametrize("decimals", [0, 1, 2, 8])
@pytest.mark.parametrize("seed", range(5))
def test_statistics_agree_with_scikit_learn(seed: int, decimals: int) -> None:
    labels, scores = films(seed, decimals=decimals)
    assert AreaUnderCurve(labels, scores)(whole(300))[0] == pytest.approx(
        metrics.roc_auc_score(labels, scores), abs=1e-12
    )
    expected = metrics.average_precision_score(labels, scores)
    assert AveragePrecision(labels, scores)(whole(300))[0] == pytest.approx(expected, abs=1e-12)
    assert float(brier(labels, scores, bootstrap=Bootstrap(resamples=2))) == pytest.approx(
        metrics.brier_score_loss(labels, scores), abs=1e-12
    )
    calls = scores >= 0.5
    found = confusion_statistics(labels, calls)
    theirs = {
        "sensitivity": metrics.recall_score(labels, calls, zero_division=np.nan),
        "specificity": metrics.recall_score(~labels, ~calls, zero_division=np.nan),
        "ppv": metrics.precision_score(labels, calls, zero_division=np.nan),
        "npv": metrics.precision_score(~labels, ~calls, zero_division=np.nan),
        "accuracy": metrics.accuracy_score(labels, calls),
        "f1": metrics.f1_score(labels, calls),
        "youden": metrics.balanced_accuracy_score(labels, calls) * 2 - 1,
    }
    for name, value in theirs.items():
        assert found[name](whole(300))[0] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_every_resample_equals_scikit_learn_on_the_drawn_films() -> None:
    labels, scores = films(1)
    resampler = Resampler.over(300, resamples=60, seed=4)
    areas = auc_replicates(labels, scores, resampler)
    precisions = replicates({"ap": AveragePrecision(labels, scores)}, resampler)["ap"]
    for row, drawn in enumerate(resampler.draws()):
        assert areas[row] == pytest.approx(metrics.roc_auc_score(labels[drawn], scores[drawn]), abs=1e-12)
        expected = metrics.average_precision_score(labels[drawn], scores[drawn])
        assert precisions[row] == pytest.approx(expected, abs=1e-12)


def test_groups_are_drawn_as_wholes() -> None:
    labels, scores = films(2)
    groups = np.random.default_rng(0).integers(0, 40, 300).astype(str)
    resampler = Resampler.over(300, groups, resamples=20, seed=7)
    weights = np.concatenate(list(resampler.blocks()))
    members = [np.flatnonzero(resampler.groups == g) for g in range(resampler.clusters)]
    for row, drawn in zip(weights, resampler.draws(), strict=True):
        chosen = np.concatenate([members[g] for g in drawn])
        assert np.array_equal(np.bincount(chosen, minlength=300), row)
        area = AreaUnderCurve(labels, scores)(row[None])[0]
        assert area == pytest.approx(metrics.roc_auc_score(labels[chosen], scores[chosen]), abs=1e-12)


def test_one_film_per_group() -> None:
    groups = np.array([0, 0, 0, 1, 2, 2])
    resampler = Resampler.over(6, groups, resamples=4000, seed=1, one_per_group=True)
    weights = np.concatenate(list(resampler.blocks()))
    used = np.stack([weights[:, groups == g] for g in (0,)])[0]
    assert ((used > 0).sum(axis=1) <= 1).all()
    assert (weights.sum(axis=1) == 3).all()
    # Each film of the group of three is picked equally often: weight 1 per group and resample on average.
    assert weights.mean(axis=0) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1, 1 / 2, 1 / 2], abs=0.06)


def test_the_percentile_interval_and_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = films(3)
    estimate = auc(labels, scores, bootstrap=Bootstrap(resamples=200, seed=5, level=0.9))
    values = [metrics.roc_auc_score(labels[d], scores[d]) for d in Resampler.over(300, resamples=200, seed=5).draws()]
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(values, (0.05, 0.95))))
    assert float(estimate) == pytest.approx(metrics.roc_auc_score(labels, scores))
    monkeypatch.setattr("fracture.evaluation.stats.resampling.BLOCK_BYTES", 8 * 300 * 7)
    assert auc(labels, scores, bootstrap=Bootstrap(resamples=200, seed=5, level=0.9)) == estimate
    assert auc(labels, scores, bootstrap=Bootstrap(resamples=200, seed=6, level=0.9)) != estimate


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40), st.randoms())
def test_auc_properties(pairs: list[tuple[bool, int]], random: object) -> None:
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs], dtype=float)
    if labels.all() or not labels.any():
        return
    area = AreaUnderCurve(labels, scores)(whole(len(pairs)))[0]
    order = np.argsort([random.random() for _ in pairs])  # type: ignore[attr-defined]
    assert AreaUnderCurve(labels[order], scores[order])(whole(len(pairs)))[0] == pytest.approx(area)
    assert AreaUnderCurve(labels, np.exp(scores) + 3)(whole(len(pairs)))[0] == pytest.approx(area)
    assert AreaUnderCurve(labels, -scores)(whole(len(pairs)))[0] == pytest.approx(1 - area)
    assert AreaUnderCurve(~labels, scores)(whole(len(pairs)))[0] == pytest.approx(1 - area)
    wins = np.subtract.outer(scores[labels], scores[~labels])
    assert area == pytest.approx(np.mean((wins > 0) + 0.5 * (wins == 0)))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=30))
def test_a_weight_is_a_repeated_film(rows: list[tuple[bool, int, int]]) -> None:
    labels = np.array([row[0] for row in rows])
    scores = np.array([row[1] / 4 for row in rows])
    weights = np.array([row[2] for row in rows])
    again = np.repeat(np.arange(len(rows)), weights)
    for kind in (AreaUnderCurve, AveragePrecision):
        weighted = kind(labels, scores)(weights[None].astype(float))[0]
        if again.size == 0 or labels[again].all() or not labels[again].any():
            continue
        assert weighted == pytest.approx(kind(labels[again], scores[again])(whole(again.size))[0])


def naive_ece(labels: np.ndarray, scores: np.ndarray, bins: np.ndarray) -> float:
    total = 0.0
    for b in set(bins.tolist()):
        inside = bins == b
        total += inside.mean() * abs(scores[inside].mean() - labels[inside].mean())
    return total


@pytest.mark.parametrize("decimals", [1, 6])
def test_calibration_error_against_a_loop(decimals: int) -> None:
    labels, scores = films(4, 500, decimals)
    bins = equal_mass_bins(scores, 10)
    assert BinnedCalibration(labels, scores, bins, debiased=False)(whole(500))[0] == pytest.approx(
        naive_ece(labels, scores, bins)
    )
    for value in np.unique(scores):
        assert np.unique(bins[scores == value]).size == 1
    if decimals == 6:
        assert np.bincount(bins).min() >= 49
        theirs = metrics.brier_score_loss(labels, scores)
        assert theirs >= naive_ece(labels, scores, bins) ** 2  # Jensen


def test_folded_normal_mean_against_simulation() -> None:
    rng = np.random.default_rng(0)
    mean, deviation = np.array([0.0, 0.5, -2.0, 0.3]), np.array([1.0, 0.7, 0.5, 0.0])
    drawn = np.abs(rng.normal(mean, deviation, (400_000, 4))).mean(axis=0)
    assert folded_normal_mean(mean, deviation) == pytest.approx(drawn, abs=4e-3)


def test_debiasing_takes_off_most_of_the_error_that_noise_alone_makes() -> None:
    """Perfectly calibrated scores: the true error is 0, the plain estimate is far above it."""
    rng = np.random.default_rng(3)
    plain, debiased = [], []
    for _ in range(60):
        scores = rng.beta(1, 3, 1000)
        labels = rng.random(1000) < scores
        bins = equal_mass_bins(scores, 15)
        plain.append(BinnedCalibration(labels, scores, bins, debiased=False)(whole(1000))[0])
        debiased.append(BinnedCalibration(labels, scores, bins)(whole(1000))[0])
    assert np.mean(plain) > 0.03
    assert np.mean(debiased) < 0.68 * np.mean(plain)


def test_calibration_error_of_a_known_shift() -> None:
    rng = np.random.default_rng(5)
    truth = rng.random(40_000)
    labels = rng.random(40_000) < truth
    estimate = calibration_error(labels, truth**1.4, bootstrap=Bootstrap(resamples=100))
    expected = np.mean(truth - truth**1.4)  # the score is always too low
    assert float(estimate) == pytest.approx(expected, abs=0.006)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < expected < estimate.high


def test_reliability_bins() -> None:
    labels, scores = films(6, 400, 8)
    parts = reliability(labels, scores, bins=8)
    assert sum(part.observed.n for part in parts) == 400
    assert sum(part.observed.count or 0 for part in parts) == labels.sum()
    means = [part.mean_score for part in parts]
    assert means == sorted(means)
    assert all(part.low <= part.mean_score <= part.high for part in parts)
    assert parts[0].to_dict()["observed"]["method"] == "Wilson"


def test_one_class_one_group_and_lost_resamples_say_so() -> None:
    scores = np.array([0.1, 0.5, 0.7])
    estimate = auc([0, 0, 0], scores)
    assert estimate.value is None
    assert estimate.reason == "all 3 films are normal"
    assert average_precision([0, 0, 0], scores).reason == "no film is fractured"
    assert brier([0, 0, 0], scores).defined
    single = auc([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.9], bootstrap=Bootstrap(groups=["p"] * 4))
    assert single.value == 0.75
    assert single.low is None
    assert single.reason == "no interval: all films belong to one group"
    few = auc([0, 1, 0, 0, 0, 0], [0.4, 0.2, 0.3, 0.9, 0.1, 0.1])
    assert few.low is None
    assert "resamples do not define it" in (few.reason or "")
    perfect = auc([0] * 20 + [1] * 20, np.arange(40.0))
    assert perfect.value == 1.0
    assert perfect.low is None
    assert "do not differ" in (perfect.reason or "")


def test_a_few_lost_resamples_are_counted() -> None:
    values = np.concatenate([np.full(3, np.nan), np.linspace(0, 1, 97)])
    estimate = interval_of(0.5, values)
    assert estimate.has_interval
    assert estimate.reason == "3 of 100 resamples do not define it and were left out"


@pytest.mark.parametrize(
    ("labels", "scores", "match"),
    [
        ([], [], "empty"),
        ([0, 1], [0.1, float("nan")], "NaN"),
        ([0, 1], [0.1, float("inf")], "NaN or infinite"),
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1, 1], [0.1, 0.2], "same length"),
        ([[0, 1]], [0.1, 0.2], "vector"),
        ([0, 1], ["a", "b"], "numbers"),
    ],
)
def test_bad_input_is_refused(labels: list[object], scores: list[object], match: str) -> None:
    with pytest.raises(EvaluationError, match=match):
        auc(labels, scores)  # type: ignore[arg-type]


def test_scores_outside_the_unit_interval_have_no_calibration() -> None:
    for function in (brier, calibration_error, reliability):
        with pytest.raises(EvaluationError, match="probabilities"):
            function([0, 1], [-1.0, 2.0])
    assert auc([0, 1, 0, 1] * 5, [-3.0, 2.0, 0.0, 9.0] * 5).value == 1.0


def test_bad_groups_weights_and_counts_are_refused() -> None:
    with pytest.raises(EvaluationError, match="one entry per film"):
        auc([0, 1], [0.1, 0.2], bootstrap=Bootstrap(groups=["a"]))
    with pytest.raises(EvaluationError, match="NaN"):
        auc([0, 1], [0.1, 0.2], bootstrap=Bootstrap(groups=[1.0, float("nan")]))
    with pytest.raises(EvaluationError, match="two resamples"):
        auc([0, 1], [0.1, 0.2], bootstrap=Bootstrap(resamples=1))
    with pytest.raises(EvaluationError, match="column per film"):
        AreaUnderCurve([0, 1], [0.1, 0.2])(np.ones((1, 3)))
    with pytest.raises(EvaluationError, match="at least one bin"):
        calibration_error([0, 1], [0.1, 0.2], bins=0)


def test_bootstrap_columns_equals_bootstrap() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(50), rng.random(50)
    resampler = Resampler.over(50, rng.integers(0, 12, 50), resamples=100)
    one, two = MeanOf(a), MeanOf(b)
    together = bootstrap_columns(("a", "b"), lambda w: np.stack([one(w), two(w)], axis=1), resampler)
    assert together == bootstrap({"a": one, "b": two}, resampler)
    assert together["a"].method == "bootstrap by group, m = 100"


def test_the_same_draws_for_every_statistic() -> None:
    resampler = Resampler.over(9, resamples=5, seed=3)
    first = [d.tolist() for d in islice(resampler.draws(), 5)]
    assert first == [d.tolist() for d in resampler.draws()]


def test_the_four_old_keywords_stand_for_a_bootstrap() -> None:
    labels, scores = np.arange(60) % 3 == 0, np.random.default_rng(0).random(60)
    groups = np.arange(60) // 2
    with pytest.warns(DeprecationWarning, match="auc: give groups, level, resamples, seed as bootstrap"):
        old = auc(labels, scores, groups=groups, resamples=50, seed=2, level=0.9)  # type: ignore[call-arg]
    assert old == auc(labels, scores, bootstrap=Bootstrap(50, 2, 0.9, groups))
    with pytest.warns(DeprecationWarning, match="cohen_kappa: give seed"):
        kappa = cohen_kappa(labels, scores > 0.5, seed=3)  # type: ignore[call-arg]
    assert kappa.method == "bootstrap, m = 2000"  # what was not given stays as the function has it


def test_a_bootstrap_of_a_part_of_the_films() -> None:
    draws = Bootstrap(groups=["a", "b", "a", "c"])
    assert list(draws.of(np.array([True, False, True, True])).groups) == ["a", "a", "c"]  # type: ignore[arg-type]
    assert draws.of(np.array([3, 0])).over(2).clusters == 2
    assert Bootstrap().of(np.array([0])).groups is None
    for bad in ({"resamples": 1}, {"level": 1.0}):
        with pytest.raises(EvaluationError):
            Bootstrap(**bad)  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="one entry per film"):
        draws.over(3)
