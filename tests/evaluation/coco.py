"""pycocotools as the independent implementation of box matching and average precision."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Boxes:
    """A random set: films, reference boxes, predicted boxes with scores; corners as float arrays."""

    films: int
    reference_film: np.ndarray
    reference: np.ndarray
    film: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


def random_boxes(seed: int, films: int, per_film: int, *, decimals: int = 2, most: int = 4) -> Boxes:
    """Integer corners and rounded scores, so that IoUs and scores tie; 60 % of the predictions near a fracture."""
    rng = np.random.default_rng(seed)
    count = rng.integers(0, most, films)
    reference_film = np.repeat(np.arange(films), count)
    corner, side = rng.integers(0, 200, (reference_film.size, 2)), rng.integers(5, 60, (reference_film.size, 2))
    reference = np.hstack([corner, corner + side]).astype(float)
    film = np.repeat(np.arange(films), per_film)
    corner, side = rng.integers(0, 200, (film.size, 2)), rng.integers(5, 60, (film.size, 2))
    boxes = np.hstack([corner, corner + side]).astype(float)
    near = np.flatnonzero((count[film] > 0) & (rng.random(film.size) < 0.6))
    start = np.searchsorted(reference_film, film[near])
    target = start + rng.integers(0, 1000, near.size) % count[film[near]]
    moved = reference[target] + rng.integers(-6, 7, (near.size, 4))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    boxes[near] = moved
    return Boxes(films, reference_film, reference, film, boxes, np.round(rng.random(film.size), decimals))


def coco_objects(sample: Boxes) -> tuple[Any, Any]:
    """The set as pycocotools' ground truth and results."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from pycocotools.coco import COCO

        truth = COCO()
        size = sample.reference[:, 2:] - sample.reference[:, :2]
        truth.dataset = {
            "images": [{"id": i} for i in range(sample.films)],
            "categories": [{"id": 1}],
            "annotations": [
                {
                    "id": i + 1,
                    "image_id": int(film),
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [*box[:2].tolist(), *wh.tolist()],
                    "area": float(wh.prod()),
                }
                for i, (film, box, wh) in enumerate(zip(sample.reference_film, sample.reference, size, strict=True))
            ],
        }
        truth.createIndex()
        results = truth.loadRes(
            [
                {
                    "image_id": int(film),
                    "category_id": 1,
                    "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
                    "score": float(score),
                }
                for film, box, score in zip(sample.film, sample.boxes, sample.scores, strict=True)
            ]
        )
    return truth, results


def coco_evaluate(truth: Any, results: Any, ious: list[float], most: int = 100) -> Any:
    """pycocotools' evaluation, all areas, one category."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from pycocotools.cocoeval import COCOeval

        evaluation = COCOeval(truth, results, "bbox")
        evaluation.params.iouThrs = np.array(ious)
        evaluation.params.maxDets = [most]
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def coco_average_precision(sample: Boxes, ious: list[float], most: int = 100) -> np.ndarray:
    """Average precision per IoU."""
    precision = coco_evaluate(*coco_objects(sample), ious, most).eval["precision"]
    return precision[:, :, 0, 0, 0].mean(axis=1)
