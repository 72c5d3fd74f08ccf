"""Runs cases in processes of their own, each case within a time limit, and counts what came of them.

A case is made of its kind, the run's seed and its number, so that any can be run again. A worker that answers too late
is ended and counted as hung; one that dies is counted as escaped.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests import warm

MEMORY = 8 * 2**30
"""Most address space of a worker, in bytes: torch alone maps some 3 GiB of it."""

START = 600.0  # seconds for a worker to import torch on a busy machine


@dataclass
class Outcome:
    """What came of a kind's cases.

    Attributes:
        kind: Its name.
        cases: How many were run.
        past: How many got past the format's header.
        taken: How many were read without an error.
        escaped: Those that raised anything but a FractureError: number and the end of the traceback.
        hung: Numbers of those that took longer than the limit.
        slowest: Seconds of the slowest.
        peak: Bytes of memory that a worker has held at most.
        seconds: Of the whole.
    """

    kind: str
    cases: int = 0
    past: int = 0
    taken: int = 0
    escaped: dict[int, str] = field(default_factory=dict)
    hung: list[int] = field(default_factory=list)
    slowest: float = 0.0
    peak: int = 0
    seconds: float = 0.0

    def row(self) -> str:
        """A line of the table."""
        share = 100 * self.past / max(1, self.cases)
        return (
            f"{self.kind:12} {self.cases:6} {share:6.1f} % {self.taken:6} {len(self.escaped):8} {len(self.hung):5} "
            f"{self.slowest:8.2f} s {self.peak / 2**20:8.0f} MiB {self.seconds:7.1f} s"
        )


HEADING = (
    f"{'kind':12} {'cases':>6} {'past':>8} {'taken':>6} {'escaped':>8} {'hung':>5} "
    f"{'slowest':>10} {'memory':>12} {'all':>9}"
)


class Worker:
    """One process that runs cases.

    Args:
        kind: What it runs.
        limit: Seconds for a case.
    """

    def __init__(self, kind: str, limit: float) -> None:
        self.kind, self.limit = kind, limit
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _start(self) -> None:
        self._connection, other = multiprocessing.Pipe()
        self._process = warm.process(_work, other, self.kind)
        self._process.start()
        other.close()
        if not self._connection.poll(START) or self._connection.recv() != "ready":
            raise RuntimeError(f"the worker for {self.kind} does not start")

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def case(self, seed: int, number: int, outcome: Outcome) -> None:
        """Run one case and count it."""
        began = time.monotonic()
        answer: dict[str, Any] | None = None
        died = ""
        try:
            self._connection.send((seed, number))
            if self._connection.poll(self.limit):
                answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            died = f"the process died with exit code {self._process.exitcode}"
        outcome.cases += 1
        outcome.slowest = max(outcome.slowest, time.monotonic() - began)
        if answer is None:
            if died:
                outcome.escaped[number] = died
            else:
                outcome.hung.append(number)
            self._end()
            self._start()
            return
        outcome.past += answer["past"]
        outcome.taken += answer["taken"]
        outcome.peak = max(outcome.peak, answer["peak"])
        if answer["escaped"]:
            outcome.escaped[number] = answer["escaped"]


def run_kind(kind: str, cases: int, seed: int, *, limit: float = 10.0, first: int = 0) -> Outcome:
    """Run a kind's cases ``first`` to ``first + cases``."""
    outcome = Outcome(kind)
    began = time.monotonic()
    with Worker(kind, limit) as worker:
        for number in range(first, first + cases):
            worker.case(seed, number, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def case_bytes(kind: str, seed: int, number: int, folder: Path) -> bytes:
    """The content of one case."""
    from tests.fuzz.kinds import KINDS

    return KINDS[kind](folder).make(random.Random(f"{kind}/{seed}/{number}"))


def escapes(outcome: Outcome) -> str:
    """What escaped, each way once, with how often and the first case."""
    ways = Counter(text.strip().splitlines()[-1][:200] for text in outcome.escaped.values())
    lines = []
    for way, count in ways.most_common():
        number = next(n for n, text in outcome.escaped.items() if text.strip().splitlines()[-1][:200] == way)
        lines.append(f"{outcome.kind} {count} x (first: case {number})\n{outcome.escaped[number]}")
    return "\n".join(lines)


def _work(connection: Connection, kind: str) -> None:
    import torch

    from fracture.errors import FractureError
    from tests.fuzz.kinds import KINDS

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    memory = Path("/dev/shm")  # cards are flushed to the disk when they are written
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        made = KINDS[kind](Path(folder))
        connection.send("ready")
        while True:
            try:
                seed, number = connection.recv()
            except EOFError:
                return
            content = made.make(random.Random(f"{kind}/{seed}/{number}"))
            answer: dict[str, Any] = {"past": made.past_header(content), "taken": True, "escaped": ""}
            try:
                made.run(content)
            except FractureError:
                answer["taken"] = False
            except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
                answer.update(taken=False, escaped=traceback.format_exc(limit=-4))
            answer["peak"] = _peak()
            connection.send(answer)


def _peak() -> int:
    """Bytes that this process held at most; Linux's ``ru_maxrss`` begins with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
