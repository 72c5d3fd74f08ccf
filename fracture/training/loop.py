"""The training loop of any stage: micro-batches, tuning, the log's rows; resuming, stopping, keeping the best weights.

Every random draw derives from the seed, the epoch and the place in the epoch, so a run is a function of its
configuration, its films and the number of threads. A checkpoint holds everything else: a run that was killed and is
resumed from one ends with the same weights, bit for bit on the CPU, as one that was not.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from fracture.data.seeds import derive_seed
from fracture.errors import ConfigurationError, InputError, TrainingError, WeightsIntegrityError
from fracture.schema import faults_of
from fracture.training.checkpoint import gather, read_checkpoint, restore, write_checkpoint
from fracture.training.optim import Ema, build_optimizer, rate_at
from fracture.training.stage import Stage, Step, Tuned, training_steps
from fracture.training.stop import StopRequest

LATEST, BEST = "latest.safetensors", "best.safetensors"
_LOG = logging.getLogger(__name__)


class Interrupted(Exception):  # noqa: N818 - no error: the run was asked to leave and left
    """A signal asked the run to stop; everything is saved."""


@dataclass
class State:
    """Where a run stands; JSON in the checkpoint.

    Attributes:
        epoch: Epochs that are done.
        step: Optimizer steps done in the present epoch.
        steps: Optimizer steps done in all.
        sums: Of the present epoch: loss terms times steps, films, positives, seconds.
        history: One row per finished epoch.
        best_auc: Best tuning score so far (of whatever kind), None before the first or without a tuning part.
        best_epoch: When, counted from 1.
        skipped: Films left out because they could not be read, each once.
        ema_updates: Updates of the running mean.
        seconds: Wall time of all training so far.
        cpu_seconds: Processor time of it, over all threads of this process.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_auc: float | None = None
    best_epoch: int = 0
    skipped: list[str] = field(default_factory=list)
    ema_updates: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


Progress = Callable[[State, int], object]
"""Called after each optimizer step with the state and the epoch's number of steps."""


