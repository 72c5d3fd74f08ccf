"""Configuration of a training run: typed, unknown keys refused, TOML in, JSON beside every artifact.

A recipe file holds one table per section and, for an ensemble, one ``[[member]]`` table per network with what differs
from the rest::

    name = "mine"
    seed = 1

    [model]
    backbone = "resnet18"
    stages = 3

    [optimizer]
    lr = 1e-4

    [[member]]
    name = "raw"

    [[member]]
    name = "lcn"
    model = { inputs = ["lcn"] }

Every default has its reason in the field's description; "paper" is Jones et al. 2020, Methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, model_validator

from fracture.data.appearance import AppearanceSpec
from fracture.data.augment import AugmentSpec
from fracture.data.sampling import SamplingSpec
from fracture.errors import ConfigurationError
from fracture.models.spec import ModelSpec
from fracture.preprocess.spec import PREPROCESS_VERSION, PreprocessSpec
from fracture.schema import Gone, validated, without_gone
from fracture.training.tables import flat_table, merge_tables, read_recipe

RECIPES = Path(__file__).parent / "recipes"


class Section(BaseModel):
    """A table of a recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    _GONE: ClassVar[Gone] = {}
    """What settings of older runs may hold; see :func:`fracture.schema.without_gone`."""

    @model_validator(mode="before")
    @classmethod
    def _without_gone(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return without_gone(values, cls._GONE, cls.__name__, ConfigurationError)


class CacheConfig(Section):
    """Where prepared films are kept."""

    cache: str | None = Field(default=None, description="folder of prepared films; default is below the user's cache")


class DataConfig(CacheConfig):
    """Where the films are and how they are kept."""

    path: str | None = Field(default=None, description="the annotated set; usually given on the command line instead")
    format: str = Field(default="auto", description="reader by name; auto looks at the folder")
    options: dict[str, Any] = Field(
        default={}, description="of the reader, as region or fracture_classes; docs/training.md lists them"
    )
    pixels: Literal["uint16", "uint8"] = Field(
        default="uint16", description="uint16 keeps 1/65535 (a tenth of float16's worst error); uint8 halves the disk"
    )
    on_unreadable: Literal["stop", "skip"] = Field(
        default="stop", description="an unreadable film is a fault of the set unless you say otherwise"
    )
    draws: str | None = Field(
        default=None,
        description="CSV of source and draws, as fracture mine writes it: how often a film is drawn in training where "
        "others are drawn once, 0 for never; no part in judging",
    )


class SplitConfig(Section):
    """Which films are trained on. Parts are ``train``, ``tune`` (stops the training) and ``validation``."""

    file: str | None = Field(default=None, description="a split file that was made before; wins over the other fields")
    shares: dict[str, float] = Field(
        default={"train": 0.8, "tune": 0.1, "validation": 0.1}, description="paper: 80/10/10"
    )
    folds: int | None = Field(default=None, ge=3, description="k folds instead of shares, turn by fold")
    fold: int = Field(default=0, ge=0, description="the turn: which fold is held out (the validation part)")
    tune_fold: bool = Field(
        default=True, description="the next fold stops the training; without, it is trained on and the epochs are fixed"
    )
    seed: int = Field(default=0, ge=0, description="apart from the run's seed, so that members share one split")

    @model_validator(mode="after")
    def _parts(self) -> SplitConfig:
        unknown = sorted(set(self.shares) - {"train", "tune", "validation"})
        if unknown or "train" not in self.shares:
            raise ConfigurationError(
                "split.shares names the parts", got=sorted(self.shares), allowed="train, and tune or validation"
            )
        return self


class AugmentationConfig(Section):
    """Switch for the paper's augmentation; the magnitudes live in :mod:`fracture.data.augment`."""

    enabled: bool = Field(default=True, description="paper: rotation, flips, gamma, contrast, translation, zoom")
    settings: dict[str, Any] = Field(default={}, description="magnitudes that differ from the defaults there")

    @model_validator(mode="after")
    def _magnitudes(self) -> AugmentationConfig:
        self.spec()
        return self

    def spec(self) -> AugmentSpec | None:
        """The magnitudes, or None where films stay as they are.

        Raises:
            ConfigurationError: An unknown key or an illegal value.
        """
        return AugmentSpec.from_dict(self.settings) if self.enabled else None


class CropsConfig(Section):
    """Epochs at the beginning that present parts of films; see :mod:`fracture.training.crops`."""

    epochs: int = Field(default=0, ge=0, description="paper: none; ours needs them where films are few")
    size: int = Field(
        default=224, ge=64, multiple_of=32, description="side in network pixels; an ImageNet start knows 224"
    )
    elsewhere: float = Field(
        default=0.2, ge=0, le=1, description="share of fractured films' crops that show none of their fractures"
    )


class WindowsConfig(Section):
    """Windows at many sizes instead of whole films, in all epochs; see :mod:`fracture.training.windows`. All ours."""

    size: int = Field(default=0, ge=0, multiple_of=32, description="side in network pixels; 0: whole films")
    long_side: tuple[int, int] = Field(
        default=(448, 900), description="the film's longer side in network pixels, drawn log-uniformly between these"
    )
    stored: int = Field(
        default=736, ge=64, multiple_of=32, description="longest side of the cached film that windows are cut from"
    )
    rotation: float = Field(default=10.0, ge=0, le=90, description="standard deviation in degrees")
    aspect: float = Field(default=0.1, ge=0, le=0.5, description="largest logarithm of the sides' ratio")
    upside_down: float = Field(default=0.1, ge=0, le=1, description="probability")
    turned: float = Field(default=0.0, ge=0, le=1, description="probability of a quarter turn, to either side")
    near: float = Field(default=0.9, ge=0, le=1, description="share of a fractured film's windows laid on a fracture")
    visible: float = Field(default=0.5, gt=0, le=1, description="share of a fracture's box that must be seen to count")
    pasted: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of normal films' windows that get another film's fracture pasted in",
    )
    looks: dict[str, float | tuple[float, float]] | bool = Field(
        default={}, description="changes of :class:`AppearanceSpec`; false: films keep their look"
    )

    @model_validator(mode="after")
    def _limits(self) -> WindowsConfig:
        low, high = self.long_side
        if not 64 <= low <= high <= 4096:
            raise ConfigurationError("windows.long_side", got=self.long_side, allowed="two sides in order, 64 to 4096")
        _ = self.appearance
        return self

    @property
    def appearance(self) -> AppearanceSpec | None:
        """How looks are changed, or None where they are not."""
        if isinstance(self.looks, bool):
            return AppearanceSpec() if self.looks else None
        return AppearanceSpec.from_dict(self.looks)


