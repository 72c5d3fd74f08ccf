"""Kappa, McNemar, verdicts, rank tests, chi-square, paired bootstrap: scikit-learn, scipy, closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats
from sklearn import metrics

from fracture.errors import EvaluationError
from fracture.evaluation import Bootstrap
from fracture.evaluation.stats.agreement import (
    KAPPA_DIFFERENCE,
    MARGIN,
    cohen_kappa,
    compare_kappa,
    kappa_statistic,
    mcnemar,
    readers_point,
    verdict,
)
from fracture.evaluation.stats.auc_variance import delong_test
from fracture.evaluation.stats.comparison import METRICS, paired_bootstrap
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.hypothesis_tests import adjust, chi_square, dunn, kruskal_wallis, split_balance
from fracture.evaluation.stats.resampling import Resampler
from fracture.evaluation.stats.roc import RocBand, roc_band

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60)


@pytest.mark.filterwarnings("ignore:invalid value")  # scikit-learn's own 0/0 where one class only was named
@given(LABELS, st.sampled_from([None, "linear", "quadratic"]))
def test_kappa_is_scikit_learns_and_symmetric(pairs: list[tuple[int, int]], weighting: str | None) -> None:
    first, second = (np.array(part) for part in zip(*pairs, strict=True))
    if np.unique(np.concatenate([first, second])).size < 2:
        return
    one = np.ones((1, len(pairs)))
    ours = kappa_statistic(first, second, weighting=weighting)(one)[0]  # type: ignore[arg-type]
    # linear weights need the classes as scikit-learn numbers them: those that occur, in order
    assert ours == pytest.approx(metrics.cohen_kappa_score(first, second, weights=weighting), abs=1e-12)
    again = kappa_statistic(second, first, weighting=weighting)(one)[0]  # type: ignore[arg-type]
    assert again == pytest.approx(ours, abs=1e-12)


def test_kappa_resamples_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 6, 120)
    second = np.where(rng.random(120) < 0.7, first, rng.integers(0, 6, 120))
    groups = rng.integers(0, 50, 120)
    estimate = cohen_kappa(first, second, bootstrap=Bootstrap(groups=groups, resamples=100, seed=5))
    resampler = Resampler.over(120, groups, resamples=100, seed=5)
    values = []
    for drawn in resampler.draws():
        chosen = np.concatenate([np.flatnonzero(resampler.groups == g) for g in drawn])
        values.append(metrics.cohen_kappa_score(first[chosen], second[chosen]))
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))))
    assert float(estimate) == pytest.approx(metrics.cohen_kappa_score(first, second))
    words = np.array(list("abcdef"))
    assert (
        cohen_kappa(words[first], words[second], bootstrap=Bootstrap(groups=groups, resamples=100, seed=5)) == estimate
    )


def test_pooled_readers_are_one_long_reader() -> None:
    rng = np.random.default_rng(1)
    truth, readers = rng.random(80) < 0.4, rng.random((3, 80)) < 0.5
    pooled = cohen_kappa(truth, readers, bootstrap=Bootstrap(resamples=50))
    assert float(pooled) == pytest.approx(metrics.cohen_kappa_score(np.tile(truth, 3), readers.ravel()))
    point = readers_point(truth, readers)
    assert float(point.sensitivity) == pytest.approx(metrics.recall_score(np.tile(truth, 3), readers.ravel()))
    assert float(point.specificity) == pytest.approx(metrics.recall_score(~np.tile(truth, 3), ~readers.ravel()))
    assert point.sensitivity.n == 3 * truth.sum()


def test_kappa_of_one_class_is_not_defined() -> None:
    estimate = cohen_kappa([1, 1, 1], [1, 1, 1])
    assert estimate.value is None
    assert "only one class" in (estimate.reason or "")
    assert cohen_kappa([1, 1, 0], [0, 0, 0], bootstrap=Bootstrap(resamples=50)).value == 0.0


def test_kappa_difference_as_in_the_hip_paper() -> None:
    """By hand: pick one film per patient, resample patients, difference of scikit-learn's kappas; mean, percentiles."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 90)
    patient = rng.integers(0, 40, 90)
    model = np.where(rng.random(90) < 0.85, truth, rng.integers(0, 3, 90))
    readers = np.where(rng.random((2, 90)) < 0.7, truth, rng.integers(0, 3, (2, 90)))
    result = compare_kappa(
        truth, model, readers, bootstrap=replace(KAPPA_DIFFERENCE, groups=patient, resamples=120, seed=3)
    )
    resampler = Resampler.over(90, patient, resamples=120, seed=3, one_per_group=True)
    values = []
    for row in np.concatenate(list(resampler.blocks())):
        films = np.repeat(np.arange(90), row.astype(int))
        ours = metrics.cohen_kappa_score(truth[films], model[films])
        theirs = metrics.cohen_kappa_score(np.tile(truth[films], 2), readers[:, films].ravel())
        values.append(ours - theirs)
    assert float(result.difference) == pytest.approx(np.mean(values))
    assert (result.difference.low, result.difference.high) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))))
    observed = metrics.cohen_kappa_score(truth, model) - metrics.cohen_kappa_score(np.tile(truth, 2), readers.ravel())
    assert result.observed == pytest.approx(observed)
    swapped = compare_kappa(
        truth, readers, model, bootstrap=replace(KAPPA_DIFFERENCE, groups=patient, resamples=120, seed=3)
    )
    assert float(swapped.difference) == pytest.approx(-float(result.difference))
    assert swapped.difference.low == pytest.approx(-(result.difference.high or 0))
    assert result.margin == 0.103
    assert result.to_dict()["verdict"] == result.verdict


