"""The training loop of either stage: steps and a tuning score of its own on :mod:`fracture.training.base_loop`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from fracture.data.seeds import derive_seed
from fracture.errors import TrainingError
from fracture.hip.training_config import StageConfig
from fracture.hip.training_data import Picture
from fracture.io.ahead import groups_ahead
from fracture.training.base_loop import BaseLoop, Progress, State
from fracture.training.stop import StopRequest
from fracture.training.world import World

__all__ = ["HipLoop", "Stage"]


class Stage(Protocol):
    """What the loop needs to know of a stage."""

    @property
    def model(self) -> Any:
        """The network."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss's terms: a process without a picture in a step must know them too."""

    @property
    def pictures(self) -> Any:
        """The training part, with ``order``, ``make`` and ``collate``."""

    def losses(self, batch: Any, device: torch.device, layout: torch.memory_format) -> dict[str, Tensor]:
        """Terms of the loss, each the mean over the batch's pictures; their sum is what is minimized."""

    def tune(self) -> tuple[float | None, dict[str, Any]]:
        """The tuning part's score (higher is better; None without the part), and columns of the log."""


class HipLoop(BaseLoop[Sequence[Any], None]):
    """Trains one stage; make it, then call :meth:`run`.

    Args:
        stage: Its network, pictures, loss and tuning.
        config: Of the stage.
        folder: Where checkpoints go.
        device: Of the model.
        world: The processes that train together.
        stop: Set from outside to save and leave.
        progress: Called after each optimizer step with the state and the epoch's number of steps.
        after_epoch: Called by the leading process after each epoch with the state.
        identity: What a checkpoint must agree with to be gone on from.
    """

    def __init__(
        self,
        stage: Stage,
        config: StageConfig,
        folder: Path,
        *,
        device: torch.device,
        world: World | None = None,
        stop: StopRequest | None = None,
        progress: Progress | None = None,
        after_epoch: Callable[[State], object] | None = None,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            stage.model,
            config.optimizer,
            config.loop,
            folder,
            device=device,
            world=world,
            stop=stop,
            progress=progress,
            after_epoch=None if after_epoch is None else lambda state, _: after_epoch(state),
            identity=identity,
        )
        self.stage, self.config = stage, config
        whole = -(-len(stage.pictures.order(0)) // config.loop.batch)
        self.steps_per_epoch = config.loop.steps_per_epoch or whole

    def _groups(self, epoch: int, start: int) -> list[list[Picture]]:
        """The pictures of each step that is still to be done; an order that is used up is followed by another."""
        batch, rank, size = self.config.loop.batch, self.world.rank, self.world.size
        wanted = self.steps_per_epoch * batch
        order: list[Picture] = []
        turn = 0
        while len(order) < wanted:
            order += self.stage.pictures.order(epoch * 1000 + turn)
            turn += 1
            if self.config.loop.steps_per_epoch is None:
                break
        cut = [order[step * batch : min(wanted, (step + 1) * batch)] for step in range(start, self.steps_per_epoch)]
        return [group[rank::size] for group in cut]

    def _steps(self) -> Iterator[Sequence[Any]]:
        groups = self._groups(self.state.epoch, self.state.step)
        make = cast(Callable[[Picture], Any], self.stage.pictures.make)
        return groups_ahead(groups, make, self.config.loop.workers)

    def _step(self, made: Sequence[Any]) -> None:
        """One optimizer step: forward and backward per micro-batch, then one update."""
        state, config = self.state, self.config
        total = self.world.summed([float(len(made))])[0]
        micro = min(config.loop.micro_batch or config.loop.batch, config.loop.batch)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for number, first in enumerate(range(0, len(made), micro)):
            part = made[first : first + micro]
            place = (state.step * self.world.size + self.world.rank) * 1000 + number
            torch.manual_seed(derive_seed(config.seed, state.epoch, place, stream="dropout"))
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                terms = self.stage.losses(self.stage.pictures.collate(part), self.device, self.layout)
            share = len(part) / total
            loss = torch.stack(list(terms.values())).sum() * share
            loss.backward()  # type: ignore[no-untyped-call]
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + share * float(value.detach())
        self.world.sum_gradients(self.model)
        names = self.stage.terms
        values = dict(zip(names, self.world.summed([sums.get(name, 0.0) for name in names]), strict=True))
        norm = self._clipped()
        if not (math.isfinite(sum(values.values())) and math.isfinite(norm)):
            self.save()
            raise TrainingError(
                f"epoch {state.epoch + 1}, step {state.step + 1}: the loss or its gradient is not finite",
                got=", ".join(f"{k} {v:.4g}" for k, v in values.items()) + f", gradient norm {norm:.4g}",
                hint="start again in another folder with a lower optimizer.lr or with optimizer.clip_norm",
            )
        added = {**values, "loss": sum(values.values()), "pictures": total}
        self._update(added, factor=config.optimizer.decay**state.epoch)

    def _tune(self) -> None:
        """Close the epoch: the tuning score, the row of the log, the best weights."""
        state, sums = self.state, self.state.sums
        score: float | None = None
        columns: dict[str, Any] = {}
        last = state.epoch + 1 == self.config.loop.epochs
        if last or (state.epoch + 1) % self.config.loop.tune_every == 0:
            with self._averaged():
                score, columns = self.stage.tune()
        steps = sums.get("steps", 1.0)
        row: dict[str, Any] = {"epoch": state.epoch + 1, "steps": int(steps), "films": int(sums.get("pictures", 0))}
        skipped = ("steps", "pictures", "seconds")
        row |= {name: value / steps for name, value in sorted(sums.items()) if name not in skipped}
        row |= {"lr": self.optimizer.param_groups[0]["lr"], "tuning": score, **columns}
        row |= {"seconds": round(sums.get("seconds", 0.0), 3)}
        self._close(row, score, name="score")
        self.world.wait()
