"""The one driver of training: a run folder, its lock and threads (:func:`running`), and each stage (:func:`run_stage`).

What a stage is, and a wing's own in under 200 lines: :mod:`fracture.training.stage`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fracture.atomic import hold, write_atomic, write_json
from fracture.data.merged import is_further
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split, rotate_folds, split_folds, split_parts
from fracture.errors import ConfigurationError, DataError
from fracture.models.devices import resolve_device
from fracture.models.persistence import load_state, state_for_saving
from fracture.regular import sha256_of
from fracture.runs.progress import progress_bar
from fracture.training.cache import Fault, FilmCache
from fracture.training.config import StageConfig
from fracture.training.logs import EpochLog, ProgressBar
from fracture.training.loop import Interrupted as Interrupted, Loop, State
from fracture.training.manifest import before, results
from fracture.training.records import read_record
from fracture.training.stage import Stage
from fracture.training.stop import StopRequest, stop_on_signals
from fracture.training.world import World, joined, local_device

_SHOWN_FAULTS = 10


@dataclass(frozen=True)
class Running:
    """What all stages of a run share.

    Attributes:
        folder: The run folder, held against other trainings.
        device: Of the networks.
        world: The processes that train together.
        stop: Set by a signal.
        progress: Whether this process shows bars.
    """

    folder: Path
    device: torch.device
    world: World
    stop: StopRequest
    progress: bool


Build = Callable[[Mapping[str, AnnotatedSet], Running], Stage]
"""Makes a stage from the films of each part; called only where it is still to be trained."""


@contextmanager
def running(out: str | Path, *, device: str = "auto", progress: bool = True) -> Iterator[Running]:
    """The run folder, made if missing and held; what a killed run left half-written goes. Signals ask to stop.

    Raises:
        OutputError: Another process trains in the folder.
    """
    folder, place = Path(out), local_device(resolve_device(device))
    with joined(place) as world, stop_on_signals() as stop, ExitStack() as held:
        if world.leads:
            held.enter_context(hold(folder / ".lock", f"the run folder {folder}"))
            for rest in folder.rglob(".*.part"):
                rest.unlink(missing_ok=True)
        yield Running(folder, place, world, stop, progress and world.leads)


def run_stage(
    name: str,
    config: StageConfig,
    annotated: AnnotatedSet,
    build: Build,
    run: Running,
    *,
    divided: AnnotatedSet | None = None,
) -> dict[str, Any]:
    """Train one stage to ``<name>.safetensors`` and ``<name>.json`` in the run folder; an unfinished one is resumed, a
    finished one is left as it is.

    The folder ``<name>`` then holds the configuration, the manifest, ``split.json`` (and, of folds, this turn's
    ``turn.json``), the checkpoint, the log with its curves, and what :meth:`Stage.judge` and :meth:`Stage.draw` write.

    Args:
        name: Of the stage; also the files' name.
        config: Its settings.
        annotated: All films.
        build: See :data:`Build`.
        run: Of :func:`running`.
        divided: Those of them that are divided into parts, the others are trained on whole; None: all but the further
            ones of :func:`fracture.data.merged.with_further`.

    Returns:
        The content of ``<name>.json``.

    Raises:
        Interrupted: A signal asked to stop; everything is saved.
        ConfigurationError: The folder holds a stage with other settings.
        DataError: Faults of the set or its split.
        TrainingError: See :meth:`fracture.training.loop.Loop.run`.
    """
    folder, world = run.folder / name, run.world
    weights, described = run.folder / f"{name}.safetensors", run.folder / f"{name}.json"
    divided = annotated.select(lambda film: not is_further(film)) if divided is None else divided
    base, split = make_split(divided, config)
    identity = {"split": base.checksum, "set": annotated.fingerprint()}
    _same_run(folder, config, base)
    if weights.exists() and described.exists():
        return read_record(described)
    if world.leads:
        base.signed(annotated).write(folder / "split.json")
        if split is not base:
            split.write(folder / "turn.json")
    sources = {part: sorted(split.parts[part]) for part in ("train", "tune", "validation") if part in split.parts}
    sources["train"] += [film.source for film in annotated if film.source not in divided]
    parts = {part: annotated.subset(films, name=f"{annotated.name}/{part}") for part, films in sources.items()}
    with _threads(config.loop.threads if run.device.type == "cpu" else None):
        stage = build(parts, run)
        identity |= stage.identity()
        if world.leads:  # only now: a starting point that is not to be had may be changed in the same folder
            write_json(folder / "config.json", config.to_dict())
        manifest = before(config, annotated, stage.parts, base, split, stage.start, run.device, world.size)
        manifest |= {**stage.manifest(), "identity": identity}
        if world.leads:
            write_json(folder / "manifest.json", manifest)
        state = _drive(name, stage, folder, run, identity)
        settled = stage.settle()
        # What is judged below is what ships: the weights after rounding to half precision.
        shipped = state_for_saving(stage.model)
        load_state(stage.model, shipped)
        found = stage.judge(folder)
    done = results(state, stage.faults)
    facts = {"format": stage.format, "name": name, "file": weights.name, **stage.facts()}
    facts["training"] = {**manifest, **done, **settled, **found}
    if world.leads:
        header = {"format": stage.format, "name": name}
        write_atomic(weights, lambda path: save_file(shipped, str(path), metadata=header))
        facts["sha256"] = sha256_of(weights)
        write_json(described, facts)
    world.wait()
    return facts


def _drive(name: str, stage: Stage, folder: Path, run: Running, identity: Mapping[str, str]) -> State:
    """The loop from its checkpoint to its end, with its bar and its log."""
    log = EpochLog(folder, stage) if run.world.leads else None
    bar = ProgressBar(name, stage) if run.progress else None
    loop = Loop(stage, folder, stop=run.stop, progress=bar, after_epoch=log, identity=identity)
    try:
        state = loop.run()
        if log is not None:
            log.write(state)
        return state
    finally:
        for one in (bar, log):
            if one is not None:
                one.close()


def make_split(annotated: AnnotatedSet, config: StageConfig) -> tuple[Split, Split]:
    """The split that is kept in a file, and the parts ``train``, ``tune`` and ``validation`` of this turn.

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


