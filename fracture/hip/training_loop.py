"""The training loop of either stage: :class:`fracture.training.loop.Loop`'s resuming, stopping and keeping, with steps
and a tuning score of its own.

Every random draw derives from the seed, the epoch and the place in the epoch, so that a run that was interrupted ends
with the same weights as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from fracture.data.seeds import derive_seed
from fracture.errors import InputError, TrainingError
from fracture.hip.training_config import StageConfig
from fracture.hip.training_data import Picture
from fracture.training.dataset import _ahead
from fracture.training.loop import Loop, State
from fracture.training.optim import Ema, build_optimizer, rate_at
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


class HipLoop(Loop):
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

    def __init__(  # the base's own sets up the detector's loss and films, which hips have none of
        self,
        stage: Stage,
        config: StageConfig,
        folder: Path,
        *,
        device: torch.device,
        world: World | None = None,
        stop: StopRequest | None = None,
        progress: Callable[[State, int], object] | None = None,
        after_epoch: Callable[[State], object] | None = None,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        self.stage = stage
        self.settings = config
        self.config = cast(Any, config)  # patience, epochs and checkpoint_minutes have the same names there
        self.model = stage.model
        self.folder, self.device = folder, device
        self.world, self.stop = world or World(), stop or StopRequest()
        self.progress = progress
        self.after_epoch = None if after_epoch is None else lambda state, _: after_epoch(state)
        self.identity = dict(identity or {})
        self.layout = torch.channels_last if config.loop.channels_last else torch.contiguous_format
        self.precision = torch.bfloat16 if config.loop.precision == "bfloat16" else torch.float32
        cast(nn.Module, self.model).to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.ema = Ema(self.model, config.optimizer.ema) if config.optimizer.ema else None
        self.state = State()
        whole = -(-len(stage.pictures.order(0)) // config.loop.batch)
        self.steps_per_epoch = config.loop.steps_per_epoch or whole

    def _groups(self, epoch: int, start: int) -> list[list[Picture]]:
        """The pictures of each step that is still to be done; an order that is used up is followed by another."""
        batch, rank, size = self.settings.loop.batch, self.world.rank, self.world.size
        wanted = self.steps_per_epoch * batch
        order: list[Picture] = []
        turn = 0
        while len(order) < wanted:
            order += self.stage.pictures.order(epoch * 1000 + turn)
            turn += 1
            if self.settings.loop.steps_per_epoch is None:
                break
        cut = [order[step * batch : min(wanted, (step + 1) * batch)] for step in range(start, self.steps_per_epoch)]
        return [group[rank::size] for group in cut]

    def _epoch(self) -> None:
        state = self.state
        self.model.train()
        groups = self._groups(state.epoch, state.step)
        began = time.monotonic()
        pictures = self.stage.pictures
        make = cast(Callable[[Picture], Any], pictures.make)
        try:
            for made in _ahead(make, groups, self.settings.loop.workers):
                self._optimize(made)
                now = time.monotonic()
                state.sums["seconds"] = state.sums.get("seconds", 0.0) + now - began
                state.seconds += now - began
                began = now
                if self.world.leads and self.progress is not None:
                    self.progress(state, self.steps_per_epoch)
                self._save_or_leave()
        except InputError as error:
            self.save(wait=False)
            raise TrainingError(
                f"epoch {state.epoch + 1}, step {state.step + 1}: a film cannot be read any more ({error})",
                hint="everything up to this step is saved; restore the film and run the same command again",
            ) from error

    def _optimize(self, made: Sequence[Any]) -> None:
        """One optimizer step: forward and backward per micro-batch, then one update."""
        state, config = self.state, self.settings
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
        limit = config.optimizer.clip_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        if not (math.isfinite(sum(values.values())) and math.isfinite(norm)):
            self.save()
            raise TrainingError(
                f"epoch {state.epoch + 1}, step {state.step + 1}: the loss or its gradient is not finite",
                got=", ".join(f"{k} {v:.4g}" for k, v in values.items()) + f", gradient norm {norm:.4g}",
                hint="start again in another folder with a lower optimizer.lr or with optimizer.clip_norm",
            )
        factor = rate_at(state.steps, config.loop.epochs * self.steps_per_epoch, config.optimizer)
        factor *= config.optimizer.decay**state.epoch
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.optimizer.step()
        self.world.average_buffers(self.model)
        if self.ema is not None:
            self.ema.update(self.model)
        state.step += 1
        state.steps += 1
        for key, added in {**values, "loss": sum(values.values()), "steps": 1.0, "pictures": total}.items():
            state.sums[key] = state.sums.get(key, 0.0) + added

    def _tune(self) -> list[Any]:
        """Close the epoch: the tuning score, the row of the log, the best weights."""
        from fracture.training.checkpoint import write_checkpoint
        from fracture.training.loop import BEST

        state, sums = self.state, self.state.sums
        score: float | None = None
        columns: dict[str, Any] = {}
        last = state.epoch + 1 == self.settings.loop.epochs
        if last or (state.epoch + 1) % self.settings.loop.tune_every == 0:
            with self._averaged():
                score, columns = self.stage.tune()
        steps = sums.get("steps", 1.0)
        row: dict[str, Any] = {"epoch": state.epoch + 1, "steps": int(steps), "films": int(sums.get("pictures", 0))}
        skipped = ("steps", "pictures", "seconds")
        row |= {name: value / steps for name, value in sorted(sums.items()) if name not in skipped}
        row |= {"lr": self.optimizer.param_groups[0]["lr"], "tuning": score, **columns}
        row |= {"seconds": round(sums.get("seconds", 0.0), 3)}
        state.history.append(row)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        if score is not None and (state.best_auc is None or score > state.best_auc):
            state.best_auc, state.best_epoch = score, state.epoch
            if self.world.leads:
                with self._averaged():
                    weights = {f"model.{k}": v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
                    write_checkpoint(self.folder / BEST, weights, {"epoch": state.epoch, "score": score})
        self.world.wait()
        return []
