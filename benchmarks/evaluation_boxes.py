"""Average precision and FROC against pycocotools on 20,000 films with 5 boxes each.

    python benchmarks/evaluation_boxes.py

Aim: at least 5 times faster; AP equal to 1e-6. pycocotools matches at the same 12 IoU thresholds, all areas, at most
100 predictions per film; its FROC is read from its own matches, sorted once with NumPy (it has none itself).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fracture.evaluation import FROC_RATES, Criterion, average_precision_boxes, box_table, match
from fracture.evaluation.detection import AP_CRITERIA, FrocSensitivity
from tests.evaluation.coco import Boxes, coco_evaluate, coco_objects, random_boxes

FILMS, PER_FILM = 20_000, 5


def ours(sample: Boxes) -> tuple[np.ndarray, np.ndarray]:
    predicted = box_table(sample.film, sample.boxes, sample.scores, films=sample.films)
    reference = box_table(sample.reference_film, sample.reference, films=sample.films)
    precision = average_precision_boxes(predicted, reference)
    free = FrocSensitivity(match(predicted, reference, Criterion("iou", 0.3)))
    return np.array(precision, dtype=float), free.at(FROC_RATES, np.ones((1, sample.films)))[0]


def theirs(truth: Any, results: Any, fractures: int) -> tuple[np.ndarray, np.ndarray]:
    evaluation = coco_evaluate(truth, results, [criterion.threshold for criterion in AP_CRITERIA])
    precision = evaluation.eval["precision"][:, :, 0, 0, 0].mean(axis=1)
    films = [film for film in evaluation.evalImgs if film is not None]
    scores = np.concatenate([film["dtScores"] for film in films])
    hit = np.concatenate([film["dtMatches"][1] > 0 for film in films])
    order = np.argsort(-scores, kind="stable")
    last = np.concatenate((np.diff(scores[order]) != 0, [True]))
    false, true = np.cumsum(~hit[order])[last], np.cumsum(hit[order])[last]
    reached = np.searchsorted(false, np.array(FROC_RATES) * FILMS, side="right")
    return precision, np.concatenate(([0], true))[reached] / fractures


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[tuple[float, float], Any]:
    wall, processor = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return (time.perf_counter() - wall, time.process_time() - processor), result


def main() -> None:
    sample = random_boxes(0, FILMS, PER_FILM, decimals=6, most=2)
    truth, results = coco_objects(sample)
    mine, others = [], []
    for _ in range(5):  # in turns, so that a busy machine slows both; the fastest run of each counts
        seconds, (precision, free) = timed(ours, sample)
        mine.append(seconds)
        seconds, (expected, expected_free) = timed(theirs, truth, results, len(sample.reference))
        others.append(seconds)
    gap, gap_free = np.abs(precision - expected).max(), np.abs(free - expected_free).max()
    print(f"{FILMS:,} films, {len(sample.boxes):,} predicted boxes, {len(sample.reference):,} fractures\n")
    print("| | wall s | processor s |\n|---|---|---|")
    best = [np.min(times, axis=0) for times in (mine, others)]
    print(f"| fracture: 12 APs and FROC | {best[0][0]:.3f} | {best[0][1]:.3f} |")
    print(f"| pycocotools: evaluate, accumulate, FROC | {best[1][0]:.2f} | {best[1][1]:.2f} |")
    print(f"| ratio | {best[1][0] / best[0][0]:.1f} | {best[1][1] / best[0][1]:.1f} |")
    print(f"\nlargest difference: AP {gap:.1e}, FROC {gap_free:.1e}")
    print("pycocotools' loading of results and indexing is not counted.")


if __name__ == "__main__":
    main()