@pytest.mark.parametrize(
    ("low", "high", "below", "expected"),
    [  # the intervals of the hip paper's table, and the rules at their edges
        (0.048, 0.254, True, "superior"),
        (0.048, 0.254, False, "non-inferior"),
        (0.050, 0.214, None, "superior"),
        (-0.077, 0.173, True, "non-inferior"),
        (0.000, 0.079, None, "non-inferior"),
        (-0.103, 0.2, None, "non-inferior"),
        (-0.1031, 0.2, None, "inconclusive"),
        (-0.4, -0.2, None, "inferior"),
    ],
)
def test_verdicts(low: float, high: float, below: bool | None, expected: str) -> None:
    assert verdict(Estimate((low + high) / 2, low, high), below_band=below) == expected
    assert MARGIN == 0.103


def test_verdict_without_interval_and_with_a_bad_margin() -> None:
    assert verdict(not_defined("x")) == "not defined"
    with pytest.raises(EvaluationError, match="margin"):
        verdict(Estimate(0.1, 0.0, 0.2), 0.0)


def test_the_readers_point_must_lie_below_the_band() -> None:
    grid = np.linspace(0, 1, 101)
    band = RocBand(grid, grid, np.full(101, 0.8), np.full(101, 0.9), 0.95, "vertical")
    truth = np.repeat([1, 0], 50)
    at = np.concatenate([np.arange(50) < 39, np.arange(50) < 5])  # sensitivity 0.78 at a false-positive rate of 0.1
    assert readers_point(truth, at).below(band) is True
    assert readers_point(truth, np.concatenate([np.arange(50) < 41, np.arange(50) < 5])).below(band) is False
    assert readers_point([1, 1], [1, 0]).below(band) is None
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.5
    model = labels ^ (rng.random(400) < 0.02)
    readers = labels ^ (rng.random((2, 400)) < 0.25)
    scores = labels + 0.3 * rng.normal(size=400)
    good = compare_kappa(
        labels,
        model,
        readers,
        bootstrap=replace(KAPPA_DIFFERENCE, resamples=200),
        band=roc_band(labels, scores, bootstrap=Bootstrap(resamples=200)),
    )
    assert good.readers_below_band is True
    assert good.verdict == "superior"
    poor = roc_band(labels, rng.random(400), bootstrap=Bootstrap(resamples=200))
    assert (
        compare_kappa(labels, model, readers, bootstrap=replace(KAPPA_DIFFERENCE, resamples=200), band=poor).verdict
        == "non-inferior"
    )


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_mcnemar_is_the_sign_test(rows: list[tuple[bool, bool, bool]]) -> None:
    truth, a, b = (np.array(part) for part in zip(*rows, strict=True))
    first, second = ((a == truth) & (b != truth)).sum(), ((a != truth) & (b == truth)).sum()
    exact = mcnemar(truth, a, b, exact=True)
    expected = stats.binomtest(int(first), int(first + second)).pvalue if first + second else 1.0
    assert exact.p_value == pytest.approx(expected)
    assert mcnemar(truth, b, a, exact=True).p_value == pytest.approx(exact.p_value)
    assert exact.both + exact.first_only + exact.second_only + exact.neither == len(rows)
    if first + second:
        plain = mcnemar(truth, a, b, exact=False)
        assert plain.statistic == pytest.approx((first - second) ** 2 / (first + second))
        assert plain.p_value == pytest.approx(stats.chi2.sf(plain.statistic or 0, 1))
        corrected = mcnemar(truth, a, b, exact=False, correction=True)
        gap = max(0, abs(int(first) - int(second)) - 1)
        assert corrected.statistic == pytest.approx(gap**2 / (first + second))


