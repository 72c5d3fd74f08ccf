"""What a wing trains: a :class:`Stage` says what is its own, :func:`run_stage` (:mod:`.driver`) does all the rest.

A wing that trains a network writes three things, under 200 lines in all:

1. a configuration, :class:`fracture.training.config.StageConfig` with its own sections;
2. pictures (:class:`Pictures`): which are presented in an epoch, how one is made, how several become a batch;
3. a subclass of :class:`Stage`: ``losses``, and ``tune`` and ``judge`` where there are parts for them::

    class Spine(Stage):
        terms = ("loss",)
        def losses(self, batch, totals):
            planes, truth = batch
            found = self.model(planes.to(self.device))
            return {"loss": mse_loss(found, truth.to(self.device)) * len(planes) / totals[0]}
        def tune(self):
            return Tuned(-error_of(self.model, self.parts["tune"]))
        def judge(self, folder):
            return {"error": {"validation": error_of(self.model, self.parts["validation"])}}

    with running("runs/mine", device="cpu") as run:
        facts = run_stage("spine", config, annotated, lambda parts, run: Spine(...), run)

``run_stage`` gives it what every wing has: the split, the run folder and its lock, checkpoints and resuming bit for
bit, several processes, the log with curves, the manifest, and ``<name>.safetensors`` with ``<name>.json``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from fracture.data.records import AnnotatedSet, Film
from fracture.data.seeds import derive_seed, generator
from fracture.io.ahead import groups_ahead
from fracture.models.devices import resolve_precision
from fracture.training.cache import Fault
from fracture.training.config import StageConfig
from fracture.training.world import World


class Pictures(Protocol):
    """The training part as pictures. All draws derive from the seed, the epoch and the place in the epoch."""

    def order(self, epoch: int, turn: int = 0) -> Sequence[Any]:
        """What an epoch presents, in order; each entry holds all that :meth:`make` needs.

        Where ``loop.steps_per_epoch`` asks for more than one order holds, ``turn`` counts the orders from 0.
        """

    def make(self, picture: Any) -> Any:
        """One picture, by a worker thread; a :class:`fracture.training.cache.Fault` where it is to be left out.

        Raises:
            InputError: The film cannot be read.
        """

    def source(self, picture: Any) -> str:
        """The film's name, for messages."""

    def size(self, made: Any) -> tuple[int, ...]:
        """Pictures of a step are sorted by it before they are cut into micro-batches, so that little is padded."""

    def collate(self, made: Sequence[Any]) -> Any:
        """The micro-batch of some pictures, as :meth:`Stage.losses` takes it."""


