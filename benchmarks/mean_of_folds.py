"""What thresholds found on single networks are worth for the mean of several, where no network saw the films.

    python benchmarks/mean_of_folds.py WEIGHTS --data DATA --split SPLIT --part validation [--out OUT.json]

Weights whose members are turns of a split in folds have no film that none of them saw: a film has the score of the one
member that held it out, and thresholds found on these scores are used for the mean of all (``fracture calibrate
--out-of-fold``). WEIGHTS here are networks that all held out the same films, so that both scores exist. Many times,
groups are dealt out, stratified as splits are: one half of them finds calibrators and thresholds as out of fold does,
each film judged by one member drawn for its group; on the other half, sensitivity and specificity are read of one
member's score, and of the mean of all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fracture.calibration.cases import Case, examine_films
from fracture.calibration.platt import fit_platt
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split, split_folds, split_parts
from fracture.limb.detector import Detector
from fracture.limb.ensemble import Ensemble
from fracture.limb.operating_points import find_threshold
from fracture.limb.store import open_weights

TARGETS: dict[str, tuple[Literal["sensitivity", "specificity"], float]] = {
    "high sensitivity": ("sensitivity", 0.925),
    "high specificity": ("specificity", 0.95),
}
Found: TypeAlias = dict[str, dict[str, list[tuple[float, float]]]]
ROWS = ("one member's score", "the mean of all")


def opinions(cases: Sequence[Case]) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64] | None]:
    """Members' names, their logits (films, members), and the logits of their best boxes where all tell boxes."""
    names = list(cases[0].examined.output.member_logits)
    outputs = [case.examined.output for case in cases]
    logits = np.array([[output.member_logits[name] for name in names] for output in outputs])
    if not all(name in output.member_peaks for output in outputs for name in names):
        return names, logits, None
    return names, logits, np.array([[output.member_peaks[name] for name in names] for output in outputs])


def calibrated(
    logits: NDArray[np.float64],
    peaks: NDArray[np.float64] | None,
    labels: NDArray[np.bool_],
    judge: NDArray[np.int64],
    learned: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Calibrated scores (films, members); each member's calibrator comes from the films of ``learned`` it judged."""
    scores = np.empty_like(logits)
    for member in range(logits.shape[1]):
        own = learned & (judge == member)
        best = None if peaks is None else peaks[own, member]
        fitted = fit_platt(logits[own, member], labels[own], peaks=best)
        z = fitted.slope * logits[:, member] + fitted.intercept
        if peaks is not None:
            z = z + fitted.peak * peaks[:, member]
        scores[:, member] = 1.0 / (1.0 + np.exp(-z))
    return scores


def dealt(films: AnnotatedSet, cases: Sequence[Case], draws: int, seed: int) -> Found:
    """Sensitivity and specificity of both rows at both points, for each draw that leaves thresholds."""
    names, logits, peaks = opinions(cases)
    labels = np.array([bool(case.film.fractured) for case in cases])
    place = {case.film.source: number for number, case in enumerate(cases)}
    judged = films.subset(place)
    found: Found = {point: {row: [] for row in ROWS} for point in TARGETS}
    for draw in range(seed, seed + draws):
        halves = split_parts(judged, {"learned": 0.5, "told": 0.5}, seed=draw)
        judge = np.zeros(len(cases), np.int64)
        for part in halves.parts.values():
            for member, own in enumerate(split_folds(judged.subset(part), len(names), seed=draw).parts.values()):
                judge[[place[source] for source in own]] = member
        learned = np.zeros(len(cases), np.bool_)
        learned[[place[source] for source in halves.parts["learned"]]] = True
        scores = calibrated(logits, peaks, labels, judge, learned)
        rows = dict(zip(ROWS, (scores[np.arange(len(labels)), judge], scores.mean(axis=1)), strict=True))
        for point, (kind, target) in TARGETS.items():
            single = rows[ROWS[0]]
            threshold = find_threshold(single[learned], labels[learned], target=target, kind=kind)
            if threshold is None:
                continue
            for row, values in rows.items():
                flagged, there = values[~learned] >= threshold, labels[~learned]
                found[point][row].append((float(flagged[there].mean()), float(1 - flagged[~there].mean())))
    return found


def told(found: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> list[dict[str, object]]:
    """A row for each point and score: means over the draws, and the range of their middle 90 %."""
    rows: list[dict[str, object]] = []
    for point, both in found.items():
        for row, values in both.items():
            each = np.array(values)
            low, high = np.quantile(each, [0.05, 0.95], axis=0)
            rows.append({"point": point, "score": row, "draws": len(each)})
            for place, name in enumerate(("sensitivity", "specificity")):
                spread = [round(float(low[place]), 4), round(float(high[place]), 4)]
                rows[-1][name] = {"mean": round(float(each[:, place].mean()), 4), "middle 90 %": spread}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--part", default="validation")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    opened = open_weights(asked.weights)
    films = Split.read(asked.split).part(read_annotations(asked.data), asked.part)
    cases, _ = examine_films(Detector(Ensemble.load(opened), opened.card), films)
    names, *_ = opinions(cases)
    rows = told(dealt(films, cases, asked.draws, asked.seed))
    result = {"members": names, "films": len(cases), "rows": rows}
    print(json.dumps(result, indent=1))
    if asked.out is not None:
        asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
