"""Calibrate the fast subset of a set of weights, measure what it loses, and store both in the card."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fracture.calibration.cases import box_tables
from fracture.calibration.metrics import number_of
from fracture.data.records import AnnotatedSet
from fracture.errors import ConfigurationError, DataError
from fracture.evaluation.detection import FrocSensitivity
from fracture.evaluation.matching import Criterion, match
from fracture.evaluation.stats.comparison import PairedDifference, paired_bootstrap, paired_difference
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.limb.card import Card
from fracture.limb.detector import measured_self_test
from fracture.limb.fast import fast_card, with_fast
from fracture.limb.prediction import Prediction
from fracture.limb.store import Weights, open_weights
from fracture.wing.result import HIGH_SENSITIVITY, HIGH_SPECIFICITY

if TYPE_CHECKING:
    from fracture.calibration.run import CalibrationResult
    from fracture.evaluation.stats.checks import FloatArray

_BESIDE = ("split.json",)  # what calibration looks for beside the weights
_FALSE_POSITIVES = 0.5  # per film, where the FROC curve is read, as in the card's metrics
_UNSEEN = (
    "out of fold every film is judged by the one network that held it out, whether all networks ship or one; "
    "what the mean of all gains is not seen there"
)
_FOUND = Criterion("iou_or_center", 0.3)


def calibrate_fast(
    weights: str | Path,
    members: Sequence[str],
    annotated: AnnotatedSet,
    whole: Sequence[Prediction],
    calibrate: Callable[[Path], CalibrationResult],
    *,
    seed: int = 0,
) -> CalibrationResult:
    """Calibrate some of the members as weights of their own, and store what is found as the card's ``fast``.

    >>> whole = calibrate("weights/mine", films)
    >>> calibrate_fast("weights/mine", ["resnet18"], films, whole.predictions, lambda folder: calibrate(folder, films))

    Args:
        weights: Folder or name of the weights; its card's ``fast`` is replaced, the rest of it kept.
        members: File names or stems of the members that ``fast=True`` runs.
        annotated: The films, with their annotations.
        whole: The whole ensemble's cross-fitted predictions on these films, with candidates
            (``CalibrationResult.predictions``).
        calibrate: Calibrates the weights in a folder on these films: the same way as the whole ensemble was. It gets
            a temporary folder (:func:`write_subset`).
        seed: Of the bootstrap intervals.

    Returns:
        What ``calibrate`` gave, with the whole ensemble's new card.

    Raises:
        ConfigurationError: As for :func:`fracture.limb.fast.fast_card`.
        DataError: As for ``calibrate``; or the predictions are not of the same films.
        WeightsError: The weights cannot be loaded.
    """
    opened = open_weights(weights)
    with tempfile.TemporaryDirectory(prefix="fracture-fast-") as name:
        folder = Path(name) / opened.folder.name
        write_subset(opened.folder, members, folder)
        found = calibrate(folder)
    judged = {p.source for p in whole}
    seen = annotated.select(lambda film: film.source in judged)
    loses = measure_loss(seen, whole, found.predictions, seed=seed)
    card = with_fast(opened.card, found.card, loses=loses)
    card.write(opened.folder)
    return type(found)(card, found.predictions, found.metrics)


def fast_of_folds(weights: str | Path, members: Sequence[str], fold_weights: Sequence[str | Path]) -> Card:
    """Store a fast subset of one network, of weights that were just calibrated out of fold, in the card.

    Each film was then judged by one network, the only one of its folder that decides; so what was found, points, box
    rules and metrics, is that of a single network, and holds for the subset at least as well as for the mean. What a
    mean of several gains over one cannot be told of films that all but one of them were trained on: ``loses`` says so.

    Args:
        weights: Folder or name of the weights, calibrated by
            :func:`fracture.calibration.out_of_fold.calibrate_out_of_fold` with calibrated members.
        members: File names or stems of the members that ``fast=True`` runs: one that decides, and networks for regions.
        fold_weights: The folders that judged the films.

    Returns:
        The card as it was written.

    Raises:
        ConfigurationError: As for :func:`fracture.limb.fast.fast_card`; or more than one network decides, in the
            subset or in a folder.
        OutputError: The card cannot be written.
        WeightsError: Weights cannot be loaded.
    """
    opened = open_weights(weights)
    subset = fast_card(opened.card, members)
    for card in (subset, *(open_weights(folder).card for folder in fold_weights)):
        deciding = [member.file for member in card.members if not member.regions_only]
        if len(deciding) != 1:
            raise ConfigurationError(
                "out of fold, a fast subset is one network that decides, as each fold's is",
                got=f"{len(deciding)} in {'the subset' if card is subset else card.name}",
                hint="name one member, or do without --fast",
            )
    found = {name: getattr(opened.card, name) for name in ("operating_points", "boxes", "region_cutoff", "metrics")}
    subset = subset.model_copy(update=found)
    subset = subset.model_copy(update={"self_test": measured_self_test(Weights(opened.folder, subset))})
    card = with_fast(opened.card, subset, loses={"all numbers": {"value": None, "reason": _UNSEEN}})
    card.write(opened.folder)
    return card


def write_subset(weights: str | Path, members: Sequence[str], folder: Path) -> Card:
    """Copy some members of weights into a folder with a card of their own (:func:`fracture.limb.fast.fast_card`).

    Raises:
        ConfigurationError: As for :func:`fracture.limb.fast.fast_card`.
        WeightsError: The weights cannot be found.
    """
    opened = open_weights(weights)
    card = fast_card(opened.card, members)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*(member.file for member in card.members), *_BESIDE):
        if (opened.folder / file).is_file():
            shutil.copyfile(opened.folder / file, folder / file)
    card.write(folder)
    return card


def measure_loss(
    annotated: AnnotatedSet, whole: Sequence[Prediction], fast: Sequence[Prediction], *, seed: int = 0
) -> dict[str, Any]:
    """Differences, subset minus whole ensemble, on the same films: below 0 is lost.

    Intervals are of the paired bootstrap by group: what the films have in common cancels. Thresholds of both are
    cross-fitted, so their choice is part of what is measured.

    Args:
        annotated: The films, with their annotations.
        whole: Predictions of the whole ensemble, with candidates, at the high-sensitivity point.
        fast: Those of the subset.
        seed: Of the bootstrap.

    Returns:
        Name to ``{"value", "interval", "whole", "fast", "method"}``: the AUC, sensitivity and specificity at both
        operating points, and the FROC sensitivity at 0.5 false positives per film; ``"reason"`` where a value or an
        interval is not defined.

    Raises:
        DataError: The predictions are not of the same films.
    """
    rows = {p.source: p for p in whole}, {p.source: p for p in fast}
    sources = [film.source for film in annotated]
    if any(set(row) != set(sources) for row in rows):
        raise DataError(
            "the whole ensemble and the subset are compared on the same films",
            got=f"{len(rows[0])} and {len(rows[1])} predictions for {len(sources)} films",
            hint="calibrate both on the same part",
        )
    first, second = ([row[source] for source in sources] for row in reversed(rows))  # fast, then whole
    labels = [film.fractured for film in annotated]
    draws = Bootstrap(seed=seed, groups=[film.group for film in annotated])
    scores = [[p.probability for p in side] for side in (first, second)]
    loses = {"auc": _row(paired_bootstrap(labels, scores[0], scores[1], "auc", bootstrap=draws))}
    for point in (HIGH_SENSITIVITY, HIGH_SPECIFICITY):
        calls = [[int(point in p.reached) for p in side] for side in (first, second)]
        for metric in ("sensitivity", "specificity"):
            loses[f"{metric}, {point}"] = _row(paired_bootstrap(labels, calls[0], calls[1], metric, bootstrap=draws))
    loses[f"froc sensitivity at {_FALSE_POSITIVES:g} false positives per film"] = _row(
        _froc(annotated, (first, second), draws)
    )
    return loses


def _froc(annotated: AnnotatedSet, sides: Sequence[Sequence[Prediction]], draws: Bootstrap) -> PairedDifference:
    def statistic(side: Sequence[Prediction]) -> Callable[[FloatArray], FloatArray]:
        predicted, reference = box_tables(annotated.films, [p.candidates or () for p in side])
        curve = FrocSensitivity(match(predicted, reference, _FOUND))
        return lambda weights: np.asarray(curve.at((_FALSE_POSITIVES,), weights)[:, 0])

    fast, whole = (statistic(side) for side in sides)
    return paired_difference("froc", fast, whole, len(annotated), draws)


def _row(found: PairedDifference) -> dict[str, Any]:
    return {"whole": found.second.value, "fast": found.first.value, **number_of(found.difference)}
