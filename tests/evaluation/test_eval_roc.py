"""ROC and precision-recall curves, bands, thresholds: against scikit-learn, loops over resamples, brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from fracture.errors import EvaluationError
from fracture.evaluation import Bootstrap
from fracture.evaluation.stats.resampling import Resampler
from fracture.evaluation.stats.roc import (
    nearest_corner,
    pr_curve,
    roc_band,
    roc_curve,
    threshold_table,
    youden_point,
)


def films(seed: int, n: int = 200, decimals: int = 1, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.35
    labels[:2] = (True, False)
    return labels, np.round(rng.normal(shift * labels), decimals)


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_curves_are_scikit_learns(decimals: int) -> None:
    labels, scores = films(0, decimals=decimals)
    curve = roc_curve(labels, scores)
    fpr, tpr, thresholds = metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert np.allclose(curve.fpr, fpr)
    assert np.allclose(curve.tpr, tpr)
    assert np.array_equal(curve.thresholds[1:], thresholds[1:])
    assert curve.area == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert curve.simplified().area == pytest.approx(curve.area)
    assert curve.simplified().fpr.size <= curve.fpr.size
    pr = pr_curve(labels, scores)
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    assert np.allclose(pr.precision, precision[:-1][::-1])
    assert np.allclose(pr.recall, recall[:-1][::-1])


def test_simplified_drops_straight_runs_only() -> None:
    labels, scores = np.array([1] * 50 + [0] * 50), np.arange(100.0)[::-1]
    assert roc_curve(labels, scores).simplified().fpr.tolist() == [0.0, 0.0, 1.0]
    assert roc_curve(labels, scores).simplified().tpr.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("grouped", [False, True])
def test_vertical_band_against_a_loop(grouped: bool) -> None:
    labels, scores = films(1)
    groups = np.random.default_rng(0).integers(0, 60, 200) if grouped else None
    band = roc_band(labels, scores, bootstrap=Bootstrap(groups=groups, resamples=100, seed=2), points=41)
    resampler = Resampler.over(200, groups, resamples=100, seed=2)
    rows = []
    for drawn in resampler.draws():
        chosen = np.concatenate([np.flatnonzero(resampler.groups == g) for g in drawn])
        fpr, tpr, _ = metrics.roc_curve(labels[chosen], scores[chosen], drop_intermediate=False)
        rows.append([tpr[fpr == x].max() if (fpr == x).any() else np.interp(x, fpr, tpr) for x in band.fpr])
    assert np.allclose(band.tpr, np.mean(rows, axis=0))
    assert np.allclose(band.low, np.quantile(rows, 0.025, axis=0))
    assert np.allclose(band.high, np.quantile(rows, 0.975, axis=0))
    assert band.low_at(0.25) == pytest.approx(band.low[10])
    assert band.high_at(0.25) == pytest.approx(band.high[10])


def test_fixed_width_band_holds_the_wanted_share_of_whole_curves() -> None:
    """By its definition: 90 % of the bootstrap curves lie within as a whole, and it is no wider than needed."""
    labels, scores = films(2, decimals=6)
    draws, options = Bootstrap(300, 3, 0.9), {"method": "fwb", "points": 1001}
    band = roc_band(labels, scores, bootstrap=draws, **options)  # type: ignore[arg-type]
    narrower = roc_band(labels, scores, bootstrap=replace(draws, level=0.8), **options)  # type: ignore[arg-type]
    assert band.width is not None
    assert narrower.width is not None
    assert narrower.width < band.width
    inside = []
    for drawn in Resampler.over(200, resamples=300, seed=3).draws():
        fpr, tpr, _ = metrics.roc_curve(labels[drawn], scores[drawn], drop_intermediate=False)
        # A vertex of a curve is inside the band where it is between the limits, both seen along the curve's slope.
        low = np.interp(fpr, band.fpr, band.low) - 1e-2
        high = np.interp(fpr, band.fpr, band.high) + 1e-2
        inside.append(bool(((tpr >= low) & (tpr <= high)).all()))
    assert 0.87 < np.mean(inside) < 0.96
    empirical = roc_curve(labels, scores)
    assert (np.interp(empirical.fpr, band.fpr, band.low) <= empirical.tpr + 1e-9).all()
    assert (np.interp(band.fpr, band.fpr, band.high) >= np.interp(band.fpr, empirical.fpr, empirical.tpr) - 1e-9).all()


def test_bands_coverage_on_known_curves() -> None:
    """Simulated binormal curves: the fixed-width band covers the whole true curve, the vertical one points of it."""
    rng = np.random.default_rng(4)
    labels = np.repeat([True, False], (100, 200))
    grid = np.linspace(0.02, 0.98, 49)
    truth = stats.norm.cdf(1.5 + stats.norm.ppf(grid))
    middle = (grid > 0.08) & (grid < 0.35)
    whole, points = [], []
    for seed in range(120):
        scores = rng.normal(1.5 * labels)
        fixed = roc_band(labels, scores, method="fwb", bootstrap=Bootstrap(resamples=200, seed=seed))
        low, high = np.interp(grid, fixed.fpr, fixed.low), np.interp(grid, fixed.fpr, fixed.high)
        whole.append(bool(((low <= truth) & (truth <= high)).all()))
        vertical = roc_band(labels, scores, bootstrap=Bootstrap(resamples=200, seed=seed))
        low, high = np.interp(grid, vertical.fpr, vertical.low), np.interp(grid, vertical.fpr, vertical.high)
        points.append(((low <= truth) & (truth <= high))[middle].mean())
    assert np.mean(whole) >= 0.93  # conservative in the paper and here
    assert 0.88 < np.mean(points) < 0.97


def test_band_needs_two_classes_groups_and_a_known_method() -> None:
    with pytest.raises(EvaluationError, match="fractured and normal"):
        roc_band([1, 1], [0.1, 0.2])
    with pytest.raises(EvaluationError, match="two groups"):
        roc_band([1, 0], [0.1, 0.2], bootstrap=Bootstrap(groups=[1, 1]))
    with pytest.raises(EvaluationError, match="unknown ROC band"):
        roc_band([1, 0], [0.1, 0.2], method="kernel")  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="too few resamples"):
        roc_band([1, 0, 0, 0, 0], [0.1, 0.2, 0.3, 0.4, 0.5], bootstrap=Bootstrap(resamples=50))


@pytest.mark.parametrize("seed", range(8))
def test_chosen_points_by_brute_force(seed: int) -> None:
    labels, scores = films(seed, 60, decimals=1)
    best_gain, best_distance = -2.0, 9.0
    for threshold in np.unique(scores):
        calls = scores >= threshold
        sensitivity, specificity = calls[labels].mean(), (~calls)[~labels].mean()
        best_gain = max(best_gain, sensitivity + specificity - 1)
        best_distance = min(best_distance, np.hypot(1 - sensitivity, 1 - specificity))
    youden, nearest = youden_point(labels, scores), nearest_corner(labels, scores)
    assert float(youden.sensitivity) + float(youden.specificity) - 1 == pytest.approx(best_gain)
    assert np.hypot(1 - float(nearest.sensitivity), 1 - float(nearest.specificity)) == pytest.approx(best_distance)
    for row in (youden, nearest):
        assert row.threshold in scores
        assert row.called == (scores >= row.threshold).sum()


@pytest.mark.parametrize("wanted", [1.0, 0.925, 0.9, 0.5])
def test_thresholds_are_the_largest_observed_score_that_reaches_the_sensitivity(wanted: float) -> None:
    labels, scores = films(9, 300, decimals=2)
    (row,) = threshold_table(labels, scores, sensitivities=(wanted,))
    reached = [t for t in np.unique(scores) if (scores[labels] >= t).mean() >= wanted]
    assert row.threshold == max(reached)
    assert float(row.sensitivity) >= wanted


def test_threshold_table_counts() -> None:
    labels, scores = np.array([1, 1, 0, 0, 0], dtype=bool), np.array([0.9, 0.4, 0.4, 0.2, 0.1])
    rows = threshold_table(labels, scores, [0.4, 0.95])
    assert [row.called for row in rows] == [3, 0]
    assert float(rows[0].ppv) == pytest.approx(2 / 3)
    assert rows[1].ppv.reason == "there are no films called fractured"
    assert rows[0].to_dict()["npv"]["value"] == 1.0
    with pytest.raises(EvaluationError, match="fractured films"):
        threshold_table([0, 0], [0.1, 0.2])
