"""A reader study (Krogue et al. 2020) as a table, and simulated readers to run it on without any.

Each group of readers reads under three conditions: pictures as the network sees them, at full quality, and aided by
the network's answer. Model and readers are compared by differences of Cohen's kappa against the labels, with
superiority and non-inferiority as in the paper. Simulated readers are ours: they say nothing about people, and exist
to show and to test the statistics. Classes are numbers; some of them count as fractures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracture.errors import EvaluationError
from fracture.evaluation.stats.agreement import (
    KAPPA_DIFFERENCE,
    MARGIN,
    KappaComparison,
    OperatingPoint,
    cohen_kappa,
    compare_kappa,
    readers_point,
)
from fracture.evaluation.stats.checks import FloatArray, IntArray
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.roc import roc_band

CONDITIONS: Final = ("model-quality", "full-quality", "aided")

GROUPS: Final[Mapping[str, tuple[float, ...]]] = {
    "experts": (0.93, 0.90, 0.92, 0.91),
    "residents": (0.80, 0.77, 0.86, 0.84, 0.83, 0.81),
}
"""Skills of the simulated readers: four experts and six residents, as many as in the paper."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupReadings:
    """One group of readers under one condition.

    Attributes:
        group: ``"experts"``, ``"residents"``, ...
        condition: One of :data:`CONDITIONS`.
        calls: int (readers, cases), classes.
        training: Per reader, what readers of equal training share; pairs of them give the margin.
    """

    group: str
    condition: str
    calls: IntArray
    training: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise EvaluationError("unknown condition of a reading", got=self.condition, allowed=CONDITIONS)
        if self.calls.ndim != 2 or self.calls.size == 0:
            raise EvaluationError(
                "readings are a table",
                got=f"shape {self.calls.shape}",
                allowed="(readers, cases)",
            )


@dataclass(frozen=True, slots=True)
class StudyRow(Record):
    """Model minus one group under one condition.

    Attributes:
        group, condition: Whose readings.
        binary: Fracture or none; superiority also needs the readers' point below the model's ROC band.
        multiclass: All classes.
        point: The readers' pooled sensitivity and specificity for a fracture.
    """

    group: str
    condition: str
    binary: KappaComparison
    multiclass: KappaComparison
    point: OperatingPoint


def reader_study(
    truth: ArrayLike,
    probabilities: ArrayLike,
    readings: Sequence[GroupReadings],
    *,
    fractures: Sequence[int],
    threshold: float = 0.5,
    bootstrap: Bootstrap = KAPPA_DIFFERENCE,
    margin: float | None = None,
) -> tuple[StudyRow, ...]:
    """The paper's Table 4: model against each group under each condition.

    Args:
        truth: int (cases,), classes.
        probabilities: (cases, classes), the model's.
        readings: Of the groups.
        fractures: The classes that count as fractures.
        threshold: Of the model's probability of a fracture.
        bootstrap: How differences are drawn; as in the paper where left out.
        margin: Non-inferiority margin; None: :func:`margin_of` these readings where it is above 0, else the paper's.

    Raises:
        EvaluationError: Shapes that differ, or classes that do not exist.
    """
    labels, p = _checked(truth, probabilities)
    for one in readings:
        if one.calls.shape[1] != labels.size:
            raise EvaluationError("readings need one entry per case", got=one.calls.shape[1], allowed=labels.size)
        _check_classes(one.calls, p.shape[1])
    broken = np.isin(labels, fractures)
    scores = np.clip(p[:, list(fractures)].sum(axis=1), 0, 1)
    limit = margin if margin is not None else (margin_of(labels, readings, fractures) or MARGIN)
    band = roc_band(broken, scores, bootstrap=bootstrap) if broken.any() and not broken.all() else None
    truth_, model = broken.astype(int), (scores >= threshold).astype(int)
    rows = []
    for one in readings:
        calls = np.isin(one.calls, fractures).astype(int)
        binary = compare_kappa(truth_, model, calls, margin=limit, band=band, bootstrap=bootstrap)
        multiclass = compare_kappa(labels, p.argmax(axis=1), one.calls, margin=limit, bootstrap=bootstrap)
        point = readers_point(truth_, calls, level=bootstrap.level)
        rows.append(StudyRow(one.group, one.condition, binary, multiclass, point))
    return tuple(rows)


