"""A second look: the likeliest places of a film, cut out at twice the size, judged by a network that was taught for it.

    python benchmarks/second_look.py cut PREDICTIONS.jsonl --data DATA --split FOLDS --part fold1 ... --out CUTS
    fracture train weights/fracatlas-small/recipe.toml --member resnet18_pyramid --data CUTS --out RUN \\
        --init weights/fracatlas-small/resnet18_pyramid.safetensors --set windows.long_side='[400, 520]' ...
    fracture assemble RUN WEIGHTS --name look --description "a second look"
    python benchmarks/second_look.py judge PREDICTIONS.jsonl WEIGHTS --data DATA --split FOLDS --part fold0 --out JSON

PREDICTIONS are out of fold (``fracture calibrate --out-of-fold ... --out``), each film with its candidates, so that a
network that learns from the cuts sees them as they are on films that were not trained on. ``cut`` writes the three
likeliest candidates of each film, with their surroundings, and the fractures in them. ``judge`` cuts the films of
another part the same way and mixes what the network says with the first look: scores as weighted geometric means,
boxes as their means or as either. The mix is chosen on one half of the groups and told on the other, both ways.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from studies.pairs import box_of

import fracture
from fracture.calibration.cases import box_tables
from fracture.calibration.metrics import number_of
from fracture.data.coco_writer import write_coco
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet, Film
from fracture.data.splits import Split, split_folds
from fracture.evaluation import Bootstrap
from fracture.evaluation.detection import BoxAveragePrecision, FrocSensitivity, average_precision_boxes
from fracture.evaluation.matching import BoxTable, Criterion, match
from fracture.evaluation.stats.checks import FloatArray
from fracture.evaluation.stats.comparison import paired_difference
from fracture.io.reading import read
from fracture.iou import iou
from fracture.preprocess.similarity import Crop, Similarity, crop_at
from fracture.wing.result import Box

SIDE, LONG = 448, 1280  # of a cut, and of the film that it is cut from, in pixels: twice the size of the first look
MOST = 3  # candidates of a film
SEEN = 0.5  # of a fracture's box that must lie in a cut to count
SAME = 0.3  # least IoU of a box of the second look with the candidate that it judges
CRITERIA = (Criterion("iou", 0.5), Criterion("iou_or_center", 0.3))
MIXES = tuple(itertools.product((0.0, 0.25, 0.5, 0.75, 1.0), ("first", "mean", "second")))


@dataclass(frozen=True)
class Look:
    """A candidate with what both looks say of it; ``second`` is None where the second look has no box there."""

    first: Box
    second: Box | None


def read_candidates(path: Path) -> dict[str, list[Box]]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {row["source"]: [box_of(candidate) for candidate in row["candidates"]] for row in rows}


def place_of(box: Box, shape: Sequence[int]) -> Similarity:
    """Where a candidate is cut, upright."""
    return Similarity(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2), (0.0, -1.0), LONG / max(shape), SIDE)


def cuts_of(annotated: AnnotatedSet, film: Film, boxes: Sequence[Box]) -> Iterator[Crop[Similarity]]:
    pixels = read(annotated.image_path(film)).pixels
    for box in boxes[:MOST]:
        yield crop_at(pixels, place_of(box, pixels.shape))


def within(film: Film, place: Similarity) -> tuple[list[Any], list[Any]]:
    """Fractures that a cut shows, boxes and outlines in its pixels."""
    boxes, rings = [], []
    for number, (x0, y0, x1, y1) in enumerate(film.boxes):
        (a, b), (c, d) = place.to_crop([[x0, y0], [x1, y1]]).tolist()
        shown = (max(a, 0.0), max(b, 0.0), min(c, SIDE), min(d, SIDE))
        area = max(shown[2] - shown[0], 0) * max(shown[3] - shown[1], 0)
        if area < SEEN * (c - a) * (d - b):
            continue
        boxes.append(shown)
        outlines = film.polygons[number] if film.polygons else ()
        placed = [np.clip(place.to_crop(ring), 0, SIDE) for ring in outlines]
        rings.append(tuple(tuple((float(x), float(y)) for x, y in ring) for ring in placed))
    return boxes, rings


def cut(options: argparse.Namespace) -> None:
    annotated, candidates = read_annotations(options.data), read_candidates(options.predictions)
    parts = Split.read(options.split).parts
    chosen = {source for part in options.part for source in parts[part]}
    films: list[Film] = []
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    for film in annotated:
        if film.source not in chosen or (film.fractured and not film.localized):
            continue
        for number, crop in enumerate(cuts_of(annotated, film, candidates[film.source])):
            boxes, rings = within(film, crop.place)
            name = f"images/{Path(film.source).stem}_{number}.png"
            cv2.imwrite(str(options.out / name), np.round(crop.pixels * 255).astype(np.uint8))
            films.append(
                replace(
                    film, source=name, width=SIDE, height=SIDE, boxes=tuple(boxes), polygons=tuple(rings),
                    fractured=int(bool(boxes)), id="",
                )
            )  # fmt: skip
    made = AnnotatedSet(tuple(films), "second look", options.out)
    write_coco(made, options.out / "annotations.json")
    print(f"{len(films)} cuts, {sum(film.fractured for film in films)} with a fracture")


def looks(options: argparse.Namespace, annotated: AnnotatedSet, films: Sequence[Film]) -> list[list[Look]]:
    """What the network says of the candidates of each film."""
    candidates, found = read_candidates(options.predictions), []
    detector = fracture.load(options.weights)
    for film in films:
        boxes = candidates[film.source]
        rows = [Look(box, second(detector, crop, box)) for box, crop in zip(boxes, cuts_of(annotated, film, boxes))]  # noqa: B905
        found.append(rows + [Look(box, None) for box in boxes[MOST:]])
    return found


def second(detector: fracture.Detector, crop: Crop[Similarity], first: Box) -> Box | None:
    """The surest box of a cut that is about where the candidate is, in pixels of the film."""
    boxes = []
    for box in detector.predict(np.clip(crop.pixels, 0, 1), candidates=True).candidates or ():
        (x0, y0), (x1, y1) = crop.place.to_source([[box.x0, box.y0], [box.x1, box.y1]]).tolist()
        boxes.append(Box(x0, y0, x1, y1, box.score))
    if not boxes:
        return None
    common = iou(
        np.array([[b.x0, b.y0, b.x1, b.y1] for b in boxes]), np.array([[first.x0, first.y0, first.x1, first.y1]])
    )
    near = [box for box, share in zip(boxes, common.reshape(-1), strict=True) if share >= SAME]
    return max(near, key=lambda box: box.score, default=None)


def mixed(look: Look, weight: float, how: str) -> Box:
    """A candidate after both looks; without a second box its score falls to that of an unlikely place."""
    first, other = look.first, look.second
    score = first.score ** (1 - weight) * (other.score if other else 0.01) ** weight
    if other is None or how == "first":
        return replace(first, score=score)
    if how == "second":
        return replace(other, score=score)
    sides = {key: (getattr(first, key) + getattr(other, key)) / 2 for key in ("x0", "y0", "x1", "y1")}
    return Box(**sides, score=score)


def told(rows: Sequence[Look], weight: float, how: str) -> list[Box]:
    """A film's boxes; candidates without a second look keep their order behind those with one."""
    seen = [mixed(row, weight, how) for row in rows[:MOST]]
    low = min((box.score for box in seen), default=1.0)
    return seen + [replace(row.first, score=min(row.first.score, low)) for row in rows[MOST:]]


