"""``retrain``: the stages from a recipe and annotated films to weights, report and model card."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fracture._version import __version__
from fracture.calibration import assemble, calibrate, calibrate_out_of_fold
from fracture.card import CARD_FILE, Card
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.errors import ConfigurationError, DataError
from fracture.evaluation.matching import Criterion
from fracture.evaluation.report import Settings, evaluate
from fracture.evaluation.tables import join, read_predictions, read_reference
from fracture.reporting import model_card, read_aims
from fracture.retraining.reference import write_reference
from fracture.retraining.stages import Stage, Stages, checksum
from fracture.retraining.texts import CardTexts
from fracture.training import Recipe, load_recipe, train
from fracture.training.config import MemberConfig

if TYPE_CHECKING:
    from fracture.ensemble import Precision
    from fracture.operating_points import Method

__all__ = ["Retrained", "retrain"]

_HELD_OUT = ("validation", "tune")
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


@dataclass(frozen=True)
class _Job:
    """Everything that the stages share."""

    recipe: Recipe
    annotated: AnnotatedSet
    folder: Path
    texts: CardTexts
    device: str
    precision: Precision
    method: Method
    calibrate_members: bool | None
    resamples: int
    seed: int
    progress: bool

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def members(self) -> list[str]:
        return [config.name for config in self.recipe.members]


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
    resamples: int = 1000,
    seed: int = 0,
    progress: bool = True,
    say: Callable[[str], object] = lambda _: None,
) -> Retrained:
    """Train, assemble, calibrate, evaluate, describe; a call on a folder goes on where the last one ended.

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
        resamples: Of the report's bootstrap.
        seed: Of the cross-fitting and of the bootstrap; the training's seeds are the recipe's.
        progress: Whether training shows a progress bar.
        say: Called with one line per stage.

    Raises:
        ConfigurationError: Settings with faults, or a folder that was begun with others.
        DataError: As for training and calibration.
    """
    loaded = _with_starts(recipe if isinstance(recipe, Recipe) else load_recipe(recipe), init or {})
    if cache is not None:
        loaded = loaded.replace({"data": {"cache": str(cache)}})
    annotated = data if isinstance(data, AnnotatedSet) else read_annotations(data)
    written = texts or CardTexts()
    if not written.name:
        written = CardTexts.of({**written.model_dump(), "name": loaded.name}, source=f"the recipe's name {loaded.name}")
    job = _Job(
        loaded, annotated, Path(out), written, device, precision, method, calibrate_members, resamples, seed, progress
    )
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

    training = _training_inputs(job)
    stages.begin("train", {key: value for key, value in training.items() if key != "fracture"})
    try:
        stage("train", training, lambda: _train(job))
    except _Stopped:
        return Retrained(job.folder, tuple(done), finished=False)
    stage("weights", _weights_inputs(job), lambda: _make_weights(job))
    stage("report", _report_inputs(job), lambda: _make_report(job))
    stage("card", _card_inputs(job, given), lambda: _make_page(job, aims, misses, extras))
    return Retrained(job.folder, tuple(done))


def _with_starts(recipe: Recipe, init: Mapping[str, str]) -> Recipe:
    names = [config.name for config in recipe.members]
    if unknown := sorted(set(init) - {"", *names}):
        raise ConfigurationError("the recipe has no such member", got=", ".join(unknown), allowed=names)
    starts = {name: init.get(name, init.get("")) for name in names}
    return Recipe(
        recipe.name,
        tuple(
            config if starts[config.name] is None else config.replace({"init": starts[config.name]})
            for config in recipe.members
        ),
    )


def _training_inputs(job: _Job) -> dict[str, Any]:
    """The set, and per member every setting that decides its weights and the bytes that it starts from."""
    members = {}
    for config in job.recipe.members:
        start = Path(config.init)
        settings = config.to_dict()
        decisive = {
            key: _at(settings, key) for key in config.differences(MemberConfig()) if key not in ("init", "name")
        }
        members[config.name] = {**decisive, "start": checksum(start) if start.is_file() else config.init}
    return {
        "fracture": __version__,
        "set": job.annotated.fingerprint(),
        **{f"member {name}": settings for name, settings in members.items()},
    }


def _train(job: _Job) -> list[Path]:
    result = train(job.recipe, job.annotated, out=job.run, device=job.device, progress=job.progress)
    if not result.finished:
        raise _Stopped
    return [path for member in result.members for path in (member.weights, member.weights.with_suffix(".json"))]


def _weights_inputs(job: _Job) -> dict[str, Any]:
    return {
        "fracture": __version__,
        "set": job.annotated.fingerprint(),
        "members": {name: checksum(job.run / f"{name}.safetensors") for name in job.members},
        "texts": job.texts.model_dump(),
        "precision": job.precision,
        "method": job.method,
        "calibrate_members": job.calibrate_members,
        "seed": job.seed,
    }


def _make_weights(job: _Job) -> list[Path]:
    """Assemble and calibrate beside the place, so that what lies in the place is always whole."""
    draft, place, held_out = job.folder / "weights.part", job.folder / "weights", job.folder / "held_out"
    shutil.rmtree(draft, ignore_errors=True)
    _assemble(job, draft, job.texts.name, job.members)
    options: dict[str, Any] = {
        "out": held_out,
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
        result = calibrate_out_of_fold(draft, job.annotated, folders, **options)
    else:
        split = Split.read(draft / "split.json")
        judged, words = _held_out(job, split)
        result = calibrate(draft, judged, description=words, **options)
    judged = job.annotated.subset([p.source for p in result.predictions])
    write_reference(judged, held_out / "reference.json")
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    made = [place / CARD_FILE, *(place / f"{name}.safetensors" for name in job.members)]
    made += [path for path in (place / "split.json",) if path.is_file()]
    return [*made, held_out / "predictions.jsonl", held_out / "reference.json"]


def _assemble(job: _Job, folder: Path, name: str, members: Sequence[str]) -> Card:
    values = {key: value for key, value in job.texts.model_dump().items() if key != "name"}
    values["description"] = values["description"] or f"trained with the recipe {job.recipe.name}"
    return assemble(job.run, folder, name=name, members=members, **values)


def _turns(job: _Job) -> dict[int, list[str]]:
    """Members by the fold that they held out; one entry where all share a split.

    Raises:
        DataError: Members of different splits that are no turns of one.
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


