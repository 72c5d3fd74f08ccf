"""DeLong against its definition by pairs, closed forms for clusters, and the paired test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fracture.errors import EvaluationError
from fracture.evaluation.stats.auc_variance import delong, delong_covariance, delong_test


def by_pairs(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs and covariance by the definition of DeLong et al. 1988: structural components over all pairs."""
    x, y = scores[:, labels], scores[:, ~labels]
    wins = (x[:, :, None] > y[:, None, :]) + 0.5 * (x[:, :, None] == y[:, None, :])
    v10, v01 = wins.mean(axis=2), wins.mean(axis=1)
    covariance = np.cov(v10) / x.shape[1] + np.cov(v01) / y.shape[1]
    return wins.mean(axis=(1, 2)), np.atleast_2d(covariance)


def data(seed: int, n: int = 80, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    labels[:4] = (True, True, False, False)
    common = rng.normal(size=n) + labels
    return labels, np.round(np.stack([common + rng.normal(size=n), common + 0.7 * rng.normal(size=n)]), decimals)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_covariance_is_the_definition(seed: int, decimals: int) -> None:
    labels, scores = data(seed, decimals=decimals)
    areas, covariance = delong_covariance(labels, scores)
    expected_areas, expected = by_pairs(labels, scores)
    assert areas == pytest.approx(expected_areas, abs=1e-12)
    assert covariance == pytest.approx(expected, abs=1e-14)


def test_interval_and_test_from_the_definition() -> None:
    labels, scores = data(11, 120)
    areas, covariance = by_pairs(labels, scores)
    estimate = delong(labels, scores[0])
    half = stats.norm.ppf(0.975) * np.sqrt(covariance[0, 0])
    assert (estimate.low, estimate.high) == pytest.approx((areas[0] - half, min(1, areas[0] + half)), abs=1e-12)
    result = delong_test(labels, scores[0], scores[1])
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert result.z == pytest.approx((areas[0] - areas[1]) / error)
    assert result.p_value == pytest.approx(2 * stats.norm.sf(abs(result.z or 0)))
    other = delong_test(labels, scores[1], scores[0])
    assert other.difference.value == pytest.approx(-float(result.difference))
    assert other.p_value == pytest.approx(result.p_value)
    assert result.to_dict()["p_value"] == result.p_value


def test_clusters_of_one_are_delong() -> None:
    labels, scores = data(3)
    plain, grouped = delong_covariance(labels, scores), delong_covariance(labels, scores, np.arange(80) + 100)
    assert grouped[1] == pytest.approx(plain[1], abs=1e-14)


@pytest.mark.parametrize("copies", [2, 5])
def test_copies_within_a_cluster_add_no_information(copies: int) -> None:
    """Closed form: every film repeated within its own cluster has the variance of the single films."""
    labels, scores = data(4)
    repeated = np.repeat(np.arange(80), copies)
    clustered = delong(labels[repeated], scores[0][repeated], groups=repeated)
    single = delong(labels, scores[0])
    assert (clustered.value, clustered.low, clustered.high) == pytest.approx((single.value, single.low, single.high))
    naive = delong(labels[repeated], scores[0][repeated])
    assert (naive.high or 0) - (naive.low or 0) < 0.8 * ((single.high or 0) - (single.low or 0))


def test_clustered_variance_by_simulation() -> None:
    """Patients with several alike films of both classes: the clustered error is the true one."""
    rng = np.random.default_rng(2)
    areas, errors = [], []
    for _ in range(400):
        patient = np.repeat(np.arange(40), 5)
        effect = rng.normal(size=40)[patient]
        labels = rng.random(200) < 0.5
        scores = effect * 1.5 + labels + rng.normal(size=200)
        area, covariance = delong_covariance(labels, scores, patient)
        areas.append(area[0])
        errors.append(np.sqrt(covariance[0, 0]))
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.1)


def test_monotone_transforms_change_nothing() -> None:
    labels, scores = data(5)
    assert delong(labels, np.exp(scores[0])) == delong(labels, scores[0])


def test_undefined_says_why() -> None:
    assert delong([1, 1], [0.1, 0.2]).reason == "all 2 films are fractured"
    perfect = delong([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])
    assert perfect.value == 1.0
    assert "variance is 0" in (perfect.reason or "")
    lonely = delong([0, 0, 1], [0.1, 0.5, 0.3])
    assert lonely.value == pytest.approx(0.5)
    assert lonely.low is None
    same = delong_test([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4])
    assert same.p_value is None
    assert same.difference.value == 0.0
    with pytest.raises(EvaluationError, match="fractured and normal"):
        delong_test([0, 0], [0.1, 0.2], [0.1, 0.2])
