"""``train``: a recipe and annotated hips to a pair of networks with a card, in a folder that can be gone on with."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from safetensors.torch import save_file
from tqdm import tqdm

from fracture.atomic import write_atomic, write_json, write_text
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.errors import DataError
from fracture.hip.assembly import assemble
from fracture.hip.classifier import build_classifier, initialize_classifier
from fracture.hip.localizer import build_localizer, initialize_localizer
from fracture.hip.records import balance, counts, exclude_cross_table, merge_sets, read_hips
from fracture.hip.training_config import STAGES, ClassifierConfig, HipRecipe, LocalizerConfig, load_hip_recipe
from fracture.hip.training_data import FilmPictures, HipPictures, PatchCache
from fracture.hip.training_loop import HipLoop
from fracture.hip.training_stages import ClassifierStage, LocalizerStage, summary
from fracture.models.devices import resolve_device
from fracture.models.persistence import load_state, state_for_saving
from fracture.models.starting_points import check_start
from fracture.regular import sha256_of
from fracture.training.base_loop import Interrupted, State
from fracture.training.cache import FilmCache, default_cache_folder
from fracture.training.logs import write_csv
from fracture.training.manifest import device_name, versions
from fracture.training.run import make_split, own_folder, same_run, threads_for
from fracture.training.stop import StopRequest, stop_on_signals
from fracture.training.world import World, joined, local_device

__all__ = ["HipRun", "train"]

FORMAT = "fracture-hip-stage/1"
_RATE_FROM_NOISE = 1e-4  # below it a random start hardly moves (ours); Adam's own default is 1e-3
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class HipRun:
    """What ``train`` made.

    Attributes:
        folder: The run folder.
        stages: Stages that are finished.
        weights: Folder with the card and both networks, where both are finished.
        finished: False where a signal ended the run early; the same call goes on from there.
    """

    folder: Path
    stages: tuple[str, ...]
    weights: Path | None
    finished: bool = True


@dataclass(frozen=True)
class _Setting:
    folder: Path
    device: torch.device
    world: World
    stop: StopRequest
    progress: bool


def train(
    recipe: HipRecipe | str | Path | Mapping[str, Any],
    data: Sequence[AnnotatedSet | str | Path],
    *,
    out: str | Path,
    train_only: Sequence[AnnotatedSet | str | Path] = (),
    stages: Sequence[str] = STAGES,
    device: str = "auto",
    progress: bool = True,
) -> HipRun:
    """Train the localizer and the classifier, one after the other; a call on a folder with an unfinished run goes on.

    The folder then holds, per stage, ``<stage>.safetensors`` and ``<stage>.json`` and a folder ``<stage>`` with
    configuration, split, checkpoint, log and predictions for the parts that were not trained on; and ``weights``, a
    folder that :func:`fracture.hip.load` opens. Cross-table laterals are left out by their view codes.

    Args:
        recipe: A recipe, a TOML file, the name of a shipped recipe, or nested tables.
        data: Sets that are divided into train, tune and validation, by group and stratified by class.
        out: The run folder; made if missing.
        train_only: Sets that are trained on whole.
        stages: Which stages to train.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        progress: Whether a bar is shown on standard error.

    Raises:
        ConfigurationError: Unknown or contradictory settings, or a folder with another run.
        DataError: Faults of the sets or of the split; unreadable films.
        TrainingError: Training cannot go on.
    """
    loaded = load_hip_recipe(recipe)
    for stage in stages:
        config = loaded.stage(stage)
        if (Path(out) / f"{stage}.json").exists():  # a finished one needs its start no more
            continue
        check_start(config.model.norm, config.init)
        if config.init == "random" and config.optimizer.lr < _RATE_FROM_NOISE:
            _LOG.warning(
                "%s: a training from random numbers at a rate of %g, which is meant for pretrained weights; "
                "give --init, or a higher optimizer.lr",
                stage,
                config.optimizer.lr,
            )
    annotated, divided, left_out = _sets(data, train_only)
    place = local_device(resolve_device(device))
    done: list[str] = []
    with joined(place) as world, stop_on_signals() as stop, own_folder(Path(out), world):
        setting = _Setting(Path(out), place, world, stop, progress and world.leads)
        for stage in [name for name in STAGES if name in stages]:
            config = loaded.stage(stage)
            with threads_for(config.loop.threads if place.type == "cpu" else None):
                try:
                    _train_stage(stage, config, annotated, divided, left_out, setting, loaded.name)
                except Interrupted:
                    return HipRun(setting.folder, tuple(done), None, finished=False)
            done.append(stage)
        weights = None
        if all((setting.folder / f"{stage}.json").exists() for stage in STAGES):
            weights = setting.folder / "weights"
            if world.leads:
                assemble(setting.folder, weights)
            world.wait()
    return HipRun(setting.folder, tuple(done), weights)


def _sets(
    data: Sequence[AnnotatedSet | str | Path], train_only: Sequence[AnnotatedSet | str | Path]
) -> tuple[AnnotatedSet, AnnotatedSet, tuple[str, ...]]:
    """All films, those that are divided, and the sources that the view codes leave out."""
    if not data:
        raise DataError("no annotated hips", hint="give a folder with annotations.json and images/ (--data)")
    parts = [one if isinstance(one, AnnotatedSet) else read_hips(one) for one in (*data, *train_only)]
    merged = merge_sets(parts)
    number = sum(len(part) for part in parts[: len(data)])
    names = {film.source for film in merged.films[:number]}
    kept, left_out = exclude_cross_table(merged)
    return kept, kept.select(lambda film: film.source in names), left_out


def _parts(annotated: AnnotatedSet, divided: AnnotatedSet, split: Split) -> dict[str, AnnotatedSet]:
    """The films of each part; what is not divided is trained on."""
    own = {film.source for film in divided}
    extra = tuple(film.source for film in annotated if film.source not in own)
    sources = {**split.parts, "train": (*split.parts["train"], *extra)}
    return {name: annotated.subset(films, name=f"{annotated.name}/{name}") for name, films in sources.items() if films}


def _train_stage(
    stage: str,
    config: LocalizerConfig | ClassifierConfig,
    annotated: AnnotatedSet,
    divided: AnnotatedSet,
    left_out: tuple[str, ...],
    setting: _Setting,
    recipe: str,
) -> None:
    run, world, device = setting.folder, setting.world, setting.device
    folder, weights, described = run / stage, run / f"{stage}.safetensors", run / f"{stage}.json"
    # make_split reads nothing of a member's configuration but its split.
    base, split = make_split(divided, cast(Any, SimpleNamespace(split=config.split)))
    identity = {"split": base.checksum, "set": annotated.fingerprint()}
    same_run(folder, config, base, "base_split.json")
    if weights.exists() and described.exists():
        return
    if world.leads:
        split.write(folder / "split.json")
        base.write(folder / "base_split.json")
        write_json(folder / "config.json", config.to_dict())
    parts = _parts(annotated, divided, split)
    made, start = _stage(stage, config, parts, setting)
    model: Any = made.model
    manifest: dict[str, Any] = {
        "recipe": recipe,
        "config": config.to_dict(),
        "start": start.to_dict(),
        "set": annotated.name,
        "set_fingerprint": annotated.fingerprint(),
        "attribution": annotated.attribution,
        "license": annotated.license,
        "split": {"method": split.method, "seed": base.seed, "sha256": base.checksum},
        "left_out_cross_table": list(left_out),
        "films": {name: len(part) for name, part in parts.items()},
        "hips": {name: counts(part) for name, part in parts.items()},
        "balance": _balance(divided, split),
        "device": device_name(device),
        "processes": world.size,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }
    if world.leads:
        write_json(folder / "manifest.json", manifest)
    bar = _Bar(stage, config.loop.epochs) if setting.progress else None
    loop = HipLoop(
        made,
        config,
        folder,
        device=device,
        world=world,
        stop=setting.stop,
        progress=bar,
        after_epoch=lambda state: write_csv(folder / "log.csv", _even(state.history)),
        identity=identity,
    )
    try:
        state = loop.run()
    finally:
        if bar is not None:
            bar.close()
    # What is judged below is what ships: the weights after rounding to half precision.
    shipped = state_for_saving(model)
    load_state(model, shipped)
    results = _judge_rest(made, config, parts, setting, folder)
    manifest |= {
        "epochs": state.epoch,
        "best_epoch": state.best_epoch or None,
        "best_score": state.best_auc,
        "optimizer_steps": state.steps,
        "seconds": round(state.seconds, 1),
        "history": state.history,
        "results": results,
    }
    if world.leads:
        write_atomic(weights, lambda path: save_file(shipped, str(path), metadata={"format": FORMAT, "name": stage}))
        write_json(described, {"format": FORMAT, "stage": stage, "sha256": sha256_of(weights), "training": manifest})
    world.wait()


def _stage(
    stage: str, config: LocalizerConfig | ClassifierConfig, parts: Mapping[str, AnnotatedSet], setting: _Setting
) -> tuple[LocalizerStage | ClassifierStage, Any]:
    """The stage with its network started, its films checked and in the cache."""
    folder = Path(config.loop.cache) if config.loop.cache else default_cache_folder()
    tune = parts.get("tune")
    if isinstance(config, LocalizerConfig):
        localizer = build_localizer(config.model, seed=config.seed)
        start = initialize_localizer(localizer, config.init)  # what does not fit is told before films are prepared
        cache = FilmCache(folder, config.preprocess)
        _checked(cache, parts, setting)
        pictures = FilmPictures(parts["train"], cache, config)
        tuning = None if tune is None else FilmPictures(tune, cache, config)
        return LocalizerStage(localizer, config, pictures, tuning, setting.device), start
    patches = PatchCache(folder)
    classifier = build_classifier(config.model, seed=config.seed)
    start = initialize_classifier(classifier, config.init)
    hips = HipPictures(parts["train"], patches, config)
    if not hips.items:
        raise DataError(
            f"no hip of the {stage}'s training part has a known class", hint="give hip_class or findings per annotation"
        )
    held = None if tune is None else HipPictures(tune, patches, config)
    return ClassifierStage(classifier, config, hips, held, setting.device), start


def _checked(cache: FilmCache, parts: Mapping[str, AnnotatedSet], setting: _Setting) -> None:
    wanted = [(film.source, part.image_path(film)) for part in parts.values() for film in part]
    share = wanted[setting.world.rank :: setting.world.size]
    faults = setting.world.gathered(cache.prepare(share))
    if faults:
        shown = "; ".join(f"{fault.source}: {fault.error}" for fault in faults[:10])
        raise DataError(f"{len(faults)} of {len(wanted)} films cannot be read", got=shown, hint="repair or remove them")


def _judge_rest(
    stage: LocalizerStage | ClassifierStage,
    config: LocalizerConfig | ClassifierConfig,
    parts: Mapping[str, AnnotatedSet],
    setting: _Setting,
    folder: Path,
) -> dict[str, Any]:
    """Predictions for the parts that were not trained on, in float32, by the leading process."""
    results: dict[str, Any] = {}
    if not setting.world.leads:
        return results
    for name in ("tune", "validation"):
        if name not in parts:
            continue
        if isinstance(stage, LocalizerStage) and isinstance(config, LocalizerConfig):
            films = FilmPictures(parts[name], stage.pictures.cache, config)
            rows = stage.judge(films, config.rules)
            results[name] = summary(rows)
        elif isinstance(stage, ClassifierStage) and isinstance(config, ClassifierConfig):
            rows = stage.rows(HipPictures(parts[name], stage.pictures.cache, config))
            right = [max(row["probabilities"], key=row["probabilities"].get) in row["allowed"] for row in rows]
            results[name] = {"hips": len(rows), "accuracy": sum(right) / len(right) if right else None}
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_text(folder / f"predictions_{name}.jsonl", text)
    return results


def _balance(divided: AnnotatedSet, split: Split) -> dict[str, Any]:
    """Pearson's chi-square of the split; left out where a set holds a single class."""
    from fracture.errors import EvaluationError

    with suppress(EvaluationError):
        return {name: test.to_dict() for name, test in balance(divided, split).items()}
    return {}


def _even(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the same columns: epochs without a look at the tuning part lack some."""
    columns = list(Counter(key for row in rows for key in row))
    return [{key: row.get(key) for key in columns} for row in rows]


class _Bar:
    """One bar per epoch on standard error."""

    def __init__(self, title: str, epochs: int) -> None:
        self.title, self.epochs = title, epochs
        self.bar: tqdm[Any] | None = None
        self.epoch = -1

    def __call__(self, state: State, steps: int) -> None:
        """After an optimizer step."""
        if self.bar is None or self.epoch != state.epoch:
            self.close()
            self.epoch = state.epoch
            label = f"{self.title} {state.epoch + 1}/{self.epochs}"
            self.bar = tqdm(total=steps, desc=label, unit="step", initial=state.step - 1, mininterval=2.0)
        last = state.history[-1].get("tuning") if state.history else None
        loss = state.sums["loss"] / state.sums["steps"]
        self.bar.set_postfix(loss=f"{loss:.4f}", tuning="-" if last is None else f"{last:.4f}", refresh=False)
        self.bar.update(1)

    def close(self) -> None:
        """End the line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
