"""The score of RSNA 2024 and what stands behind it.

Sources: the challenge's own metric (``rsna-lumbar-metric``, read in public copies; nothing of it is here) as
scikit-learn up to 1.4 computed it. Three choices are ours, and equal to it wherever it is defined: rows are joined by
``row_id``, not by place; rows are normalized here, since scikit-learn from 1.5 on does not; and where no study, or
every study, has a severe canal, the any-severe term is the binary log loss with both labels declared, where the
original raises an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fracture.data.files import Problems, write_rows
from fracture.errors import ConfigurationError, DataError
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap
from fracture.evaluation.stats.roc import OperatingRow, threshold_table
from fracture.evaluation.stats.scores import auc, calibration_error
from fracture.simulate.lumbar import LEVELS
from fracture.spine.tables import Numbers, joined, read_numbers, read_wide

SEVERITIES = ("normal_mild", "moderate", "severe")
_TEXTS = ("Normal/Mild", "Moderate", "Severe")
CONDITIONS = (
    "spinal_canal_stenosis",
    "left_neural_foraminal_narrowing",
    "right_neural_foraminal_narrowing",
    "left_subarticular_stenosis",
    "right_subarticular_stenosis",
)
LEVEL_NAMES = tuple(level.lower().replace("/", "_") for level in LEVELS)


def row_of(condition: str, level: str) -> str:
    """The row of one of ``CONDITIONS`` at ``"L4/L5"`` and so on."""
    return f"{condition}_{level.lower().replace('/', '_')}"


ROWS = tuple(row_of(condition, level) for condition in CONDITIONS for level in LEVELS)
"""The 25 rows of a study, as they follow ``{study_id}_`` in ``row_id``."""
GROUPS = ("spinal", "foraminal", "subarticular")
_EPS = float(np.finfo(np.float64).eps)
_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LumbarScore(Record):
    """The challenge's score, lower is better.

    Attributes:
        score: Mean of the three groups and, times ``any_severe_scalar``, of the any-severe term.
        spinal, foraminal, subarticular: Weighted log loss of each group.
        any_severe_spinal: Weighted binary log loss of "a severe canal anywhere" of each study.
        rows: Labeled rows that were judged.
        both_declared: Whether all studies were alike in that, and both labels had to be declared.
    """

    score: float
    spinal: float
    foraminal: float
    subarticular: float
    any_severe_spinal: float
    rows: int
    both_declared: bool


@dataclass(frozen=True, slots=True)
class GroupScore(Record):
    """What stands behind the score for some rows.

    Attributes:
        name: A condition, a level, or both.
        rows: How many.
        log_loss: Weighted as in the score.
        confusion: Counts, truth by most likely severity, both in the order of ``SEVERITIES``.
        severe_auc: Of severe against the rest, intervals by study.
        severe_calibration: Expected calibration error of the probability of severe.
        severe_at: Sensitivity and specificity of severe at thresholds.
    """

    name: str
    rows: int
    log_loss: float
    confusion: tuple[tuple[int, ...], ...]
    severe_auc: Estimate
    severe_calibration: Estimate
    severe_at: tuple[OperatingRow, ...]


def read_submission(path: str | os.PathLike[str]) -> Numbers:
    """``row_id`` and three probabilities, which need not sum to 1.

    Raises:
        UnreadableDataError, DataError: As :func:`fracture.spine.tables.read_numbers`.
    """
    return read_numbers(path, SEVERITIES)


def read_solution(path: str | os.PathLike[str]) -> Numbers:
    """``row_id``, the label as three numbers of which one is 1, and the weight; rows without a label are left out.

    Raises:
        UnreadableDataError, DataError: As :func:`fracture.spine.tables.read_numbers`, or a label that is none.
    """
    return _checked(read_numbers(path, (*SEVERITIES, "sample_weight"), blank=True), str(path))


def read_labels(path: str | os.PathLike[str]) -> Numbers:
    """The wide ``train.csv`` as a solution: weights 1, 2 and 4 by severity; what is not labeled is left out.

    Raises:
        UnreadableDataError: It cannot be read.
        DataError: A study twice, or a label of another name.
    """
    problems, found = Problems(path), Numbers()
    places = {text.lower(): k for k, text in enumerate(_TEXTS)}
    for study, columns in read_wide(path, "study_id").items():
        for row in ROWS:
            if (text := columns.get(row)) is None:
                continue
            if (grade := places.get(text.lower())) is None:
                problems.add(f"labels other than {', '.join(_TEXTS)}", f"{study} {row}: {text[:20]}")
                continue
            found[f"{study}_{row}"] = (*(float(k == grade) for k in range(3)), float(2**grade))
    problems.raise_if_any()
    return _checked(found, str(path))


def write_submission(path: str | os.PathLike[str], predicted: Mapping[str, Sequence[float]]) -> None:
    """Write a submission, by rising ``row_id``."""
    write_rows(path, ("row_id", *SEVERITIES), ([key, *predicted[key]] for key in sorted(predicted)))


def write_solution(path: str | os.PathLike[str], truth: Mapping[str, Sequence[float]]) -> None:
    """Write a solution, by rising ``row_id``."""
    rows = ([key, *map(int, truth[key][:3]), f"{truth[key][3]:g}"] for key in sorted(truth))
    write_rows(path, ("row_id", *SEVERITIES, "sample_weight"), rows)


def write_labels(path: str | os.PathLike[str], truth: Mapping[str, Sequence[float]]) -> None:
    """Write the wide ``train.csv``; what has no label stays blank."""
    studies = sorted({_parts(key)[0] for key in truth})
    text = {key: _TEXTS[int(np.argmax(values[:3]))] for key, values in truth.items()}
    rows = ([study, *(text.get(f"{study}_{row}", "") for row in ROWS)] for study in studies)
    write_rows(path, ("study_id", *ROWS), rows)


def score(
    truth: Mapping[str, Sequence[float]], predicted: Mapping[str, Sequence[float]], *, any_severe_scalar: float = 1.0
) -> LumbarScore:
    """The score of a submission.

    Args:
        truth: Of :func:`read_solution` or :func:`read_labels`.
        predicted: Of :func:`read_submission`; rows without a label are left out.
        any_severe_scalar: Weight of the any-severe term against each group's 1.

    Raises:
        DataError: A labeled row without a prediction, or a group without a labeled row.
        ConfigurationError: A negative scalar.
    """
    if not any_severe_scalar >= 0:
        raise ConfigurationError("any_severe_scalar is a number of 0 or more", got=any_severe_scalar)
    losses, weights, alike = _terms(truth, predicted)
    parts = (losses.sum(axis=1) / weights.sum(axis=1)).tolist()
    total = (sum(parts[:3]) + any_severe_scalar * parts[3]) / (3 + any_severe_scalar)
    return LumbarScore(total, parts[0], parts[1], parts[2], parts[3], len(truth), alike)


def score_estimate(
    truth: Mapping[str, Sequence[float]], predicted: Mapping[str, Sequence[float]], *, bootstrap: Bootstrap = DEFAULT
) -> Estimate:
    """The score with an interval, drawn by study; arguments and errors as for :func:`score`."""
    losses, weights, _ = _terms(truth, predicted)

    def of(drawn: Array) -> Array:
        values: Array = ((drawn @ losses.T) / (drawn @ weights.T)).mean(axis=1)
        return values

    return replace(bootstrap, groups=None).over(losses.shape[1]).estimate(of)


def _terms(truth: Mapping[str, Sequence[float]], predicted: Mapping[str, Sequence[float]]) -> tuple[Array, Array, bool]:
    """Weighted losses and weights of the four terms by study, (4, studies), and whether all are alike in severe."""
    labels, weights, p = _arrays(truth, predicted)
    names = np.array([next(k for k, group in enumerate(GROUPS) if group in key) for key in truth])
    if missing := sorted(set(range(3)) - set(names.tolist())):
        absent = ", ".join(GROUPS[k] for k in missing)
        raise DataError("the score needs a labeled row of every group", got=f"none of {absent}")
    studies, study = np.unique([_parts(key)[0] for key in truth], return_inverse=True)
    sums, counts, worst = np.zeros((4, len(studies))), np.zeros((4, len(studies))), np.zeros((3, len(studies)))
    np.add.at(sums, (names, study), _losses(labels, p) * weights)
    np.add.at(counts, (names, study), weights)
    spinal = names == 0
    for row, values in zip(worst, (labels[spinal, 2], p[spinal, 2], weights[spinal]), strict=True):
        np.maximum.at(row, study[spinal], values)
    severe, chance, counts[3] = worst
    sums[3] = _losses(np.stack([1 - severe, severe], 1), np.stack([1 - chance, chance], 1)) * counts[3]
    known = severe[counts[3] > 0]
    return sums, counts, bool((known == known[0]).all())


def analyze(
    truth: Mapping[str, Sequence[float]],
    predicted: Mapping[str, Sequence[float]],
    *,
    thresholds: Sequence[float] = _THRESHOLDS,
    bootstrap: Bootstrap = DEFAULT,
) -> tuple[GroupScore, ...]:
    """What stands behind the score: for each condition, each level, and each pair of them that has labeled rows.

    Args:
        truth, predicted: As for :func:`score`.
        thresholds: Of the probability of severe, normalized.
        bootstrap: How intervals are drawn; by study, whatever groups it has.

    Raises:
        DataError: A labeled row without a prediction.
    """

    labels, weights, p = _arrays(truth, predicted)
    p = _normalized(p)
    parts = [_parts(key) for key in truth]
    studies, conditions, levels = (np.array(column) for column in zip(*parts, strict=True))
    everywhere = np.ones(len(parts), bool)
    wanted = [(condition, conditions == condition) for condition in CONDITIONS]
    wanted += [(level, levels == level) for level in LEVEL_NAMES]
    wanted += [(row, (conditions == row[: -len("_l1_l2")]) & (levels == row[-len("l1_l2") :])) for row in ROWS]
    found = []
    for name, inside in [("all", everywhere), *wanted]:
        if not inside.any():
            continue
        severe, chance = labels[inside, 2], p[inside, 2]
        drawn = replace(bootstrap, groups=studies[inside])
        counts = np.zeros((3, 3), np.int64)
        np.add.at(counts, (labels[inside].argmax(axis=1), p[inside].argmax(axis=1)), 1)
        found.append(
            GroupScore(
                name,
                int(inside.sum()),
                _log_loss(labels[inside], p[inside], weights[inside]),
                tuple(tuple(row) for row in counts.tolist()),
                auc(severe, chance, bootstrap=drawn),
                calibration_error(severe, chance, bootstrap=drawn),
                threshold_table(severe, chance, thresholds),
            )
        )
    return tuple(found)


def _checked(truth: Numbers, name: str) -> Numbers:
    problems = Problems(name)
    for key, values in truth.items():
        if sorted(values[:3]) != [0, 0, 1]:
            problems.add("labels of which not exactly one is 1", key)
        if not values[3] > 0:
            problems.add("weights that are not positive", key)
        if not any(key.endswith(f"_{row}") for row in ROWS):
            problems.add("rows of no known condition and level", key)
    problems.raise_if_any()
    return truth


def _parts(key: str) -> tuple[str, str, str]:
    """Study, condition and level of a ``row_id``."""
    row = next(row for row in ROWS if key.endswith(f"_{row}"))
    return key[: -len(row) - 1], row[: -len("_l1_l2")], row[-len("l1_l2") :]


def _arrays(
    truth: Mapping[str, Sequence[float]], predicted: Mapping[str, Sequence[float]]
) -> tuple[Array, Array, Array]:
    p = joined(truth, predicted, "the submission")
    table = np.array(list(truth.values()), np.float64)
    return table[:, :3], table[:, 3], p


def _normalized(p: Array) -> Array:
    """Clipped to the smallest step of a double, then to a sum of 1, in the order in which scikit-learn did both."""
    clipped = np.clip(p, _EPS, 1 - _EPS)
    shares: Array = clipped / clipped.sum(axis=1, keepdims=True)
    return shares


def _losses(labels: Array, p: Array) -> Array:
    losses: Array = -(labels * np.log(_normalized(p))).sum(axis=1)
    return losses


def _log_loss(labels: Array, p: Array, weights: Array) -> float:
    return float((_losses(labels, p) * weights).sum() / weights.sum())