def prepare_films(
    parts: Mapping[str, AnnotatedSet],
    caches: Mapping[str, FilmCache],
    run: Running,
    *,
    threads: int,
    skip_unreadable: bool = False,
) -> tuple[dict[str, AnnotatedSet], tuple[Fault, ...]]:
    """Every film of every part into its part's cache; the parts without the films that cannot be read.

    Raises:
        DataError: Films that cannot be read, all at once; or a part without a film that can.
    """
    world = run.world
    wanted = {name: [(film.source, part.image_path(film)) for film in part] for name, part in parts.items()}
    shares = {name: films[world.rank :: world.size] for name, films in wanted.items()}
    found = []
    with progress_bar(sum(map(len, shares.values())), "preparing films", shown=run.progress) as bar:
        for name, share in shares.items():
            found += caches[name].prepare(share, threads=max(1, threads), progress=bar.update)
    faults = sorted(world.gathered(found), key=lambda fault: fault.source)
    if faults and not skip_unreadable:
        raise DataError(
            f"{len(faults)} of {sum(map(len, wanted.values()))} films cannot be read",
            got="; ".join(f"{f.source}: {f.error}" for f in faults[:_SHOWN_FAULTS])
            + (" ..." if len(faults) > _SHOWN_FAULTS else ""),
            hint="repair or remove them (see `fracture verify-data`), or, for the detector, set "
            "data.on_unreadable = 'skip'",
        )
    bad = {fault.source for fault in faults}
    kept = {name: part.select(lambda film: film.source not in bad) for name, part in parts.items()}
    for name, part in kept.items():
        if len(part) == 0:
            raise DataError(f"the {name} part has no film that can be read")
    return kept, tuple(faults)


def _same_run(folder: Path, config: StageConfig, base: Split) -> None:
    """A folder is resumed by the configuration and the split it was begun with, or not at all."""
    path = folder / "config.json"
    if not path.exists():
        return
    changed = config.differences(type(config).from_dict(read_record(path)))
    files = [folder / name for name in ("base_split.json", "split.json")]  # the first: hips until 0.1
    kept = next((file for file in files if file.exists()), None)
    if kept is not None and Split.read(kept).checksum != base.checksum:
        changed.append("the split of the films")
    if changed:
        raise ConfigurationError(
            f"{folder} holds a run with other settings",
            got=f"different: {', '.join(changed)}",
            hint="give another folder, or the settings that the run was begun with",
        )


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """``number`` torch threads for a while."""
    kept = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if number is not None:
            torch.set_num_threads(kept)
