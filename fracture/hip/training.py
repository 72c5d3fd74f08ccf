"""``train``: from a recipe and annotated hips to a pair of networks with a card, in a folder that can be resumed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fracture.data.merged import merge_sets
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.errors import DataError, EvaluationError
from fracture.hip.pipeline import HipReader
from fracture.hip.records import balance, exclude_cross_table, read_hips
from fracture.hip.training_config import STAGES, HipRecipe, load_hip_recipe
from fracture.hip.training_stages import build_stage
from fracture.models.starting_points import check_start
from fracture.training.driver import Interrupted, make_split, run_stage, running

_RATE_FROM_NOISE = 1e-4  # below it a random start hardly moves (ours); Adam's own default is 1e-3
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class HipRun:
    """What ``train`` made.

    Attributes:
        folder: The run folder.
        stages: Stages that are finished.
        weights: Folder with the card and both networks, where both are finished.
        finished: False where a signal ended the run early; the same call resumes it.
    """

    folder: Path
    stages: tuple[str, ...]
    weights: Path | None
    finished: bool = True


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
    done: list[str] = []
    with running(out, device=device, progress=progress) as run:
        for stage in [name for name in STAGES if name in stages]:
            config = loaded.stage(stage)
            facts: dict[str, Any] = {"recipe": loaded.name, "left_out_cross_table": list(left_out)}
            facts["balance"] = _balance(divided, make_split(divided, config)[1])
            try:
                build = partial(build_stage, config, facts)
                run_stage(stage, config, annotated, build, run, divided=divided)
            except Interrupted:
                return HipRun(run.folder, tuple(done), None, finished=False)
            done.append(stage)
        weights = None
        if all((run.folder / f"{stage}.json").exists() for stage in STAGES):
            weights = run.folder / "weights"
            if run.world.leads:
                HipReader.assemble(run.folder, weights)
            run.world.wait()
    return HipRun(run.folder, tuple(done), weights)


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


def _balance(divided: AnnotatedSet, split: Split) -> dict[str, Any]:
    """Pearson's chi-square of the split; left out where a set holds a single class."""
    with suppress(EvaluationError):
        return {name: test.to_dict() for name, test in balance(divided, split).items()}
    return {}
