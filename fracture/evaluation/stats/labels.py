"""Several models on several labels of the same examinations: thresholds of their own, and labels compared.

As the paper of RSNA 2022 has it (Lee et al. 2024, Radiology: AI 6(1):e230256): Youden's threshold for every model and
label, Kruskal-Wallis with Dunn's comparisons over the labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fracture.evaluation.stats.estimate import Estimate, not_defined
from fracture.evaluation.stats.hypothesis_tests import DunnPair, KruskalWallis, dunn, kruskal_wallis
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap, bootstrap
from fracture.evaluation.stats.roc import youden_point
from fracture.evaluation.stats.scores import auc, one_class_reason
from fracture.evaluation.stats.statistics import confusion_statistics

_MEASURES = ("auc", "f1", "sensitivity", "specificity")
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelScore(Record):
    """One model on one label.

    Attributes:
        model, label: Which.
        site: Of the examinations; empty for all of them.
        auc: With an interval by examination.
        threshold: Youden's, found on these very examinations as in the paper, so optimistic; None with one class.
        f1, sensitivity, specificity: At that threshold.
    """

    model: str
    label: str
    site: str
    auc: Estimate
    threshold: float | None
    f1: Estimate
    sensitivity: Estimate
    specificity: Estimate


@dataclass(frozen=True, slots=True)
class Comparison(Record):
    """One measure compared over the labels, each with one value for each model.

    Attributes:
        measure: ``"auc"``, ``"f1"``, ``"sensitivity"`` or ``"specificity"``.
        test: Kruskal-Wallis; None where it is not defined.
        pairs: Dunn's multiple comparisons, adjusted as Prism does (Bonferroni).
        reason: Why there is no test.
    """

    measure: str
    test: KruskalWallis | None
    pairs: tuple[DunnPair, ...] = ()
    reason: str | None = None


def score_labels(
    labels: Sequence[str],
    truth: NDArray[np.bool_],
    models: Mapping[str, Array],
    *,
    site: str = "",
    draws: Bootstrap = DEFAULT,
) -> list[LabelScore]:
    """Every model on every label.

    Args:
        labels: Names of the columns.
        truth: (examinations, labels).
        models: Probabilities of the same shape by name.
        site: Of the examinations, as it is stated.
        draws: How the intervals of AUC and F1 are drawn; sensitivity and specificity have Wilson's.
    """
    return [
        _judged(name, label, site, truth[:, k], p[:, k], draws)
        for name, p in models.items()
        for k, label in enumerate(labels)
    ]


def compare_labels(rows: Sequence[LabelScore]) -> tuple[Comparison, ...]:
    """AUC, F1, sensitivity and specificity compared over the labels, one value for each model."""
    return tuple(_compared(rows, measure) for measure in _MEASURES)


def _judged(model: str, label: str, site: str, truth: NDArray[np.bool_], p: Array, drawn: Bootstrap) -> LabelScore:
    if (reason := one_class_reason(truth)) is not None:
        none = not_defined(reason, n=truth.size)
        return LabelScore(model, label, site, none, None, none, none, none)
    point = youden_point(truth, p, drawn.level)
    statistic = {"f1": confusion_statistics(truth, p >= point.threshold)["f1"]}
    f1 = bootstrap(statistic, drawn.over(truth.size))["f1"]
    found = auc(truth, p, bootstrap=drawn)
    return LabelScore(model, label, site, found, point.threshold, f1, point.sensitivity, point.specificity)


def _compared(rows: Sequence[LabelScore], measure: str) -> Comparison:
    samples = {
        label: [value.value for row in rows if row.label == label and (value := getattr(row, measure)).defined]
        for label in dict.fromkeys(row.label for row in rows)
    }
    known = {label: np.array(values, np.float64) for label, values in samples.items() if values}
    flat = np.concatenate(list(known.values())) if known else np.zeros(0)
    if len(known) < 2 or len(flat) < 3 or (flat == flat[0]).all():
        return Comparison(measure, None, (), "it needs two labels with different values")
    return Comparison(measure, kruskal_wallis(known), dunn(known))
