"""Platt scaling: the optimum, its invariances, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from scipy.optimize import minimize

from fracture.calibration.platt import fit_members, fit_platt, with_calibrators
from fracture.errors import DataError
from tests.fake_cases import fake_card, fake_cases, fake_films


def smoothed(labels: np.ndarray) -> np.ndarray:
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    return np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def drawn(seed: int, n: int = 60, gap: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 4 == 0).astype(int)
    return rng.normal(size=n) + gap * labels, labels


def test_it_is_the_maximum_of_the_likelihood() -> None:
    logits, labels = drawn(1)
    target = smoothed(labels)

    def loss(theta: np.ndarray) -> float:
        s = theta[0] * logits + theta[1]
        return float(np.sum(np.logaddexp(0, s) - target * s))

    expected = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-8}).x
    fitted = fit_platt(logits, labels)
    assert (fitted.slope, fitted.intercept) == pytest.approx(tuple(expected), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100.0), st.floats(-50.0, 50.0), st.floats(0.3, 30.0))
def test_the_optimum_has_no_gradient_and_follows_the_scale(seed: int, scale: float, shift: float, gap: float) -> None:
    logits, labels = drawn(seed, gap=gap)
    assume(np.corrcoef(logits, labels)[0, 1] > 0.05)
    fitted = fit_platt(logits, labels)
    scores = np.array([fitted(z) for z in logits])
    off = scores - smoothed(labels)
    assert abs(off.mean()) < 1e-6  # the mean score is the (smoothed) prevalence
    assert abs((off * logits).mean()) < 1e-5
    moved = fit_platt(scale * logits + shift, labels)
    np.testing.assert_allclose([moved(scale * z + shift) for z in logits], scores, atol=1e-6)
    order = np.random.default_rng(seed).permutation(logits.size)
    shuffled = fit_platt(logits[order], labels[order])
    assert (shuffled.slope, shuffled.intercept) == pytest.approx((fitted.slope, fitted.intercept), rel=1e-6, abs=1e-8)


def test_the_best_box_counts_beside_the_logit_as_the_likelihood_has_it() -> None:
    logits, labels = drawn(2, n=200)
    peaks, _ = drawn(3, n=200, gap=2.0)
    target = smoothed(labels)

    def loss(theta: np.ndarray) -> float:
        s = theta[0] * logits + theta[1] * peaks + theta[2]
        return float(np.sum(np.logaddexp(0, s) - target * s))

    expected = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-8}).x
    fitted = fit_platt(logits, labels, peaks=peaks)
    assert (fitted.slope, fitted.peak, fitted.intercept) == pytest.approx(tuple(expected), abs=1e-5)
    s = fitted.slope * logits[0] + fitted.peak * peaks[0] + fitted.intercept
    assert fitted(logits[0], peaks[0]) == pytest.approx(1 / (1 + np.exp(-s)))


def test_an_opinion_that_would_be_turned_around_has_no_weight() -> None:
    logits, labels = drawn(2, n=200)
    fitted = fit_platt(logits, labels, peaks=-logits + drawn(4, n=200, gap=-1.0)[0])
    assert fitted == fit_platt(logits, labels)
    assert fitted.peak == 0
    turned = fit_platt(-logits, labels, peaks=logits + drawn(4, n=200)[0])
    assert turned.slope == 0 < turned.peak
    assert fit_platt(logits, labels, peaks=np.zeros(200)) == fitted  # says nothing
    with pytest.raises(DataError, match="not higher on fractured films"):
        fit_platt(-logits, labels, peaks=-logits - drawn(4, n=200)[0])


def test_classes_that_do_not_overlap_get_a_finite_sigmoid() -> None:
    fitted = fit_platt([-1.0, -1.0, -1.0, 1.0, 1.0], [0, 0, 0, 1, 1])
    assert fitted(-1.0) == pytest.approx(1 / 5, abs=1e-6)  # 1 / (N- + 2), not 0
    assert fitted(1.0) == pytest.approx(3 / 4, abs=1e-6)  # (N+ + 1) / (N+ + 2), not 1


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0], r"member a.*not higher on fractured films.*slope -"),
        ([1.0, 2.0, 3.0], [0, 0, 0], r"member a.*one class.*0 fractured, 3 without"),
        ([1.0, 2.0, 3.0], [1, 1, 1], r"member a.*one class"),
        ([0.5, 0.5, 0.5], [0, 1, 0], r"member a.*the same score"),
        ([0.5, float("nan"), 0.5], [0, 1, 0], r"member a.*finite"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(logits: list[float], labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_platt(logits, labels, name="member a")


def test_each_member_is_fitted_on_the_films_that_it_judged() -> None:
    films = fake_films(60)
    cases = (*fake_cases(films.films[:30], ["a", "b"]), *fake_cases(films.films[30:], ["b", "c"]))
    fitted = fit_members(cases)
    assert list(fitted) == ["a", "b", "c"]
    for name, own in (("a", cases[:30]), ("b", cases), ("c", cases[30:])):
        logits = [case.examined.output.member_logits[name] for case in own]
        assert fitted[name] == fit_platt(logits, [case.film.fractured for case in own])
    card = with_calibrators(fake_card(["a", "b", "d"]), fitted)
    assert [member.calibration for member in card.members] == [fitted["a"], fitted["b"], None]
    assert type(card).model_validate_json(card.model_dump_json()) == card
