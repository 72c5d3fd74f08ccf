"""Subgroups, films without an indicator, balancing for confounders."""

from __future__ import annotations

import numpy as np
import pytest

from fracture.errors import EvaluationError
from fracture.evaluation import Bootstrap
from fracture.evaluation.cohorts import (
    age_band,
    balanced_auc,
    strata_of,
    subgroups,
    without_indicators,
)
from fracture.evaluation.film import film_level
from fracture.evaluation.stats.scores import auc


def films(n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.random(n) < 0.4
    return labels, np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), rng.integers(0, 80, n)


def test_subgroups_are_the_films_on_their_own_and_may_overlap() -> None:
    labels, scores, groups = films()
    first = np.arange(400) < 250
    second = np.arange(400) >= 200
    rows = subgroups(
        "region",
        {"hand": first, "leg": second, "hip": np.zeros(400, dtype=bool), "toe": ~labels},
        labels,
        scores,
        calls=scores >= 0.5,
        bootstrap=Bootstrap(groups=groups, resamples=60),
    )
    expected = film_level(
        labels[first], scores[first], threshold=0.5, bootstrap=Bootstrap(groups=groups[first], resamples=60)
    )
    assert rows[0].result is not None
    assert rows[0].result.estimates == expected.estimates
    assert rows[1].result is not None
    assert rows[0].result.films + rows[1].result.films == 450
    assert rows[2].result is None
    assert rows[2].remark == "no film"
    assert rows[2].to_dict()["result"] is None
    assert rows[3].result is not None
    assert rows[3].result["auc"].value is None
    assert "normal" in rows[3].remark
    with pytest.raises(EvaluationError, match="one entry per film"):
        subgroups("x", {"a": first[:3]}, labels, scores)


def test_without_an_indicator_keeps_all_normal_films() -> None:
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0] * 10)
    scores = np.array([0.9, 0.8, 0.3, 0.95, 0.4, 0.35, 0.1, 0.2] * 10)
    marks = [True, True, False, None, None, None, None, False] * 10
    (row,) = without_indicators({"displacement": marks}, labels, scores, bootstrap=Bootstrap(resamples=50))
    assert row.result is not None
    assert row.result.fractured == 10  # judged, and without displacement; those not judged are left out
    assert row.result.films == 50
    assert row.result["auc"].value == pytest.approx(0.5)  # 0.3 beats 0.1 and 0.2 only
    assert auc(labels, scores, bootstrap=Bootstrap(resamples=50)).value == pytest.approx(0.875)
    with pytest.raises(EvaluationError, match="one entry per film"):
        without_indicators({"callus": [True]}, labels, scores)


def test_balancing_takes_a_pure_shortcut_away() -> None:
    """A score that only reads the site: AUC high, balanced AUC one half (Badgeley et al. 2019)."""
    rng = np.random.default_rng(1)
    site = rng.random(4000) < 0.5
    labels = rng.random(4000) < np.where(site, 0.8, 0.1)
    scores = site + 0.5 * rng.normal(size=4000)
    confounders = {"site": np.where(site, "A", "C").tolist()}
    assert float(auc(labels, scores, bootstrap=Bootstrap(resamples=50))) > 0.75
    result = balanced_auc(labels, scores, confounders, bootstrap=Bootstrap(resamples=100), calls=scores > 0.5)
    assert float(result.auc) == pytest.approx(0.5, abs=0.03)
    assert float(result.plain) > 0.75
    assert result.auc.low is not None
    assert result.auc.low < 0.5 < (result.auc.high or 0)
    assert float(result.sensitivity) == pytest.approx(1 - float(result.specificity), abs=0.03)
    assert result.strata == 2


def matched_sample(labels: np.ndarray, strata: np.ndarray, seed: int) -> np.ndarray:
    """In every stratum as many fractured as normal films, drawn without replacement."""
    rng = np.random.default_rng(seed)
    chosen = []
    for place in np.unique(strata):
        parts = [np.flatnonzero((strata == place) & (labels == label)) for label in (True, False)]
        chosen += [rng.choice(part, min(map(len, parts)), replace=False) for part in parts]
    return np.sort(np.concatenate(chosen))


def test_balanced_auc_is_the_mean_over_matched_samples() -> None:
    rng = np.random.default_rng(2)
    site = rng.integers(0, 4, 300)
    labels = rng.random(300) < (0.2 + 0.15 * site)
    scores = labels + 0.5 * site + rng.normal(size=300)
    stratum = strata_of({"site": site.tolist()}, 300)
    drawn = [matched_sample(labels, stratum, s) for s in range(600)]
    values = [float(auc(labels[i], scores[i], bootstrap=Bootstrap(resamples=2))) for i in drawn]
    result = balanced_auc(labels, scores, {"site": site.tolist()}, bootstrap=Bootstrap(resamples=50))
    assert float(result.auc) == pytest.approx(np.mean(values), abs=0.004)
    assert result.pairs == drawn[0].size // 2


def test_nothing_to_match_is_not_defined() -> None:
    result = balanced_auc([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], {"site": ["A", "A", "B", "B"]})
    assert result.auc.value is None
    assert result.left_out == 4
    assert result.to_dict()["auc"]["reason"] == "no combination of the confounders holds both classes"
    scores_only = balanced_auc(
        [0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], {"s": ["A", "A", "B", "B"]}, bootstrap=Bootstrap(resamples=50)
    )
    assert scores_only.sensitivity.value is None
    with pytest.raises(EvaluationError, match="at least one confounder"):
        balanced_auc([0, 1], [0.1, 0.2], {})
    with pytest.raises(EvaluationError, match="one entry per film"):
        balanced_auc([0, 1], [0.1, 0.2], {"site": ["A"]})


def test_age_bands() -> None:
    assert [age_band(a) for a in (0, 17.9, 18, 39, 40, 64.5, 65, 90)] == [
        "0–17",
        "0–17",
        "18–39",
        "18–39",
        "40–64",
        "40–64",
        "65 and older",
        "65 and older",
    ]
    assert age_band(None) is None
    with pytest.raises(EvaluationError, match="negative"):
        age_band(-1)