class PlainPictures:
    """Every film of a part once an epoch, shuffled; a micro-batch is the list of what ``make`` gives for its films.

    Args:
        part: The training part.
        seed: Of the order.
    """

    def __init__(self, part: AnnotatedSet, seed: int = 0) -> None:
        self.part, self.seed = part, seed

    def order(self, epoch: int, turn: int = 0) -> list[Film]:
        """The films in an order of their own for each epoch."""
        rng = generator(derive_seed(self.seed, epoch, turn, stream="order"))
        return [self.part[i] for i in rng.permutation(len(self.part)).tolist()]

    def source(self, picture: Film) -> str:
        """The film's name."""
        return picture.source

    def size(self, made: tuple[Any, ...]) -> tuple[int, ...]:
        """Shape of the first array."""
        return tuple(made[0].shape)

    def collate(self, made: Sequence[Any]) -> list[Any]:
        """As they are."""
        return list(made)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Micro-batches of one optimizer step (of one process).

    Attributes:
        batches: In the order they are run.
        sources: Films of the pictures in them.
        faults: Films that were left out because they cannot be read.
    """

    batches: tuple[Any, ...]
    sources: tuple[str, ...]
    faults: tuple[Fault, ...]


class Tuned(NamedTuple):
    """What a look at the tuning part gives.

    Attributes:
        score: Higher is better; None without the part.
        columns: More columns of the log.
        shown: What :meth:`Stage.draw` draws.
    """

    score: float | None
    columns: Mapping[str, Any] = {}
    shown: Any = None


class Stage(ABC):
    """One network in training, and what is its wing's own about that.

    Args:
        model: Sorts its parameters by ``parameter_groups()``: ``"heads"`` and others.
        config: Its settings.
        pictures: The training part.
        parts: Films by part: ``train``, and ``tune`` and ``validation`` where there are any.
        device: Of the model.
        world: The processes that train together.
        faults: Films that were left out of the parts because they cannot be read.
        start: Facts of the starting point, for the manifest.
    """

    format: ClassVar[str] = "fracture-stage/1"
    terms: tuple[str, ...] = ("loss",)
    """Names of what :meth:`losses` gives, ``"loss"`` first: a process without a picture in a step must know them."""
    score: ClassVar[str] = "tuning"
    """The tuning score's column in the log."""
    batch_statistics = True
    """Batch statistics are made equal over the processes."""

    def __init__(
        self,
        model: Any,
        config: StageConfig,
        pictures: Pictures,
        parts: Mapping[str, AnnotatedSet],
        device: torch.device,
        *,
        world: World | None = None,
        faults: Sequence[Fault] = (),
        start: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.pictures, self.parts, self.device = model, pictures, parts, device
        self.config: Any = config
        self.world, self.precision = world or World(), resolve_precision(config.loop.precision, device)
        self.faults, self.start = tuple(faults), dict(start or {})
        self.layout = torch.channels_last if config.loop.channels_last else torch.contiguous_format

    def counts(self, step: Step) -> Sequence[float]:
        """What the losses are divided by; summed over the processes. First the pictures of the step."""
        return [float(len(step.sources))]

    @abstractmethod
    def losses(self, batch: Any, totals: Sequence[float]) -> Mapping[str, Tensor]:
        """The micro-batch's share of each of :attr:`terms`; shares add up over micro-batches and processes.

        Args:
            batch: Of :meth:`Pictures.collate`.
            totals: :meth:`counts` of the whole step. A mean over the batch is a share once it is multiplied by
                ``len(batch) / totals[0]``.
        """

    def tune(self) -> Tuned:
        """How good the model is on the tuning part; every process calls it and gets the same."""
        return Tuned(None)

    def judge(self, folder: Path) -> dict[str, Any]:
        """Predictions for the parts that were not trained on, in float32, written to the folder by the process that
        leads; returns facts for the manifest."""
        del folder  # nothing, unless a wing judges
        return {}

    def manifest(self) -> dict[str, Any]:
        """Facts that are known before training, beside those of every run."""
        return {}

    def identity(self) -> dict[str, str]:
        """Checksums of what a run must go on with beside its set and split, by what to call it; none by default."""
        return {}

    def facts(self) -> dict[str, Any]:
        """What is needed to build the network again, for the file beside the weights."""
        return {}

    def settle(self) -> dict[str, Any]:
        """Change the network a last time once it has learned, and say how; nothing where not overridden."""
        return {}

    def draw(self, folder: Path, epoch: int, shown: Any) -> None:
        """Pictures for people after an epoch, counted from 1; 0: before the first."""
        del folder, epoch, shown  # nothing, unless a wing draws


class ArrayStage(Stage):
    """A stage whose pictures are tuples of arrays, in a list, and whose configuration has the network's ``model``."""

    def stacked(self, batch: Sequence[Sequence[Any]]) -> list[Tensor]:
        """The first arrays of all pictures on the device, then the second, and so on."""
        return [torch.from_numpy(np.stack(part)).to(self.device) for part in zip(*batch, strict=True)]

    def facts(self) -> dict[str, Any]:
        """The network's specification."""
        return {"model": self.config.model.model_dump(mode="json")}


def training_steps(
    pictures: Pictures,
    epoch: int,
    *,
    batch: int,
    micro_batch: int,
    steps: int | None = None,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int = 1,
) -> Iterator[Step]:
    """The optimizer steps of an epoch, from step ``start`` on.

    A step's pictures are a run of ``batch`` places of the epoch's order, whatever the number of processes: rank r takes
    every ``world``-th of them from r on.

    Args:
        pictures: The training part.
        epoch: Counted from 0.
        batch: Pictures per optimizer step over all processes.
        micro_batch: Pictures per forward pass.
        steps: Steps of an epoch: an order that is used up is followed by another; None: every picture once.
        start: Steps to leave out.
        rank: This process.
        world: Processes in all.
        workers: Threads that make pictures ahead of the model; 0 makes them when asked for.

    Raises:
        InputError: A film cannot be read.
    """
    order = list(pictures.order(epoch))
    turn = 1
    while steps is not None and order and len(order) < steps * batch:
        order += pictures.order(epoch, turn)
        turn += 1
    total = -(-len(order) // batch) if steps is None else steps
    groups = [order[step * batch : (step + 1) * batch][rank::world] for step in range(start, total)]
    for group, found in zip(groups, groups_ahead(groups, pictures.make, workers), strict=True):
        pairs = zip(group, found, strict=True)
        made = sorted((p for p in pairs if not isinstance(p[1], Fault)), key=lambda p: pictures.size(p[1]))
        cut = [made[i : i + micro_batch] for i in range(0, len(made), micro_batch)]
        yield Step(
            tuple(pictures.collate([one for _, one in part]) for part in cut),
            tuple(pictures.source(picture) for picture, _ in made),
            tuple(one for one in found if isinstance(one, Fault)),
        )