def margin_of(truth: ArrayLike, readings: Sequence[GroupReadings], fractures: Sequence[int]) -> float | None:
    """The paper's non-inferiority margin: the mean difference of the kappas of two readers of equal training, over
    all such pairs, all conditions, binary and multiclass (0.103 there). None where there is no pair.
    """
    labels = np.asarray(truth, np.int64)
    gaps = []
    for one in readings:
        pairs = [(i, j) for i, j in combinations(range(len(one.training)), 2) if one.training[i] == one.training[j]]
        binary = (np.isin(part, fractures).astype(int) for part in (labels, one.calls))
        for coded, calls in ((labels, one.calls), tuple(binary)):
            for pair in pairs:
                a, b = (cohen_kappa(coded, calls[k], bootstrap=Bootstrap(resamples=2)).value for k in pair)
                if a is not None and b is not None:
                    gaps.append(abs(a - b))
    return math.fsum(gaps) / len(gaps) if gaps else None


def simulate_readers(
    truth: ArrayLike,
    probabilities: ArrayLike,
    *,
    mistaken: Mapping[int, tuple[int, int]],
    hard: int,
    groups: Mapping[str, tuple[float, ...]] = GROUPS,
    coarse: float = 0.08,
    persuaded: float = 0.6,
    seed: int = 0,
) -> tuple[GroupReadings, ...]:
    """Invented readers under the three conditions.

    A reader of skill s names the right class with probability s, 0.2 less for the hard one, and otherwise a class that
    is mistaken for it. Pictures of model quality cost ``coarse``. Aided, a reader who differs from the model's label
    looks again and takes the model's label with probability ``persuaded`` where it is right, and half of that where it
    is wrong.

    Args:
        truth: int (cases,), classes.
        probabilities: (cases, classes), the model's.
        mistaken: Class -> the two that it is mistaken for, 7 and 3 times in 10.
        hard: The class that readers miss most.
        groups: Group -> skill of each of its readers; pairs in order share a training.
        coarse, persuaded: As above.
        seed: Of all draws.

    Raises:
        EvaluationError: Shapes that differ, or a skill that is not a probability.
    """
    labels, p = _checked(truth, probabilities)
    if any(not 0 <= skill <= 1 for own in groups.values() for skill in own):
        raise EvaluationError("the skill of a simulated reader", got=dict(groups), allowed="probabilities")
    rng = np.random.default_rng(seed)
    model = p.argmax(axis=1)
    made: list[GroupReadings] = []
    for group, own in groups.items():
        training = tuple(f"{group} {place // 2}" for place in range(len(own)))
        full = np.empty((len(own), labels.size), np.int64)
        poor = np.empty_like(full)
        for row, skill in enumerate(own):
            for target, cost in ((full, 0.0), (poor, coarse)):
                right = np.maximum(0.0, skill - cost - 0.2 * (labels == hard))
                wrong = [mistaken[c][int(u < 0.3)] for c, u in zip(labels, rng.random(labels.size), strict=True)]
                target[row] = np.where(rng.random(labels.size) < right, labels, wrong)
        chance = np.where(model == labels, persuaded, persuaded / 2)
        swayed = (full != model) & (rng.random(full.shape) < chance)
        aided = np.where(swayed, model, full)
        made += [GroupReadings(group, *one, training) for one in zip(CONDITIONS, (poor, full, aided), strict=True)]
    return tuple(made)


def _checked(truth: ArrayLike, probabilities: ArrayLike) -> tuple[IntArray, FloatArray]:
    labels, p = np.asarray(truth, np.int64), np.asarray(probabilities, np.float64)
    if labels.ndim != 1 or p.ndim != 2 or len(p) != labels.size or labels.size == 0:
        raise EvaluationError(
            "classes and probabilities", got=f"{labels.shape} and {p.shape}", allowed="(n,) and (n, classes)"
        )
    _check_classes(labels, p.shape[1])
    return labels, p


def _check_classes(found: NDArray[np.int64], count: int) -> None:
    if found.min() < 0 or found.max() >= count:
        raise EvaluationError("classes are numbers", got=f"{found.min()} to {found.max()}", allowed=f"0 to {count - 1}")
