"""The score of RSNA 2022 and the analysis of its paper (Lee et al. 2024, Radiology: AI 6(1):e230256).

The loss of a label is its log loss with weight 1, 2 where it is fractured, both times 7 for the patient as a whole. The
paper says that it is "averaged across all labels and examinations"; every public implementation divides by the weights
first, and only so do constants come near the leaderboard's values. So that is the default, and the two other readings
are options.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from fracture.data.files import Problems, write_rows
from fracture.errors import ConfigurationError, DataError
from fracture.evaluation.stats.labels import Comparison, LabelScore, compare_labels, score_labels
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap
from fracture.spine.tables import Numbers, joined, read_numbers, read_wide

LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")
PATIENT = "patient_overall"
LABELS = (*LEVELS, PATIENT)
Normalization: TypeAlias = Literal["exam", "all", "none"]
_CLIP = 1e-15

Array = NDArray[np.float64]


def read_submission(path: str | os.PathLike[str]) -> Numbers:
    """``row_id`` and the probability ``fractured``, in any order.

    Raises:
        UnreadableDataError, DataError: As :func:`fracture.spine.tables.read_numbers`, or a number above 1.
    """
    found = read_numbers(path, ("fractured",))
    problems = Problems(path)
    for key, (value,) in found.items():
        if value > 1:
            problems.add("probabilities above 1", key)
    problems.raise_if_any()
    return found


def read_truth(path: str | os.PathLike[str]) -> dict[str, NDArray[np.bool_]]:
    """The long truth, ``row_id`` and ``fractured`` of 0 or 1, by examination in the order of ``LABELS``.

    Raises:
        UnreadableDataError, DataError: As :func:`read_submission`, or an examination that lacks a label.
    """
    return _exams({key: values[0] for key, values in read_submission(path).items()}, str(path))


def read_labels(path: str | os.PathLike[str]) -> dict[str, NDArray[np.bool_]]:
    """The wide ``train.csv``: ``StudyInstanceUID``, ``patient_overall``, ``C1`` to ``C7``; as :func:`read_truth`.

    Raises:
        UnreadableDataError, DataError: As there.
    """
    columns = {label.lower(): label for label in LABELS}
    problems, rows = Problems(path), dict[str, float]()
    for exam, texts in read_wide(path, "StudyInstanceUID").items():
        for column, label in columns.items():
            if texts.get(column) not in ("0", "1"):
                problems.add("labels other than 0 and 1", f"{exam} {label}")
                continue
            rows[f"{exam}_{label}"] = float(texts[column])
    problems.raise_if_any()
    return _exams(rows, str(path))


def write_submission(path: str | os.PathLike[str], predicted: Mapping[str, Sequence[float]]) -> None:
    """Write a submission, by rising ``row_id``."""
    write_rows(path, ("row_id", "fractured"), ([key, *predicted[key]] for key in sorted(predicted)))


def write_labels(path: str | os.PathLike[str], truth: Mapping[str, NDArray[np.bool_]]) -> None:
    """Write the wide ``train.csv``."""
    order = [LABELS.index(label) for label in (PATIENT, *LEVELS)]
    rows = ([exam, *truth[exam][order].astype(int).tolist()] for exam in sorted(truth))
    write_rows(path, ("StudyInstanceUID", PATIENT, *LEVELS), rows)


def losses(labels: NDArray[np.bool_], p: Array) -> tuple[Array, Array]:
    """Weights and unweighted log losses of labels (exams, 8); probabilities are clipped to [1e-15, 1 - 1e-15]."""
    weights = np.where(labels, 2.0, 1.0) * np.array([1.0] * len(LEVELS) + [7.0])
    q = np.clip(p, _CLIP, 1 - _CLIP)
    return weights, np.where(labels, -np.log(q), -np.log1p(-q))


def score(
    truth: Mapping[str, NDArray[np.bool_]],
    predicted: Mapping[str, Sequence[float]],
    *,
    normalization: Normalization = "exam",
) -> float:
    """The weighted log loss of a submission, lower is better.

    Args:
        truth: Of :func:`read_truth` or :func:`read_labels`.
        predicted: Of :func:`read_submission`.
        normalization: ``"exam"`` divides by the sum of weights within each examination and takes the mean over them;
            ``"all"`` divides by the sum of all weights; ``"none"`` is the plain mean of the weighted losses.

    Raises:
        DataError: A row without a prediction.
        ConfigurationError: Another normalization.
    """
    labels, p = _arrays(truth, predicted, "the submission")
    weights, loss = losses(labels, p)
    if normalization == "exam":
        return float(((weights * loss).sum(axis=1) / weights.sum(axis=1)).mean())
    if normalization == "all":
        return float((weights * loss).sum() / weights.sum())
    if normalization == "none":
        return float((weights * loss).mean())
    raise ConfigurationError("unknown normalization", got=repr(normalization), allowed=get_args(Normalization))


@dataclass(frozen=True, slots=True)
class Analysis(Record):
    """The paper's analysis of some models.

    Attributes:
        losses: Of each model, as :func:`score` gives it by default.
        labels: Every model on every label: the paper's 64 thresholds for eight models.
        comparisons: Of the four measures over the labels.
        sites: As ``labels``, for the examinations of each site; empty where no sites were given.
    """

    losses: Mapping[str, float]
    labels: tuple[LabelScore, ...]
    comparisons: tuple[Comparison, ...]
    sites: tuple[LabelScore, ...] = ()


def analyze(
    truth: Mapping[str, NDArray[np.bool_]],
    models: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    sites: Mapping[str, str] | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> Analysis:
    """AUC, and F1, sensitivity and specificity at Youden's threshold, of every model on every label.

    Args:
        truth: As for :func:`score`.
        models: Submissions by name.
        sites: Examination to site.
        bootstrap: How the intervals of AUC and F1 are drawn; sensitivity and specificity have Wilson's.

    Raises:
        DataError: No model, a row without a prediction, or an examination without a site.
    """
    if not models:
        raise DataError("an analysis needs a model")
    exams = list(truth)
    if sites is not None and (missing := [exam for exam in exams if exam not in sites]):
        raise DataError("examinations without a site", got=f"{len(missing)}, such as {missing[0]}")
    arrays = {name: _arrays(truth, predicted, f"model {name}") for name, predicted in models.items()}
    labels, chances = next(iter(arrays.values()))[0], {name: p for name, (_, p) in arrays.items()}
    places = np.array([(sites or {}).get(exam, "") for exam in exams])
    rows, apart = score_labels(LABELS, labels, chances, draws=bootstrap), list[LabelScore]()
    for site in sorted(set(places.tolist())) if sites is not None else ():
        inside = places == site
        part = {name: p[inside] for name, p in chances.items()}
        apart += score_labels(LABELS, labels[inside], part, site=site, draws=bootstrap.of(inside))
    totals = {name: score(truth, predicted) for name, predicted in models.items()}
    return Analysis(totals, tuple(rows), compare_labels(rows), tuple(apart))


def _arrays(
    truth: Mapping[str, NDArray[np.bool_]], predicted: Mapping[str, Sequence[float]], what: str
) -> tuple[NDArray[np.bool_], Array]:
    p = joined((f"{exam}_{label}" for exam in truth for label in LABELS), predicted, what)
    return np.stack(list(truth.values())), p.reshape(-1, len(LABELS))


def _exams(rows: Mapping[str, float], name: str) -> dict[str, NDArray[np.bool_]]:
    problems = Problems(name)
    found: dict[str, dict[str, bool]] = {}
    for key, value in rows.items():
        label = next((label for label in LABELS if key.endswith(f"_{label}")), None)
        if label is None or value not in (0, 1):
            problems.add("rows that are not a label of 0 or 1", key)
        else:
            found.setdefault(key.removesuffix(f"_{label}"), {})[label] = bool(value)
    for exam, labels in found.items():
        if missing := [label for label in LABELS if label not in labels]:
            problems.add("examinations that lack labels", f"{exam}: {', '.join(missing)}")
    if not found:
        problems.add("no examination", name)
    problems.raise_if_any()
    return {exam: np.array([labels[label] for label in LABELS]) for exam, labels in found.items()}
