"""Folders of simulated necks: NIfTI volumes, their truth, and what is in them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

from fracture._version import __version__
from fracture.atomic import write_json
from fracture.simulate.cervical import SimulatedNeck, neck
from fracture.simulate.dataset import Summary, check_folder, film_seed


def write_necks(
    directory: str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    fracture_rate: float = 0.5,
    partial: float = 0.25,
    spacing: tuple[float, float] | None = None,
    draw: Callable[[int], SimulatedNeck] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Summary:
    """Write ``n`` necks: ``neck_00000.nii.gz``, ``neck_00000_truth.nii.gz`` (see :class:`SimulatedNeck`), and
    ``annotations.json``.

    Args:
        directory: Folder to write; created if missing.
        n: Necks.
        seed: Neck k is drawn by a seed of its own from it.
        fracture_rate, partial, spacing: As for :func:`fracture.simulate.neck`.
        draw: What draws a neck by its seed instead of that; the three above do not apply then.
        progress: Called with the necks done and all.

    Returns:
        What was written; ``boxes`` counts fractured levels.

    Raises:
        ConfigurationError: Impossible settings, or a folder that holds a set already.
        MissingDependencyError: nibabel is not installed (the extra ``spine``).
    """
    folder = check_folder(directory, n, seed, 16, {"fractured": fracture_rate, "partial": partial})
    folder.mkdir(parents=True, exist_ok=True)
    whose = "another simulator" if draw else f"fracture.simulate {__version__}"
    draw = draw or functools.partial(neck, spacing=spacing, fracture_rate=fracture_rate, partial=partial)
    files: list[Path] = []
    records: list[dict[str, Any]] = []
    for index in range(n):
        made = draw(film_seed(seed, index))
        path = folder / f"neck_{index:05d}.nii.gz"
        truth = folder / f"neck_{index:05d}_truth.nii.gz"
        made.write(path)
        made.write(truth, truth=True)
        files += [path, truth]
        known: dict[str, Any] = {
            "group": f"simulated {made.seed}",
            "seed": made.seed,
            "shape": list(made.voxels.shape),
            "points": {level: [round(v, 2) for v in place] for level, place in made.points.items()},
            "fractures": [
                dict(zip(("level", "kind", "displacement_mm", "low", "high"), astuple(one), strict=True))
                for one in made.fractures
            ],
        }
        records.append({"id": index + 1, "file_name": path.name, "truth": truth.name, **known})
        if progress is not None:
            progress(index + 1, n)
    about = f"CT phantoms of the neck drawn by {whose}: no patients"
    annotations = folder / "annotations.json"
    write_json(annotations, {"info": {"description": about}, "license": "Apache-2.0", "necks": records})
    levels = sum(len(record["fractures"]) for record in records)
    return Summary(folder, annotations, tuple(files), n, sum(bool(r["fractures"]) for r in records), levels)
