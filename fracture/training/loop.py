"""The training loop of any stage: micro-batches, tuning, the log's rows. Resuming and saving: :mod:`.base_loop`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from fracture.data.seeds import derive_seed
from fracture.errors import TrainingError
from fracture.training.base_loop import BaseLoop, Interrupted, Progress, State
from fracture.training.stage import Stage, Step, Tuned, training_steps
from fracture.training.stop import StopRequest

__all__ = ["Interrupted", "Loop", "Progress", "State"]


class Loop(BaseLoop[Step, Any]):
    """Trains one stage; make it, then call :meth:`run`.

    Args:
        stage: Its network (trained in place), pictures, losses and tuning.
        folder: Where checkpoints go.
        stop: Set from outside to save and leave.
        progress: See :data:`Progress`.
        after_epoch: Called by the leading process after each epoch, with the state and what tuning gave to be shown.
        identity: What a checkpoint must agree with to be resumed (split, set, ...).
    """

    hint = (
        "everything up to this step is saved; restore the film, or set data.on_unreadable = 'skip' where the recipe "
        "has it, and run the same command again"
    )

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        *,
        stop: StopRequest | None = None,
        progress: Progress | None = None,
        after_epoch: Callable[[State, Any], object] | None = None,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            stage.model,
            stage.config.optimizer,
            stage.config.loop,
            folder,
            device=stage.device,
            world=stage.world,
            stop=stop,
            progress=progress,
            after_epoch=after_epoch,
            identity=identity,
            still=stage.still,
        )
        self.stage, self.config = stage, stage.config
        whole = -(-len(stage.pictures.order(0)) // self.config.batch)
        self.steps_per_epoch = self.config.loop.steps_per_epoch or whole

    def _steps(self) -> Iterator[Step]:
        return training_steps(
            self.stage.pictures,
            self.state.epoch,
            batch=self.config.batch,
            micro_batch=self.config.micro_batch,
            steps=self.config.loop.steps_per_epoch,
            start=self.state.step,
            rank=self.world.rank,
            world=self.world.size,
            workers=self.config.loop.workers,
        )

    def _step(self, step: Step) -> None:
        """One optimizer step: forward and backward per micro-batch, then one update."""
        state, stage = self.state, self.stage
        totals = self.world.summed(stage.counts(step))
        self.optimizer.zero_grad(set_to_none=True)
        shares = torch.zeros(len(stage.terms), dtype=torch.float64, device=self.device)
        for number, batch in enumerate(step.batches):
            place = (state.step * self.world.size + self.world.rank) * 1000 + number
            torch.manual_seed(derive_seed(self.config.seed, state.epoch, place, stream="dropout"))
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                terms = stage.losses(batch, totals)
            terms["loss"].backward()  # type: ignore[no-untyped-call]
            shares += torch.stack([terms[name].detach().double() for name in stage.terms])
        self.world.sum_gradients(self.model)
        values = dict(zip(stage.terms, self.world.summed(shares.tolist()), strict=True))
        norm = self._clipped()
        if not (math.isfinite(values["loss"]) and math.isfinite(norm)):
            self._diverged(values, norm, step)
        self._update({**values, "films": totals[0]}, factor=self.settings.decay**state.epoch)
        state.skipped.extend(f.source for f in step.faults if f.source not in state.skipped)

    def _average(self) -> None:
        if self.stage.batch_statistics:
            super()._average()

    def _diverged(self, values: Mapping[str, float], norm: float, step: Step) -> None:
        self.save()  # of before this step
        raise TrainingError(
            f"epoch {self.state.epoch + 1}, step {self.state.step + 1}: the loss or its gradient is not finite",
            got=", ".join(f"{k} {v:.4g}" for k, v in values.items())
            + f", gradient norm {norm:.4g}; films {', '.join(step.sources)}",
            hint="the weights before this step are saved; start again in another folder with a lower optimizer.lr, "
            "with optimizer.clip_norm, or with init = that checkpoint's weights",
        )

    def _tune(self) -> Any:
        """Close the epoch: the tuning score, the row of the log, the best weights."""
        state, stage = self.state, self.stage
        tuned = Tuned(None)
        if state.epoch + 1 == self.loop.epochs or (state.epoch + 1) % self.loop.tune_every == 0:
            with self._averaged():
                tuned = stage.tune()
        steps, seconds = state.sums.get("steps", 1.0), state.sums.get("seconds", 0.0)
        films = int(state.sums.get("films", 0))
        row: dict[str, Any] = {"epoch": state.epoch + 1, "steps": int(steps), "films": films}
        row |= {term: state.sums.get(term, math.nan) / steps for term in stage.terms}
        row |= {"lr": self.optimizer.param_groups[0]["lr"], stage.score: tuned.score, **tuned.columns}
        row["seconds"] = seconds
        row["films_per_second"] = films / seconds if seconds > 0 else 0.0
        self._close(row, tuned.score, name=stage.score)
        return tuned.shown
