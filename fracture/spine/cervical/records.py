"""Necks with a truth, as :func:`fracture.simulate.write_necks` writes them: ``annotations.json`` and NIfTI volumes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.data.files import Problems, as_number, load_json
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError
from fracture.spine.cervical.metric import LEVELS
from fracture.spine.crops import Place
from fracture.spine.planes import oriented
from fracture.spine.series import read_series
from fracture.wing.volume import Volume


def points_of(film: Film) -> dict[str, Place]:
    """Level to (x, y, z) in millimeters of a neck that :func:`read_necks` read."""
    points: Any = film.extra["points"]
    return dict(points)


def labels_of(film: Film) -> NDArray[np.bool_]:
    """Whether C1 to C7 are fractured, (7,)."""
    broken: Any = film.extra["broken"]
    return np.array([level in broken for level in LEVELS])


def read_necks(path: str | os.PathLike[str]) -> AnnotatedSet:
    """Read a folder of necks.

    Raises:
        UnreadableDataError: No such file, or not JSON.
        DataError: It is not what it should be; all faults are told at once.
    """
    folder = Path(path)
    file = folder / "annotations.json" if folder.is_dir() else folder
    read = load_json(file)
    records = read.get("necks") if isinstance(read, dict) else None
    if not isinstance(records, list):
        raise DataError(f"{file}: not a set of necks", allowed="`necks`, a list, as `fracture simulate` writes it")
    problems = Problems(file)
    films = [film for record in records if (film := _film(record, problems)) is not None]
    problems.raise_if_any()
    about = str((read.get("info") or {}).get("description", ""))
    return AnnotatedSet(
        tuple(films), file.parent.name, file.parent, str(read.get("license", "")), about, "necks", group_field="group"
    )


def _film(record: Any, problems: Problems) -> Film | None:
    if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
        problems.add("necks without a file", str(record)[:60])
        return None
    name, points = record["file_name"], {}
    for level, place in (record.get("points") or {}).items():
        numbers = [as_number(value) for value in place] if isinstance(place, list) else []
        if level not in LEVELS or len(numbers) != 3 or None in numbers:
            problems.add("points that are not a level's three millimeters", f"{name} {level}")
            continue
        points[level] = tuple(float(value) for value in numbers if value is not None)
    broken = tuple(str(one.get("level")) for one in record.get("fractures") or () if isinstance(one, dict))
    if wrong := [level for level in broken if level not in LEVELS]:
        problems.add("fractures of unknown levels", f"{name} {wrong[0]}")
    extra = {"points": points, "broken": broken, "truth": str(record.get("truth", ""))}
    return Film(name, 0, 0, int(bool(broken)), group=str(record.get("group", name)), extra=extra)


def read_neck(annotated: AnnotatedSet, film: Film) -> Volume:
    """A neck's volume.

    Raises:
        InputError: It cannot be read.
    """
    return oriented(read_series(annotated.image_path(film)).volume, "axial")


def truth_of(annotated: AnnotatedSet, film: Film) -> Volume:
    """A neck's truth, see :class:`fracture.simulate.SimulatedNeck`.

    Raises:
        InputError: It cannot be read.
    """
    return oriented(read_series(annotated.image_path(film).parent / str(film.extra["truth"])).volume, "axial")