def test_mcnemar_chooses_exact_below_25() -> None:
    truth, right = np.ones(100), np.ones(100)
    few, many = right.copy(), right.copy()
    few[:24], many[:25] = 0, 0
    assert mcnemar(truth, right, few).method == "exact binomial"
    assert mcnemar(truth, right, many).method == "chi-square"
    assert mcnemar(truth, right, right, exact=False).p_value == 1.0


TABLES = st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=2, max_size=4)


@given(TABLES)
def test_chi_square_is_scipys(table: list[list[int]]) -> None:
    counts = np.array(table)
    kept = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(kept.shape) < 2:
        with pytest.raises(EvaluationError, match="two rows"):
            chi_square(counts)
        return
    ours, theirs = chi_square(counts), stats.chi2_contingency(kept, correction=False)
    assert ours.statistic == pytest.approx(theirs.statistic)
    assert ours.degrees == theirs.dof
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert np.allclose(ours.expected, theirs.expected_freq)
    assert ours.small == (theirs.expected_freq.min() < 5)


def test_split_balance_counts_its_table() -> None:
    splits = ["train"] * 60 + ["tuning"] * 25 + ["test"] * 15
    classes = (["normal"] * 36 + ["neck"] * 24) + (["normal"] * 15 + ["neck"] * 10) + (["normal"] * 9 + ["neck"] * 6)
    even = split_balance(splits, classes)
    assert even.statistic == pytest.approx(0.0, abs=1e-12)
    assert even.p_value == pytest.approx(1.0)
    assert even.degrees == 2
    assert even.to_dict()["expected_below_5"] is False
    uneven = split_balance([1, 1, 1, 2, 2, 2] * 5, ["a", "a", "a", "b", "b", "b"] * 5)
    assert uneven.statistic == pytest.approx(30.0)


SAMPLES = st.lists(st.lists(st.integers(0, 8), min_size=2, max_size=12), min_size=2, max_size=4)


@given(SAMPLES)
def test_kruskal_wallis_is_scipys(samples: list[list[int]]) -> None:
    if len({value for sample in samples for value in sample}) < 2:
        return
    ours = kruskal_wallis({str(i): sample for i, sample in enumerate(samples)})
    theirs = stats.kruskal(*samples)
    assert ours.statistic == pytest.approx(theirs.statistic, abs=1e-9)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-12)


@given(SAMPLES)
def test_dunns_z_is_its_formula_and_for_two_samples_kruskals_h(samples: list[list[int]]) -> None:
    if len({value for sample in samples for value in sample}) < 2:
        return
    named = {str(i): sample for i, sample in enumerate(samples)}
    ranks = stats.rankdata(np.concatenate(samples))
    parts = np.split(ranks, np.cumsum([len(s) for s in samples])[:-1])
    n = ranks.size
    ties = sum(t**3 - t for t in np.unique(ranks, return_counts=True)[1])
    for pair in dunn(named):
        i, j = int(pair.first), int(pair.second)
        error = np.sqrt((n * (n + 1) / 12 - ties / (12 * (n - 1))) * (1 / parts[i].size + 1 / parts[j].size))
        assert pair.z == pytest.approx((parts[i].mean() - parts[j].mean()) / error)
        assert pair.p_value == pytest.approx(2 * stats.norm.sf(abs(pair.z)))
    two = {name: named[name] for name in ("0", "1")}
    if len({value for sample in two.values() for value in sample}) > 1 and n > 2:
        assert dunn(two)[0].z ** 2 == pytest.approx(kruskal_wallis(two).statistic, abs=1e-9)


def test_adjustments() -> None:
    assert adjust([0.01, 0.04, 0.5]) == pytest.approx([0.03, 0.12, 1.0])
    assert adjust([0.04, 0.01, 0.03], "holm") == pytest.approx([0.06, 0.03, 0.06])
    assert adjust([0.3, 0.2], "none") == [0.3, 0.2]
    assert adjust([0.01, 0.04, 0.03], "fdr") == pytest.approx([0.03, 0.04, 0.04])
    with pytest.raises(EvaluationError, match="adjustment"):
        adjust([0.1], "sidak")  # type: ignore[arg-type]
    pairs = dunn({"a": [1, 2, 3], "b": [4, 5, 6], "c": [7, 8, 9]})
    assert [p.adjusted for p in pairs] == pytest.approx([min(1, 3 * p.p_value) for p in pairs])
    assert pairs[0].to_dict()["first"] == "a"


