"""``train_folds``: a recipe trained once for every fold of a split, several trainings at a time.

Each training is the command ``fracture train`` in a process of its own, so that many share one GPU or the cores, a
fault of one leaves the others alone, and each can be resumed by itself. A request to stop reaches all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fracture.data.splits import Split
from fracture.errors import ConfigurationError, TrainingError
from fracture.training.stop import stop_on_signals

_LOOK: Final = 0.2  # seconds between looks at the processes


@dataclass(frozen=True, slots=True)
class FoldRun:
    """The training that held out one fold.

    Attributes:
        fold: Its number.
        folder: The run folder, as of :func:`fracture.training.train`.
        code: Exit code of the command: 0 finished, 143 stopped and saved, else a fault.
        said: What the command printed at the end; of a fault, the last line of its log.
    """

    fold: int
    folder: Path
    code: int
    said: str


@dataclass(slots=True)
class _Child:
    fold: int
    folder: Path
    log: Path
    process: subprocess.Popen[str] = field(repr=False)

    def ended(self) -> FoldRun | None:
        if self.process.poll() is None:
            return None
        said, code = self.process.communicate()[0].strip(), self.process.returncode
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return FoldRun(self.fold, self.folder, code, said if code == 0 else last.split("\r")[-1])


def train_folds(
    recipe: str | Path,
    out: str | Path,
    folds: int | str | Path,
    *,
    arguments: Sequence[str] = (),
    processes: int | None = None,
    told: Callable[[FoldRun], object] | None = None,
) -> tuple[FoldRun, ...]:
    """Train a recipe once for each fold, which is then the validation part; there is no tuning part.

    A call on a folder with unfinished runs goes on with them; finished ones are left as they are.

    Args:
        recipe: A TOML file, or the name of a shipped recipe.
        out: Gets a run folder ``fold0``, ``fold1``, ... each, and beside it ``fold0.log``, ...
        folds: A number of folds by group, at least 3, or the file of a split in folds (:func:`split_folds`).
        arguments: Further arguments of ``fracture train``, the same for all: ``--data``, ``--set``, ``--device``, ...
        processes: Trainings at a time; by default all of them, or as many as the machine has cores.
        told: Called with each training that ends.

    Returns:
        The trainings that were begun, in the order of the folds; after a request to stop, not all of them.

    Raises:
        ConfigurationError: Folds that cannot be, or arguments that folds decide.
        DataError: The file is no split.
        TrainingError: A training failed; all others have ended, and their results are kept.
    """
    count, chosen = _folds(folds)
    if fixed := [one for one in arguments if one.startswith("split.")]:
        raise ConfigurationError("settings that the folds decide", got=", ".join(fixed), hint="leave them out")
    root = Path(out)
    root.mkdir(parents=True, exist_ok=True)
    most = processes or min(count, os.cpu_count() or 1)
    waiting, running, done, stopping = list(range(count)), list[_Child](), list[FoldRun](), False
    with stop_on_signals() as request:
        try:
            while waiting or running:
                while waiting and len(running) < most and not request.asked:
                    running.append(_start(recipe, root, waiting.pop(0), chosen, arguments))
                done += _ended(running, told)
                if request.asked and not stopping:
                    stopping = True
                    waiting.clear()
                    for child in running:
                        child.process.terminate()
                time.sleep(_LOOK)
        finally:  # whatever happens here, nothing trains on behind the user's back
            for child in running:
                child.process.terminate()
                child.process.communicate()
    done.sort(key=lambda one: one.fold)
    failed = [one for one in done if one.code not in (0, 143)]
    if failed:
        raise TrainingError(
            f"{len(failed)} of {count} trainings failed",
            got="; ".join(f"fold {one.fold}: {one.said}" for one in failed),
            hint=f"see {failed[0].folder}.log; the same call goes on with what is not finished",
        )
    return tuple(done)


def _folds(folds: int | str | Path) -> tuple[int, list[str]]:
    """How many, and the settings that choose them."""
    text = str(folds)
    if text.isdecimal():
        if int(text) < 3:
            raise ConfigurationError("folds of a training", got=text, allowed="3 or more, or a split's file")
        return int(text), [f"split.folds={text}"]
    return len(Split.read(text).parts), [f"split.file={text}"]


def _start(recipe: str | Path, root: Path, fold: int, chosen: Sequence[str], arguments: Sequence[str]) -> _Child:
    folder, log = root / f"fold{fold}", root / f"fold{fold}.log"
    settings = [*chosen, f"split.fold={fold}", "split.tune_fold=false"]
    command = [sys.executable, "-m", "fracture", "train", str(recipe), "--out", str(folder)]
    command += [part for setting in settings for part in ("--set", setting)] + list(arguments)
    with log.open("a", encoding="utf-8") as file:
        # A session of its own: Ctrl+C reaches this process alone, which then asks all of them once.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, encoding="utf-8", start_new_session=True
        )
    return _Child(fold, folder, log, process)


def _ended(running: list[_Child], told: Callable[[FoldRun], object] | None) -> list[FoldRun]:
    """Those that have ended, which leave the list."""
    found = []
    for child in list(running):
        if (one := child.ended()) is not None:
            running.remove(child)
            found.append(one)
            if told is not None:
                told(one)
    return found
