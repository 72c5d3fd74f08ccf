"""Keeps worker processes alive, wakes them, and tells who waits for a job that it is done."""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from fracture.errors import OutputError
from fracture.serve.worker import Load, work

if TYPE_CHECKING:
    from fracture.jobs import Jobs
    from fracture.serve.settings import Settings

_AGAIN = (0.2, 5.0, 30.0)  # seconds before a worker is started again: once, twice, more often in a row
_LOOK = 1.0  # seconds between looks whether another server has done a job


class Crew:
    """The workers of a server, and who waits for them.

    Args:
        settings: Of the server.
        load: Opens weights within a worker; found there by its name.
        jobs: The table.
    """

    def __init__(self, settings: Settings, load: Load, jobs: Jobs) -> None:
        self._hands = [_Hand(settings, load, jobs, self._tell) for _ in range(settings.workers)]
        self._waiting: dict[str, list[Callable[[], object]]] = defaultdict(list)
        self._lock = threading.Lock()

    @property
    def about(self) -> list[dict[str, Any]] | None:
        """What the open weights say of themselves; None until a worker has opened them."""
        return next((hand.about for hand in self._hands if hand.about is not None), None)

    @property
    def why(self) -> str:
        """Why no film can be read now; empty where they can."""
        return "" if self.about is not None else self._hands[0].why

    @property
    def restarts(self) -> int:
        """Workers that had to be replaced."""
        return sum(hand.restarts for hand in self._hands)

    def start(self) -> None:
        """Start the workers."""
        for hand in self._hands:
            hand.start()

    def stop(self) -> None:
        """Let each worker finish its film, and end it; after ten seconds it is killed, and its job waits anew."""
        for hand in self._hands:
            hand.leave()
        for hand in self._hands:
            hand.join(15)

    def wake(self) -> None:
        """There is a new job."""
        for hand in self._hands:
            hand.wake()

    async def done(self, key: str, seconds: float, finished: Callable[[], bool]) -> None:
        """Return when the job of a key is done or set aside, or the time is over.

        Args:
            key: The job's.
            seconds: Patience.
            finished: Asked once after this began to listen, since the job may be done already.
        """
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(event.set)

        with self._lock:
            self._waiting[key].append(tell)
        try:
            end = time.monotonic() + seconds
            while not await asyncio.to_thread(finished) and (left := end - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), min(left, _LOOK))
                event.clear()
        finally:
            with self._lock:
                self._waiting[key].remove(tell)
                if not self._waiting[key]:
                    del self._waiting[key]

    def _tell(self, key: str) -> None:
        with self._lock:
            for tell in self._waiting.get(key, ()):
                tell()


class _Hand:
    """A worker process and the thread that looks after it."""

    def __init__(self, settings: Settings, load: Load, jobs: Jobs, tell: Callable[[str], None]) -> None:
        self._settings, self._load, self._jobs, self._tell = settings, load, jobs, tell
        self._over = threading.Event()
        self._process: Any = None
        self._connection: Any = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="crew", daemon=True)
        self.about: list[dict[str, Any]] | None = None
        self.why = "the weights are being opened"
        self.restarts = 0
        self.start, self.join = self._thread.start, self._thread.join

    def leave(self) -> None:
        self._over.set()
        self.wake()

    def wake(self) -> None:
        with self._lock, suppress(OSError):  # one that has just died; the next one looks at the table first
            if self._connection is not None:
                self._connection.send("job")

    def _watch(self) -> None:
        failures = 0
        while not self._over.is_set():
            owner = f"serve-{secrets.token_hex(8)}"
            healthy = self._run(owner)
            if self._over.is_set():
                return
            failures = 0 if healthy else failures + 1
            self.restarts += 1
            self._over.wait(_AGAIN[min(failures, len(_AGAIN) - 1)])

    def _run(self, owner: str) -> bool:
        """One worker's life; whether it opened its weights."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (self._settings, self._load, theirs, owner)
        self._process = context.Process(target=work, args=arguments, name="fracture-worker", daemon=True)
        self._process.start()
        theirs.close()
        opened = False
        try:
            while not self._over.is_set():
                if self._connection not in wait([self._connection, self._process.sentinel], timeout=1.0):
                    if self._process.is_alive():
                        continue
                    break
                kind, said = self._connection.recv()
                opened |= kind == "ready"
                self._hear(kind, said)
        except (EOFError, OSError):
            pass
        ended = self._end()
        self.about = None
        if opened:
            self.why = "the process that reads films is started again"
        with suppress(OutputError):  # the table cannot be reached: what was in hand waits until its lease is over
            if self._over.is_set():  # ended by us: no fault of the film's
                for job in self._jobs.held(owner):
                    self._jobs.release(job)
            else:
                for job in self._jobs.crashed(owner, f"reading this film ended its process ({ended})"):
                    self._tell(job.key)
        return opened

    def _hear(self, kind: str, said: Any) -> None:
        if kind == "ready":
            self.about, self.why = said, ""
        elif kind == "broken":
            self.why = said
        else:
            self._tell(said)

    def _end(self) -> str:
        """Close the connection, so that the worker ends after its film, and kill it where it does not."""
        with self._lock:
            self._connection.close()
        self._process.join(10 if self._over.is_set() else 2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code = self._process.exitcode
        return f"signal {-code}" if code < 0 else f"exit code {code}"
