"""``retrain``: the stages from a recipe and annotated films to weights, report and model card."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fracture._version import __version__
from fracture.atomic import hold, write_text
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.evaluation.files.predictions import read_predictions
from fracture.evaluation.files.references import read_reference
from fracture.evaluation.findings import Settings
from fracture.evaluation.matching import Criterion
from fracture.evaluation.report import evaluate
from fracture.evaluation.tables import join
from fracture.limb.card import CARD_FILE
from fracture.limb.operating_points import Method
from fracture.limb.store import open_weights
from fracture.models.devices import Precision
from fracture.reporting.aims import read_aims
from fracture.reporting.page import page_of_files
from fracture.retraining.job import Job, check_fast, training_inputs, with_starts
from fracture.retraining.stages import Stage, Stages, checksum
from fracture.retraining.texts import CardTexts
from fracture.retraining.weights import make_weights, weights_inputs
from fracture.training import Recipe, load_recipe, train

_HIT = Criterion("iou_or_center", 0.3)


@dataclass(frozen=True)
class Retrained:
    """What a call did.

    Attributes:
        folder: The output folder: ``run/`` (training), ``weights/``, ``held_out/`` (predictions and reference),
            ``report/``, ``model_card.md``, ``stages/`` (records).
        stages: In order, with what was made and what was kept.
        finished: False where the training was asked to stop; the same call goes on.
    """

    folder: Path
    stages: tuple[Stage, ...]
    finished: bool = True

    @property
    def weights(self) -> Path:
        """The folder of the weights."""
        return self.folder / "weights"

    @property
    def page(self) -> Path:
        """The model card."""
        return self.folder / "model_card.md"


class _Stopped(Exception):  # noqa: N818 - no error: the training was asked to stop, and has saved
    """The training left early."""


def retrain(
    recipe: Recipe | str | Path,
    data: AnnotatedSet | str | Path,
    *,
    out: str | Path,
    texts: CardTexts | None = None,
    init: Mapping[str, str] | None = None,
    aims: str | Path | None = None,
    misses: str | Path | None = None,
    extras: Sequence[str | Path] = (),
    cache: str | Path | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    method: Method = "empirical",
    calibrate_members: bool | None = None,
    fast: Sequence[str] = (),
    input_check: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    progress: bool = True,
    say: Callable[[str], object] = lambda _: None,
) -> Retrained:
    """Train, assemble, calibrate, evaluate, describe; a call on a folder resumes where the last one ended.

    Members that were trained on different folds of one split (``split.folds`` and ``split.fold`` of the recipe) are
    calibrated out of fold, each by the films that its own fold held out; else all members must share one split, whose
    ``validation`` and ``tune`` parts calibrate them.

    Args:
        recipe: A recipe, a TOML file, or the name of a shipped recipe.
        data: The annotated set, or its path.
        out: The output folder; made if missing.
        texts: What the card says that training cannot know; the recipe's name alone where left out.
        init: Starting point by member, ``""`` for all others: ``random``, ``pretrained`` or a safetensors file.
        aims, misses, extras: Files for the model card, see :func:`fracture.reporting.model_card`.
        cache: Folder for prepared films; the recipe's, or the user's own, where left out.
        device: Of training and calibration.
        precision: Of calibration, and so of the thresholds.
        method: Of the thresholds, ``"empirical"`` or ``"conformal"``.
        calibrate_members: Whether each member's score gets a calibrator; ``None``: as calibration itself decides.
        fast: Members that ``fast=True`` runs; they are calibrated as weights of their own.
        input_check: Measure where the features of the training films lie, to warn of pictures that are not radiographs.
        resamples: Of the report's bootstrap.
        seed: Of the cross-fitting and of the bootstrap; the training's seeds are the recipe's.
        progress: Whether training shows a progress bar.
        say: Called with one line per stage.

    Raises:
        ConfigurationError: Settings with faults, or a folder that was begun with others.
        DataError: As for training and calibration.
        OutputError: The disk is full, or another process works in the folder; the same call goes on.
    """
    loaded = with_starts(recipe if isinstance(recipe, Recipe) else load_recipe(recipe), init or {})
    if cache is not None:
        loaded = loaded.replace({"data": {"cache": str(cache)}})
    how = loaded.members[0].data
    annotated = data if isinstance(data, AnnotatedSet) else read_annotations(data, how.format, **how.options)
    written = texts or CardTexts()
    if not written.name:
        written = CardTexts.of({**written.model_dump(), "name": loaded.name}, source=f"the recipe's name {loaded.name}")
    job = Job(
        recipe=loaded,
        annotated=annotated,
        folder=Path(out),
        texts=written,
        device=device,
        precision=precision,
        method=method,
        calibrate_members=calibrate_members,
        fast=tuple(fast),
        input_check=input_check,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )
    check_fast(job)
    files = {"aims": aims, "misses": misses, **{f"extra {i}": path for i, path in enumerate(extras)}}
    if aims is not None:
        read_aims(aims)  # a misspelt key is told now, and not after the training
    given = {name: checksum(Path(path)) for name, path in files.items() if path is not None}
    stages = Stages(job.folder)
    done: list[Stage] = []

    def stage(name: str, inputs: Mapping[str, Any], make: Callable[[], Sequence[Path]]) -> None:
        found = stages.run(name, inputs, make)
        say(f"{name}: {'made' if found.made else 'kept'}")
        done.append(found)

    with hold(job.folder / ".lock", f"the folder {job.folder}"):
        training = training_inputs(job)
        stages.begin("train", {key: value for key, value in training.items() if key != "fracture"})
        try:
            stage("train", training, lambda: _train(job))
        except _Stopped:
            return Retrained(job.folder, tuple(done), finished=False)
        stage("weights", weights_inputs(job), lambda: make_weights(job))
        stage("report", _report_inputs(job), lambda: _make_report(job))
        stage("card", _card_inputs(job, given), lambda: _make_page(job, aims, misses, extras))
    return Retrained(job.folder, tuple(done))


def _train(job: Job) -> list[Path]:
    result = train(job.recipe, job.annotated, out=job.run, device=job.device, progress=job.progress)
    if not result.finished:
        raise _Stopped
    return [path for member in result.members for path in (member.weights, member.weights.with_suffix(".json"))]


def _report_inputs(job: Job) -> dict[str, Any]:
    held_out = job.folder / "held_out"
    return {
        "fracture": __version__,
        "predictions": checksum(held_out / "predictions.jsonl"),
        "reference": checksum(held_out / "reference.json"),
        "resamples": job.resamples,
        "seed": job.seed,
    }


def _make_report(job: Job) -> list[Path]:
    held_out = job.folder / "held_out"
    reference = read_reference(held_out / "reference.json", groups="group")
    cases = join(read_predictions(held_out / "predictions.jsonl", reference=reference), reference)
    report = evaluate(cases, Settings(resamples=job.resamples, seed=job.seed, criterion=_HIT))
    page = report.save(job.folder / "report", images=job.annotated.root)
    return [page, page.with_name("report.json"), page.with_name("fractures.csv")]


def _card_inputs(job: Job, given: Mapping[str, str]) -> dict[str, Any]:
    return {
        "fracture": __version__,
        "card": checksum(job.folder / "weights" / CARD_FILE),
        "report": checksum(job.folder / "report" / "report.json"),
        **given,
    }


def _make_page(
    job: Job, aims: str | Path | None, misses: str | Path | None, extras: Sequence[str | Path]
) -> list[Path]:
    page = page_of_files(
        open_weights(job.folder / "weights"),
        report=job.folder / "report",
        extras=[Path(path) for path in extras],
        aims=None if aims is None else Path(aims),
        misses=None if misses is None else Path(misses),
        command=shlex.join(["fracture", "retrain", job.recipe.name, "--data", job.annotated.name, "--out", "OUT"]),
    )
    path = job.folder / "model_card.md"
    write_text(path, page)
    return [path]
