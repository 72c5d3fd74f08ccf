"""What one call of ``retrain`` is to do, and the checks that need no training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracture._version import __version__
from fracture.data.records import AnnotatedSet
from fracture.errors import ConfigurationError
from fracture.reporting.aims import find
from fracture.retraining.stages import checksum
from fracture.retraining.texts import CardTexts
from fracture.training.config import MemberConfig, Recipe

if TYPE_CHECKING:
    from fracture.limb.operating_points import Method
    from fracture.models.devices import Precision


@dataclass(frozen=True)
class Job:
    """Everything that the stages share; the arguments of :func:`fracture.retraining.retrain`, checked."""

    recipe: Recipe
    annotated: AnnotatedSet
    folder: Path
    texts: CardTexts
    device: str
    precision: Precision
    method: Method
    calibrate_members: bool | None
    fast: tuple[str, ...]
    input_check: bool
    resamples: int
    seed: int
    progress: bool

    @property
    def run(self) -> Path:
        """The training's folder."""
        return self.folder / "run"

    @property
    def members(self) -> list[str]:
        """Names of the members, in order."""
        return [config.name for config in self.recipe.members]


def with_starts(recipe: Recipe, init: Mapping[str, str]) -> Recipe:
    """The recipe with other starting points by member, ``""`` for all others.

    Raises:
        ConfigurationError: No member of that name.
    """
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


def training_inputs(job: Job) -> dict[str, Any]:
    """The set, and per member every setting that decides its weights and the bytes that it starts from."""
    members = {}
    for config in job.recipe.members:
        start = Path(config.init)
        settings = config.to_dict()
        decisive = {
            key: find(settings, key.split("."))
            for key in config.differences(MemberConfig())
            if key not in ("init", "name")
        }
        members[config.name] = {**decisive, "start": checksum(start) if start.is_file() else config.init}
    return {
        "fracture": __version__,
        "set": job.annotated.fingerprint(),
        **{f"member {name}": settings for name, settings in members.items()},
    }


def check_fast(job: Job) -> None:
    """Refuse, before the training, a subset that cannot be measured after it.

    Raises:
        ConfigurationError: No such members, all of them, or members of several folds.
    """
    if not job.fast:
        return
    if set(job.fast) - set(job.members) or len(set(job.fast)) < len(job.fast) or len(job.fast) == len(job.members):
        raise ConfigurationError(
            "the fast subset names some of the members, each once", got=", ".join(job.fast), allowed=job.members
        )
    if len({config.split.fold for config in job.recipe.members}) > 1:
        raise ConfigurationError(
            "a fast subset with members of several folds cannot be measured: no film was held out by all of them",
            got=", ".join(job.fast),
            hint="train the members on one split, or leave the subset out",
        )
