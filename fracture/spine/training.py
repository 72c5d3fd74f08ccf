"""Training the spine's networks: what their settings, stages and runs have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from fracture.data.records import AnnotatedSet
from fracture.errors import ModelError
from fracture.models.starting_points import InitReport, fill, read_tensors
from fracture.training.config import StageConfig
from fracture.training.driver import Build, run_stage, running
from fracture.training.stage import ArrayStage
from fracture.training.tables import read_recipe


class SpineConfig(StageConfig):
    """Settings of one network's training."""

    WING: ClassVar[str]
    STAGE: ClassVar[str]
    """The run's name of it, and the table of a recipe that holds what is its own where the recipe is of several."""

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Settings from a TOML file, or from the name of a shipped recipe.

        Raises:
            ConfigurationError: No such file or name, not TOML, unknown keys or illegal values.
        """
        tables = read_recipe(source, Path(__file__).parent / cls.WING / "recipes")[0]
        stages = {one.STAGE for one in SpineConfig.__subclasses__() if one.WING == cls.WING}
        shared = {key: value for key, value in tables.items() if key not in stages}
        return cls.from_dict({**shared, **tables.get(cls.STAGE, {})})


class SpineStage(ArrayStage):
    """A network in training whose pictures are arrays; it gives :meth:`terms_of`."""

    def losses(self, batch: Any, totals: Sequence[float]) -> Mapping[str, Tensor]:
        """Means over the batch."""
        return {name: term * len(batch) / totals[0] for name, term in self.terms_of(*self.stacked(batch)).items()}

    @abstractmethod
    def terms_of(self, *batch: Tensor) -> Mapping[str, Tensor]:
        """The terms, as means, of what the pictures of a batch are, stacked."""


def begin(model: nn.Module, config: SpineConfig) -> dict[str, Any]:
    """Set the start of a network without a trunk of its own: ``random`` leaves it as built, a file fills it whole.

    Args:
        model: Changed in place.
        config: Its settings; ``init`` is ``random`` or a safetensors file of such a network.

    Returns:
        The start, for the run's manifest.

    Raises:
        ModelError: ``pretrained``.
        WeightsNotFoundError, WeightsIntegrityError: No such file, or one of another network.
    """
    if config.init == "random":
        return InitReport("random").to_dict()
    if config.init == "pretrained":
        raise ModelError(f"no ImageNet weights fit the {config.WING} network {config.STAGE}", hint="give --init a file")
    name, kind = Path(config.init).name, f"network {config.STAGE} of the wing {config.WING}"
    return fill(model, read_tensors(config.init), name, network=kind, trunk="", homes=("",)).to_dict()


def train_stages(
    stages: Sequence[tuple[SpineConfig, Build]],
    annotated: AnnotatedSet,
    *,
    out: str | Path,
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Train one stage after the other to ``<name>.safetensors`` and ``<name>.json``; an unfinished run is resumed.

    Args:
        stages: Settings of each, and what builds it.
        annotated: All films.
        out: Run folder.
        device, progress: As for :func:`fracture.training.driver.running`.

    Returns:
        The content of each ``<name>.json``.

    Raises:
        ConfigurationError, DataError, TrainingError: As :func:`fracture.training.driver.run_stage`.
    """
    with running(out, device=device, progress=progress) as run:
        return {config.STAGE: run_stage(config.STAGE, config, annotated, build, run) for config, build in stages}
