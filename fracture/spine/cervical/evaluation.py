"""How well levels, masks and fractures are found on necks with a truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from fracture.data.records import AnnotatedSet
from fracture.errors import DataError
from fracture.evaluation.stats.intervals import proportion
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.spine.cervical.metric import LABELS, LEVELS, analyze, score
from fracture.spine.cervical.records import labels_of, points_of, truth_of
from fracture.spine.cervical.result import CervicalSpine
from fracture.spine.measures import Measure, Measures
from fracture.spine.resample import sampled

UNSEEN = 0.05
"""The probability that a submission states for a level, or a neck, that was not found (ours)."""

_NEAR = 10.0  # mm from the true point within which a level's name is right: less than half a vertebra


@dataclass(slots=True)
class Judged:
    """What was said of each neck, and what is true.

    Attributes:
        submission: ``<neck>_<label>`` to its probability.
        truth: Neck to the eight labels.
        errors: Millimeters between found and true point of every level that is in both.
        names: Of every level that was found: whether it lies where that level is.
        missed: Levels that are in the volume and were not found.
        invented: Levels that were found and are not in the volume.
        ordered: Of every neck: whether its levels are in order from the head.
        dice: Of the mask of every level that is in both.
    """

    submission: dict[str, tuple[float]] = field(default_factory=dict)
    truth: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)
    names: list[bool] = field(default_factory=list)
    missed: int = 0
    invented: int = 0
    ordered: list[bool] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)


def read_all(reader: Any, necks: AnnotatedSet) -> Judged:
    """Read every neck.

    Raises:
        DataError: A neck cannot be read.
    """
    judged = Judged()
    paths = [necks.image_path(film) for film in necks]
    for film, result in zip(necks, reader.predict_many(paths, batch_size=1, workers=1, keep=True), strict=True):
        if not isinstance(result, CervicalSpine):
            raise DataError(f"{film.source}: a neck that cannot be read", got=result.error)
        broken, points = labels_of(film), points_of(film)
        exam = film.source.removesuffix(".gz").removesuffix(".nii")
        judged.truth[exam] = np.append(broken, broken.any())
        for label, chance in result.probabilities.items():
            judged.submission[f"{exam}_{label}"] = (UNSEEN if chance is None else chance,)
        found = {one.level: one.place for one in result.vertebrae}
        both = [level for level in found if level in points]
        away = [float(np.linalg.norm(np.subtract(found[level], points[level]))) for level in both]
        judged.errors += away
        judged.names += [far <= _NEAR for far in away] + [False] * (len(found) - len(both))
        judged.missed += len(points) - len(both)
        judged.invented += len(found) - len(both)
        heights = [place[2] for place in found.values()]
        judged.ordered.append(heights == sorted(heights, reverse=True))
        if result.masks is not None and film.extra["truth"]:
            grid = result.masks
            shape: Any = grid.voxels.shape
            true = sampled(truth_of(necks, film), grid.affine, shape, fill=0, order=0) % 100
            judged.dice += [_dice(grid.voxels == k, true == k) for k in (LEVELS.index(one) + 1 for one in both)]
    return judged


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return 2 * int((one & other).sum()) / max(int(one.sum() + other.sum()), 1)


def measure(necks: AnnotatedSet, judged: Judged, *, resamples: int = 1000) -> Measures:
    """Levels, masks, the challenge's score beside that of the best constant, and each label's discrimination."""
    share = np.mean(np.stack(list(judged.truth.values())), axis=0)
    weighted = 2 * share / (1 + share)  # the constant that the weights make best
    constant = {
        f"{exam}_{label}": (float(p),) for exam in judged.truth for label, p in zip(LABELS, weighted, strict=True)
    }
    found = analyze(judged.truth, {"model": judged.submission}, bootstrap=Bootstrap(resamples=resamples))
    errors, broken = np.array(judged.errors), int(sum(truth[-1] for truth in judged.truth.values()))
    shares = {
        "within_6_mm": proportion(int((errors <= 6).sum()), errors.size, of="levels"),
        "named_right": proportion(sum(judged.names), len(judged.names), of="levels"),
        "in_order": proportion(sum(judged.ordered), len(judged.ordered), of="necks"),
    }
    rows = tuple(Measure(name, name.replace("_", " "), one, share=True) for name, one in shares.items())
    loss, best = (round(score(judged.truth, one), 4) for one in (judged.submission, constant))
    error = round(float(np.median(errors)), 2) if errors.size else None
    dice = round(float(np.mean(judged.dice)), 3) if judged.dice else None
    facts = {
        "set": necks.name,
        "description": necks.attribution,
        "necks": len(judged.truth),
        "fractured": broken,
        "median_error_mm": error,
        "mean_dice": dice,
        "missed": judged.missed,
        "invented": judged.invented,
        "weighted_log_loss": loss,
        "weighted_log_loss_of_a_constant": best,
        "labels": found.labels,
        "comparisons": found.comparisons,
    }
    counts = f"missed {judged.missed}, invented {judged.invented}"
    more = (
        f"level points: median error {_told(error, ' mm')}; mean Dice {_told(dice)}; {counts}",
        f"weighted log loss {loss} (of the best constant {best})",
        *(f"AUC {one.label.removesuffix('_overall')}: {one.auc.text()}" for one in found.labels),
    )
    title = f"{necks.name}: {len(judged.truth)} necks, {broken} fractured ({necks.attribution})"
    return Measures(title, facts, rows, more)


def _told(value: float | None, unit: str = "") -> str:
    return "not defined" if value is None else f"{value}{unit}"


def scaling(judged: Judged) -> dict[str, list[float]]:
    """What a card's ``scaling`` has to be for these necks, if its own is that of no scaling: logistic regression, a
    fracture counting twice as in the challenge's loss.

    Raises:
        DataError: No fractured neck, none without a fracture, or no level that was found.
    """
    from sklearn.linear_model import LogisticRegression

    names = list(judged.truth)
    chances = np.array([[judged.submission[f"{exam}_{label}"][0] for label in LABELS] for exam in names])
    truth, found = np.stack(list(judged.truth.values())), chances[:, :-1] != UNSEEN
    logits = logit(np.clip(chances, 1e-6, 1 - 1e-6))

    def fitted(features: NDArray[np.float64], labels: NDArray[np.bool_]) -> list[float]:
        told = LogisticRegression().fit(features, labels, sample_weight=1 + labels)
        return [round(float(value), 4) for value in (*told.coef_[0], told.intercept_[0])]

    if len(set(truth[:, :-1][found])) < 2 or len(set(truth[:, -1])) < 2:
        raise DataError(
            "no scaling of these necks", got="levels or necks of one kind", allowed="some fractured, some not"
        )
    level = fitted(logits[:, :-1][found][:, None], truth[:, :-1][found])
    highest = np.where(found, level[0] * logits[:, :-1] + level[1], -20.0).max(axis=1)
    return {"level": level, "patient": fitted(np.stack([logits[:, -1], highest], axis=1), truth[:, -1])}
