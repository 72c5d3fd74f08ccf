"""What a run writes for people: progress, a CSV row and curves per epoch, overlays of tuning films, TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from fracture.atomic import write_atomic, write_text
from fracture.data.augment import AugmentSpec, augmented_sheet
from fracture.data.records import Film
from fracture.errors import MissingDependencyError
from fracture.io.marks import png_mark
from fracture.preprocess import Letterboxed
from fracture.training.base_loop import State
from fracture.training.config import MemberConfig
from fracture.training.dataset import Films
from fracture.training.evaluate_tuning import FilmOutput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EpochLog", "ProgressBar", "counting", "write_csv"]

_TERMS = ("loss", "localization", "classification", "region")
_INTERVAL = 2.0  # seconds between two drawings of a bar


class ProgressBar:
    """One bar per epoch on standard error, with the loss so far.

    Args:
        config: The member's configuration.
    """

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
            self.bar = tqdm(total=steps, desc=title, unit="step", initial=state.step - 1, mininterval=_INTERVAL)
        auc = state.history[-1]["tuning_auc"] if state.history else None
        loss = state.sums["loss"] / state.sums["steps"]
        self.bar.set_postfix(loss=f"{loss:.4f}", auc="-" if auc is None else f"{auc:.4f}", refresh=False)
        self.bar.update(1)

    def close(self) -> None:
        """End the line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


@contextmanager
def counting(total: int, title: str, *, shown: bool) -> Iterator[Callable[[int], object]]:
    """A bar for one pass over ``total`` films; gives the function to count with."""
    with tqdm(total=total, desc=title, unit="film", disable=not shown, mininterval=_INTERVAL) as bar:
        yield bar.update


class EpochLog:
    """Writes a run's log and pictures after each epoch.

    ``log.csv``, ``curves.png``, ``overlays/epoch_<n>.png``; before the first epoch ``augmentation.png``; and, where
    asked for, TensorBoard's event files.

    The rows live in the checkpoint, so an interrupted run's log has neither gap nor double.

    Args:
        folder: Where.
        config: The member's configuration.
        tuning: The tuning part; without one there are no overlays.

    Raises:
        MissingDependencyError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, config: MemberConfig, tuning: Films | None = None) -> None:
        self.folder, self.config, self.tuning = folder, config, tuning
        self.board = _tensorboard(folder / "tensorboard") if config.loop.tensorboard else None

    def __call__(self, state: State, outputs: Sequence[FilmOutput]) -> None:
        """After an epoch."""
        self.write(state)
        if self.tuning is not None and outputs and self.config.loop.overlays:
            chosen = _shown(outputs, self.config.loop.overlays)
            _write_figure(self.folder / "overlays" / f"epoch_{state.epoch:03d}.png", _overlays(chosen, self.tuning))
        if self.board is not None:
            row = state.history[-1]
            for key, value in row.items():
                if key != "epoch" and value is not None:
                    self.board.add_scalar(key, value, row["epoch"])
            self.board.flush()

    def sheet(self, training: Films) -> None:
        """``augmentation.png``: a few training films as they are and as the first epochs show them, to look at."""
        number = self.config.loop.overlays
        if training.augmentation is None or not number:
            return
        fractured = [film for film in training.part if film.fractured][:number]
        shown = [(film, training.cache.load(training.part.image_path(film))) for film in fractured]
        if shown:
            write_atomic(
                self.folder / "augmentation.png",
                lambda temporary: _rendered(temporary, shown, training.augmentation, self.config.seed),
            )

    def write(self, state: State) -> None:
        """The CSV file and the curves of all epochs so far."""
        write_csv(self.folder / "log.csv", state.history)
        if state.history:
            _write_figure(self.folder / "curves.png", _curves(state.history))

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self.board is not None:
            self.board.close()


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One line per epoch: loss terms (means over the steps), learning rate, tuning AUC, seconds, films per second.

    Raises:
        OutputError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _curves(rows: Sequence[dict[str, Any]]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, quality = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for term in _TERMS:
        losses.plot(epochs, [row[term] for row in rows], marker=".", label=term)
    losses.set(title="training loss", xlabel="epoch", ylim=(0, None))
    losses.legend(fontsize="small")
    judged = [(row["epoch"], row["tuning_auc"]) for row in rows if row["tuning_auc"] is not None]
    if judged:
        quality.plot(*zip(*judged, strict=True), marker=".", color="C3")
    else:
        quality.text(0.5, 0.5, "no tuning part", ha="center", va="center", transform=quality.transAxes)
    quality.set(title="AUC over all tuning films", xlabel="epoch")
    for axes in (losses, quality):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    return figure


def _shown(outputs: Sequence[FilmOutput], number: int) -> list[FilmOutput]:
    """The same films after every epoch: half of them fractured where there are so many, in the order of the set."""
    positive = [o for o in outputs if o.film.fractured]
    negative = [o for o in outputs if not o.film.fractured]
    half = min(len(positive), max(-(-number // 2), number - len(negative)))
    return [*positive[:half], *negative[: number - half]]


def _overlays(outputs: Sequence[FilmOutput], films: Films) -> Figure:
    """Film, map and true boxes side by side."""
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(3.2 * len(outputs), 4), layout="constrained")
    for axes, output in zip(figure.subplots(1, len(outputs), squeeze=False)[0], outputs, strict=True):
        boxed = films.cache.load(films.part.image_path(output.film))
        height, width = boxed.pixels.shape
        axes.imshow(boxed.pixels, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
        if output.map is not None:
            heat = output.map.astype(np.float32)
            shade = np.clip(heat, 0, 1) * 0.6
            axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=shade, extent=(0, width, height, 0))
        for x0, y0, x1, y1 in output.geometry.boxes_to_network(np.reshape(output.film.boxes, (-1, 4))):
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="lime", linewidth=1.2))
        said = "fracture" if output.film.fractured else "normal"
        axes.set_title(f"{Path(output.film.source).stem}\n{said}, score {output.probability:.3f}", fontsize=8)
        axes.set_axis_off()
    return figure


def _rendered(path: Path, films: Sequence[tuple[Film, Letterboxed]], spec: AugmentSpec | None, seed: int) -> None:
    """The sheet goes to a name with its ending, then to ``path``: its writer chooses the format by the ending."""
    named = path.with_name(path.name + ".png")
    try:
        augmented_sheet(films, named, spec, seed=seed)
        named.replace(path)
    finally:
        named.unlink(missing_ok=True)


def _write_figure(path: Path, figure: Figure) -> None:
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
