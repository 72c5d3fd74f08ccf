"""What each member of an ensemble is worth: the whole beside the ensemble without it, on films that no member saw.

    python benchmarks/worth.py WEIGHTS --data DATA --split SPLIT [--part validation] [--precision bfloat16] --out FILE

Each ensemble gets calibrators, thresholds and box rules of its own, cross-fitted, as ``fracture calibrate
--calibrate-members`` does; differences are paired, by group. Minutes for each member.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from studies.pairs import Told, differences, read_told

from fracture.calibration.run import calibrate
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.limb.card import Card
from fracture.limb.fast import fast_card
from fracture.limb.store import open_weights


def judged(card: Card, weights: Path, films: AnnotatedSet, folder: Path, precision: str) -> tuple[dict[str, Told], Any]:
    """What an ensemble says of the films, and the share of films with every region right."""
    folder.mkdir()
    for member in card.members:
        shutil.copyfile(weights / member.file, folder / member.file)
    card.write(folder)
    result = calibrate(folder, films, calibrate_members=True, out=folder / "out", precision=precision)  # type: ignore[arg-type]
    return read_told(folder / "out" / "predictions.jsonl"), result.metrics["regions_right"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    for option in ("data", "split", "out"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--part", default="validation")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    opened, annotated = open_weights(options.weights), read_annotations(options.data)
    films = Split.read(options.split).part(annotated, options.part)
    bare: dict[str, Any] = {"input_check": None, "fast": None, "self_test": None, "metrics": {}}
    card = opened.card.model_copy(update=bare)
    names = [Path(member.file).stem for member in card.members]
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        whole, regions = judged(card, opened.folder, films, Path(scratch) / "whole", options.precision)
        for name in names:
            rest = fast_card(card, [other for other in names if other != name])
            without, left = judged(rest, opened.folder, films, Path(scratch) / name, options.precision)
            both = [film for film in films if film.source in whole and film.source in without]
            table = differences(both, [whole[film.source] for film in both], [without[film.source] for film in both])
            rows += [[f"{name}: {what}", *numbers] for what, *numbers in table if numbers[0] != numbers[1]]
            if regions != left:
                rows.append([f"{name}: films with every region right", regions, left, ""])
            print(name, *(f"{what} {told[-1]}" for what, *told in table), sep="\n  ", flush=True)
    page = {
        "format": "fracture-table/1",
        "title": "What each member is worth",
        "text": f"{opened.card.label} beside the same without one of its members, each with calibrators, thresholds "
        f"and box rules of its own, cross-fitted; {len(films)} films new to all members, {options.precision}; "
        "differences paired, by group. What a member does not touch is left out.",
        "columns": ["member: measured", "all members", "without it", "difference"],
        "rows": rows,
    }
    options.out.write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