class Loop:
    """Trains one stage; make it, then call :meth:`run`.

    Args:
        stage: Its network (trained in place), pictures, losses and tuning.
        folder: Where checkpoints go.
        stop: Set from outside to save and leave.
        progress: See :data:`Progress`.
        after_epoch: Called by the leading process after each epoch, with the state and what tuning gave to be shown.
        identity: What a checkpoint must agree with to be resumed (split, set, ...).
    """

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
        self.stage, self.config, self.settings = stage, stage.config, stage.config.optimizer
        self.model, self.world, self.loop = stage.model, stage.world, stage.config.loop
        self.folder, self.stop = folder, stop or StopRequest()
        self.progress, self.after_epoch = progress, after_epoch
        self.identity = dict(identity or {})
        self.model.to(stage.device, memory_format=stage.layout)
        self.optimizer = build_optimizer(self.model, self.settings)
        self.ema = Ema(self.model, self.settings.ema) if self.settings.ema else None
        self.state = State()
        whole = -(-len(stage.pictures.order(0)) // self.config.batch)
        self.steps_per_epoch = self.loop.steps_per_epoch or whole

    def run(self) -> State:
        """Train from where the folder's checkpoint stands, or from the beginning, to the end.

        Afterwards the model holds the weights to keep: of the best epoch on the tuning part where there is one, else
        the last; their running mean where that is configured.

        Raises:
            Interrupted: A stop was asked for; everything is saved.
            TrainingError: The loss is not finite, or a film cannot be read any more.
            OutputError: The disk is full.
            ConfigurationError: The folder's checkpoint is of another run.
            WeightsIntegrityError: The folder's checkpoint is damaged, or none of this library.
        """
        self._resume()
        self.saved = time.monotonic()
        with torch.random.fork_rng(devices=[self.stage.device] if self.stage.device.type == "cuda" else []):
            while not self._finished():
                self._epoch()
                shown = self._tune()
                self.save()
                if self.world.leads and self.after_epoch is not None:
                    self.after_epoch(self.state, shown)
        self._keep()
        return self.state

    def _finished(self) -> bool:
        state, patience = self.state, self.loop.patience
        waited = state.epoch - state.best_epoch
        patient = patience is None or state.best_auc is None or waited < patience
        return state.epoch >= self.loop.epochs or not patient

    def _epoch(self) -> None:
        """The optimizer steps of one epoch that are still to be done."""
        state = self.state
        self.model.train()
        began, busy = time.monotonic(), time.process_time()
        try:
            for step in self._steps():
                self._step(step)
                now, used = time.monotonic(), time.process_time()
                state.sums["seconds"] = state.sums.get("seconds", 0.0) + now - began
                state.seconds += now - began
                state.cpu_seconds += used - busy
                began, busy = now, used
                if self.world.leads and self.progress is not None:
                    self.progress(state, self.steps_per_epoch)
                self._save_or_leave()
        except InputError as error:
            self.save(wait=False)  # the other processes, if any, know nothing of this
            raise TrainingError(
                f"epoch {state.epoch + 1}, step {state.step + 1}: a film cannot be read any more ({error})",
                hint="everything up to this step is saved; restore the film, or set data.on_unreadable = 'skip' where "
                "the recipe has it, and run the same command again",
            ) from error

    def _steps(self) -> Iterator[Step]:
        return training_steps(
            self.stage.pictures,
            self.state.epoch,
            batch=self.config.batch,
            micro_batch=self.config.micro_batch,
            steps=self.loop.steps_per_epoch,
            start=self.state.step,
            rank=self.world.rank,
            world=self.world.size,
            workers=self.loop.workers,
        )

    def _step(self, step: Step) -> None:
        """One optimizer step: forward and backward per micro-batch, then one update."""
        state, stage = self.state, self.stage
        totals = self.world.summed(stage.counts(step))
        self.optimizer.zero_grad(set_to_none=True)
        shares = torch.zeros(len(stage.terms), dtype=torch.float64, device=stage.device)
        for number, batch in enumerate(step.batches):
            place = (state.step * self.world.size + self.world.rank) * 1000 + number
            torch.manual_seed(derive_seed(self.config.seed, state.epoch, place, stream="dropout"))
            with torch.autocast(stage.device.type, stage.precision, enabled=stage.precision != torch.float32):
                terms = stage.losses(batch, totals)
            terms["loss"].backward()  # type: ignore[no-untyped-call]
            shares += torch.stack([terms[name].detach().double() for name in stage.terms])
        self.world.sum_gradients(self.model)
        values = dict(zip(stage.terms, self.world.summed(shares.tolist()), strict=True))
        limit = self.settings.clip_norm or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        if not (math.isfinite(values["loss"]) and math.isfinite(norm)):
            self._diverged(values, norm, step)
        self._update({**values, "films": totals[0]})
        state.skipped.extend(f.source for f in step.faults if f.source not in state.skipped)

    def _update(self, added: Mapping[str, float]) -> None:
        """Take the step with the gradients as they are, at the schedule's rate; sum up the log."""
        state = self.state
        factor = self.settings.decay**state.epoch
        factor *= rate_at(state.steps, self.loop.epochs * self.steps_per_epoch, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.optimizer.step()
        if self.stage.batch_statistics:
            self.world.average_buffers(self.model)
        if self.ema is not None:
            self.ema.update(self.model)
        state.step += 1
        state.steps += 1
        for key, value in {**added, "steps": 1.0}.items():
            state.sums[key] = state.sums.get(key, 0.0) + value

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
        self._close(row, tuned.score)
        return tuned.shown

    def _close(self, row: dict[str, Any], score: float | None) -> None:
        """End the epoch: its row of the log, and its weights where its tuning score is the best so far."""
        state = self.state
        state.history.append(row)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        if score is not None and (state.best_auc is None or score > state.best_auc):
            state.best_auc, state.best_epoch = score, state.epoch
            if self.world.leads:
                with self._averaged():
                    weights = {f"model.{k}": v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
                    write_checkpoint(self.folder / BEST, weights, {"epoch": state.epoch, self.stage.score: score})

    def _keep(self) -> None:
        """Leave the weights to keep in the model."""
        if self.state.best_auc is not None and self.loop.patience is not None:
            tensors, _ = read_checkpoint(self.folder / BEST)
            restore(tensors, self.model, self.optimizer, None)
        elif self.ema is not None:
            self.ema.swap(self.model)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """While it is entered, the model holds the running mean of its weights (where there is one)."""
        if self.ema is not None:
            self.ema.swap(self.model)
        try:
            yield
        finally:
            if self.ema is not None:
                self.ema.swap(self.model)

    def save(self, *, wait: bool = True) -> None:
        """Write the checkpoint that the run is resumed from; with ``wait``, until all processes are here.

        Raises:
            OutputError: It cannot be written; the one before is whole.
        """
        if self.world.leads:
            if self.ema is not None:
                self.state.ema_updates = self.ema.updates
            state = {**asdict(self.state), "identity": self.identity, "threads": torch.get_num_threads()}
            tensors = gather(self.model, self.optimizer, self.ema)
            write_checkpoint(self.folder / LATEST, tensors, state)
        if wait:
            self.world.wait()
        self.saved = time.monotonic()

    def _read_state(self, path: Path, stated: Mapping[str, Any]) -> State:
        """The state in a checkpoint, its types and its limits checked.

        Raises:
            WeightsIntegrityError: It is not one that this run could have written.
        """
        try:
            state: State = TypeAdapter(State).validate_json(json.dumps(dict(stated)), strict=True)
        except ValidationError as error:
            raise WeightsIntegrityError(f"{path}: the checkpoint's state is malformed", got=faults_of(error)) from None
        if not (0 <= state.epoch <= self.loop.epochs and 0 <= state.step <= self.steps_per_epoch and state.steps >= 0):
            raise WeightsIntegrityError(
                f"{path}: the checkpoint's state is not of this run",
                got=f"epoch {state.epoch}, step {state.step} of {self.steps_per_epoch}",
                hint="start the run in another folder",
            )
        return state

    def _save_or_leave(self) -> None:
        due = self.world.leads and time.monotonic() - self.saved > 60 * self.loop.checkpoint_minutes
        leave, save = self.world.summed([float(self.stop.asked), float(due)])
        if leave or save:
            self.save()
        if leave:
            raise Interrupted

    def _resume(self) -> None:
        path = self.folder / LATEST
        if not path.exists():
            return
        tensors, state = read_checkpoint(path)
        identity, threads = state.pop("identity", None), state.pop("threads", None)
        if not isinstance(identity, dict):
            raise WeightsIntegrityError(f"{path}: the checkpoint does not say which run it is of")
        if threads != torch.get_num_threads() and self.world.leads:
            _LOG.warning(
                "%s was written with %d threads and is resumed with %d: the weights will differ in their last bits",
                path,
                threads,
                torch.get_num_threads(),
            )
        changed = sorted(k for k, value in self.identity.items() if identity.get(k, value) != value)
        if changed:
            raise ConfigurationError(
                f"{self.folder} holds a run with other settings",
                got=f"a different {', '.join(changed)}",
                hint="give another folder, or the settings the run was started with",
            )
        self.state = self._read_state(path, state)
        restore(tensors, self.model, self.optimizer, self.ema, ema_updates=self.state.ema_updates)
