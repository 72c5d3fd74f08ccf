"""``train``: a recipe and an annotated set to trained networks in a run folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fracture.atomic import hold, write_atomic, write_json
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split, rotate_folds, split_folds, split_parts
from fracture.errors import ConfigurationError, DataError
from fracture.models import FractureModel, build_model, initialize
from fracture.models.devices import resolve_device
from fracture.models.persistence import load_state, state_for_saving
from fracture.models.starting_points import check_start
from fracture.regular import sha256_of
from fracture.training.cache import Fault, FilmCache, default_cache_folder
from fracture.training.config import MemberConfig, Recipe, load_recipe
from fracture.training.dataset import Films
from fracture.training.evaluate_tuning import FilmOutput, judge, write_maps, write_predictions
from fracture.training.logs import EpochLog, ProgressBar, counting, write_csv
from fracture.training.loop import Interrupted, Loop, State
from fracture.training.manifest import before, results
from fracture.training.optim import freeze, learn_extents
from fracture.training.stop import StopRequest, stop_on_signals
from fracture.training.world import World, joined, local_device

__all__ = [
    "MemberResult",
    "TrainingRun",
    "make_split",
    "own_folder",
    "read_record",
    "same_run",
    "threads_for",
    "train",
]

FORMAT = "fracture-member/1"
_SHOWN_FAULTS = 10


@dataclass(frozen=True)
class MemberResult:
    """A trained network.

    Attributes:
        name: The member's name.
        weights: Its safetensors file (half precision; statistics in float32).
        facts: Model, preprocessing and training facts, as in the JSON file beside it.
    """

    name: str
    weights: Path
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class TrainingRun:
    """What ``train`` made.

    Attributes:
        folder: The run folder.
        members: The networks that are finished.
        finished: False where a signal ended the run early; the same call goes on from there.
    """

    folder: Path
    members: tuple[MemberResult, ...]
    finished: bool = True


@dataclass(frozen=True)
class _Setting:
    """What all members of a run share."""

    folder: Path
    device: torch.device
    world: World
    stop: StopRequest
    progress: bool


def train(
    recipe: Recipe | MemberConfig | str | Path | Mapping[str, Any],
    data: AnnotatedSet | str | Path | None = None,
    *,
    out: str | Path,
    members: Sequence[str] = (),
    device: str = "auto",
    progress: bool = True,
) -> TrainingRun:
    """Train the networks of a recipe, one after the other; a call on a folder with an unfinished run goes on with it.

    The folder then holds, per member, ``<name>.safetensors`` and ``<name>.json`` (the network, its preprocessing, the
    training facts) and a folder ``<name>`` with the configuration, the manifest, the split, the checkpoint, the log and
    its curves, overlays, and predictions and maps of all films that were not trained on. Under ``torchrun`` the
    processes share each network's batches.

    Args:
        recipe: A recipe, one member's configuration, a TOML file, the name of a shipped recipe, or nested tables.
        data: The annotated set, or its path; default ``data.path`` of the recipe.
        out: The run folder; made if missing.
        members: Names of the members to train; empty for all.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        progress: Whether a progress bar is shown on standard error.

    Raises:
        ConfigurationError: Unknown or contradictory settings, or a folder with another run.
        ModelError, WeightsError: A starting point that cannot be used, told before any film is read or prepared.
        DataError: Faults of the set or its split; unreadable films, all at once.
        OutputError: The disk is full, or another process trains in the folder.
        TrainingError: Training cannot go on: see :meth:`fracture.training.loop.Loop.run`.
    """
    if isinstance(recipe, MemberConfig):
        recipe = Recipe(recipe.name, (recipe,))
    elif not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    chosen = recipe.select(members) if members else recipe
    for config in chosen.members:
        if not (Path(out) / f"{config.name}.json").exists():  # a finished one needs its start no more
            check_start(config.model.norm, config.init, frozen_stages=config.optimizer.freeze_stages)
    place = local_device(resolve_device(device))
    done: list[MemberResult] = []
    with joined(place) as world, stop_on_signals() as stop, own_folder(Path(out), world):
        setting = _Setting(Path(out), place, world, stop, progress and world.leads)
        for config in chosen.members:
            with threads_for(config.loop.threads if place.type == "cpu" else None):
                try:
                    done.append(_train_member(config, _annotated(config, data), setting))
                except Interrupted:
                    return TrainingRun(setting.folder, tuple(done), finished=False)
    return TrainingRun(setting.folder, tuple(done))


def make_split(annotated: AnnotatedSet, config: MemberConfig) -> tuple[Split, Split]:
    """The split that is kept in a file, and the parts ``train``, ``tune`` and ``validation`` of this member's turn.

    Raises:
        DataError: A split that cannot be made or read, or one of another set.
    """
    settings = config.split
    if settings.file is not None:
        base = Split.read(settings.file)
    elif settings.folds is not None:
        base = split_folds(annotated, settings.folds, seed=settings.seed)
    else:
        base = split_parts(annotated, settings.shares, seed=settings.seed)
    if base.fingerprint != annotated.fingerprint():
        raise DataError(
            f"the split {settings.file} was made for another version of {annotated.name}",
            hint="make the split again, or use the set it was made for",
        )
    if "train" in base.parts:
        return base, base
    turn = rotate_folds(base, settings.fold)
    if settings.tune_fold:
        return base, turn
    merged = tuple(sorted((*turn.parts["train"], *turn.parts["tune"])))
    parts = {"train": merged, "validation": turn.parts["validation"]}
    return base, replace(turn, parts=parts, counts={}, method=f"{turn.method}, trained on all other folds")


def _annotated(config: MemberConfig, data: AnnotatedSet | str | Path | None) -> AnnotatedSet:
    if isinstance(data, AnnotatedSet):
        return data
    path = data or config.data.path
    if path is None:
        raise ConfigurationError("no annotated set", hint="give data=..., --data, or data.path in the recipe")
    return read_annotations(path, config.data.format, **config.data.options)


def _train_member(config: MemberConfig, annotated: AnnotatedSet, setting: _Setting) -> MemberResult:
    run, world, device = setting.folder, setting.world, setting.device
    folder = run / config.name
    weights, described = run / f"{config.name}.safetensors", run / f"{config.name}.json"
    base, split = make_split(annotated, config)
    identity = {"split": base.checksum, "set": annotated.fingerprint()}
    same_run(folder, config, base, "split.json")
    if weights.exists() and described.exists():
        return MemberResult(config.name, weights, read_record(described))
    if world.leads:
        base.write(folder / "split.json")
        write_json(folder / "config.json", config.to_dict())

    regions = config.model.regions if config.region_head == "model" else split.part(annotated, "train").regions
    model = build_model(config.model.replace(regions=regions), seed=config.seed)
    start = initialize(model, config.init, seed=config.seed)  # what does not fit is told before films are prepared
    caches = _caches(config)
    parts, faults = _prepare(annotated, split, config, caches, setting)
    if config.extents.epochs and not any(film.boxes for film in parts["train"]):
        raise DataError(
            "the extent head learns from boxes, and no training film has any", hint="set extents.epochs = 0"
        )
    films = {name: Films(part, caches[name], config, regions) for name, part in parts.items()}
    model.backbone.set_checkpointing(model.backbone.stage_names[: config.loop.checkpoint_stages])
    freeze(model, config.optimizer.freeze_stages)
    if config.model.extents and config.loss.extent == 0:
        learn_extents(model, alone=False)
    manifest = before(config, annotated, parts, base, split, start.to_dict(), device, world.size)
    manifest["identity"] = identity
    if world.leads:
        write_json(folder / "manifest.json", manifest)

    log = EpochLog(folder, config, films.get("tune")) if world.leads else None
    if log is not None:
        log.sheet(films["train"])
    bar = ProgressBar(config) if setting.progress else None
    loop = Loop(
        model,
        config,
        films["train"],
        films.get("tune"),
        folder,
        device=device,
        world=world,
        stop=setting.stop,
        progress=bar,
        after_epoch=log,
        identity=identity,
    )
    try:
        state = loop.run()
    finally:
        if bar is not None:
            bar.close()
        if log is not None:
            log.close()

    sized = _train_extents(model, config, films["train"], folder, setting, identity) if config.extents.epochs else None

    # What is judged below is what ships: the weights after rounding to half precision.
    shipped = state_for_saving(model)
    load_state(model, shipped)
    outputs = _judge_rest(model, films, config, device, world)
    facts: dict[str, Any] = {
        "format": FORMAT,
        "name": config.name,
        "file": weights.name,
        "model": model.spec.to_dict(),
        "preprocess": config.preprocess.to_dict(),
        "training": {**manifest, **results(state, outputs, faults, sized)},
    }
    if world.leads:
        if log is not None:
            log.write(state)
        for part, found in outputs.items():
            write_predictions(folder / f"predictions_{part}.jsonl", found, model=config.name, part=part)
            if config.loop.maps and model.spec.map:
                write_maps(folder / f"maps_{part}.safetensors", found)
        header = {"format": FORMAT, "name": config.name}
        write_atomic(weights, lambda path: save_file(shipped, str(path), metadata=header))
        facts["sha256"] = sha256_of(weights)
        write_json(described, facts)
    world.wait()
    return MemberResult(config.name, weights, facts)


def _train_extents(
    model: FractureModel, config: MemberConfig, films: Films, folder: Path, setting: _Setting, identity: dict[str, str]
) -> State:
    """The last epochs, in which the extent head learns alone; with a checkpoint of their own in ``extents/``."""
    own, world = config.extents_stage(), setting.world
    localized = films.part.select(lambda film: bool(film.boxes))
    learn_extents(model, alone=True)
    below = folder / "extents"
    bar = ProgressBar(own) if setting.progress else None
    loop = Loop(
        model,
        own,
        Films(localized, films.cache, own, films.regions),
        None,
        below,
        device=setting.device,
        world=world,
        stop=setting.stop,
        progress=bar,
        after_epoch=lambda state, _: write_csv(below / "log.csv", state.history),
        identity=identity,
        still=True,
    )
    try:
        return loop.run()
    finally:
        if bar is not None:
            bar.close()


def same_run(folder: Path, config: Any, base: Split, split_file: str) -> None:
    """A folder is gone on with by the configuration and the split it was begun with, or not at all.

    Args:
        folder: Of the member or stage.
        config: Its configuration, with ``from_dict`` and ``differences``.
        base: Its split.
        split_file: Where the split lies in the folder.

    Raises:
        ConfigurationError: It was begun with others; the settings that differ are named.
    """
    path = folder / "config.json"
    if not path.exists():
        return
    changed = config.differences(type(config).from_dict(read_record(path)))
    if (folder / split_file).exists() and Split.read(folder / split_file).checksum != base.checksum:
        changed.append("the split of the films")
    if changed:
        raise ConfigurationError(
            f"{folder} holds a run with other settings",
            got=f"different: {', '.join(changed)}",
            hint="give another folder, or the settings that the run was begun with",
        )


def _caches(config: MemberConfig) -> dict[str, FilmCache]:
    """Where the films of each part are kept; windows are cut from films that nobody enlarged, to interpolate once."""
    folder = config.data.cache or default_cache_folder()
    whole = FilmCache(folder, config.preprocess, pixels=config.data.pixels)
    train = whole
    if config.windows.size:
        spec = replace(config.preprocess, size=config.windows.stored, enlarge=False, shape="stride")
        train = FilmCache(folder, spec, pixels=config.data.pixels)
    return {"train": train, "tune": whole, "validation": whole}


def _prepare(
    annotated: AnnotatedSet, split: Split, config: MemberConfig, caches: Mapping[str, FilmCache], setting: _Setting
) -> tuple[dict[str, AnnotatedSet], tuple[Fault, ...]]:
    """Every film of every part into the cache; the parts without the films that cannot be read."""
    world = setting.world
    parts = {name: split.part(annotated, name) for name in ("train", "tune", "validation") if name in split.parts}
    wanted = {name: [(film.source, annotated.image_path(film)) for film in part] for name, part in parts.items()}
    shares = {name: films[world.rank :: world.size] for name, films in wanted.items()}
    found = []
    with counting(sum(map(len, shares.values())), "preparing films", shown=setting.progress) as count:
        for name, share in shares.items():
            found += caches[name].prepare(share, threads=max(1, config.loop.workers), progress=count)
    faults = sorted(world.gathered(found), key=lambda fault: fault.source)
    if faults and config.data.on_unreadable == "stop":
        raise DataError(
            f"{len(faults)} of {sum(map(len, wanted.values()))} films cannot be read",
            got="; ".join(f"{f.source}: {f.error}" for f in faults[:_SHOWN_FAULTS])
            + (" ..." if len(faults) > _SHOWN_FAULTS else ""),
            hint="repair or remove them (see `fracture verify-data`), or set data.on_unreadable = 'skip'",
        )
    bad = {fault.source for fault in faults}
    parts = {name: part.select(lambda film: film.source not in bad) for name, part in parts.items()}
    for name, part in parts.items():
        if len(part) == 0:
            raise DataError(f"the {name} part has no film that can be read")
    return parts, tuple(faults)


def _judge_rest(
    model: FractureModel, films: Mapping[str, Films], config: MemberConfig, device: torch.device, world: World
) -> dict[str, list[FilmOutput]]:
    """Predictions for the parts that were not trained on, in float32."""
    return {
        name: judge(
            model,
            part,
            device,
            micro_batch=min(8, config.micro_batch),
            channels_last=config.loop.channels_last,
            workers=config.loop.workers,
            world=world,
        )
        for name, part in films.items()
        if name != "train"
    }


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object that a run left in its folder.

    Raises:
        ConfigurationError: It cannot be read, or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read", got=error, hint="give another run folder") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} is no record of a run", got=type(content).__name__, allowed="a JSON object")
    return content


@contextmanager
def own_folder(folder: Path, world: World) -> Iterator[None]:
    """The run folder held against other trainings by the leading process; what a killed one left half-written goes.

    Raises:
        OutputError: Another process trains there.
    """
    if not world.leads:
        yield
        return
    with hold(folder / ".lock", f"the run folder {folder}"):
        for rest in folder.rglob(".*.part"):
            rest.unlink(missing_ok=True)
        yield


@contextmanager
def threads_for(number: int | None) -> Iterator[None]:
    """``number`` torch threads for a while."""
    kept = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if number is not None:
            torch.set_num_threads(kept)
