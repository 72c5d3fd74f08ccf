"""The training loop of one network: on two screens, and exact under interruption.

Every random draw derives from the seed, the epoch and the place in the epoch, so a run is a function of its
configuration, its films and the number of threads. A checkpoint holds everything else; a run that was killed and goes
on from one ends with the same weights, bit for bit on the CPU, as one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from fracture.data.seeds import derive_seed
from fracture.errors import ConfigurationError, InputError, TrainingError
from fracture.models import FractureModel
from fracture.training.checkpoint import gather, read_checkpoint, restore, write_checkpoint
from fracture.training.config import MemberConfig
from fracture.training.dataset import Films, Step, training_steps
from fracture.training.evaluate_tuning import FilmOutput, judge, pooled_auc
from fracture.training.loss import Counts, JointLoss
from fracture.training.optim import Ema, build_optimizer, rate_at
from fracture.training.stop import StopRequest
from fracture.training.world import World

__all__ = ["Interrupted", "Loop", "Progress", "State"]

LATEST, BEST = "latest.safetensors", "best.safetensors"
_LOG = logging.getLogger(__name__)
_TERMS = ("loss", "localization", "classification", "region", "extent")


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


class Loop:
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

    still = False

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
        self.model, self.config, self.films, self.tuning = model, config, films, tuning
        self.still = still
        self.folder, self.device = folder, device
        self.world = world or World()
        self.stop = stop or StopRequest()
        self.progress, self.after_epoch = progress, after_epoch
        self.identity = dict(identity or {})
        self.layout = torch.channels_last if config.loop.channels_last else torch.contiguous_format
        self.precision = torch.bfloat16 if config.loop.precision == "bfloat16" else torch.float32
        self.model.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(model, config.optimizer)
        self.ema = Ema(model, config.optimizer.ema) if config.optimizer.ema else None
        self.loss = JointLoss.for_model(model.spec, config.loss)
        self.state = State()
        self.steps_per_epoch = -(-len(films.order(0)) // config.batch)
        # The compiled call shares the model's parameters; checkpoints never see the wrapper.
        self.call = torch.compile(model, dynamic=True) if config.loop.compile else model

    def run(self) -> State:
        """Train from where the folder's checkpoint stands, or from the beginning, to the end.

        Afterwards the model holds the weights to keep: of the best epoch on the tuning part where there is one, else
        the last; their running mean where that is configured.

        Raises:
            Interrupted: A stop was asked for; everything is saved.
            TrainingError: The loss is not finite, a film cannot be read any more, or the disk is full.
            ConfigurationError: The folder's checkpoint is of another run.
        """
        self._resume()
        self.saved = time.monotonic()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            while not self._finished():
                self._epoch()
                outputs = self._tune()
                self.save()
                if self.world.leads and self.after_epoch is not None:
                    self.after_epoch(self.state, outputs)
        self._keep()
        return self.state

    def _finished(self) -> bool:
        state, loop = self.state, self.config.loop
        waited = state.epoch - state.best_epoch
        patient = loop.patience is None or state.best_auc is None or waited < loop.patience
        return state.epoch >= loop.epochs or not patient

    def _epoch(self) -> None:
        """The optimizer steps of one epoch that are still to be done."""
        state, config = self.state, self.config
        self.model.train(not self.still)
        steps = training_steps(
            self.films,
            state.epoch,
            batch=config.batch,
            micro_batch=config.micro_batch,
            start=state.step,
            rank=self.world.rank,
            world=self.world.size,
            workers=config.loop.workers,
            skip_unreadable=config.data.on_unreadable == "skip",
        )
        began = time.monotonic()
        try:
            for step in steps:
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
                hint="everything up to this step is saved; restore the film, or set data.on_unreadable = 'skip', "
                "and run the same command again",
            ) from error

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
        limit = config.optimizer.clip_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        if not (math.isfinite(values["loss"]) and math.isfinite(norm)):
            self._diverged(values, norm, step)
        factor = rate_at(state.steps, self.config.loop.epochs * self.steps_per_epoch, config.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.optimizer.step()
        if config.model.norm == "batch":
            self.world.average_buffers(self.model)
        if self.ema is not None:
            self.ema.update(self.model)
        state.step += 1
        state.steps += 1
        added = {**values, "steps": 1.0, "films": counts.films, "localized": counts.localized}
        for key, value in added.items():
            state.sums[key] = state.sums.get(key, 0.0) + value
        state.skipped.extend(f.source for f in step.faults if f.source not in state.skipped)

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
        state.history.append(row)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        if auc is not None and (state.best_auc is None or auc > state.best_auc):
            state.best_auc, state.best_epoch = auc, state.epoch
            if self.world.leads:
                with self._averaged():
                    weights = {f"model.{k}": v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
                    write_checkpoint(self.folder / BEST, weights, {"epoch": state.epoch, "auc": auc})
        return outputs

    def _keep(self) -> None:
        """Leave the weights to keep in the model."""
        if self.state.best_auc is not None and self.config.loop.patience is not None:
            tensors, _ = read_checkpoint(self.folder / BEST)
            self.model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items()})
        elif self.ema is not None:
            self.ema.swap(self.model)

    def _averaged(self) -> Any:
        return _Swapped(self.ema, self.model)

    def save(self, *, wait: bool = True) -> None:
        """Write the checkpoint that the run goes on from; with ``wait``, until all processes are here.

        Raises:
            TrainingError: It cannot be written; the one before is whole.
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

    def _save_or_leave(self) -> None:
        due = self.world.leads and time.monotonic() - self.saved > 60 * self.config.loop.checkpoint_minutes
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
        identity, threads = state.pop("identity"), state.pop("threads")
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
        self.state = State(**state)
        restore(tensors, self.model, self.optimizer, self.ema, ema_updates=self.state.ema_updates)


class _Swapped:
    """While it is entered, the model holds the running mean of its weights (where there is one)."""

    def __init__(self, ema: Ema | None, model: FractureModel) -> None:
        self.ema, self.model = ema, model

    def __enter__(self) -> None:
        if self.ema is not None:
            self.ema.swap(self.model)

    def __exit__(self, *_: object) -> None:
        if self.ema is not None:
            self.ema.swap(self.model)