def measured(films: Sequence[Film], rows: Sequence[Sequence[Look]], mix: tuple[float, str]) -> float:
    """Average precision at IoU 0.5."""
    tables = box_tables(films, [told(row, *mix) for row in rows])
    return average_precision_boxes(*tables, CRITERIA[0])[0] or 0.0


def _froc(tables: tuple[BoxTable, BoxTable]) -> Callable[[FloatArray], FloatArray]:
    curve = FrocSensitivity(match(*tables, CRITERIA[1]))
    return lambda weights: curve.at((0.5,), weights)[:, 0]


def judge(options: argparse.Namespace) -> None:
    annotated, parts = read_annotations(options.data), Split.read(options.split).parts
    chosen = {source for part in options.part for source in parts[part]}
    films = [film for film in annotated if film.source in chosen]
    rows = looks(options, annotated, films)
    for mix in MIXES:
        print(*mix, f"{measured(films, rows, mix):.3f}")
    # Chosen on one half of the groups and told on the other, both ways.
    halves = split_folds(annotated.subset([film.source for film in films]), 2, seed=0).parts.values()
    boxes: dict[str, list[Box]] = {}
    for own in halves:
        learned = [k for k, film in enumerate(films) if film.source not in set(own)]
        best = max(MIXES, key=lambda mix: measured([films[k] for k in learned], [rows[k] for k in learned], mix))
        print("chosen", *best)
        boxes |= {
            film.source: told(row, *best) for film, row in zip(films, rows, strict=True) if film.source in set(own)
        }
    draws = Bootstrap(groups=[film.group for film in films])
    firsts = box_tables(films, [told(row, 0.0, "first") for row in rows])
    others = box_tables(films, [boxes[film.source] for film in films])
    found: dict[str, Any] = {}
    for name, criterion in zip(("AP at IoU 0.5", "AP at IoU 0.3 or center inside"), CRITERIA, strict=True):
        one, two = (BoxAveragePrecision(match(*table, criterion)) for table in (others, firsts))
        found[name] = paired_difference(name, one, two, len(films), draws)
    first_froc, second_froc = _froc(firsts), _froc(others)
    found["FROC at 0.5"] = paired_difference("FROC at 0.5", second_froc, first_froc, len(films), draws)
    lines = {name: [number_of(each) for each in (one.first, one.second, one.difference)] for name, one in found.items()}
    options.out.write_text(json.dumps({"films": len(films), "two looks, one look, difference": lines}, indent=1) + "\n")
    print(json.dumps(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("cut", cut), ("judge", judge)):
        command = commands.add_parser(name)
        command.add_argument("predictions", type=Path)
        if run is judge:
            command.add_argument("weights", type=Path)
        for option in ("data", "split", "out"):
            command.add_argument(f"--{option}", type=Path, required=True)
        command.add_argument("--part", action="append", required=True)
        command.set_defaults(run=run)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
