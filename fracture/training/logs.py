"""What any training writes for people: progress, a CSV row and curves per epoch, TensorBoard events."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracture.atomic import write_atomic, write_text
from fracture.errors import MissingDependencyError
from fracture.io.marks import png_mark
from fracture.runs.progress import progress_bar
from fracture.training.loop import State

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from tqdm import tqdm

    from fracture.training.stage import Stage

_CURVES = 30.0  # seconds between two drawings of the curves, which cost about one


class ProgressBar:
    """One bar per epoch on standard error, with the loss so far and the last tuning score.

    Args:
        name: Of the training.
        stage: What is trained.
    """

    def __init__(self, name: str, stage: Stage) -> None:
        self.name, self.stage = name, stage
        self.bar: tqdm[Any] | None = None
        self.epoch = -1

    def __call__(self, state: State, steps: int) -> None:
        """After an optimizer step."""
        if self.bar is None or self.epoch != state.epoch:
            self.close()
            self.epoch = state.epoch
            title = f"{self.name} {state.epoch + 1}/{self.stage.config.loop.epochs}"
            self.bar = progress_bar(steps, title, unit="step", done=state.step - 1)
        score = state.history[-1][self.stage.score] if state.history else None
        loss = state.sums["loss"] / state.sums["steps"]
        said = "-" if score is None else f"{score:.4f}"
        self.bar.set_postfix({"loss": f"{loss:.4f}", self.stage.score: said}, refresh=False)
        self.bar.update(1)

    def close(self) -> None:
        """End the line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class EpochLog:
    """Writes a stage's log and pictures after each epoch.

    ``log.csv``, ``curves.png`` (at most twice a minute, and at the end), what the stage itself draws, and, where asked
    for, TensorBoard's event files.

    The rows live in the checkpoint, so an interrupted run's log has neither gap nor double.

    Args:
        folder: Where.
        stage: What is trained.

    Raises:
        MissingDependencyError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, stage: Stage) -> None:
        self.folder, self.stage = folder, stage
        self.board = _tensorboard(folder / "tensorboard") if stage.config.loop.tensorboard else None
        self.drawn = time.monotonic()
        stage.draw(folder, 0, None)

    def __call__(self, state: State, shown: Any) -> None:
        """After an epoch."""
        if time.monotonic() - self.drawn > _CURVES:
            self.write(state)
        else:
            write_csv(self.folder / "log.csv", state.history)
        self.stage.draw(self.folder, state.epoch, shown)
        if self.board is not None:
            row = state.history[-1]
            for key, value in row.items():
                if key != "epoch" and value is not None:
                    self.board.add_scalar(key, value, row["epoch"])
            self.board.flush()

    def write(self, state: State) -> None:
        """The CSV file and the curves of all epochs so far."""
        write_csv(self.folder / "log.csv", state.history)
        if state.history:
            write_figure(self.folder / "curves.png", _curves(state.history, self.stage.terms, self.stage.score))
            self.drawn = time.monotonic()

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self.board is not None:
            self.board.close()


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One line per epoch: loss terms (means over the steps), learning rate, tuning score, seconds, films per second.

    Epochs without a look at the tuning part leave its columns empty.

    Raises:
        OutputError: The file cannot be written.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row)) or ["epoch"]
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _curves(rows: Sequence[dict[str, Any]], terms: Sequence[str], score: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4))
    losses, quality = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.13, top=0.91, wspace=0.15)
    epochs = [row["epoch"] for row in rows]
    for term in terms:
        if any(row[term] for row in rows):
            losses.plot(epochs, [row[term] for row in rows], marker=".", label=term)
    losses.set(title="training loss", xlabel="epoch", ylim=(0, None))
    losses.legend(fontsize="small")
    judged = [(row["epoch"], row[score]) for row in rows if row[score] is not None]
    if judged:
        quality.plot(*zip(*judged, strict=True), marker=".", color="C3")
    else:
        quality.text(0.5, 0.5, "no tuning part", ha="center", va="center", transform=quality.transAxes)
    quality.set(title=f"{score.replace('_auc', ' AUC')}, all films of the part", xlabel="epoch")
    for axes in (losses, quality):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    return figure


def write_figure(path: Path, figure: Figure) -> None:
    """A figure as PNG, marked as this library's."""
    write_atomic(
        path, lambda temporary: figure.savefig(temporary, format="png", dpi=100, pil_kwargs={"pnginfo": png_mark()})
    )


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            "loop.tensorboard needs the tensorboard package", hint="pip install tensorboard"
        ) from error
    return SummaryWriter(str(folder))
