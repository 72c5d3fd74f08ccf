"""Studies with grades, in the files of RSNA 2024: read for training and measures, written for simulated ones.

``train.csv`` has the grades, ``train_series_descriptions.csv`` what each series is, ``train_label_coordinates.csv``
where each level lies, and ``train_images/STUDY/SERIES/INSTANCE.dcm`` the slices.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fracture.data.files import Problems, as_number, load_csv, write_rows
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import ConfigurationError
from fracture.simulate.lumbar import LEVELS
from fracture.simulate.lumbar_study import SimulatedStudy, lumbar_study
from fracture.simulate.series import write_series
from fracture.spine.crops import voxel_of
from fracture.spine.kinds import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2
from fracture.spine.lumbar.grading import behind
from fracture.spine.lumbar.metric import CONDITIONS, ROWS, read_labels, row_of, write_labels
from fracture.spine.tables import Numbers
from fracture.wing.volume import Volume

_IMAGES = "train_images"
_POINTS = {"spinal canal stenosis": "points", "left subarticular stenosis": "recesses"}
_COORDINATES = ("study_id", "series_id", "instance_number", "condition", "level", "x", "y")


def read_studies(path: str | os.PathLike[str]) -> AnnotatedSet:
    """The studies of a folder in the challenge's layout; each is a "film" whose file is its folder.

    Raises:
        UnreadableDataError: A table that cannot be read.
        DataError: A label, or a place that is none.
    """
    folder = Path(path)
    truth, problems = read_labels(folder / "train.csv"), Problems(folder)
    kinds: dict[str, dict[str, str]] = {}
    for row in load_csv(folder / "train_series_descriptions.csv", required=["study_id", "series_id"]).rows:
        kinds.setdefault(row["study_id"], {})[row["series_id"]] = row.get("series_description", "")
    points: dict[str, dict[str, dict[str, tuple[str, float, float]]]] = {table: {} for table in _POINTS.values()}
    for row in load_csv(folder / "train_label_coordinates.csv", required=list(_COORDINATES)).rows:
        x, y = as_number(row["x"]), as_number(row["y"])
        if (table := _POINTS.get(row["condition"].lower())) is None:
            continue
        if row["level"] not in LEVELS or x is None or y is None:
            problems.add("coordinates without a level and a place", f"{row['study_id']} {row['level']}")
            continue
        file = f"{row['series_id']}/{row['instance_number']}.dcm"
        points[table].setdefault(row["study_id"], {})[row["level"]] = (file, float(x), float(y))
    problems.raise_if_any()
    films = []
    for study in dict.fromkeys(key.removesuffix(f"_{row}") for key in truth for row in ROWS if key.endswith(f"_{row}")):
        grades = tuple(tuple(truth[key]) if (key := f"{study}_{row}") in truth else None for row in ROWS)
        extra = {"grades": grades, "series": kinds.get(study, {})}
        extra |= {table: found.get(study, {}) for table, found in points.items()}
        severe = int(any(one is not None and one[2] for one in grades))
        films.append(Film(f"{_IMAGES}/{study}", 0, 0, severe, group=study, extra=extra))
    return AnnotatedSet(tuple(films), folder.name, folder, format="rsna2024", group_field="study_id")


def truth_of(films: Iterable[Film]) -> Numbers:
    """The solution of some studies, as the metric takes it."""
    grades: list[tuple[str, Any]] = [(film.group, film.extra["grades"]) for film in films]
    return {
        f"{study}_{row}": one
        for study, found in grades
        for row, one in zip(ROWS, found, strict=True)
        if one is not None
    }


def write_studies(
    directory: str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    draw: Callable[[int], SimulatedStudy] = lumbar_study,
    progress: Callable[[int, int], object] | None = None,
) -> AnnotatedSet:
    """Write simulated studies in the challenge's layout, and ``measures.csv`` with what their grades follow from.

    Args:
        directory: Made if missing.
        n: Studies.
        seed: Study k is drawn by a seed of its own from it.
        draw: What draws a study by its seed.
        progress: Called with the studies done and all.

    Raises:
        ConfigurationError: No study, or a folder that holds a set already.
    """
    folder = Path(directory)
    if n < 1 or (folder / "train.csv").exists():
        raise ConfigurationError(
            "studies need a number of 1 or more and a folder without train.csv", got=f"{n}, {folder}"
        )
    truth: Numbers = {}
    tables: dict[str, list[list[Any]]] = {"series": [], "points": [], "measures": []}
    for k in range(n):
        study, made = str(4_000_000 + 1000 * seed + k), draw(int(np.random.default_rng([seed, k]).integers(2**31)))
        for number, (kind, blocks) in enumerate(made.series.items(), start=1):
            target = folder / _IMAGES / study / str(number)
            write_series(target, blocks, modality="MR", description=kind, study=study, number=number)
            tables["series"].append([study, number, kind])
            volumes = [Volume(block.voxels.astype(np.float32), block.affine) for block in blocks]
            tables["points"] += [[study, number, *row] for row in _points(made, kind, volumes)]
        for level, grades in made.grades.items():
            for condition, grade in zip(CONDITIONS, grades, strict=True):
                truth[f"{study}_{row_of(condition, level)}"] = (*(float(g == grade) for g in range(3)), float(2**grade))
            tables["measures"] += [[study, level, k, round(v, 2)] for k, v in made.measures[level].items()]
        if progress:
            progress(k + 1, n)
    write_rows(folder / "train_series_descriptions.csv", (*_COORDINATES[:2], "series_description"), tables["series"])
    write_rows(folder / "train_label_coordinates.csv", _COORDINATES, tables["points"])
    write_rows(folder / "measures.csv", ("study_id", "level", "measure", "value"), tables["measures"])
    write_labels(folder / "train.csv", truth)
    return read_studies(folder)


def _points(made: SimulatedStudy, kind: str, volumes: Sequence[Volume]) -> Iterator[list[Any]]:
    """Instance, condition, level, x and y of what is graded on a series: the disc, both foramina, both recesses."""
    aside = {SAGITTAL_T2: {0: 0.0}, SAGITTAL_T1: {1: 16.0, 2: -16.0}, AXIAL_T2: {3: 7.0, 4: -7.0}}[kind]
    targets = behind(made.places)
    for number, (level, disc) in enumerate(made.places.items()):
        block = number if len(volumes) > 1 else 0
        before = sum(len(one.voxels) for one in volumes[:block])
        for condition, lateral in aside.items():
            x, y, z = targets[level] if lateral else disc
            k, row, column = voxel_of(volumes[block], (x + lateral, y, z))
            name = CONDITIONS[condition].replace("_", " ").title()
            instance = before + min(max(round(k), 0), len(volumes[block].voxels) - 1) + 1
            yield [instance, name, level, round(column + 0.5, 2), round(row + 0.5, 2)]
