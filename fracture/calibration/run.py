"""Calibrate weights on films that no member saw: operating points, box rules, and metrics with intervals."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from fracture.boxes import BoxParameters
from fracture.calibration.cases import Case, examine_films
from fracture.calibration.metrics import measure_all
from fracture.calibration.sweep import Sweep
from fracture.card import Card, SelfTest
from fracture.data.records import AnnotatedSet
from fracture.data.splits import split_folds
from fracture.detector import Detector
from fracture.ensemble import Ensemble, Precision
from fracture.errors import DataError
from fracture.operating_points import Method, OperatingPoints, fit_operating_points
from fracture.prediction import Prediction
from fracture.regions import RegionTree
from fracture.store import Weights, open_weights, self_test_film

__all__ = ["CalibrationResult", "calibrate"]

_FEWEST_BOXES = 40  # a node with fewer annotated fractures takes its parent's map threshold (our choice)


@dataclass(frozen=True, eq=False)
class CalibrationResult:
    """What calibration found.

    Attributes:
        card: The card as it was written.
        predictions: One per film, each judged by thresholds and box rules that it did not help to find.
        metrics: What went into ``card.metrics``.
    """

    card: Card
    predictions: tuple[Prediction, ...]
    metrics: Mapping[str, Any]


def calibrate(
    weights: str | Path,
    annotated: AnnotatedSet,
    *,
    out: str | Path | None = None,
    method: Method = "empirical",
    folds: int = 5,
    seed: int = 0,
    precision: Precision = "auto",
    device: str = "auto",
    description: str = "",
    progress: Callable[[int], object] | None = None,
) -> CalibrationResult:
    """Find operating points and box rules on annotated films, measure them cross-fitted, and rewrite the card.

    What ships is fitted on all films given. What is reported is cross-fitted: the films are divided into ``folds`` by
    group, and each is judged by thresholds and box rules found on the other folds.

    Args:
        weights: Folder or name of the weights; its card is rewritten.
        annotated: Films that no member was trained on. That is not checked here; the split file says which they are.
        out: Folder for ``predictions.jsonl`` (candidates included) for ``fracture evaluate``.
        method: ``"empirical"`` (the paper's rule) or ``"conformal"`` (with a finite-sample guarantee).
        folds: Parts of the cross-fitting.
        seed: Of the parts, and of the bootstrap intervals.
        precision, device: Those that will be used; thresholds belong to them.
        description: Which films these are, in words, for the card.
        progress: Called with 1 after each film.

    Raises:
        DataError: Films that cannot be read, or fewer groups than folds.
        WeightsError: The weights cannot be loaded.
    """
    opened = open_weights(weights)
    ensemble = Ensemble.load(opened, device=device, precision=precision)
    detector = Detector(ensemble, opened.card)
    cases = examine_films(detector, annotated, progress=progress)
    if not any(case.film.fractured for case in cases):
        raise DataError(f"{annotated.name} has no fractured film", hint="thresholds need films of both classes")
    sweep = Sweep.over(cases)
    numbers = {case.film.source: i for i, case in enumerate(cases)}
    everything = range(len(cases))
    data = description or f"{len(cases)} films of {annotated.name}"

    predictions: dict[int, Prediction] = {}
    strict: dict[int, Prediction] = {}
    for held in split_folds(annotated, folds, seed=seed).parts.values():
        inside = sorted(numbers[source] for source in held)
        rest = [i for i in everything if i not in set(inside)]
        judge = Detector(ensemble, _fitted(opened.card, cases, sweep, rest, method, data, detector.tree))
        for i in inside:
            predictions[i] = judge.judge(cases[i].examined, candidates=True).drop_pixels()
            strict[i] = judge.judge(cases[i].examined, operating_point="high_specificity").drop_pixels()

    card = _fitted(opened.card, cases, sweep, everything, method, data, detector.tree)
    found = tuple(predictions[i] for i in everything)
    metrics = measure_all(cases, found, tuple(strict[i] for i in everything), seed=seed)
    metrics["precision"] = str(ensemble.dtype).removeprefix("torch.")
    metrics["films"] = data
    card = card.model_copy(update={"metrics": metrics, "self_test": _self_test(opened, card)})
    card.write(opened.folder)
    if out is not None:
        _write_lines(Path(out) / "predictions.jsonl", found)
    return CalibrationResult(card, found, metrics)


def _fitted(
    card: Card,
    cases: Sequence[Case],
    sweep: Sweep,
    keep: Sequence[int],
    method: Method,
    data: str,
    tree: RegionTree,
) -> Card:
    """The card with thresholds and box rules found on some of the cases."""
    chosen = [cases[i] for i in keep]
    rules = sweep.best(keep)
    points: OperatingPoints = fit_operating_points(
        [case.score for case in chosen],
        [case.film.fractured for case in chosen],
        [case.film.regions or ("any",) for case in chosen],
        method=method,
        map_thresholds=_map_thresholds(sweep, keep, rules, tree),
        map_threshold_source=f"highest mean of AP at IoU 0.3 and FROC sensitivity at 0.5 false alarms a film; {data}",
        data=data,
        date=date.today().isoformat(),
        tree=tree,
    )
    return card.model_copy(update={"operating_points": points.to_dict(), "boxes": rules.to_dict()})


def _map_thresholds(sweep: Sweep, keep: Sequence[int], rules: BoxParameters, tree: RegionTree) -> dict[str, float]:
    """A map threshold for each region node with enough annotated fractures, and for the root."""
    thresholds = {"any": rules.threshold}
    shown = sorted({region for i in keep for region in sweep.cases[i].film.regions})
    for region in shown:
        own = [i for i in keep if region in sweep.cases[i].film.regions]
        if sum(len(sweep.cases[i].film.boxes) for i in own) >= _FEWEST_BOXES:
            thresholds[tree.normalize(region)] = sweep.best(own, start=rules).threshold
    return thresholds


def _self_test(opened: Weights, card: Card) -> SelfTest:
    """The score of the fixed film, in float32 on the CPU, whatever the thresholds were found with."""
    detector = Detector(Ensemble.load(opened, device="cpu", precision="float32"), card)
    return SelfTest(probability=detector.predict(self_test_film()).probability)


def _write_lines(path: Path, predictions: Sequence[Prediction]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(p.to_dict(), ensure_ascii=False, allow_nan=False) for p in predictions)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
