"""Proportions: golden values, scipy, closed forms, coverage; the paper's table from its counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from fracture.errors import EvaluationError
from fracture.evaluation import Bootstrap
from fracture.evaluation.film import Confusion, from_confusion
from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.intervals import clopper_pearson, predictive_value_at, proportion
from fracture.intervals import wilson


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [
        (2299, 2415, (95.197, 94.270, 95.980)),
        (2298, 2415, (95.155, 94.225, 95.942)),
        (11060, 13604, (81.300, 80.636, 81.946)),
        (0, 10, (0.0, 0.0, 27.753)),
        (5, 10, (50.0, 23.659, 76.341)),
        (10, 10, (100.0, 72.247, 100.0)),
    ],
)
def test_wilson_golden_values(successes: int, n: int, expected: tuple[float, float, float]) -> None:
    estimate = proportion(successes, n)
    got = [100 * value for value in (estimate.value, estimate.low, estimate.high) if value is not None]
    assert got == pytest.approx(expected, abs=5e-4)


@given(n=st.integers(1, 400), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_intervals_agree_with_scipy(n: int, share: float, level: float) -> None:
    successes = round(share * n)
    test = stats.binomtest(successes, n)
    ours, theirs = wilson(successes, n, level), test.proportion_ci(level, method="wilson")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    ours, theirs = clopper_pearson(successes, n, level), test.proportion_ci(level, method="exact")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(n=st.integers(1, 300), share=st.floats(0, 1))
def test_wilson_is_symmetric_and_holds_the_share(n: int, share: float) -> None:
    successes = round(share * n)
    low, high = wilson(successes, n)
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert 0.0 <= low <= successes / n <= high <= 1.0


@pytest.mark.parametrize("n", [20, 50, 200])
def test_wilson_covers_95_percent_averaged_over_p(n: int) -> None:
    """Exact coverage: the binomial probability of the counts whose interval holds p, averaged over p."""
    p = np.linspace(0.005, 0.995, 397)
    limits = np.array([wilson(k, n) for k in range(n + 1)])
    inside = (limits[:, :1] <= p) & (p <= limits[:, 1:])
    coverage = (stats.binom.pmf(np.arange(n + 1)[:, None], n, p) * inside).sum(axis=0)
    assert 0.93 < coverage.mean() < 0.97


def test_the_papers_table_from_its_counts() -> None:
    """Jones et al. 2020: 95.2 (94.2-96.0), 81.3 (80.7-81.9), 47.4 (46.0-48.9), 99.0 (98.8-99.1)."""
    found = from_confusion(Confusion(2299, 116, 2544, 11060), bootstrap=Bootstrap(resamples=1000, seed=0))
    paper = {
        "sensitivity": (95.2, 94.2, 96.0),
        "specificity": (81.3, 80.7, 81.9),
        "ppv": (47.4, 46.0, 48.9),
        "npv": (99.0, 98.8, 99.1),
    }
    for name, values in paper.items():
        estimate = found[name]
        got = [100 * v for v in (estimate.value, estimate.low, estimate.high) if v is not None]
        assert got == pytest.approx(values, abs=0.1), name
    assert found["sensitivity"].method == "Wilson"
    assert found["ppv"].method == "bootstrap, m = 1000"


def test_multinomial_bootstrap_of_counts_is_the_bootstrap_of_films() -> None:
    from fracture.evaluation.film import film_level

    counts = Confusion(60, 15, 40, 185)
    labels = np.repeat([1, 1, 0, 0], list(counts.to_dict().values()))
    calls = np.repeat([1, 0, 1, 0], list(counts.to_dict().values()))
    films = film_level(labels, calls.astype(float), calls=calls, bootstrap=Bootstrap(resamples=4000))
    table = from_confusion(counts, bootstrap=Bootstrap(resamples=4000))
    for name in ("ppv", "npv", "f1"):
        a, b = films[name], table[name]
        assert a.value == b.value
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=0.012)


@given(
    tp=st.integers(1, 500),
    fn=st.integers(1, 500),
    fp=st.integers(1, 500),
    tn=st.integers(1, 500),
)
def test_predictive_values_at_the_films_own_prevalence_are_the_plain_ones(tp: int, fn: int, fp: int, tn: int) -> None:
    prevalence = (tp + fn) / (tp + fn + fp + tn)
    counts = {"true_positives": tp, "false_negatives": fn, "false_positives": fp, "true_negatives": tn}
    ppv = predictive_value_at(prevalence, value="ppv", **counts)
    npv = predictive_value_at(prevalence, value="npv", **counts)
    assert float(ppv) == pytest.approx(tp / (tp + fp))
    assert float(npv) == pytest.approx(tn / (tn + fn))
    assert ppv.low is not None
    assert ppv.high is not None
    assert ppv.low < float(ppv) < ppv.high


def test_predictive_value_by_bayes_and_mercaldo() -> None:
    counts = {"true_positives": 90, "false_negatives": 10, "false_positives": 40, "true_negatives": 160}
    estimate = predictive_value_at(0.02, **counts)
    assert float(estimate) == pytest.approx(0.9 * 0.02 / (0.9 * 0.02 + 0.2 * 0.98))
    spread = 1.959963984540054 * math.sqrt(0.1 / (0.9 * 100) + 0.8 / (0.2 * 200))
    logit = math.log(float(estimate) / (1 - float(estimate)))
    expected = [1 / (1 + math.exp(-(logit + s))) for s in (-spread, spread)]
    assert [estimate.low, estimate.high] == pytest.approx(expected)


def test_predictive_value_that_is_not_defined_says_why() -> None:
    none_called = predictive_value_at(0.1, true_positives=0, false_negatives=5, false_positives=0, true_negatives=9)
    assert none_called.value is None
    assert none_called.reason == "no film was called positive"
    perfect = predictive_value_at(0.1, true_positives=5, false_negatives=0, false_positives=0, true_negatives=9)
    assert perfect.value == 1.0
    assert perfect.low is None
    assert perfect.reason is not None


def test_bad_counts_are_refused() -> None:
    for call in (
        lambda: wilson(1, 0),
        lambda: wilson(5, 4),
        lambda: wilson(-1, 4),
        lambda: wilson(1, 4, 1.0),
        lambda: proportion(1, 4, method="wald"),  # type: ignore[arg-type]
        lambda: predictive_value_at(0.0, true_positives=1, false_negatives=1, false_positives=1, true_negatives=1),
        lambda: Confusion(0, 0, 0, 0),
        lambda: Confusion(1, -1, 0, 0),
    ):
        with pytest.raises(EvaluationError):
            call()


def test_an_estimate_is_never_a_silent_nan_or_zero() -> None:
    with pytest.raises(EvaluationError):
        Estimate(float("nan"))
    empty = proportion(0, 0, of="fractures")
    assert empty.value is None
    assert empty.text() == "not defined"
    assert empty.to_dict()["value"] is None
    assert empty.reason == "there are no fractures"
    with pytest.raises(EvaluationError, match="no fractures"):
        float(empty)
    assert not not_defined("x").has_interval


def test_text_is_in_the_papers_form() -> None:
    assert Estimate(0.974, 0.971, 0.977).text() == "0.974 (0.971–0.977)"
    assert Estimate(0.952, 0.942, 0.96).text(percent=True) == "95.2 (94.2–96.0)"
    assert Estimate(-0.018, -0.061, 0.025).text() == "-0.018 (-0.061 to 0.025)"
    assert Estimate(0.5).text() == "0.500"
