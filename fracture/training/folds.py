"""``train_folds``: a recipe trained once for every fold of a split, several trainings at a time.

Each training is the command ``fracture train`` in a process of its own, so that many share one GPU or the cores, a
fault of one leaves the others alone, and each can be resumed by itself. A request to stop reaches all of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fracture.atomic import hold
from fracture.data.readers import read_annotations
from fracture.data.splits import Split, rotate_folds, split_folds
from fracture.errors import ConfigurationError, TrainingError
from fracture.training.config import Recipe, load_recipe
from fracture.training.stop import stop_on_signals

STOPPED: Final = 143
"""Exit code of a training that saved and left, or was not begun because of a stop."""
_LOOK: Final = 0.2  # seconds between looks at the processes
_DECIDED: Final = ("file", "folds", "fold", "tune_fold", "shares")  # of [split]


@dataclass(frozen=True, slots=True)
class FoldRun:
    """The training that held out one fold.

    Attributes:
        fold: Its number.
        folder: The run folder, as of :func:`fracture.training.train`.
        code: Exit code of the command: 0 finished, ``STOPPED`` saved or not begun; else a fault, the negative number of
            a signal that killed it.
        said: The networks that it made, with their AUC; of others the last line of its log.
    """

    fold: int
    folder: Path
    code: int
    said: str


@dataclass(frozen=True, slots=True)
class _Child:
    fold: int
    folder: Path
    log: Path
    start: int  # bytes that earlier calls left in the log
    process: subprocess.Popen[bytes]

    def ended(self, stopping: bool) -> FoldRun | None:
        """What came of it, once it has ended."""
        code = self.process.poll()
        if code is None:
            return None
        try:
            written = self.log.read_bytes()[self.start :].decode(errors="replace")
        except OSError:
            written = ""  # somebody took the log away, which is no reason to stop
        lines = [line.split("\r")[-1].strip() for line in written.split("\n")]
        said = (
            [line for line in lines if ".safetensors" in line] if code == 0 else [line for line in lines if line][-1:]
        )
        if stopping and code in (-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGINT):
            code = STOPPED  # asked before it listened, so that there was nothing to save
        if code < 0:
            said = [f"killed by {signal.Signals(-code).name}" + (" (memory?)" if code == -signal.SIGKILL else "")]
        return FoldRun(self.fold, self.folder, code, "; ".join(said))


def train_folds(
    recipe: str | Path,
    data: str | Path | None = None,
    *,
    out: str | Path,
    folds: int | str | Path,
    members: Sequence[str] = (),
    init: Sequence[str] = (),
    settings: Sequence[str] = (),
    cache: str | None = None,
    device: str = "auto",
    processes: int | None = None,
    told: Callable[[FoldRun], object] | None = None,
) -> tuple[FoldRun, ...]:
    """Train a recipe once for each fold, which is then the validation part; there is no tuning part.

    What the recipe says of its split does not count. A call on a folder with unfinished runs goes on with them;
    finished ones are left as they are. A process that is killed outright (SIGKILL) leaves its trainings running.

    Args:
        recipe: A TOML file, or the name of a shipped recipe.
        data: The annotated set; default ``data.path`` of the recipe.
        out: Gets ``folds.json`` and a run folder ``fold0``, ``fold1``, ... each, beside it ``fold0.log``, ...
        folds: A number of folds by group, at least 3, or the file of a split in folds.
        members, init, settings, cache, device: As ``--member``, ``--init``, ``--set``, ``--cache`` and ``--device`` of
            ``fracture train``.
        processes: Trainings at a time, at least 1; by default all of them, or as many as there are cores.
        told: Called with each training that ends.

    Returns:
        A training for each fold; after a request to stop, some with the code ``STOPPED``.

    Raises:
        ConfigurationError: Folds or processes that cannot be, settings that folds decide, or a folder with other folds.
        DataError: The file is no split in folds, or the set has too few groups.
        OutputError: The folder is in use, or cannot be written.
        TrainingError: A training failed; all others have ended, and their results are kept.
    """
    decided = [f"split.{name}" for name in _DECIDED]
    if fixed := [one for one in settings if one.partition("=")[0].rpartition(":")[2].strip() in decided]:
        raise ConfigurationError("settings that the folds decide", got=", ".join(fixed), hint="leave them out")
    if processes is not None and processes < 1:
        raise ConfigurationError("trainings at a time", got=processes, allowed="1 or more")
    root = Path(out)
    with hold(root / ".lock", f"the folder {root}"):
        split = _split(load_recipe(recipe), data, folds, root / "folds.json")
        given = {"--data": [data], "--member": members, "--init": init, "--cache": [cache], "--device": [device]}
        own = [f"split.file={root / 'folds.json'}", "split.tune_fold=false"]
        every = {**given, "--set": [*settings, *own]}
        arguments = [str(part) for name, values in every.items() for one in values if one for part in (name, one)]
        command = [sys.executable, "-m", "fracture", "train", str(recipe), "--quiet", *arguments]
        done = _run(command, root, len(split.parts), processes, told)
    failed = [one for one in done if one.code not in (0, STOPPED)]
    if failed:
        same = len({one.said for one in failed}) == 1
        raise TrainingError(
            f"{len(failed)} of {len(done)} trainings failed",
            got=failed[0].said if same else "; ".join(f"fold {x.fold} ({x.code}): {x.said}" for x in failed),
            hint=f"see {failed[0].folder}.log; the same call goes on with what is not finished",
        )
    return done


def _split(recipe: Recipe, data: str | Path | None, folds: int | str | Path, kept: Path) -> Split:
    """The split in folds, kept in the folder for all trainings and later calls."""
    text = str(folds)
    count = int(text) if text.lstrip("-").isdecimal() else None
    if count is None:
        split = Split.read(text)
    elif count < 3:
        raise ConfigurationError("folds of a training", got=count, allowed="3 or more", hint="or give a split's file")
    else:
        first = recipe.members[0]
        path = data or first.data.path
        if path is None:
            raise ConfigurationError("no annotated set", hint="give data=..., --data, or data.path in the recipe")
        annotated = read_annotations(path, first.data.format, **first.data.options)
        split = split_folds(annotated, count, seed=first.split.seed)
    rotate_folds(split, 0)  # says what is no split in folds
    if not kept.exists():
        split.write(kept)
    elif Split.read(kept).parts != split.parts:
        raise ConfigurationError(f"{kept} has other folds", hint="choose another folder, or the folds that it has")
    return split


def _run(
    command: Sequence[str], root: Path, count: int, processes: int | None, told: Callable[[FoldRun], object] | None
) -> tuple[FoldRun, ...]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = processes or min(count, cores)
    # What fracture.toml gives was read once, by the command that called; cores are shared where nobody said otherwise.
    environment = {"OMP_NUM_THREADS": str(max(1, cores // most)), **os.environ, "FRACTURE_CONFIG": ""}
    waiting, running, done, stopping = list(range(count)), list[_Child](), list[FoldRun](), False
    with stop_on_signals() as request:
        try:
            while waiting or running:
                while waiting and len(running) < most and not request.asked:
                    running.append(_start(command, root, waiting.pop(0), environment))
                if request.asked and not stopping:
                    stopping = True
                    done += [FoldRun(fold, root / f"fold{fold}", STOPPED, "not begun") for fold in waiting]
                    waiting.clear()
                    for child in running:
                        child.process.terminate()
                for child in list(running):
                    if (one := child.ended(stopping)) is not None:
                        running.remove(child)
                        done.append(one)
                        if told is not None:
                            told(one)
                time.sleep(_LOOK)
        finally:  # whatever happened here, nothing trains on behind the user's back
            for child in running:
                child.process.terminate()
            for child in running:
                child.process.wait()
    return tuple(sorted(done, key=lambda one: one.fold))


def _start(command: Sequence[str], root: Path, fold: int, environment: dict[str, str]) -> _Child:
    folder, log = root / f"fold{fold}", root / f"fold{fold}.log"
    own = ["--out", str(folder), "--set", f"split.fold={fold}"]
    with log.open("ab") as file:
        process = subprocess.Popen([*command, *own], stdout=file, stderr=subprocess.STDOUT, env=environment)
        return _Child(fold, folder, log, file.tell(), process)
