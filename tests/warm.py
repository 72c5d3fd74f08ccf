"""Python processes that start warm: forked from one that has imported everything, about ten times cheaper than cold.

They are real processes, with a number, signals, an exit code and streams of their own. What a test says about
importing, or about a start from nothing, needs a cold one (``subprocess``).
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import shutil
import signal
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.warm_imports"])


def _serve() -> None:
    """Start the server, once, with the clone on its path and one thread."""
    wanted = {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]), "OMP_NUM_THREADS": "1"}
    kept = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _child(arguments: Sequence[str], environment: Mapping[str, str], folder: str, streams: tuple[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, path in zip((1, 2), streams, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if arguments[0] == "-m":
        sys.argv = [arguments[1], *arguments[2:]]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})


def process(target: Callable[..., object], *args: object) -> BaseProcess:
    """A process that will run a function of a module, not started; it ends with this one."""
    _serve()
    return _CONTEXT.Process(target=target, args=args, daemon=True)


@dataclass
class Warm:
    """A process that runs; as :class:`subprocess.Popen` where the names are the same."""

    process: Any
    streams: tuple[Path, Path]

    def poll(self) -> int | None:
        return self.process.exitcode  # type: ignore[no-any-return]

    @property
    def pid(self) -> int:
        return self.process.pid  # type: ignore[no-any-return]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self) -> int:
        self.process.join()
        return self.process.exitcode  # type: ignore[no-any-return]

    @property
    def stdout(self) -> str:
        return self.streams[0].read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self.streams[1].read_text(encoding="utf-8")


def start(*arguments: str, folder: Path | None = None, **environment: str) -> Warm:
    """Run ``python -m MODULE ARGUMENTS`` or ``python -c CODE ARGUMENTS`` in a process that starts warm.

    Args:
        arguments: As Python's own.
        folder: Where it runs; else here.
        environment: Variables beside this process's.
    """
    _serve()
    place = Path(tempfile.mkdtemp(prefix="warm"))
    streams = (place / "stdout", place / "stderr")
    wanted = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    names = (str(streams[0]), str(streams[1]))
    process = _CONTEXT.Process(target=_child, args=(arguments, wanted, str(folder or Path.cwd()), names), daemon=False)
    process.start()
    running = Warm(process, streams)
    weakref.finalize(running, shutil.rmtree, place, ignore_errors=True)  # what it said goes with it
    return running


def run(*arguments: str, folder: Path | None = None, **environment: str) -> tuple[int, str, str]:
    """As :func:`start`, to its end: exit code, standard output, standard error."""
    running = start(*arguments, folder=folder, **environment)
    return running.wait(), running.stdout, running.stderr
