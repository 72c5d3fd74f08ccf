"""The training loop of one member: joint loss, micro-batches, tuning by AUC. What any loop does: :mod:`.base_loop`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from fracture.data.seeds import derive_seed
from fracture.errors import TrainingError
from fracture.models import FractureModel
from fracture.training.base_loop import BaseLoop, Interrupted, Progress, State
from fracture.training.config import MemberConfig
from fracture.training.dataset import Films, Step, training_steps
from fracture.training.evaluate_tuning import FilmOutput, judge, pooled_auc
from fracture.training.loss import Counts, JointLoss
from fracture.training.stop import StopRequest
from fracture.training.world import World

__all__ = ["Interrupted", "Loop", "Progress", "State"]

_TERMS = ("loss", "localization", "classification", "region", "extent", "box", "quality")


class Loop(BaseLoop[Step, list[FilmOutput]]):
    """Trains one model; make it, then call :meth:`run`.

    Args:
        model: On its device, in float32; trained in place.
        config: The member's configuration.
        films: Training part.
        tuning: Tuning part, or None.
        folder: Where checkpoints go.
        device: Of the model.
        world: The processes that train together.
        stop: Set from outside to save and leave.
        progress: See :data:`Progress`.
        after_epoch: Called by the leading process after each epoch, with the state and the tuning films' outputs.
        identity: What a checkpoint must agree with to be gone on from (configuration, split, ...).
        still: The model stays in evaluation mode: what is frozen keeps its batch statistics too.
    """

    hint = (
        "everything up to this step is saved; restore the film, or set data.on_unreadable = 'skip', "
        "and run the same command again"
    )

    def __init__(
        self,
        model: FractureModel,
        config: MemberConfig,
        films: Films,
        tuning: Films | None,
        folder: Path,
        *,
        device: torch.device,
        world: World | None = None,
        stop: StopRequest | None = None,
        progress: Progress | None = None,
        after_epoch: Callable[[State, list[FilmOutput]], object] | None = None,
        identity: Mapping[str, str] | None = None,
        still: bool = False,
    ) -> None:
        super().__init__(
            model,
            config.optimizer,
            config.loop,
            folder,
            device=device,
            world=world,
            stop=stop,
            progress=progress,
            after_epoch=after_epoch,
            identity=identity,
            still=still,
        )
        self.config, self.films, self.tuning = config, films, tuning
        self.loss = JointLoss.for_model(model.spec, config.loss)
        self.steps_per_epoch = -(-len(films.order(0)) // config.batch)
        # The compiled call shares the model's parameters; checkpoints never see the wrapper.
        self.call = torch.compile(model, dynamic=True) if config.loop.compile else model

    def _steps(self) -> Iterator[Step]:
        config = self.config
        return training_steps(
            self.films,
            self.state.epoch,
            batch=config.batch,
            micro_batch=config.micro_batch,
            start=self.state.step,
            rank=self.world.rank,
            world=self.world.size,
            workers=config.loop.workers,
            skip_unreadable=config.data.on_unreadable == "skip",
        )

    def _step(self, step: Step) -> None:
        """One optimizer step: forward and backward per micro-batch, then one update."""
        state, config = self.state, self.config
        counts = Counts(*self.world.summed(step.counts))
        self.optimizer.zero_grad(set_to_none=True)
        shares = torch.zeros(len(_TERMS), dtype=torch.float64, device=self.device)
        for number, batch in enumerate(step.batches):
            place = (state.step * self.world.size + self.world.rank) * 1000 + number
            torch.manual_seed(derive_seed(config.seed, state.epoch, place, stream="dropout"))
            planes = batch.planes.to(self.device, memory_format=self.layout, non_blocking=True)
            mask = batch.mask.to(self.device, non_blocking=True)
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                output = self.call(planes, mask)
            terms = self.loss(output, batch.targets.to(self.device), counts)
            terms.total.backward()  # type: ignore[no-untyped-call]
            shares += torch.stack([t.detach().double() for t in terms])
        self.world.sum_gradients(self.model)
        values = dict(zip(_TERMS, self.world.summed(shares.tolist()), strict=True))
        norm = self._clipped()
        if not (math.isfinite(values["loss"]) and math.isfinite(norm)):
            self._diverged(values, norm, step)
        self._update({**values, "films": counts.films, "localized": counts.localized})
        state.skipped.extend(f.source for f in step.faults if f.source not in state.skipped)

    def _average(self) -> None:
        if self.config.model.norm == "batch":
            super()._average()

    def _diverged(self, values: Mapping[str, float], norm: float, step: Step) -> None:
        films = ", ".join(film.source for batch in step.batches for film in batch.films)
        self.save()  # of before this step
        raise TrainingError(
            f"epoch {self.state.epoch + 1}, step {self.state.step + 1}: the loss or its gradient is not finite",
            got=", ".join(f"{k} {v:.4g}" for k, v in values.items()) + f", gradient norm {norm:.4g}; films {films}",
            hint="the weights before this step are saved; start again in another folder with a lower optimizer.lr, "
            "with optimizer.clip_norm, or with init = that checkpoint's weights",
        )

    def _tune(self) -> list[FilmOutput]:
        """Close the epoch: AUC over all tuning films, the row of the log, the best weights."""
        state = self.state
        outputs: list[FilmOutput] = []
        auc = None
        if self.tuning is not None:
            with self._averaged():
                outputs = judge(
                    self.model,
                    self.tuning,
                    self.device,
                    precision=self.precision,
                    micro_batch=self.config.micro_batch,
                    channels_last=self.config.loop.channels_last,
                    workers=self.config.loop.workers,
                    world=self.world,
                )
            auc = pooled_auc(outputs)
        sums = state.sums
        steps = sums.get("steps", 1.0)
        row: dict[str, Any] = {"epoch": state.epoch + 1, "steps": int(steps), "films": int(sums.get("films", 0))}
        row |= {term: sums.get(term, math.nan) / steps for term in _TERMS}
        row |= {"lr": self.optimizer.param_groups[0]["lr"], "tuning_auc": auc}
        row |= {"seconds": sums.get("seconds", 0.0)}
        row["films_per_second"] = row["films"] / row["seconds"] if row["seconds"] > 0 else 0.0
        self._close(row, auc, name="auc")
        return outputs
