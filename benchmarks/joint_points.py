"""How far points are off on films of groups that were not trained on, and which films are refused.

    python benchmarks/joint_points.py LANDMARKS.json --images FOLDER --unlabeled hands.csv feet.csv \
        --without films.csv --simulated annotations.json --out RUN

For each of three folds by group: a teacher learns the annotated films of the others; what it is sure of on unlabeled
films (CSV: ``file_name``, ``group``; none of a held-out group) becomes pseudo-labels; a student learns both, simulated
hands, and two thirds of the films that show neither hand nor foot; then whole films that were held out are read, as
they are and with every limb in a painted cast.
``RUN/points.json`` has every film and the sums; the card's ``metrics.points``. A call on an unfinished folder goes on;
``--fold all`` makes the networks that ship.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

import fracture.joints
from fracture.atomic import write_json
from fracture.data.keypoints import with_marks
from fracture.data.records import AnnotatedSet
from fracture.digits import unit_length
from fracture.errors import InputError
from fracture.intervals import wilson
from fracture.joints.frames import rows_of as rows_of_points
from fracture.joints.layout import BEYOND, HAND, MIDDLE, POINTS
from fracture.joints.records import limbs_of, read_landmarks
from fracture.joints.training import JointsConfig, train
from fracture.simulate.casts import some_in_casts
from fracture.training.driver import make_split

SURE, SHAPE, POINT = 0.85, 0.17, 0.4  # least mean certainty, most misfit, least certainty of a pseudo-labeled point
COPIES = {"copies": 12, "further_copies": 2}
CHANGES = {
    "placer": {**COPIES, "loop": {"epochs": 8}},
    "finder": {"copies": 48, "further_copies": 8, "loop": {"epochs": 5}},
}
FOLDS = 3


def rows_of(path: Path) -> dict[str, str]:
    """File name to group."""
    with path.open(encoding="utf-8") as file:
        return {row["file_name"]: row["group"] for row in csv.DictReader(file)}


def as_set(films: list[dict], limbs: list[tuple[int, str, dict]], out: Path) -> AnnotatedSet:
    """COCO keypoints, written and read again."""
    rows = [
        {"id": n, "image_id": image, "category_id": 1 + (kind == "forefoot"),
         "keypoints": [v for name in POINTS[kind] for v in ((*points[name], 2) if name in points else (0, 0, 0))]}
        for n, (image, kind, points) in enumerate(limbs, 1)
    ]  # fmt: skip
    categories = [{"id": n, "name": kind, "keypoints": list(POINTS[kind])} for n, kind in enumerate(POINTS, 1)]
    write_json(out, {"images": films, "annotations": rows, "categories": categories})
    return read_landmarks(out)


def pseudo_labels(teacher: Path, films: dict[str, str], images: Path, out: Path) -> AnnotatedSet:
    """What a reader is sure of on films without labels."""
    if out.exists():
        return read_landmarks(out)
    told, limbs, reader = [], [], fracture.joints.load(teacher)
    for name, group in films.items():
        path = images / name
        try:
            found = reader.predict(path)
        except InputError:
            continue
        size = {"width": found.width, "height": found.height}
        sure = [one for one in found.limbs if np.mean(list(one.certainty.values())) >= SURE]
        if sure and len(sure) == len(found.limbs) and not any("certain" in text for text in found.warnings):
            told.append({"id": len(told) + 1, "file_name": os.path.relpath(path, out.parent), "group": group, **size})
            for one in sure:
                inside = {n: p for n, p in one.points.items() if 0 <= p[0] <= found.width and 0 <= p[1] <= found.height}
                limbs.append((len(told), one.kind, {n: p for n, p in inside.items() if one.certainty[n] >= POINT}))
    return as_set(told, limbs, out)


def without(films: dict[str, str], images: Path, out: Path) -> AnnotatedSet:
    """Films that show neither hand nor foot."""
    return as_set(
        [{"id": n, "file_name": os.path.relpath(images / name, out.parent), "group": group, "width": 0, "height": 0}
         for n, (name, group) in enumerate(films.items(), 1)], [], out
    )  # fmt: skip


def fingers_of(films: AnnotatedSet) -> AnnotatedSet:
    """Simulated hands with the points of their fingers: those of the wrist lie at places of their own."""

    def cut(limb):
        return replace(limb, points={n: p for n, p in limb.points.items() if n in HAND[:14]})

    return replace(films, films=tuple(with_marks(f, map(cut, limbs_of(f))) for f in films))


def measured(reader, films: AnnotatedSet) -> list[dict]:
    """Errors of every limb of films, from the whole film."""
    rows = []
    for film in films:
        try:
            found = reader.predict(films.image_path(film)).limbs
        except InputError:
            found = ()
        for limb in limbs_of(film):
            unit, best = unit_length(limb.points), dict.fromkeys(limb.points, 9.0)
            for one in found:
                if one.kind == limb.kind:
                    errors = {n: float(np.hypot(*np.subtract(one.points[n], p)) / unit) for n, p in limb.points.items()}
                    best = min(best, errors, key=lambda each: np.mean(list(each.values())))
            rows.append({"film": film.source, "group": film.group, "kind": limb.kind, "errors": best})
            values = np.array(list(best.values()))
            print(film.source, limb.kind, f"median {np.median(values):.4f} most {values.max():.3f}", flush=True)
    return rows


def second_cast(pixels: np.ndarray, limb, rng: np.random.Generator) -> np.ndarray:
    """A film with one limb in a cast by a painter of its own, which training never saw: a thick bar from the row of
    joints toward the body, evenly gray, with a bright seam on either side."""
    row, beyond = (rows_of_points(limb.points, names[limb.kind]) for names in (MIDDLE, BEYOND))
    ways = (beyond - row)[~np.isnan(beyond - row).any(-1)]
    start, ahead = np.nanmean(row, 0), ways.mean(0) / np.linalg.norm(ways.mean(0))
    wide = float(np.linalg.norm(np.nanmax(row, 0) - np.nanmin(row, 0)))
    ends = [tuple(np.rint(start - ahead * wide * far).astype(int).tolist()) for far in (0.75, rng.uniform(2.5, 4))]
    masks = [np.zeros(pixels.shape, np.float32) for _ in range(2)]
    for mask, thick in zip(masks, (1.5, 1.25), strict=True):
        cv2.line(mask, *ends, 1.0, max(1, round(wide * thick)), cv2.LINE_AA)
    whole, inner = (cv2.GaussianBlur(mask, (0, 0), max(1.0, wide / 60)) for mask in masks)
    level, through = rng.uniform(0.4, 0.75), rng.uniform(0.2, 0.6)
    covered = level + 0.08 * (whole - inner) + (pixels - pixels[whole > 0.5].mean()) * through
    return np.clip(pixels + (covered - pixels) * whole, 0, 1).astype(np.float32)


def in_casts(reader, films: AnnotatedSet) -> list[dict]:
    """How films are read on which every limb is in a cast: by training's painter, and by another one."""
    rows = []
    for film in films:
        pixels, limbs = fracture.read(str(films.image_path(film))).pixels, limbs_of(film)
        rng = np.random.default_rng([7, len(rows)])
        told = [[rows_of_points(b.points, n[b.kind]) for n in (MIDDLE, BEYOND)] for b in limbs]
        painted = {"none": pixels, "own": some_in_casts(pixels, told, 1.0, rng)[0], "second": pixels}
        for limb in limbs:
            painted["second"] = second_cast(painted["second"], limb, rng)
        for painter, plane in painted.items():
            try:
                answer = reader.predict(plane)
                found, warned = answer.limbs, any("cast" in text for text in answer.warnings)
            except InputError:
                found, warned = (), False
            for limb in limbs:
                unit = unit_length(limb.points)
                errors = [[float(np.hypot(*np.subtract(one.points[n], p)) / unit) for n, p in limb.points.items()]
                          for one in found if one.kind == limb.kind]  # fmt: skip
                best = min(errors, key=np.mean, default=None)
                rows.append({"film": film.source, "kind": limb.kind, "painter": painter, "warned": warned,
                             "median": best and float(np.median(best)), "most": best and max(best)})  # fmt: skip
    return rows


