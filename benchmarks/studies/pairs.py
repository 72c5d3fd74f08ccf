"""Two sets of predictions of the same films, beside each other: paired differences, by group."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fracture.calibration.cases import box_tables
from fracture.calibration.metrics import number_of
from fracture.data.records import Film
from fracture.evaluation import Bootstrap
from fracture.evaluation.detection import BoxAveragePrecision, FrocSensitivity
from fracture.evaluation.matching import Criterion, match
from fracture.evaluation.stats.comparison import paired_bootstrap, paired_difference
from fracture.wing.result import Box

_RATES = (0.5,)  # false positives per film
Told = tuple[float, list[Box]]
"""A film's score and its candidates."""


def read_told(path: Path) -> dict[str, Told]:
    """By source, from the predictions that ``fracture calibrate --out`` and trainings leave."""
    read = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {
        row["source"]: (
            row["probability"],
            [box_of(candidate) for candidate in row["candidates"]],
        )
        for row in read
        if not row.get("error")
    }


def box_of(candidate: Mapping[str, float]) -> Box:
    """A candidate as predictions hold it."""
    return Box(candidate["x0"], candidate["y0"], candidate["x1"], candidate["y1"], candidate["score"])


def differences(films: Sequence[Film], *sides: Sequence[Told]) -> list[list[Any]]:
    """Rows of a table: what is measured, the first side, the second, the first less the second with its interval."""
    draws = Bootstrap(groups=[film.group for film in films])
    labels = [film.fractured for film in films]
    scores = [np.array([score for score, _ in side]) for side in sides]
    found = {"image AUC": paired_bootstrap(labels, scores[0], scores[1], "auc", bootstrap=draws)}
    tables = [box_tables(films, [boxes for _, boxes in side]) for side in sides]
    strict, loose = Criterion("iou", 0.5), Criterion("iou_or_center", 0.3)
    for name, criterion in (("AP at IoU 0.5", strict), ("AP at IoU 0.3 or center inside", loose)):
        statistics = [BoxAveragePrecision(match(*table, criterion)) for table in tables]
        found[name] = paired_difference(name, statistics[0], statistics[1], len(films), draws)
    curves = [FrocSensitivity(match(*table, loose)) for table in tables]
    at = [lambda weights, curve=curve: curve.at(_RATES, weights)[:, 0] for curve in curves]
    name = "FROC sensitivity at 0.5 false positives per film"
    found[name] = paired_difference(name, at[0], at[1], len(films), draws)
    return [[name, *map(number_of, (one.first, one.second, one.difference))] for name, one in found.items()]
