"""``train``: a recipe and an annotated set to trained networks in a run folder."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fracture._version import __version__
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split, rotate_folds, split_folds, split_parts
from fracture.ensemble import resolve_device
from fracture.errors import ConfigurationError, DataError
from fracture.models import FractureModel, build_model, initialize
from fracture.models.persistence import load_state, state_for_saving
from fracture.training.cache import Fault, FilmCache, default_cache_folder
from fracture.training.checkpoint import write_atomic
from fracture.training.config import MemberConfig, Recipe, load_recipe
from fracture.training.dataset import Films
from fracture.training.evaluate_tuning import FilmOutput, judge, pooled_auc, write_maps, write_predictions
from fracture.training.logs import EpochLog, ProgressBar
from fracture.training.loop import Interrupted, Loop, State
from fracture.training.optim import freeze
from fracture.training.stop import StopRequest, stop_on_signals
from fracture.training.world import World, joined, local_device

__all__ = ["MemberResult", "TrainingRun", "train"]

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
    training facts) and a folder ``<name>`` with the configuration, the split, the checkpoint, the log and its curves,
    overlays, and predictions and maps of all films that were not trained on. Under ``torchrun`` the processes share
    each network's batches.

    Args:
        recipe: A recipe, one member's configuration, a TOML file, the name of a shipped recipe, or nested tables.
        data: The annotated set, or its path; default ``data.path`` of the recipe.
        out: The run folder; made if missing.
        members: Names of the members to train; empty for all.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        progress: Whether a progress bar is shown on standard error.

    Raises:
        ConfigurationError: Unknown or contradictory settings, or a folder with another run.
        DataError: Faults of the set or its split; unreadable films, all at once.
        TrainingError: Training cannot go on: see :meth:`fracture.training.loop.Loop.run`.
    """
    if isinstance(recipe, MemberConfig):
        recipe = Recipe(recipe.name, (recipe,))
    elif not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    chosen = recipe.select(members) if members else recipe
    folder = Path(out)
    place = local_device(resolve_device(device))
    done: list[MemberResult] = []
    with joined(place) as world, stop_on_signals() as stop:
        for config in chosen.members:
            annotated = _annotated(config, data)
            try:
                done.append(_train_member(config, annotated, folder, place, world, stop, progress))
            except Interrupted:
                return TrainingRun(folder, tuple(done), finished=False)
    return TrainingRun(folder, tuple(done))


def _annotated(config: MemberConfig, data: AnnotatedSet | str | Path | None) -> AnnotatedSet:
    if isinstance(data, AnnotatedSet):
        return data
    path = data or config.data.path
    if path is None:
        raise ConfigurationError("no annotated set", hint="give data=..., --data, or data.path in the recipe")
    return read_annotations(path, config.data.format)