def cast_sums(rows: list[dict]) -> dict:
    """By painter: how many limbs were read, with a warning, and how far points are off at the median."""
    sums = {}
    for painter in sorted({row["painter"] for row in rows}):
        own = [row for row in rows if row["painter"] == painter]
        read = [row for row in own if row["median"] is not None and row["median"] < 0.5]
        sums[painter] = {"limbs": len(own), "read": len(read), "warned": sum(row["warned"] for row in read),
                         "median_of_medians": float(np.median([row["median"] for row in read]))}  # fmt: skip
    return sums


def summary(rows: list[dict], resamples: int = 2000) -> dict:
    """The card's numbers of one kind."""
    rng, groups = np.random.default_rng(0), sorted({row["group"] for row in rows})
    of = {group: np.concatenate([list(r["errors"].values()) for r in rows if r["group"] == group]) for group in groups}
    drawn = [np.concatenate([of[g] for g in rng.choice(groups, len(groups))]) for _ in range(resamples)]
    every = np.concatenate(list(of.values()))
    off = sum(max(row["errors"].values()) > 0.1 for row in rows)
    return {
        "limbs": len(rows), "points": len(every), "groups": len(groups),
        "median_error": float(np.median(every)),
        "median_error_95": np.quantile([np.median(one) for one in drawn], (0.025, 0.975)).tolist(),
        "share_within_0.05": float((every <= 0.05).mean()),
        "share_within_0.05_95": np.quantile([(one <= 0.05).mean() for one in drawn], (0.025, 0.975)).tolist(),
        "limbs_with_a_point_off_by_more_than_0.1": [off, len(rows)],
        "of_them_95": list(wilson(off, len(rows))),
        "missed": sum(min(row["errors"].values()) > 8 for row in rows),
    }  # fmt: skip


