"""The film-level row: every number against its own function, and what is not defined."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from fracture.errors import EvaluationError
from fracture.evaluation import Bootstrap
from fracture.evaluation.film import Confusion, film_level
from fracture.evaluation.stats.auc_variance import delong
from fracture.evaluation.stats.intervals import predictive_value_at, proportion
from fracture.evaluation.stats.scores import auc, average_precision, brier, calibration_error


def films(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.3
    scores = np.clip(rng.normal(0.35 + 0.3 * labels, 0.18), 0, 1)
    return labels, scores, rng.integers(0, 90, n)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_row_is_made_of_the_single_statistics(grouped: bool) -> None:
    labels, scores, groups = films()
    by = groups if grouped else None
    options = {"bootstrap": Bootstrap(200, 3, groups=by)}
    result = film_level(labels, scores, threshold=0.5, prevalences=(0.05,), **options)  # type: ignore[arg-type]
    assert result["auc"] == auc(labels, scores, **options)  # type: ignore[arg-type]
    assert result["average_precision"] == average_precision(labels, scores, **options)  # type: ignore[arg-type]
    assert result["brier"] == brier(labels, scores, **options)  # type: ignore[arg-type]
    assert result["ece"].to_dict() == pytest.approx(calibration_error(labels, scores, **options).to_dict())  # type: ignore[arg-type]
    assert result.beside["auc"] == delong(labels, scores, groups=by)
    calls = scores >= 0.5
    tn, fp, fn, tp = metrics.confusion_matrix(labels, calls).ravel()
    assert result.confusion == Confusion(tp, fn, fp, tn)
    assert result["sensitivity"] == proportion(int(tp), int(tp + fn))
    assert result["specificity"] == proportion(int(tn), int(tn + fp))
    assert result["accuracy"] == proportion(int(tp + tn), 400)
    assert float(result["ppv"]) == pytest.approx(tp / (tp + fp))
    assert float(result["npv"]) == pytest.approx(tn / (tn + fn))
    assert float(result["f1"]) == pytest.approx(metrics.f1_score(labels, calls))
    adjusted = predictive_value_at(0.05, true_positives=tp, false_negatives=fn, false_positives=fp, true_negatives=tn)
    assert float(result["ppv_at_0.05"]) == pytest.approx(float(adjusted))
    assert (result["ppv_at_0.05"].low, result["ppv_at_0.05"].high) == pytest.approx(
        (adjusted.low, adjusted.high), abs=0.05
    )
    assert ("sensitivity" in result.beside) is grouped
    assert result.groups == (np.unique(groups).size if grouped else 400)
    assert result.headline().count("|") == 4
    assert result.to_dict()["confusion"]["true_positives"] == tp


def test_order_of_the_films_does_not_matter_for_values() -> None:
    labels, scores, _ = films(1)
    order = np.random.default_rng(0).permutation(400)
    a = film_level(labels, scores, threshold=0.4, bootstrap=Bootstrap(resamples=50))
    b = film_level(labels[order], scores[order], threshold=0.4, bootstrap=Bootstrap(resamples=50))
    for name, estimate in a.estimates.items():
        assert b[name].value == pytest.approx(estimate.value)


def test_calls_win_over_scores_and_threshold_means_at_or_above() -> None:
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.5, 0.5, 0.9, 0.1])
    at = film_level(labels, scores, threshold=0.5, bootstrap=Bootstrap(resamples=50))
    assert at.confusion == Confusion(2, 0, 1, 1)
    given = film_level(labels, scores, calls=[0, 0, 1, 0], bootstrap=Bootstrap(resamples=50))
    assert given.confusion == Confusion(1, 1, 0, 2)
    with pytest.raises(EvaluationError, match="not both"):
        film_level(labels, scores, calls=[0, 0, 1, 0], threshold=0.5)
    with pytest.raises(EvaluationError, match="finite"):
        film_level(labels, scores, threshold=float("nan"))


def test_what_is_not_defined_says_so() -> None:
    normal = film_level([0, 0, 0, 0], [0.1, 0.2, 0.3, 0.9], threshold=0.5, bootstrap=Bootstrap(resamples=50))
    assert normal["auc"].reason == "all 4 films are normal"
    assert normal["sensitivity"].reason == "there are no fractured films"
    assert normal["specificity"].value == 0.75
    assert normal["f1"].reason == "there are no fractured films"
    assert normal["brier"].defined
    silent = film_level([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], threshold=0.5, bootstrap=Bootstrap(resamples=50))
    assert silent["ppv"].reason == "no film was called fractured"
    assert silent["f1"].value == 0.0  # two fractures, none called: truly zero
    loud = film_level([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], threshold=0.0, bootstrap=Bootstrap(resamples=50))
    assert loud["npv"].reason == "no film was called normal"
    scores_only = film_level([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], bootstrap=Bootstrap(resamples=50))
    assert scores_only.confusion is None
    assert "no call" in (scores_only["sensitivity"].reason or "")
    logits = film_level([0, 1, 0, 1], [-3.0, 2.0, 0.1, 4.0], bootstrap=Bootstrap(resamples=50))
    assert logits["auc"].value == 1.0
    assert logits["ece"].reason == "the scores are not probabilities in [0, 1]"
    with pytest.raises(EvaluationError, match="no such statistic"):
        logits["kappa"]
    with pytest.raises(EvaluationError, match="empty"):
        film_level([], [])
    with pytest.raises(EvaluationError, match="prevalence"):
        film_level([0, 1], [0.1, 0.2], threshold=0.1, prevalences=(1.0,))