class LossConfig(Section):
    """The joint loss; see :mod:`fracture.training.loss`."""

    _GONE: ClassVar[Gone] = {"extent": (0.0,)}

    localization: float | None = Field(
        default=None, ge=0, description="None: paper's 3 of 4, or 10 of 11 for models with attention"
    )
    classification: float | None = Field(default=None, ge=0, description="None: paper's 1 of 4, or 1 of 11")
    region: float = Field(
        default=0.1, ge=0, description="ours: the region head is easy and must not steer the features"
    )
    box: float = Field(
        default=1.0, ge=0, description="ours: weight of the boxes of a pyramid's cells (their quality has 0.5 of it)"
    )
    map_loss: Literal["bce", "focal", "dice", "bce_dice"] = Field(
        default="bce", description="paper: per-pixel binary cross-entropy"
    )
    map_negatives: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="paper: normal films give no map loss; ours may teach maps what normal bone is",
    )
    map_positive_weight: float = Field(
        default=1.0, gt=0, description="weight of cells inside boxes; 1 keeps the map a probability"
    )
    focal_gamma: float = Field(default=2.0, ge=0, description="Lin et al. 2017; only with map_loss = focal")
    target_shape: Literal["box", "polygon", "ellipse"] = Field(
        default="box", description="paper: the annotators' boxes; the others are ours"
    )
    target_mode: Literal["coverage", "max"] = Field(
        default="coverage", description="ours: a small fracture neither vanishes nor fills its cell"
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="paper: none; some help against single-annotator labels (Roschewitz 2025)",
    )