def make_split(annotated: AnnotatedSet, config: MemberConfig) -> tuple[Split, Split]:
    """The split that is kept in a file, and the parts of this member's turn.

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
    turn = base if "train" in base.parts else rotate_folds(base, settings.fold)
    return base, turn


def _train_member(
    config: MemberConfig,
    annotated: AnnotatedSet,
    run: Path,
    device: torch.device,
    world: World,
    stop: StopRequest,
    progress: bool,
) -> MemberResult:
    folder = run / config.name
    weights, described = run / f"{config.name}.safetensors", run / f"{config.name}.json"
    base, split = make_split(annotated, config)
    identity = {"configuration": config.digest(), "split": base.checksum, "set": annotated.fingerprint()}
    if weights.exists() and described.exists():
        facts = json.loads(described.read_text(encoding="utf-8"))
        if facts["training"]["identity"] != identity:
            raise ConfigurationError(
                f"{weights} is finished and of another run", hint="give another folder, or remove it"
            )
        return MemberResult(config.name, weights, facts)
    if config.loop.threads is not None and device.type == "cpu":
        torch.set_num_threads(config.loop.threads)
    if world.leads:
        folder.mkdir(parents=True, exist_ok=True)
        base.write(folder / "split.json")
        _write_json(folder / "config.json", config.to_dict())

    parts, faults = _prepare(annotated, split, config, world, progress)
    regions = _region_names(parts["train"], config)
    spec = config.model.replace(regions=regions)
    cache = _cache(config)
    films = {name: Films(part, cache, config, regions) for name, part in parts.items()}
    model = build_model(spec, seed=config.seed)
    report = initialize(model, config.init, seed=config.seed)
    model.backbone.set_checkpointing(model.backbone.stage_names[: config.loop.checkpoint_stages])
    freeze(model, config.optimizer.freeze_stages)

    log = EpochLog(folder, config) if world.leads else None
    bar = ProgressBar(config) if world.leads and progress else None
    loop = Loop(
        model,
        config,
        films["train"],
        films.get("tune"),
        folder,
        device=device,
        world=world,
        stop=stop,
        progress=bar,
        after_epoch=log,
        identity=identity,
    )
    began = datetime.now(UTC)
    try:
        state = loop.run()
    finally:
        if bar is not None:
            bar.close()

    # What is judged below is what ships: the weights after rounding to half precision.
    shipped = state_for_saving(model)
    load_state(model, shipped)
    outputs = _judge_rest(model, films, config, device, world)
    facts = describe(
        config, model, state, annotated, parts, base, split, outputs, faults, report.to_dict(), device, world
    )
    facts["training"] |= {"identity": identity, "begun": began.isoformat(timespec="seconds")}
    if world.leads:
        for part, found in outputs.items():
            write_predictions(folder / f"predictions_{part}.jsonl", found, model=config.name, part=part)
            if config.loop.maps and model.spec.map:
                write_maps(folder / f"maps_{part}.safetensors", found)
        header = {"format": "fracture-member/1", "name": config.name}
        write_atomic(weights, lambda path: save_file(shipped, str(path), metadata=header))
        facts["sha256"] = _sha256(weights)
        _write_json(described, facts)
    world.wait()
    return MemberResult(config.name, weights, facts)


def _prepare(
    annotated: AnnotatedSet, split: Split, config: MemberConfig, world: World, progress: bool
) -> tuple[dict[str, AnnotatedSet], tuple[Fault, ...]]:
    """Every film of every part into the cache; the parts without the films that cannot be read."""
    cache = _cache(config)
    parts = {name: split.part(annotated, name) for name in ("train", "tune", "validation") if name in split.parts}
    wanted = [(film.source, annotated.image_path(film)) for part in parts.values() for film in part]
    faults: list[Fault] = []
    for turn in (True, False):  # the leading process fills the cache, the others then find it full
        if world.leads is turn:
            with ProgressBar.counting(len(wanted), "preparing films", shown=progress and world.leads) as count:
                faults = cache.prepare(wanted, threads=max(1, config.loop.workers), progress=count)
        world.wait()
    if faults and config.data.on_unreadable == "stop":
        raise DataError(
            f"{len(faults)} of {len(wanted)} films cannot be read",
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


def _cache(config: MemberConfig) -> FilmCache:
    folder = Path(config.data.cache) if config.data.cache else default_cache_folder()
    return FilmCache(folder, config.preprocess, pixels=config.data.pixels)


def _region_names(part: AnnotatedSet, config: MemberConfig) -> tuple[str, ...]:
    return config.model.regions if config.region_head == "model" else part.regions


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


def describe(
    config: MemberConfig,
    model: FractureModel,
    state: State,
    annotated: AnnotatedSet,
    parts: Mapping[str, AnnotatedSet],
    base: Split,
    split: Split,
    outputs: Mapping[str, Sequence[FilmOutput]],
    faults: Sequence[Fault],
    start: Mapping[str, Any],
    device: torch.device,
    world: World,
) -> dict[str, Any]:
    """The JSON beside a member's weights: ``model`` and ``preprocess`` as the card takes them, ``training`` for people.

    A pure function of its arguments, this machine's versions and the date.
    """
    return {
        "format": "fracture-member/1",
        "name": config.name,
        "file": f"{config.name}.safetensors",
        "model": model.spec.to_dict(),
        "preprocess": config.preprocess.to_dict(),
        "training": {
            "recipe": config.recipe,
            "config": config.to_dict(),
            "seed": config.seed,
            "start": dict(start),
            "set": annotated.name,
            "set_fingerprint": annotated.fingerprint(),
            "attribution": annotated.attribution,
            "license": annotated.license,
            "split": {"method": split.method, "seed": base.seed, "sha256": base.checksum},
            "films": {
                name: {"films": len(part), "fractured": part.positives, "groups": len({f.group for f in part})}
                for name, part in parts.items()
            },
            "unreadable": [fault.source for fault in faults] + state.skipped,
            "epochs": state.epoch,
            "best_epoch": state.best_epoch or None,
            "presentations": sum(row["films"] for row in state.history),
            "optimizer_steps": state.steps,
            "seconds": round(state.seconds, 1),
            "history": state.history,
            "auc": {name: pooled_auc(found) for name, found in outputs.items()},
            "device": device_name(device),
            "processes": world.size,
            "threads": torch.get_num_threads(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
        },
    }


def versions() -> dict[str, str]:
    """Versions of what takes part in a training run."""
    import cv2
    import numpy

    return {
        "fracture": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "opencv": cv2.__version__,
        "platform": platform.platform(),
    }


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=1) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
