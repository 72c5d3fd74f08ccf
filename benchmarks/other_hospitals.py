r"""Films of other hospitals: how many are flagged at both points, whether the region is named right, how far they lie.

    python benchmarks/other_hospitals.py WEIGHTS --set wrists=GRAZ --region wrists=fracatlas_hand \
        --set "pelves=PELVES.csv" --region pelves=pelvis_hip --out OUT.json

A set is whatever ``fracture train --data`` reads; a CSV with ``image,fractured`` is enough. Nothing may be tuned on
these films: the numbers are worth something because nobody did. The model card takes the file by
``fracture model-card --extra OUT.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

import fracture
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.intervals import wilson
from fracture.limb.detector import Detector
from fracture.limb.prediction import Prediction
from fracture.reporting.markdown import table
from fracture.wing.result import HIGH_SENSITIVITY, HIGH_SPECIFICITY

POINTS = (HIGH_SENSITIVITY, HIGH_SPECIFICITY)
LABELS = ("normal", "fractured")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights")
    parser.add_argument("--set", action="append", required=True, metavar="NAME=PATH", help="may be repeated")
    told = "what its films show, or each of them"
    parser.add_argument("--region", action="append", default=[], metavar="NAME=REGION[,REGION...]", help=told)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    detector = fracture.load(asked.weights, precision="float32")
    regions = dict(text.split("=", 1) for text in asked.region)
    sets = {}
    for text in asked.set:
        name, path = text.split("=", 1)
        sets[name] = measure(detector, read_annotations(path), regions[name].split(",") if name in regions else ())
        print(f"{name}: {sets[name]}", file=sys.stderr, flush=True)
    result = {
        "format": "fracture-hospitals/1",
        "model": detector.card.label,
        "sets": sets,
        **together(sets),
        "markdown": text_of(detector.card.label, sets),
    }
    print(result["markdown"])
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0


def measure(detector: Detector, annotated: AnnotatedSet, regions: Sequence[str]) -> dict[str, Any]:
    """What one set shows: counts of flagged films by label and point, AUC, regions named right, median distance.

    Args:
        detector: Of the weights.
        annotated: The set.
        regions: What all films show, or what each one shows; none where that is not known.
    """
    paths = [annotated.image_path(film) for film in annotated]
    judged = list(detector.predict_many(paths))
    pairs = [(film, one) for film, one in zip(annotated, judged, strict=True) if isinstance(one, Prediction)]
    wanted = list(regions) * (len(paths) if len(regions) == 1 else 1)
    labels = np.array([bool(film.fractured) for film, _ in pairs])
    found: dict[str, Any] = {"films": len(pairs), "fractured": int(labels.sum()), "failed": len(judged) - len(pairs)}
    for point in POINTS:
        flagged = np.array([one.probability >= one.thresholds[point] for _, one in pairs])
        found[point] = {"normal": int(flagged[~labels].sum()), "fractured": int(flagged[labels].sum())}
    if 0 < labels.sum() < len(labels):
        found["auc"] = float(roc_auc_score(labels, [one.probability for _, one in pairs]))
    distances = [one.input_distance for _, one in pairs if one.input_distance is not None]
    if distances:
        found["input_distance"] = {"median": float(np.median(distances)), "highest": float(np.max(distances))}
    if wanted:
        found["region"] = ",".join(regions)
        seen = [(one, region) for one, region in zip(judged, wanted, strict=True) if isinstance(one, Prediction)]
        found["region_right"] = sum(_shows(detector, _named(detector, one), region) for one, region in seen)
    return found


def together(sets: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Shares of all normal films, and of all fractured ones, that are flagged at both points."""
    films = {"normal": sum(one["films"] - one["fractured"] for one in sets.values())}
    films["fractured"] = sum(one["fractured"] for one in sets.values())
    found: dict[str, dict[str, Any]] = {f"{label}_flagged": {} for label in films}
    for point in POINTS:
        for label, of in films.items():
            count = sum(one[point][label] for one in sets.values())
            low, high = wilson(count, of) if of else (None, None)
            share = {"value": count / of if of else None, "low": low, "high": high, "count": count, "n": of}
            found[f"{label}_flagged"][point] = share
    return found


def _named(detector: Detector, one: Prediction) -> tuple[str, ...]:
    """What the networks say that a film shows, whatever its file says."""
    told = one.region_probabilities or {}
    return tuple(name for name, value in told.items() if value >= detector.card.region_cutoff) or tuple(
        sorted(told, key=lambda name: told[name])[-1:]
    )


def _shows(detector: Detector, named: Sequence[str], region: str) -> bool:
    """Whether a named region is the one expected, or lies above or below it in the tree."""
    tree = detector.tree
    wanted = tree.normalize(region)
    return any(name == wanted or wanted in tree.ancestors(name) or name in tree.ancestors(wanted) for name in named)


def text_of(label: str, sets: dict[str, dict[str, Any]]) -> str:
    """The section of the model card."""
    rows = []
    for name, one in sets.items():
        normal = one["films"] - one["fractured"]
        cells = [
            f"{_share(one[point]['normal'], normal)} / {_share(one[point]['fractured'], one['fractured'])}"
            for point in POINTS
        ]
        distance = one.get("input_distance")
        rows.append(
            (
                name,
                f"{one['films']} ({one['fractured']})",
                *cells,
                f"{one['auc']:.3f}" if "auc" in one else "",
                f"{one['region_right']} of {one['films']}" if "region_right" in one else "",
                f"{distance['median']:.2f}, {distance['highest']:.2f}" if distance else "",
            )
        )
    total = together(sets)
    cells = [
        " / ".join(
            _share(total[f"{label}_flagged"][point]["count"], total[f"{label}_flagged"][point]["n"]) for label in LABELS
        )
        for point in POINTS
    ]
    fractured = total["fractured_flagged"][HIGH_SENSITIVITY]["n"]
    rows.append(("together", f"{sum(one['films'] for one in sets.values())} ({fractured})", *cells, "", "", ""))
    header = (
        "set",
        "films (fractured)",
        "flagged at high sensitivity: normal / fractured",
        "at high specificity",
        "AUC",
        "region right",
        "input distance: median, highest",
    )
    told = (
        f"{label} as it is, on films of hospitals that it was neither trained nor tuned on. Shares with 95 % Wilson "
        "intervals; the sets are small."
    )
    return f"## Other hospitals\n\n{told}\n\n{table(header, rows)}"


def _share(count: int, of: int) -> str:
    if not of:
        return "none"
    low, high = wilson(count, of)
    return f"{count} of {of} ({100 * low:.0f}-{100 * high:.0f} %)"


if __name__ == "__main__":
    sys.exit(main())
