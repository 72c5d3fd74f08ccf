"""The reader study of Krogue et al. 2020 as a table, and simulated readers to run it on without any.

Each group of readers reads under three conditions: pictures as the network sees them, at full quality, and aided by
the network's top two classes and heatmap. Model and readers are compared by differences of Cohen's kappa against the
labels, with superiority and non-inferiority as in the paper. Simulated readers are ours: they say nothing about
people, and exist to show and to test the statistics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracture.errors import EvaluationError
from fracture.evaluation.stats.agreement import KappaComparison, cohen_kappa, compare_kappa, readers_point
from fracture.evaluation.stats.agreement import OperatingPoint as ReadersPoint
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.roc import RocBand, roc_band
from fracture.hip.classes import CLASSES, FRACTURES

__all__ = [
    "CONDITIONS",
    "Readings",
    "StudyRow",
    "margin_of",
    "reader_study",
    "reading_times",
    "simulate_readers",
]

CONDITIONS: Final = ("model-quality", "full-quality", "aided")

_BROKEN: Final = np.isin(CLASSES, FRACTURES)


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """One group of readers under one condition.

    Attributes:
        group: ``"experts"``, ``"residents"``, ...
        condition: One of :data:`CONDITIONS`.
        calls: int (readers, hips), places in ``CLASSES``.
        training: Per reader, what readers of equal training share; pairs of them give the margin.
    """

    group: str
    condition: str
    calls: NDArray[np.int64]
    training: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise EvaluationError("unknown condition of a reading", got=self.condition, allowed=CONDITIONS)
        if self.calls.ndim != 2 or self.calls.size == 0 or not ((self.calls >= 0) & (self.calls < len(CLASSES))).all():
            raise EvaluationError(
                "readings are classes of hips",
                got=f"shape {self.calls.shape}",
                allowed=f"(readers, hips) of 0 to {len(CLASSES) - 1}",
            )


@dataclass(frozen=True, slots=True)
class StudyRow:
    """Model minus one group under one condition.

    Attributes:
        group, condition: Whose readings.
        binary: Fracture or none; superiority also needs the readers' point below the model's ROC band.
        multiclass: Six classes.
        point: The readers' pooled sensitivity and specificity for a fracture.
    """

    group: str
    condition: str
    binary: KappaComparison
    multiclass: KappaComparison
    point: ReadersPoint

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "group": self.group,
            "condition": self.condition,
            "binary": self.binary.to_dict(),
            "multiclass": self.multiclass.to_dict(),
            "point": self.point.to_dict(),
        }


def reader_study(
    truth: ArrayLike,
    probabilities: ArrayLike,
    readings: Sequence[Readings],
    *,
    groups: ArrayLike | None = None,
    threshold: float = 0.5,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    margin: float | None = None,
) -> tuple[StudyRow, ...]:
    """The paper's Table 4: model against each group under each condition.

    Args:
        truth: int (hips,), places in ``CLASSES``.
        probabilities: (hips, 6), the model's.
        readings: Of the groups.
        groups: (hips,) patients, or None.
        threshold: Of the model's probability of a fracture.
        resamples, seed, level: Of the bootstrap.
        margin: Non-inferiority margin; None: :func:`margin_of` these readings where it is above 0, else the paper's.

    Raises:
        EvaluationError: Shapes that differ, or classes that do not exist.
    """
    labels, p = _checked(truth, probabilities)
    for one in readings:
        if one.calls.shape[1] != labels.size:
            raise EvaluationError("readings need one entry per hip", got=one.calls.shape[1], allowed=labels.size)
    broken = _BROKEN[labels]
    scores = np.clip(p[:, _BROKEN].sum(axis=1), 0, 1)
    limit = margin if margin is not None else (margin_of(labels, readings) or 0.103)
    draws = Bootstrap(resamples, seed, level, groups, one_per_group=True)
    band: RocBand | None = None
    if broken.any() and not broken.all():
        band = roc_band(broken, scores, bootstrap=draws)
    rows = []
    for one in readings:
        calls = _BROKEN[one.calls]
        rows.append(
            StudyRow(
                one.group,
                one.condition,
                compare_kappa(
                    broken.astype(int),
                    (scores >= threshold).astype(int),
                    calls.astype(int),
                    margin=limit,
                    band=band,
                    bootstrap=draws,
                ),
                compare_kappa(labels, p.argmax(axis=1), one.calls, margin=limit, bootstrap=draws),
                readers_point(broken.astype(int), calls.astype(int), level=level),
            )
        )
    return tuple(rows)


def compare_groups(
    truth: ArrayLike, first: Readings, second: Readings, *, binary: bool = False, **options: Any
) -> KappaComparison:
    """One group of readers minus another: aided minus unaided, residents minus experts (the paper's Table 5).

    Args:
        truth: int (hips,), places in ``CLASSES``.
        first, second: The readings.
        binary: Fracture or none instead of six classes.
        **options: Of :func:`fracture.evaluation.stats.agreement.compare_kappa`.
    """
    labels = np.asarray(truth, np.int64)
    if binary:
        coded = [_BROKEN[one].astype(int) for one in (labels, first.calls, second.calls)]
        return compare_kappa(*coded, **options)
    return compare_kappa(labels, first.calls, second.calls, **options)


def margin_of(truth: ArrayLike, readings: Sequence[Readings]) -> float | None:
    """The paper's non-inferiority margin: the mean difference of the kappas of two readers of equal training, over
    all such pairs, all conditions, binary and multiclass (0.103 there). None where there is no pair.
    """
    labels = np.asarray(truth, np.int64)
    gaps = []
    for one in readings:
        pairs = [(i, j) for i, j in combinations(range(len(one.training)), 2) if one.training[i] == one.training[j]]
        for coded, calls in ((labels, one.calls), (_BROKEN[labels].astype(int), _BROKEN[one.calls].astype(int))):
            for i, j in pairs:
                kappas = [cohen_kappa(coded, calls[k], bootstrap=Bootstrap(resamples=2)).value for k in (i, j)]
                if kappas[0] is not None and kappas[1] is not None:
                    gaps.append(abs(kappas[0] - kappas[1]))
    return math.fsum(gaps) / len(gaps) if gaps else None


def simulate_readers(
    truth: ArrayLike,
    probabilities: ArrayLike,
    *,
    groups: Mapping[str, tuple[float, ...]] | None = None,
    coarse: float = 0.08,
    persuaded: float = 0.6,
    seed: int = 0,
) -> tuple[Readings, ...]:
    """Invented readers under the three conditions.

    A reader of skill s names the right class with probability s, less for nondisplaced fractures, and otherwise a class
    that is mistaken for it (a neighbor: a nondisplaced fracture is called normal, a displaced one intertrochanteric,
    and so on). Pictures of model quality cost ``coarse``. Aided, a reader who differs from the model's label looks
    again and takes the model's label with probability ``persuaded`` where it is right, and half of that where it is
    wrong.

    Args:
        truth: int (hips,), places in ``CLASSES``.
        probabilities: (hips, 6), the model's.
        groups: Group -> skill of each of its readers; pairs in order share a training. By default four experts and
            six residents as in the paper.
        coarse: As above.
        persuaded: As above.
        seed: Of all draws.

    Raises:
        EvaluationError: Shapes that differ, or a skill that is no probability.
    """
    labels, p = _checked(truth, probabilities)
    skills = groups or {"experts": (0.93, 0.90, 0.92, 0.91), "residents": (0.80, 0.77, 0.86, 0.84, 0.83, 0.81)}
    if any(not 0 <= skill <= 1 for own in skills.values() for skill in own):
        raise EvaluationError("the skill of a simulated reader", got=dict(skills), allowed="probabilities")
    rng = np.random.default_rng(seed)
    mistaken = {0: (2, 3), 1: (3, 2), 2: (0, 1), 3: (1, 0), 4: (5, 0), 5: (4, 0)}
    model = p.argmax(axis=1)
    made: list[Readings] = []
    for group, own in skills.items():
        training = tuple(f"{group} {place // 2}" for place in range(len(own)))
        full = np.empty((len(own), labels.size), np.int64)
        poor = np.empty_like(full)
        for row, skill in enumerate(own):
            for target, cost in ((full, 0.0), (poor, coarse)):
                right = np.maximum(0.0, skill - cost - 0.2 * (labels == CLASSES.index("nondisplaced_neck")))
                wrong = np.array(
                    [mistaken[c][int(u < 0.3)] for c, u in zip(labels, rng.random(labels.size), strict=True)]
                )
                target[row] = np.where(rng.random(labels.size) < right, labels, wrong)
        chance = np.where(model == labels, persuaded, persuaded / 2)
        swayed = (full != model) & (rng.random(full.shape) < chance)
        aided = np.where(swayed, model, full)
        made += [
            Readings(group, name, calls, training) for name, calls in zip(CONDITIONS, (poor, full, aided), strict=True)
        ]
    return tuple(made)


def reading_times(minutes: ArrayLike) -> dict[str, float | int]:
    """Mean, standard deviation and range of reading times without outliers: points more than 1.5 interquartile ranges
    outside the quartiles are left out (Krogue et al. 2020, Statistical Analysis).

    Raises:
        EvaluationError: No time, or one that is not finite.
    """
    values = np.asarray(minutes, np.float64).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        raise EvaluationError("reading times are finite numbers, at least one", got=f"{values.size} values")
    low, high = np.quantile(values, (0.25, 0.75))
    kept = values[(values >= low - 1.5 * (high - low)) & (values <= high + 1.5 * (high - low))]
    return {
        "n": int(kept.size),
        "left_out": int(values.size - kept.size),
        "mean": float(kept.mean()),
        "deviation": float(kept.std(ddof=1)) if kept.size > 1 else 0.0,
        "minimum": float(kept.min()),
        "maximum": float(kept.max()),
    }


def _checked(truth: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    labels, p = np.asarray(truth, np.int64), np.asarray(probabilities, np.float64)
    if labels.ndim != 1 or p.shape != (labels.size, len(CLASSES)) or labels.size == 0:
        raise EvaluationError(
            "classes and probabilities of hips", got=f"{labels.shape} and {p.shape}", allowed="(n,) and (n, 6)"
        )
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise EvaluationError(
            "places of classes", got=f"{labels.min()} to {labels.max()}", allowed=f"0 to {len(CLASSES) - 1}"
        )
    return labels, p
