"""What a run writes for people: progress, a CSV row and curves per epoch, overlays of tuning films."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fracture.training.checkpoint import write_atomic
from fracture.training.config import MemberConfig
from fracture.training.evaluate_tuning import FilmOutput
from fracture.training.loop import State

__all__ = ["EpochLog", "ProgressBar", "write_csv"]


class ProgressBar:
    """One bar per epoch on standard error, with the loss so far."""

    def __init__(self, config: MemberConfig) -> None:
        self.config = config
        self.bar: tqdm[Any] | None = None
        self.epoch = -1

    def __call__(self, state: State, steps: int) -> None:
        """After an optimizer step."""
        if self.bar is None or self.epoch != state.epoch:
            self.close()
            self.epoch = state.epoch
            title = f"{self.config.name} {state.epoch + 1}/{self.config.loop.epochs}"
            self.bar = tqdm(total=steps, desc=title, unit="step", initial=state.step - 1, mininterval=2.0)
        done = state.sums.get("steps", 1.0)
        auc = f"{state.history[-1]['tuning_auc']:.4f}" if state.history and state.history[-1]["tuning_auc"] else "-"
        self.bar.set_postfix(loss=f"{state.sums['loss'] / done:.4f}", auc=auc, refresh=False)
        self.bar.update(1)

    def close(self) -> None:
        """End the line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    @staticmethod
    @contextmanager
    def counting(total: int, title: str, *, shown: bool) -> Iterator[Callable[[int], object]]:
        """A bar for one pass over ``total`` things."""
        with tqdm(total=total, desc=title, unit="film", disable=not shown, mininterval=2.0) as bar:
            yield bar.update


class EpochLog:
    """Writes ``log.csv`` after each epoch."""

    def __init__(self, folder: Path, config: MemberConfig) -> None:
        self.folder, self.config = folder, config

    def __call__(self, state: State, outputs: Sequence[FilmOutput]) -> None:
        """After an epoch."""
        write_csv(self.folder / "log.csv", state.history)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """All rows of the run so far; they live in the checkpoint, so an interrupted run's log has no gap or double.

    Raises:
        TrainingError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["epoch"])
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8"))
