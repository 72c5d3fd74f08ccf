"""Configuration of the training of both stages: typed, unknown keys refused, TOML in, JSON beside every artifact.

A recipe file has one table per stage, ``[localizer]`` and ``[classifier]``, each with the sections below, and what
both share (``seed``, ``[split]``) at the top. "Paper" is Krogue et al. 2020; every default has its reason in the
field's description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, InstanceOf, model_validator

from fracture.errors import ConfigurationError, FractureError
from fracture.hip.augment import FilmAugmentation, HipAugmentation
from fracture.hip.crops import CropSpec
from fracture.hip.spec import ClassifierSpec, LocalizerSpec, Rules
from fracture.preprocess.spec import PREPROCESS_VERSION, PreprocessSpec
from fracture.training.config import SplitConfig, StageConfig, StageLoop
from fracture.training.presentations import Sampling
from fracture.training.tables import merge_tables, read_recipe

RECIPES = Path(__file__).parent / "recipes"
STAGES = ("localizer", "classifier")


class HipSampling(Sampling):
    """Which pictures an epoch presents; of each hip there are 14."""

    views: int = Field(default=1, ge=1, description="classifier: pictures of one hip fused by attention in training")


class HipLoop(StageLoop):
    """Length, batches, precision, safety; ``batch`` left out is 25."""

    epochs: int = Field(default=100, ge=1, le=10**6, description="at most; paper: until patience ends it")


class _HipConfig(StageConfig):
    """What the training of either stage is made of, with the paper's split and length."""

    BATCH: ClassVar[int] = 25

    split: SplitConfig = SplitConfig(shares={"train": 0.60, "tune": 0.25, "validation": 0.15})
    loop: HipLoop = HipLoop()
    sampling: HipSampling = HipSampling()


def _preprocess(data: Mapping[str, Any]) -> PreprocessSpec:
    own = {"size": 640, "shape": "stride", "enlarge": False, "version": PREPROCESS_VERSION}
    return PreprocessSpec.from_dict({**own, **data})


class LocalizerConfig(_HipConfig):
    """Stage one."""

    SPECS: ClassVar[Mapping[str, Any]] = {
        "model": LocalizerSpec.from_dict,
        "preprocess": _preprocess,
        "augmentation": FilmAugmentation.from_dict,
        "rules": Rules.from_dict,
    }

    model: InstanceOf[LocalizerSpec] = LocalizerSpec()
    preprocess: InstanceOf[PreprocessSpec] = PreprocessSpec(size=640, shape="stride", enlarge=False)
    augmentation: InstanceOf[FilmAugmentation] = FilmAugmentation()
    rules: InstanceOf[Rules] = Rules()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.preprocess.channels != ("raw",) or self.preprocess.stride % 32:
            raise ConfigurationError(
                "the localizer takes the raw plane, padded to multiples of 32",
                got=f"{self.preprocess.channels}, stride {self.preprocess.stride}",
            )
        return self


class ClassifierConfig(_HipConfig):
    """Stage two."""

    SPECS: ClassVar[Mapping[str, Any]] = {
        "model": ClassifierSpec.from_dict,
        "crop": CropSpec.from_dict,
        "augmentation": HipAugmentation.from_dict,
    }

    model: InstanceOf[ClassifierSpec] = ClassifierSpec()
    crop: InstanceOf[CropSpec] = CropSpec()
    augmentation: InstanceOf[HipAugmentation] = HipAugmentation()
    class_weighted: bool = Field(default=True, description="paper: class-weighted cross-entropy")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="paper: none")
    select: Literal["accuracy", "loss"] = Field(default="accuracy", description="what stops; paper: accuracy")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.sampling.views > 1 and self.model.fusion != "attention":
            raise ConfigurationError(
                "sampling.views above 1 trains the attention over views", hint="set model.fusion = 'attention'"
            )
        return self


@dataclass(frozen=True)
class HipRecipe:
    """Both stages' configurations.

    Attributes:
        name: The recipe's name.
        localizer: Stage one.
        classifier: Stage two.
    """

    name: str
    localizer: LocalizerConfig
    classifier: ClassifierConfig

    def stage(self, name: str) -> LocalizerConfig | ClassifierConfig:
        """The configuration of ``"localizer"`` or ``"classifier"``.

        Raises:
            ConfigurationError: No such stage.
        """
        if name not in STAGES:
            raise ConfigurationError("unknown stage of the hip networks", got=name, allowed=STAGES)
        return self.localizer if name == "localizer" else self.classifier

    def to_dict(self) -> dict[str, Any]:
        """As nested tables, which :meth:`from_dict` reads."""
        return {"name": self.name, **{stage: self.stage(stage).to_dict() for stage in STAGES}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, name: str = "recipe") -> HipRecipe:
        """A recipe from nested tables; keys at the top other than the stages' go to both.

        Raises:
            ConfigurationError: Unknown keys or illegal values.
        """
        shared = {key: value for key, value in data.items() if key not in ("name", *STAGES)}
        for stage in STAGES:
            if not isinstance(data.get(stage, {}), Mapping):
                raise ConfigurationError(f"{stage} is a table of settings", got=data[stage], allowed=f"[{stage}]")
        tables = {stage: merge_tables(shared, data.get(stage, {})) for stage in STAGES}
        title = str(data.get("name", name))
        try:
            return cls(
                title, LocalizerConfig.from_dict(tables["localizer"]), ClassifierConfig.from_dict(tables["classifier"])
            )
        except FractureError as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(f"the recipe {title} cannot be used: {error}") from error

    def replace(self, changes: Mapping[str, Any]) -> HipRecipe:
        """A copy with nested changes, checked again: ``{"classifier": {"loop": {"epochs": 3}}}``; a change at the top
        goes to both stages."""
        shared = {key: value for key, value in changes.items() if key not in ("name", *STAGES)}
        tables = {
            stage: merge_tables(self.stage(stage).to_dict(), merge_tables(shared, changes.get(stage, {})))
            for stage in STAGES
        }
        return self.from_dict({"name": self.name, **tables})


def load_hip_recipe(source: HipRecipe | str | Path | Mapping[str, Any]) -> HipRecipe:
    """A recipe from a TOML file, from the name of one that is shipped, or from nested tables.

    Raises:
        ConfigurationError: No such file or name, not TOML, unknown keys or illegal values.
    """
    if isinstance(source, HipRecipe):
        return source
    if isinstance(source, Mapping):
        return HipRecipe.from_dict(source)
    values, name = read_recipe(source, RECIPES)
    return HipRecipe.from_dict(values, name=name)