def refusals(reader, films: AnnotatedSet) -> list[dict]:
    """Of films that show neither: whether they are refused, and what would be answered."""
    rows = []
    for film in films:
        try:
            limbs = reader.predict(films.image_path(film)).limbs
            told = [[one.kind, round(float(np.mean(list(one.certainty.values()))), 3), one.center] for one in limbs]
        except InputError:
            told = []
        rows.append({"film": film.source, "group": film.group, "answered": told})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("landmarks", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--unlabeled", type=Path, nargs="*", default=[])
    parser.add_argument("--without", type=Path)
    parser.add_argument("--simulated", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, help="weights by fold, in place of training them")
    parser.add_argument("--fold", nargs="*", default=[*map(str, range(FOLDS))])
    options = parser.parse_args()
    torch.set_num_threads(1)
    annotated = read_landmarks(options.landmarks, options.images).select(lambda film: bool(limbs_of(film)))
    known, loose = {Path(film.source).name for film in annotated}, {}
    for path in options.unlabeled:
        loose |= {name: group for name, group in rows_of(path).items() if name not in known}
    neither = rows_of(options.without) if options.without else {}
    parts = sorted(set(neither.values()))
    simulated = [
        fingers_of(replace(read_landmarks(path), name=f"simulated{n}")) for n, path in enumerate(options.simulated)
    ]
    rows, refused, cast, kept = [], [], [], {}
    for fold in options.fold:
        folder = options.out / fold
        folder.mkdir(parents=True, exist_ok=True)
        held, away = set(), set()
        if fold != "all":
            split = {"folds": FOLDS, "fold": int(fold), "tune_fold": False}
            held = set(
                make_split(annotated, JointsConfig.from_dict({"split": split, "stage": "placer"}))[1].parts[
                    "validation"
                ]
            )
            away = {group for n, group in enumerate(parts) if n % FOLDS == int(fold)}
        seen = annotated.select(lambda film, held=held: film.source not in held)
        groups = {film.group for film in annotated if film.source in held}
        changes, stages = CHANGES, ("placer", "finder")
        taught = options.teachers and options.teachers / fold
        if not taught:
            taught = train(seen, folder / "teacher", stages=stages, changes=changes, kept=kept, progress=False)
        films = {name: group for name, group in loose.items() if group not in groups}
        more = [pseudo_labels(taught, films, options.images, folder / "pseudo.json"), *simulated]
        if neither:
            more.append(
                without({n: g for n, g in neither.items() if g not in away}, options.images, folder / "without.json")
            )
        student = fracture.joints.load(
            train(seen, folder / "student", train_only=more, stages=stages, changes=changes, kept=kept, progress=False)
        )
        if fold == "all":
            continue
        done = folder / "measured.json"
        if not done.exists():
            far = without({n: g for n, g in neither.items() if g in away}, options.images, folder / "far.json")
            last = annotated.select(lambda film, held=held: film.source in held)
            read = {"rows": measured(student, last), "refused": refusals(student, far)}
            write_json(done, {**read, "casts": in_casts(student, last)})
        told = json.loads(done.read_text(encoding="utf-8"))
        rows, refused, cast = [*rows, *told["rows"]], [*refused, *told["refused"]], [*cast, *told["casts"]]
        for key in [key for key in kept if key[0] == "placer"]:  # cut by the average shape of this fold's films
            del kept[key]
    if rows:
        result = {kind: summary([row for row in rows if row["kind"] == kind]) for kind in POINTS}
        result["without"] = {"films": len(refused), "refused": sum(not row["answered"] for row in refused)}
        result["casts"] = cast_sums(cast)
        write_json(options.out / "points.json", {"sums": result, "rows": rows, "refused": refused, "casts": cast})
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