def test_rank_tests_refuse_what_they_cannot_do() -> None:
    with pytest.raises(EvaluationError, match="at least two"):
        kruskal_wallis({"a": [1, 2]})
    with pytest.raises(EvaluationError, match="all values are equal"):
        kruskal_wallis({"a": [1, 1], "b": [1, 1]})
    with pytest.raises(EvaluationError, match="all values are equal"):
        dunn({"a": [1, 1], "b": [1, 1]})
    with pytest.raises(EvaluationError, match="empty"):
        dunn({"a": [1, 1], "b": []})


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("metric", ["auc", "average_precision"])
def test_paired_bootstrap_uses_the_same_films_for_both(metric: str, grouped: bool) -> None:
    rng = np.random.default_rng(4)
    labels = rng.random(150) < 0.4
    a, b = labels + rng.normal(size=150), labels + 2 * rng.normal(size=150)
    groups = rng.integers(0, 60, 150) if grouped else None
    result = paired_bootstrap(labels, a, b, metric, bootstrap=Bootstrap(groups=groups, resamples=80, seed=6))
    function = {"auc": metrics.roc_auc_score, "average_precision": metrics.average_precision_score}[metric]
    resampler = Resampler.over(150, groups, resamples=80, seed=6)
    values = []
    for drawn in resampler.draws():
        chosen = np.concatenate([np.flatnonzero(resampler.groups == g) for g in drawn])
        values.append(function(labels[chosen], a[chosen]) - function(labels[chosen], b[chosen]))
    assert (result.difference.low, result.difference.high) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))))
    assert float(result.difference) == pytest.approx(function(labels, a) - function(labels, b))
    general = paired_bootstrap(labels, a, b, function, bootstrap=Bootstrap(groups=groups, resamples=80, seed=6))
    assert general.difference.low == pytest.approx(result.difference.low)
    assert general.metric == function.__name__
    back = paired_bootstrap(labels, b, a, metric, bootstrap=Bootstrap(groups=groups, resamples=80, seed=6))
    assert back.difference.low == pytest.approx(-(result.difference.high or 0))


def test_paired_bootstrap_and_delong_agree_on_a_large_set() -> None:
    rng = np.random.default_rng(7)
    labels = rng.random(2000) < 0.3
    common = labels + rng.normal(size=2000)
    a, b = common + 0.5 * rng.normal(size=2000), common + 0.7 * rng.normal(size=2000)
    boot, exact = (
        paired_bootstrap(labels, a, b, bootstrap=Bootstrap(resamples=1000)),
        delong_test(labels, a, b).difference,
    )
    assert boot.difference.low == pytest.approx(exact.low, abs=0.002)
    assert boot.difference.high == pytest.approx(exact.high, abs=0.002)


def test_paired_calls_and_bad_metrics() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0] * 20)
    a, b = labels.copy(), labels.copy()
    b[::4] = 1 - b[::4]
    result = paired_bootstrap(labels, a, b, "sensitivity", bootstrap=Bootstrap(resamples=200))
    assert float(result.first) == 1.0
    assert float(result.difference) == pytest.approx(1 - metrics.recall_score(labels, b))
    assert result.p_value is not None
    assert 0 < result.p_value < 0.05
    assert (
        paired_bootstrap(labels, a, a, bootstrap=Bootstrap(resamples=50)).p_value is None
    )  # no difference at all: no interval
    assert set(METRICS) >= {"auc", "brier", "f1"}
    with pytest.raises(EvaluationError, match="unknown metric"):
        paired_bootstrap(labels, a, b, "dice")
    with pytest.raises(EvaluationError, match="calls must be 0 or 1"):
        paired_bootstrap(labels, a + 0.5, b, "ppv")
    with pytest.raises(EvaluationError, match="same length"):
        paired_bootstrap(labels, a[1:], b)


def test_readings_of_mixed_kinds_and_lengths_are_refused() -> None:
    with pytest.raises(EvaluationError, match="same kind"):
        cohen_kappa([0, 1], ["a", "b"])
    with pytest.raises(EvaluationError, match="one entry per film"):
        cohen_kappa([0, 1], [0, 1, 1])
    with pytest.raises(EvaluationError, match="NaN"):
        cohen_kappa([0.0, 1.0], [0.0, float("nan")])
    with pytest.raises(EvaluationError, match="at least one film"):
        cohen_kappa([], [])
    with pytest.raises(EvaluationError, match="weighting"):
        cohen_kappa([0, 1], [0, 1], weighting="cubic")  # type: ignore[arg-type]
