"""A node as it runs: the door, the page, and the processes that read and send."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

from fracture.errors import FractureError, OutputError
from fracture.jobs import DEAD, Jobs, Keep, NewJob
from fracture.node.config import Config
from fracture.node.family import COMMAND, Child
from fracture.node.films import Films
from fracture.node.kinds import READ, STUDY
from fracture.node.logs import Audit, log
from fracture.node.receiver import Receiver
from fracture.node.retention import prune
from fracture.node.web import Page

_LOOK = 0.25  # seconds between two looks at the processes
_PRUNE = 3600.0  # seconds between two prunings
_PATIENCE = 60.0  # seconds that work in hand has to come to its end when the node stops


@dataclass(frozen=True)
class Rooms:
    """What all parts of a node share."""

    config: Config
    jobs: Jobs
    films: Films
    results: Keep
    audit: Audit


@contextlib.contextmanager
def open_rooms(config: Config) -> Iterator[Rooms]:
    """Open the table and the folders of a node.

    Raises:
        OutputError: They cannot be.
    """
    try:
        config.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {config.data} cannot be made", got=error.strerror) from error
    jobs = Jobs(config.table, tries=config.tries, pause=config.pause_seconds)
    try:
        spare = config.keep.spare_megabytes * 2**20
        films = Films(config.data / "films", jobs, spare=spare)
        yield Rooms(config, jobs, films, Keep(config.data / "results"), Audit(config.data / "audit"))
    finally:
        jobs.close()


class Node:
    """A node; :meth:`run` returns when it was told to stop.

    Args:
        rooms: See :func:`open_rooms`.
        command: How its processes are started.
    """

    def __init__(self, rooms: Rooms, command: Sequence[str] = COMMAND) -> None:
        config = rooms.config
        self._rooms, self._stop = rooms, threading.Event()
        self._receiver = Receiver(config, rooms.jobs, rooms.films, rooms.audit)
        roles = [("worker", "")] * config.workers + [("sender", name) for name in config.receivers]
        self.children = [Child(role, name, config, self._died, command) for role, name in roles]
        self._page = Page(config, rooms.jobs, rooms.films, self._receiver.answers, self.children)

    def run(self) -> None:
        """Open the doors and work until SIGTERM, SIGINT or :meth:`stop`.

        Raises:
            ConfigurationError: A port is taken.
        """
        adopted = self._rooms.films.adopt()
        with self._told_by_signals(), self._page.open():
            self._receiver.start()
            self._rooms.audit.write("start", ae=self._rooms.config.ae, adopted=adopted)
            log("the node is open", port=self._rooms.config.port, adopted=adopted)
            try:
                self._watch()
            finally:
                self._leave()

    def stop(self) -> None:
        """Let :meth:`run` return."""
        self._stop.set()

    def _watch(self) -> None:
        due = 0.0
        while not self._stop.is_set():
            try:
                for child in self.children:
                    child.tend()
                if time.monotonic() >= due:
                    rooms = self._rooms
                    prune(rooms.config, rooms.jobs, rooms.films, rooms.results, rooms.audit)
                    due = time.monotonic() + _PRUNE
            except (FractureError, OSError) as error:  # a full disk, a database that is gone for a while
                log("trouble", level=logging.ERROR, error=str(error))
            self._stop.wait(_LOOK)

    def _leave(self) -> None:
        log("the node closes")
        for child in self.children:
            child.stop()
        self._receiver.stop()
        until = time.monotonic() + _PATIENCE
        for child in self.children:
            child.wait(until)
        self._rooms.audit.write("stop")

    def _died(self, owner: str, why: str) -> None:
        jobs = self._rooms.jobs
        for job in jobs.crashed(owner, why):
            now = jobs.get(job.id)
            self._rooms.audit.write("crashed", key=job.key, kind=job.kind, reason=why, state=now and now.state)
            if job.kind == READ and now is not None and now.state == DEAD:
                log("a film that ends its reader is set aside", level=logging.ERROR, job=job.id)
                jobs.add(NewJob(STUDY, job.batch, {}, job.batch, delay=self._rooms.config.quiet_seconds, again=True))

    @contextlib.contextmanager
    def _told_by_signals(self) -> Iterator[None]:
        def told(_number: int, _frame: FrameType | None) -> None:
            self._stop.set()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
