"""Calibrate weights on films that no member saw: operating points, box rules, and metrics with intervals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, get_args

from fracture.atomic import write_text
from fracture.calibration.cases import Case, examine_films
from fracture.calibration.fitting import Fitting, cross_fit
from fracture.calibration.folds import check_unseen
from fracture.calibration.metrics import measure_all
from fracture.calibration.sweep import PAPERS, MapRule, Sweep
from fracture.data.records import AnnotatedSet
from fracture.data.splits import split_folds
from fracture.errors import ConfigurationError, DataError
from fracture.io.marks import is_results
from fracture.limb.card import Card
from fracture.limb.detector import Detector, measured_self_test
from fracture.limb.ensemble import Ensemble
from fracture.limb.operating_points import Method
from fracture.limb.prediction import Prediction
from fracture.limb.store import Weights, open_weights
from fracture.models.devices import Precision
from fracture.runs.outputs import Protected, check_output
from fracture.wing.result import Failure

PREDICTIONS = "predictions.jsonl"
# Other entries of ``card.metrics`` (``fine_tuning``) stay; these are ours and never outlive a calibration.
_OURS = frozenset(
    ("film", "boxes", "flagged_films_with_a_box", "regions_right", "prevalence", "calibration", "cross_fitted")
) | {"precision", "films", "date", "out_of_fold"}


@dataclass(frozen=True, eq=False)
class CalibrationResult:
    """What calibration found.

    Attributes:
        card: The card as it was written.
        predictions: One per film, each judged by calibrators, thresholds and box rules that it did not help to find.
        metrics: What went into ``card.metrics``.
        failures: Films that could not be read or judged; nothing above rests on them.
    """

    card: Card
    predictions: tuple[Prediction, ...]
    metrics: Mapping[str, Any]
    failures: tuple[Failure, ...] = ()


def calibrate(
    weights: str | Path,
    annotated: AnnotatedSet,
    *,
    calibrate_members: bool = False,
    out: str | Path | None = None,
    method: Method = "empirical",
    maps: MapRule = PAPERS,
    folds: int = 5,
    seed: int = 0,
    precision: Precision = "auto",
    device: str = "auto",
    description: str = "",
    progress: Callable[[int], object] | None = None,
) -> CalibrationResult:
    """Find operating points and box rules on annotated films, measure them cross-fitted, and rewrite the card.

    What ships is fitted on all films given. What is reported is cross-fitted: the films are divided into ``folds`` by
    group, and each is judged by thresholds, box rules and, with ``calibrate_members``, calibrators found on the other
    folds; see :func:`fracture.calibration.fitting.cross_fit`. The networks examine every film once.
    A film that cannot be read or judged is left out of all of it and listed among the result's failures.

    Args:
        weights: Folder or name of the weights; its card is rewritten.
        annotated: Films that no member was trained on. Where a ``split.json`` lies beside the weights and was made for
            the set of this name, films of its training part are refused; without one nothing can be checked.
        calibrate_members: Give each member a calibrator (Platt scaling) before the average. Without it calibrators
            that the card has are left as they are, and so is their influence on the metrics: where they were fitted
            on these very films, only thresholds and box rules are cross-fitted.
        out: Folder for ``predictions.jsonl`` (candidates included, then the films that failed) for
            ``fracture evaluate``.
        method: ``"empirical"`` (the paper's rule) or ``"conformal"`` (with a finite-sample guarantee).
        maps: How the map thresholds are chosen: by the paper's rule, or by ours.
        folds: Parts of the cross-fitting.
        seed: Of the parts, and of the bootstrap intervals.
        precision, device: Those that will be used; thresholds belong to them.
        description: Which films these are, in words, for the card.
        progress: Called with 1 after each film.

    Raises:
        DataError: Films that were trained on, none that can be read, too few of a class, fewer groups than folds,
            or a member whose scores are not higher on fractured films (with ``calibrate_members``). Where the networks
            have run, ``out`` holds the films' predictions all the same, judged by the card as it was.
        ConfigurationError: An unknown method.
        OutputError: Predictions or card cannot be written; the card is as it was.
        WeightsError: The weights cannot be loaded.
    """
    check_request(out, method)
    opened = open_weights(weights)
    check_unseen(opened, annotated)
    require_fractures([annotated])
    held = split_folds(annotated, folds, seed=seed).parts.values()  # what cannot be divided is refused before the work
    ensemble = Ensemble.load(opened, device=device, precision=precision)
    cases, failures = examine_films(Detector(ensemble, opened.card), annotated, progress=progress)
    data = told_of(description or f"{len(annotated)} films of {annotated.name}", failures)
    fitting = Fitting(tuple(cases), Sweep.over(cases), opened.card, calibrate_members, method, data, maps)
    return conclude(opened, fitting, numbers_of(cases, held), ensemble, failures, out=out, seed=seed)


def told_of(data: str, failures: Sequence[Failure]) -> str:
    """Which films, in words, and how many of them could not be judged."""
    return f"{data}; {len(failures)} of them could not be judged" if failures else data


def numbers_of(cases: Sequence[Case], parts: Iterable[Iterable[str]]) -> list[list[int]]:
    """Numbers of the cases in each part, given by film; films that could not be judged are in none."""
    numbers = {case.film.source: i for i, case in enumerate(cases)}
    return [[numbers[source] for source in part if source in numbers] for part in parts]


def conclude(
    opened: Weights,
    fitting: Fitting,
    folds: Sequence[Sequence[int]],
    ensemble: Ensemble,
    failures: Sequence[Failure] = (),
    *,
    out: str | Path | None,
    seed: int,
    more: Mapping[str, Any] | None = None,
) -> CalibrationResult:
    """Cross-fit, measure, fit on all films, and write the card and the predictions.

    Args:
        opened: The weights whose card is rewritten.
        fitting: How a card is fitted.
        folds: Numbers of the cases in each part of the cross-fitting.
        ensemble: The networks that examined the films, or some of them.
        failures: Films that they could not judge.
        out: Folder for ``predictions.jsonl``, or ``None``.
        seed: Of the bootstrap intervals.
        more: Further entries of the card's metrics.

    Raises:
        OutputError: Predictions or card cannot be written.
        DataError: As for :func:`fracture.calibration.fitting.cross_fit`.
    """
    try:
        sensitive, specific = cross_fit(fitting, folds, ensemble)
    except DataError as error:
        raise _refused(error, opened.card, fitting, ensemble, failures, out) from error
    metrics = measure_all(fitting.cases, sensitive, specific, seed=seed)
    metrics["calibration"]["members"] = _words(fitting)
    metrics["precision"] = str(ensemble.dtype).removeprefix("torch.")
    metrics["films"] = fitting.data
    metrics["date"] = date.today().isoformat()
    metrics.update(more or {})
    card = fitting.on(range(len(fitting.cases))).card
    kept = {key: value for key, value in opened.card.metrics.items() if key not in _OURS}
    card = card.model_copy(
        update={"metrics": {**kept, **metrics}, "self_test": measured_self_test(Weights(opened.folder, card))}
    )
    if out is not None:
        _write_lines(Path(out) / PREDICTIONS, (*sensitive, *failures))
    card.write(opened.folder)
    return CalibrationResult(card, sensitive, metrics, tuple(failures))


def require_fractures(sets: Sequence[AnnotatedSet]) -> None:
    """Refuse films of which none is fractured, before the networks run.

    Raises:
        DataError: None is.
    """
    if not any(annotated.positives for annotated in sets):
        names = ", ".join(dict.fromkeys(annotated.name for annotated in sets))
        raise DataError(f"{names} has no fractured film", hint="thresholds need films of both classes")


def _refused(
    error: DataError,
    card: Card,
    fitting: Fitting,
    ensemble: Ensemble,
    failures: Sequence[Failure],
    out: str | Path | None,
) -> DataError:
    """Films that give no thresholds give scores all the same: they are written, judged by the card as it was."""
    left = "give --out to keep the films' predictions all the same"
    if out is not None:
        path = Path(out) / PREDICTIONS
        detector = Detector(ensemble, card)
        judged = [detector.judge(case.examined, candidates=True).drop_pixels() for case in fitting.cases]
        _write_lines(path, (*judged, *failures))
        left = f"the films' predictions, judged by the card as it was, are in {path}, for fracture evaluate"
    hint = left if error.hint is None else f"{error.hint}; {left}"
    return DataError(error.what, got=error.got, allowed=error.allowed, hint=hint)


def _words(fitting: Fitting) -> str:
    """How the members are calibrated, for people."""
    if fitting.calibrate_members:
        return "Platt scaling of each member, fitted on the films that it judged here; these numbers are cross-fitted"
    if any(member.calibration for member in fitting.card.members):
        return "calibrators as they were in the card; not cross-fitted"
    return "none"


def check_request(out: str | Path | None, method: str) -> None:
    """Make the folder of the predictions, and know the method, before the networks run for an hour.

    Raises:
        ConfigurationError: The folder cannot be made, another's file would be replaced, or there is no such method.
    """
    if method not in (allowed := get_args(Method)):
        raise ConfigurationError("unknown method for a threshold", got=repr(method), allowed=allowed)
    if out is None:
        return
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be made", got=error.strerror, hint="give another --out") from error
    check_output(Path(out) / PREDICTIONS, Protected.of(()), option="--out", own=is_results)


def _write_lines(path: Path, predictions: Sequence[Prediction | Failure]) -> None:
    lines = (json.dumps(p.to_dict(), ensure_ascii=False, allow_nan=False) for p in predictions)
    write_text(path, "\n".join(lines) + "\n")
