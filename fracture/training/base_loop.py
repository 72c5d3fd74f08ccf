"""What every training loop does whatever it trains: resuming, stopping, saving, keeping the best weights.

Every random draw derives from the seed, the epoch and the place in the epoch, so a run is a function of its
configuration, its films and the number of threads. A checkpoint holds everything else; a run that was killed and goes
on from one ends with the same weights, bit for bit on the CPU, as one that was not.
"""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError

from fracture.errors import ConfigurationError, InputError, TrainingError, WeightsIntegrityError
from fracture.models.devices import resolve_precision
from fracture.training.checkpoint import gather, read_checkpoint, restore, write_checkpoint
from fracture.training.config import OptimizerConfig
from fracture.training.optim import Ema, build_optimizer, rate_at
from fracture.training.stop import StopRequest
from fracture.training.world import World

__all__ = ["BaseLoop", "Interrupted", "Progress", "State"]

LATEST, BEST = "latest.safetensors", "best.safetensors"
_LOG = logging.getLogger(__name__)
S = TypeVar("S")
T = TypeVar("T")


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
        best_auc: Best tuning AUC so far, None before the first or without a tuning part.
        best_epoch: When, counted from 1.
        skipped: Films left out because they could not be read, each once.
        ema_updates: Updates of the running mean.
        seconds: Wall time of all training so far.
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


Progress = Callable[[State, int], object]
"""Called after each optimizer step with the state and the epoch's number of steps."""


class BaseLoop(ABC, Generic[S, T]):
    """Epochs of optimizer steps; a subclass says what a step is (``S``) and what closes an epoch (giving ``T``).

    Args:
        model: A module that sorts its parameters by ``parameter_groups``; trained in place, moved to the device.
        optimizer: Settings of optimizer, schedule, running mean and clipping.
        loop: Settings with ``epochs``, ``patience``, ``checkpoint_minutes``, ``channels_last`` and ``precision``.
        folder: Where checkpoints go.
        device: Of the model.
        world: The processes that train together.
        stop: Set from outside to save and leave.
        progress: See :data:`Progress`.
        after_epoch: Called by the leading process after each epoch, with the state and what closed the epoch.
        identity: What a checkpoint must agree with to be gone on from (configuration, split, ...).
        still: The model stays in evaluation mode: what is frozen keeps its batch statistics too.
    """

    hint = "everything up to this step is saved; restore the film and run the same command again"
    """What to do where a film cannot be read any more."""

    def __init__(
        self,
        model: Any,
        optimizer: OptimizerConfig,
        loop: Any,
        folder: Path,
        *,
        device: torch.device,
        world: World | None = None,
        stop: StopRequest | None = None,
        progress: Progress | None = None,
        after_epoch: Callable[[State, T], object] | None = None,
        identity: Mapping[str, str] | None = None,
        still: bool = False,
    ) -> None:
        self.model, self.settings, self.loop = model, optimizer, loop
        self.folder, self.device = folder, device
        self.world, self.stop = world or World(), stop or StopRequest()
        self.progress, self.after_epoch = progress, after_epoch
        self.identity, self.still = dict(identity or {}), still
        self.layout = torch.channels_last if loop.channels_last else torch.contiguous_format
        self.precision = resolve_precision(loop.precision, device)
        model.to(device, memory_format=self.layout)
        self.optimizer = build_optimizer(model, optimizer)
        self.ema = Ema(model, optimizer.ema) if optimizer.ema else None
        self.state = State()
        self.steps_per_epoch = 0
        """Set by the subclass."""

    @abstractmethod
    def _steps(self) -> Iterator[S]:
        """What the optimizer steps of the present epoch that are still to be done are made from."""

    @abstractmethod
    def _step(self, step: S) -> None:
        """One optimizer step: gradients, then :meth:`_update`."""

    @abstractmethod
    def _tune(self) -> T:
        """Judge the tuning part and close the epoch by :meth:`_close`."""

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
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            while not self._finished():
                self._epoch()
                closed = self._tune()
                self.save()
                if self.world.leads and self.after_epoch is not None:
                    self.after_epoch(self.state, closed)
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
        self.model.train(not self.still)
        began = time.monotonic()
        try:
            for step in self._steps():
                self._step(step)
                now = time.monotonic()
                state.sums["seconds"] = state.sums.get("seconds", 0.0) + now - began
                state.seconds += now - began
                began = now
                if self.world.leads and self.progress is not None:
                    self.progress(state, self.steps_per_epoch)
                self._save_or_leave()
        except InputError as error:
            self.save(wait=False)  # the other processes, if any, know nothing of this
            raise TrainingError(
                f"epoch {state.epoch + 1}, step {state.step + 1}: a film cannot be read any more ({error})",
                hint=self.hint,
            ) from error

    def _clipped(self) -> float:
        """The gradient's norm before it is clipped."""
        limit = self.settings.clip_norm or float("inf")
        return float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))

    def _update(self, added: Mapping[str, float], *, factor: float = 1.0) -> None:
        """Take the step with the gradients as they are, at the schedule's rate times ``factor``; sum up the log."""
        state = self.state
        factor *= rate_at(state.steps, self.loop.epochs * self.steps_per_epoch, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.optimizer.step()
        self._average()
        if self.ema is not None:
            self.ema.update(self.model)
        state.step += 1
        state.steps += 1
        for key, value in {**added, "steps": 1.0}.items():
            state.sums[key] = state.sums.get(key, 0.0) + value

    def _average(self) -> None:
        """Make batch statistics equal over the processes."""
        self.world.average_buffers(self.model)

    def _close(self, row: dict[str, Any], score: float | None, *, name: str) -> None:
        """End the epoch: its row of the log, and its weights where its tuning score is the best so far.

        Args:
            row: Columns of the log.
            score: Of the tuning part, higher is better; None where it was not judged.
            name: What the score is called in the checkpoint of the best epoch.
        """
        state = self.state
        state.history.append(row)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        if score is not None and (state.best_auc is None or score > state.best_auc):
            state.best_auc, state.best_epoch = score, state.epoch
            if self.world.leads:
                with self._averaged():
                    weights = {f"model.{k}": v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
                    write_checkpoint(self.folder / BEST, weights, {"epoch": state.epoch, name: score})

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
        """Write the checkpoint that the run goes on from; with ``wait``, until all processes are here.

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
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
            raise WeightsIntegrityError(f"{path}: the checkpoint's state is malformed", got=faults) from None
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
                "%s was written with %d threads and goes on with %d: the weights will not be the same to the last bit",
                path,
                threads,
                torch.get_num_threads(),
            )
        changed = sorted(k for k, value in self.identity.items() if identity.get(k) != value)
        if changed:
            raise ConfigurationError(
                f"{self.folder} holds a run with other settings",
                got=f"a different {', '.join(changed)}",
                hint="give another folder, or the settings the run was started with",
            )
        self.state = self._read_state(path, state)
        restore(tensors, self.model, self.optimizer, self.ema, ema_updates=self.state.ema_updates)
