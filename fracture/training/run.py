"""``train``: a recipe and an annotated set to trained networks in a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.errors import ConfigurationError
from fracture.models.starting_points import check_start
from fracture.training.config import MemberConfig, Recipe, load_recipe
from fracture.training.driver import Interrupted, run_stage, running
from fracture.training.member import build_member


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
        finished: False where a signal ended the run early; the same call resumes it.
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
    """Train the networks of a recipe, one after the other; an unfinished run in the folder is resumed.

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
    done: list[MemberResult] = []
    with running(out, device=device, progress=progress) as run:
        for config in chosen.members:
            build = partial(build_member, config)
            try:
                facts = run_stage(config.name, config, _annotated(config, data), build, run)
            except Interrupted:
                return TrainingRun(run.folder, tuple(done), finished=False)
            done.append(MemberResult(config.name, run.folder / f"{config.name}.safetensors", facts))
    return TrainingRun(run.folder, tuple(done))


def _annotated(config: MemberConfig, data: AnnotatedSet | str | Path | None) -> AnnotatedSet:
    if isinstance(data, AnnotatedSet):
        return data
    path = data or config.data.path
    if path is None:
        raise ConfigurationError("no annotated set", hint="give data=..., --data, or data.path in the recipe")
    return read_annotations(path, config.data.format, **config.data.options)