class TeacherConfig(Section):
    """Networks whose answers are learned beside the labels; see :mod:`fracture.training.teacher`. All ours."""

    networks: tuple[str, ...] = Field(
        default=(),
        description="safetensors files, each with its run's JSON or a card.json beside it; none: labels alone",
    )
    weight: float = Field(default=1.0, ge=0, description="of what they say, where the labels' loss has 1")


class OptimizerConfig(Section):
    """Adam and what surrounds it."""

    name: Literal["adam", "adamw"] = Field(default="adam", description="paper: Adam")
    lr: float = Field(default=1e-3, gt=0, description="ours, Adam's own default; the paper states none")
    head_lr: float | None = Field(default=None, gt=0, description="rate of the new heads; None: as lr")
    weight_decay: float = Field(default=0.0, ge=0, description="paper: no weight regularization")
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="Kingma and Ba 2015")
    schedule: Literal["constant", "cosine"] = Field(default="constant", description="paper: none stated")
    warmup_steps: int = Field(default=0, ge=0, description="paper: none stated; linear from zero where set")
    final_lr: float = Field(default=0.01, ge=0, le=1, description="share of lr that the cosine ends at")
    decay: float = Field(
        default=1.0, gt=0, le=1, description="factor on the rate after each epoch; paper: none; hips: 0.9 (Krogue 2020)"
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="paper: none; a bound on the gradient's norm where set"
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="paper: none; decay of a running mean of the weights (Morales-Brotons 2024)",
    )
    freeze_stages: int = Field(default=0, ge=0, description="stages from the input on that do not learn; 0: all learn")


class StageLoop(Section):
    """Length, batches, precision and safety of any training."""

    epochs: int = Field(default=30, ge=1, le=10**6, description="at most")
    patience: int | None = Field(
        default=10, ge=1, description="both papers: stop after 10 epochs without gain on the tuning part; None: never"
    )
    steps_per_epoch: int | None = Field(default=None, ge=1, description="None: every picture of the order once")
    tune_every: int = Field(default=1, ge=1, description="epochs between two looks at the tuning part")
    batch: int | None = Field(default=None, ge=1, description="pictures per optimizer step")
    micro_batch: int | None = Field(
        default=None, ge=1, description="pictures per forward pass; None: the whole batch. Changes batch statistics"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="float32", description="paper: none stated; auto: bfloat16 where the processor multiplies in it"
    )
    channels_last: bool = Field(default=True, description="the layout that convolutions run fastest in")
    workers: int = Field(default=1, ge=0, description="threads that prepare films; 0 prepares them between the steps")
    threads: int | None = Field(default=None, ge=1, description="torch threads; None leaves torch's choice")
    checkpoint_minutes: float = Field(default=1.0, gt=0, description="work that a power cut may cost")
    tensorboard: bool = Field(default=False, description="event files beside the CSV; needs the tensorboard package")


class LoopConfig(StageLoop):
    """What the detector's training has beside that."""

    epochs: int = Field(default=30, ge=1, le=10**6, description="paper: at most 30")
    batch: int | None = Field(default=None, ge=1, description="None: paper's 48, or 32 for models with attention")
    compile: bool = Field(default=False, description="torch.compile costs minutes at the start and varies with shapes")
    checkpoint_stages: int = Field(
        default=0, ge=0, description="stages whose activations are recomputed to save memory"
    )
    overlays: int = Field(default=4, ge=0, description="films drawn with boxes and map after each epoch; 0: none")
    maps: bool = Field(default=True, description="keep the held-out films' maps, for thresholds and boxes")


