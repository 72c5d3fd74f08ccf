"""The stage ``weights``: assembled, calibrated on films that no member that judges them was trained on, checked."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fracture._version import __version__
from fracture.calibration import CalibrationResult, assemble, calibrate, calibrate_out_of_fold
from fracture.calibration.fast import calibrate_fast
from fracture.data.coco_writer import write_coco
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.errors import DataError
from fracture.input_check.fit import make_input_check
from fracture.limb.card import Card
from fracture.retraining.job import Job
from fracture.retraining.stages import checksum
from fracture.training.config import MemberConfig
from fracture.training.driver import make_split

_HELD_OUT = ("validation", "tune")


def weights_inputs(job: Job) -> dict[str, Any]:
    """What decides the weights' card: tensors, films, texts, and how it is calibrated."""
    return {
        "fracture": __version__,
        "set": job.annotated.fingerprint(),
        "members": {name: checksum(job.run / f"{name}.safetensors") for name in job.members},
        "texts": job.texts.model_dump(),
        "precision": job.precision,
        "method": job.method,
        "calibrate_members": job.calibrate_members,
        "fast": job.fast,
        "input_check": job.input_check,
        "seed": job.seed,
    }


def make_weights(job: Job) -> list[Path]:
    """Assemble and calibrate beside the place, so that what lies in the place is always whole.

    Raises:
        DataError: Members of different splits, or as for calibration.
    """
    draft, place, held_out = job.folder / "weights.part", job.folder / "weights", job.folder / "held_out"
    shutil.rmtree(draft, ignore_errors=True)
    _assemble(job, draft, job.texts.name, job.members)
    options: dict[str, Any] = {
        "method": job.method,
        "seed": job.seed,
        "precision": job.precision,
        "device": job.device,
    }
    if job.calibrate_members is not None:
        options["calibrate_members"] = job.calibrate_members
    turns = _turns(job)
    if len(turns) > 1:
        folders = []
        for turn, members in turns.items():
            folder = job.folder / "folds" / f"fold{turn}"
            shutil.rmtree(folder, ignore_errors=True)
            _assemble(job, folder, f"{job.texts.name}-fold{turn}", members)
            folders.append(folder)
        result = calibrate_out_of_fold(draft, job.annotated, folders, out=held_out, **options)
    else:
        judged, words = _held_out(job, job.recipe.members[0])
        result = calibrate(draft, judged, description=words, out=held_out, **options)
        if job.fast:

            def same_way(folder: Path) -> CalibrationResult:
                return calibrate(folder, judged, description=words, **options)

            calibrate_fast(draft, job.fast, judged, result.predictions, same_way, seed=job.seed)
    if job.input_check:
        _measure_inputs(job, draft)
    judged = job.annotated.subset([p.source for p in result.predictions])  # films that failed are told in the lines
    write_coco(judged, held_out / "reference.json")
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    made = sorted(path for path in place.iterdir() if path.is_file())
    return [*made, held_out / "predictions.jsonl", held_out / "reference.json"]


def _assemble(job: Job, folder: Path, name: str, members: Sequence[str]) -> Card:
    values = {key: value for key, value in job.texts.model_dump().items() if key != "name"}
    roles = ("boxes_only", "boxes_left_out", "regions_only", "regions_by", "mirrored")
    values |= {key: [one for one in values[key] if one in members] for key in roles}
    values["description"] = values["description"] or f"trained with the recipe {job.recipe.name}"
    return assemble(job.run, folder, name=name, members=members, **values)


def _turns(job: Job) -> dict[int, list[str]]:
    """Members by the fold that they held out; one entry where all share a split.

    Raises:
        DataError: Members of different splits that are not turns of one split.
    """
    splits = {name: Split.read(job.run / name / "split.json").checksum for name in job.members}
    if len(set(splits.values())) > 1:
        raise DataError(
            "members were trained by different splits",
            got=", ".join(f"{name} {digest[:12]}" for name, digest in splits.items()),
            hint="use one split, or the folds of one (split.folds and split.fold)",
        )
    turns: dict[int, list[str]] = {}
    for config in job.recipe.members:
        folds = "train" not in Split.read(job.run / config.name / "split.json").parts
        turns.setdefault(config.split.fold if folds else 0, []).append(config.name)
    return turns


def _held_out(job: Job, config: MemberConfig) -> tuple[AnnotatedSet, str]:
    """The films that a member was not trained on, and which they are in words.

    Raises:
        DataError: The split holds nothing out.
    """
    base, split = make_split(job.annotated, config)
    parts = [name for name in _HELD_OUT if split.parts.get(name)]
    if not parts:
        raise DataError(
            "the split does not hold out any film", got=list(split.parts), allowed="a part validation or tune"
        )
    judged = split.part(job.annotated, *parts)
    words = f"{'+'.join(parts)} of {job.annotated.name}, split {base.checksum[:12]} ({split.method})"
    return judged, f"{len(judged)} films, {judged.positives} fractured: {words}"


def _measure_inputs(job: Job, weights: Path) -> None:
    """The input check of the member that ``fast=True`` runs first, else of the first, on its own split."""
    wanted = (job.fast or tuple(job.members))[0]
    config = next(config for config in job.recipe.members if config.name == wanted)
    _, split = make_split(job.annotated, config)
    learned = split.part(job.annotated, "train")
    judged, words = _held_out(job, config)
    make_input_check(
        weights,
        learned,
        judged,
        member=wanted,
        precision=job.precision,
        device=job.device,
        description=f"distribution: {len(learned)} films it was trained on; limit: {words}",
    )