def _held_out(job: _Job, split: Split) -> tuple[AnnotatedSet, str]:
    """The films that no member was trained on, and which they are in words.

    Raises:
        DataError: The split holds nothing out.
    """
    config = job.recipe.members[0]
    if "train" not in split.parts:
        from fracture.training.run import make_split

        _, split = make_split(job.annotated, config)
    parts = [name for name in _HELD_OUT if split.parts.get(name)]
    if not parts:
        raise DataError("the split holds no film out", got=list(split.parts), allowed="a part validation or tune")
    judged = split.part(job.annotated, *parts)
    words = f"{'+'.join(parts)} of {job.annotated.name}, split {split.checksum[:12]} ({split.method})"
    return judged, f"{len(judged)} films, {judged.positives} fractured: {words}"


def _report_inputs(job: _Job) -> dict[str, Any]:
    held_out = job.folder / "held_out"
    return {
        "fracture": __version__,
        "predictions": checksum(held_out / "predictions.jsonl"),
        "reference": checksum(held_out / "reference.json"),
        "resamples": job.resamples,
        "seed": job.seed,
    }


def _make_report(job: _Job) -> list[Path]:
    held_out = job.folder / "held_out"
    reference = read_reference(held_out / "reference.json", groups="group")
    cases = join(read_predictions(held_out / "predictions.jsonl", reference=reference), reference)
    report = evaluate(cases, Settings(resamples=job.resamples, seed=job.seed, criterion=_HIT))
    page = report.save(job.folder / "report", images=job.annotated.root)
    return [page, page.with_name("report.json"), page.with_name("fractures.csv")]


def _card_inputs(job: _Job, given: Mapping[str, str]) -> dict[str, Any]:
    return {
        "fracture": __version__,
        "card": checksum(job.folder / "weights" / CARD_FILE),
        "report": checksum(job.folder / "report" / "report.json"),
        **given,
    }


def _make_page(
    job: _Job, aims: str | Path | None, misses: str | Path | None, extras: Sequence[str | Path]
) -> list[Path]:
    weights = job.folder / "weights"
    split = weights / "split.json"
    page = model_card(
        Card.read(weights),
        report=_json(job.folder / "report" / "report.json"),
        extras=tuple(_json(Path(path)) for path in extras),
        aims=() if aims is None else read_aims(aims),
        misses="" if misses is None else Path(misses).read_text(encoding="utf-8"),
        split=Split.read(split) if split.is_file() else None,
        sizes={path.name: path.stat().st_size for path in sorted(weights.glob("*.safetensors"))},
        command=shlex.join(["fracture", "retrain", job.recipe.name, "--data", job.annotated.name, "--out", "OUT"]),
    )
    path = job.folder / "model_card.md"
    path.write_text(page, encoding="utf-8")
    return [path]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as JSON", got=type(error).__name__) from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} holds no JSON object", got=type(content).__name__)
    return cast("dict[str, Any]", content)


def _at(settings: Mapping[str, Any], path: str) -> Any:
    """The setting at ``section.key``; ``None`` where only the other side has it."""
    found: Any = settings
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found