class StageConfig(Section):
    """What the training of any network is set by; a wing's own adds its sections.

    Attributes:
        SPECS: Readers of the tables that become frozen records (of networks, of preprocessing), by section.
        BATCH: Pictures per optimizer step where ``loop.batch`` is left out.
    """

    SPECS: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {}
    BATCH: ClassVar[int] = 16

    seed: int = Field(default=0, ge=0, description="every random draw derives from it")
    init: str = Field(default="random", description="random, pretrained (ImageNet), or a safetensors file")
    data: CacheConfig = CacheConfig()
    split: SplitConfig = SplitConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loop: StageLoop = StageLoop()

    @model_validator(mode="before")
    @classmethod
    def _tables(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = dict(values)
        if isinstance(loop := values.get("loop"), Mapping) and "cache" in loop:  # where hips had it until 0.1
            values["data"] = {**values.get("data", {}), "cache": loop["cache"]}
            values["loop"] = {key: value for key, value in loop.items() if key != "cache"}
        for name, read in cls.SPECS.items():
            if isinstance(values.get(name), Mapping):
                values[name] = read(values[name])
        return values

    @property
    def batch(self) -> int:
        """Pictures per optimizer step."""
        return self.loop.batch or self.BATCH

    @property
    def micro_batch(self) -> int:
        """Pictures per forward pass."""
        return min(self.loop.micro_batch or self.batch, self.batch)

    def to_dict(self) -> dict[str, Any]:
        """Every setting, as JSON knows it; ``from_dict`` is the inverse."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        records = {name: value.to_dict() for name, value in found.items() if hasattr(value, "to_dict")}
        return {**self.model_dump(mode="json", exclude=set(records)), **records}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """A configuration from nested tables.

        Raises:
            ConfigurationError: Unknown keys or illegal values, all of them named at once.
            ModelError: A ``[model]`` table that no network has.
        """
        hint = f"see {cls.__module__.replace('.', '/')}.py for every key, its default and its reason"
        return validated(cls, dict(data), "the training configuration has faults", hint=hint)

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """A copy with nested changes, checked again: ``config.replace({"loop": {"epochs": 3}})``."""
        return self.from_dict(merge_tables(self.to_dict(), changes))

    def differences(self, other: Self) -> list[str]:
        """Settings that decide the weights and differ, as ``section.key``; a run goes on only where there are none."""
        mine, others = flat_table(self.to_dict()), flat_table(other.to_dict())
        free = {f"{section}.{name}" for section, names in _FREE.items() for name in names}
        changed = {key for key in {*mine, *others} if mine.get(key) != others.get(key)}
        return sorted(changed - free - {"recipe"})


# Settings that may change between a run and its continuation: they decide where and how fast, not what.
_FREE: Mapping[str, tuple[str, ...]] = {
    "data": ("path", "cache", "on_unreadable"),
    "loop": ("workers", "checkpoint_minutes", "overlays", "maps", "checkpoint_stages", "threads", "tensorboard"),
}


class MemberConfig(StageConfig):
    """Everything about the training of one network."""

    SPECS = {"sampling": SamplingSpec.from_dict}
    _GONE: ClassVar[Gone] = {"extents": ({"epochs": 0, "lr": 1e-3},)}

    name: str = Field(default="member", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="also the files' name")
    recipe: str = Field(default="", description="the recipe it is a member of")
    init: str = Field(default="random", description="paper: random, no transfer learning; or pretrained, or a file")
    region_head: Literal["data", "model"] = Field(
        default="data", description="the data's regions become the region head's, or model.regions does"
    )
    region_views: int = Field(
        default=0,
        ge=0,
        description="ours: 0: the region head learns with the rest; else it is fitted at the end, on each film as in "
        "use and on so many windows of it",
    )
    model: InstanceOf[ModelSpec] = ModelSpec()
    preprocess: InstanceOf[PreprocessSpec] = PreprocessSpec()
    data: DataConfig = DataConfig()
    sampling: InstanceOf[SamplingSpec] = SamplingSpec()
    augmentation: AugmentationConfig = AugmentationConfig()
    crops: CropsConfig = CropsConfig()
    windows: WindowsConfig = WindowsConfig()
    loss: LossConfig = LossConfig()
    teacher: TeacherConfig = TeacherConfig()
    loop: LoopConfig = LoopConfig()

    @model_validator(mode="before")
    @classmethod
    def _specifications(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = dict(values)
        model = values.get("model", {})
        preprocess = values.get("preprocess", {})
        if isinstance(model, Mapping):
            model = ModelSpec.from_dict(model)
        if isinstance(preprocess, Mapping) and isinstance(model, ModelSpec):
            preprocess = {"channels": list(model.inputs), "version": PREPROCESS_VERSION, **preprocess}
            preprocess = PreprocessSpec.from_dict(preprocess)
        values["model"], values["preprocess"] = model, preprocess
        return values

    @model_validator(mode="after")
    def _consistent(self) -> MemberConfig:
        if self.preprocess.channels != self.model.inputs:
            raise ConfigurationError(
                "preprocess.channels and model.inputs differ",
                got=f"{self.preprocess.channels} and {self.model.inputs}",
                hint="leave preprocess.channels out",
            )
        if self.windows.size and self.crops.epochs:
            raise ConfigurationError("[crops] and [windows] exclude each other", hint="crops.epochs = 0")
        if self.preprocess.stride % self.model.size_multiple:
            raise ConfigurationError(
                "films are padded to a multiple that the model cannot take",
                got=f"preprocess.stride = {self.preprocess.stride}",
                allowed=f"a multiple of {self.model.size_multiple}",
            )
        return self

    def with_close_ups(self) -> Self:
        """The settings with windows that go twice as near: others show a wrist alone where we see a forearm (ours)."""
        if not self.windows.size:
            return self
        low, high = self.windows.long_side
        return self.replace({"windows": {"long_side": (low, min(2 * high, 4096))}})

    @property
    def attention(self) -> bool:
        """Whether the paper's settings for models with an attention layer apply."""
        return self.model.pooling == "attention"

    @property
    def batch(self) -> int:
        """Films per optimizer step: as configured, else the paper's 48, or 32 with attention."""
        return self.loop.batch or (32 if self.attention else 48)

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """A copy with nested changes, checked again; changed model inputs bring their preprocessing channels."""
        new = dict(changes)
        inputs = dict(new.get("model", {})).get("inputs")
        if inputs is not None and "channels" not in new.get("preprocess", {}):
            new["preprocess"] = {**new.get("preprocess", {}), "channels": list(inputs)}
        return super().replace(new)


@dataclass(frozen=True)
class Recipe:
    """An ensemble: one configuration per member, in order, with unique names.

    Attributes:
        name: The recipe's name.
        members: At least one.
    """

    name: str
    members: tuple[MemberConfig, ...]

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if not names or len(set(names)) != len(names):
            raise ConfigurationError("members need names of their own", got=names or "no member")

    def replace(self, changes: Mapping[str, Any]) -> Recipe:
        """The same change to every member."""
        return Recipe(self.name, tuple(member.replace(changes) for member in self.members))

    def select(self, names: Sequence[str]) -> Recipe:
        """Some of the members, in the recipe's order.

        Raises:
            ConfigurationError: No member of that name.
        """
        known = [member.name for member in self.members]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigurationError("the recipe has no such member", got=", ".join(unknown), allowed=known)
        return Recipe(self.name, tuple(member for member in self.members if member.name in names))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, name: str = "recipe") -> Recipe:
        """A recipe from nested tables; see the module's documentation for the layout.

        Args:
            data: The tables, as ``tomllib`` reads them.
            name: What the recipe is called where the tables do not name it.

        Raises:
            ConfigurationError: Unknown keys or illegal values.
        """
        base = dict(data)
        title = str(base.pop("name", name))
        members = base.pop("member", [{"name": title}])
        if not isinstance(members, list) or not all(isinstance(m, Mapping) for m in members):
            raise ConfigurationError("member is a list of tables", got=type(members).__name__, allowed="[[member]]")
        seed = base.get("seed", 0)
        built = []
        for number, member in enumerate(members):
            own = {"name": f"member{number}", **member}
            if "seed" not in own and isinstance(seed, int):
                own["seed"] = seed + number  # members differ in their draws too
            built.append(MemberConfig.from_dict({**merge_tables(base, own), "recipe": title}))
        return cls(title, tuple(built))


def load_recipe(source: str | Path | Mapping[str, Any]) -> Recipe:
    """A recipe from a TOML file, from the name of one that is shipped, or from nested tables.

    Raises:
        ConfigurationError: No such file or name, not TOML, unknown keys or illegal values.
    """
    if isinstance(source, Mapping):
        return Recipe.from_dict(source)
    values, name = read_recipe(source, RECIPES)
    return Recipe.from_dict(values, name=name)


def recipe_names(shipped: Path = RECIPES) -> tuple[str, ...]:
    """Names of the recipes that are shipped."""
    return tuple(sorted(path.stem for path in shipped.glob("*.toml")))
