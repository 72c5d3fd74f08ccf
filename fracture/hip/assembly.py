"""What a run tells a card of hip networks: both of them, and thresholds with where they come from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fracture._version import __version__
from fracture.errors import EvaluationError
from fracture.evaluation.stats.roc import nearest_corner
from fracture.hip.card import FIXED, Threshold
from fracture.hip.classes import CLASSES, FRACTURES
from fracture.wing.assembly import Stages, network_of

_LEAST = 5  # positives and negatives that a threshold is found on; with fewer it is left as it was (ours)


def described(stages: Stages, run: Path) -> dict[str, Any]:
    """The fields of a card that a finished run tells: its two networks, thresholds, classes, data and metrics.

    The threshold of a fracture and that of ``advise_imaging`` are the points nearest to the corner of the ROC curve
    (Krogue et al. 2020, for the latter) on the tuning part's hips; 0.5 and none where there are fewer than five
    positives or negatives.

    Args:
        stages: What the run says of each network.
        run: The run folder of :func:`fracture.hip.train`, both stages finished.
    """
    training = {name: stage["training"] for name, stage in stages.items()}
    last = training["classifier"]
    rows, hips = _rows(run / "classifier" / "predictions_tune.jsonl"), last["hips"]
    fracture, advise = thresholds_from(rows, data=f"{last['set']}, tuning part")

    def network(name: str, *keys: str) -> dict[str, Any]:
        part = network_of(stages, name, without=("hips", "license", "attribution"))
        return {**part, **{key: training[name]["config"][key] for key in ("model", *keys)}}

    return {
        "description": f"recipe {last['recipe']}, made by fracture {__version__}",
        "localizer": network("localizer", "preprocess", "rules"),
        "classifier": network("classifier", "crop"),
        "fracture": fracture.model_dump(),
        "advise_imaging": None if advise is None else advise.model_dump(),
        "classes": {name: {"trained_on": _trained(name, hips.get("train", {}))} for name in CLASSES},
        "data": {"hips": hips, "balance": last["balance"]},
        "metrics": {name: record["results"] for name, record in training.items()},
    }


def thresholds_from(rows: Sequence[Mapping[str, Any]], *, data: str) -> tuple[Threshold, Threshold | None]:
    """The thresholds of a fracture and of ``advise_imaging`` from judged hips.

    Args:
        rows: Each with ``allowed`` (possible classes) and ``probabilities`` by class.
        data: What to call them.
    """
    known = [row for row in rows if len({name in FRACTURES for name in row["allowed"]}) == 1]
    fracture = _corner(
        [row["allowed"][0] in FRACTURES for row in known],
        [sum(row["probabilities"][name] for name in FRACTURES) for row in known],
        data,
    )
    exact = [row for row in rows if "nondisplaced_neck" not in row["allowed"] or len(row["allowed"]) == 1]
    advise = _corner(
        [row["allowed"] == ["nondisplaced_neck"] for row in exact],
        [row["probabilities"]["nondisplaced_neck"] for row in exact],
        data,
    )
    return fracture or Threshold(threshold=0.5, method=f"{FIXED}: too few hips to find it on", data=data), advise


def _corner(truth: Sequence[bool], scores: Sequence[float], data: str) -> Threshold | None:
    positives = sum(truth)
    if min(positives, len(truth) - positives) < _LEAST:
        return None
    try:
        point = nearest_corner(np.array(truth, np.int64), np.clip(scores, 0, 1))
    except EvaluationError:
        return None
    return Threshold(
        threshold=float(min(1.0, max(0.0, point.threshold))),
        method="nearest to the corner of the ROC curve",
        data=data,
        positives=positives,
        negatives=len(truth) - positives,
        sensitivity=point.sensitivity.value,
        specificity=point.specificity.value,
        date=datetime.now(UTC).date().isoformat(),
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _trained(name: str, hips: Mapping[str, int]) -> str:
    """In words, how many hips trained a class."""
    exact = hips.get(name, 0)
    open_ = Counter({key: n for key, n in hips.items() if "|" in key and name in key.split("|")})
    text = f"{exact} hips of this class"
    return text + "".join(f", {n} known to be {key.replace('|', ' or ')}" for key, n in sorted(open_.items()))
