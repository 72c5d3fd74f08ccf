"""A process of a node: ``python -m fracture.node.child``, told by one line of JSON what it is.

It ends when it is told to (SIGTERM, after the job in hand), and when its parent is gone: its standard input ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Protocol

from fracture.errors import OutputError
from fracture.jobs import Jobs, Keep
from fracture.node.config import Config
from fracture.node.films import Films
from fracture.node.logs import Audit, log, start_log

_IDLE = 0.25  # seconds between two looks at the table where nothing was due
_TROUBLE = 5.0  # seconds of rest where the table could not be reached


class _Role(Protocol):
    def prepare(self) -> None: ...
    def step(self) -> bool: ...


def main() -> int:
    """Read what to be from standard input, and be it."""
    if not (line := sys.stdin.readline()):
        return 0  # the parent died before it could say anything
    told = json.loads(line)
    start_log(told["role"])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent tells us
    threading.Thread(target=_watch_parent, args=(stop,), daemon=True).start()
    try:
        role = _role(told)
        role.prepare()
        with contextlib.suppress(BrokenPipeError):  # the parent is gone, which is noticed elsewhere
            os.write(1, b"ready\n")
        _work(role, stop)
    except Exception as error:  # noqa: BLE001 - the process ends, its parent starts another, and the job counts a failure
        where = traceback.extract_tb(error.__traceback__)[-1]
        log(
            "died", level=logging.CRITICAL, error=type(error).__name__, at=f"{Path(where.filename).name}:{where.lineno}"
        )
        return 70
    return 0


def _role(told: dict[str, Any]) -> _Role:
    config = Config.of(told["config"], "the parent process")
    jobs = Jobs(config.table, tries=config.tries, pause=config.pause_seconds)
    results, audit = Keep(config.data / "results"), Audit(config.data / "audit")
    if told["role"] == "worker":
        from fracture.node.worker import Worker

        return Worker(config, jobs, Films(config.data / "films", jobs), results, audit, told["owner"])
    from fracture.node.sender import Sender

    return Sender(config, jobs, results, audit, told["owner"], told["name"])


def _work(role: _Role, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            busy = role.step()
        except OutputError as error:
            log("the table of jobs cannot be used", level=logging.ERROR, error=str(error))
            stop.wait(_TROUBLE)
            continue
        if not busy:
            stop.wait(_IDLE)


def _watch_parent(stop: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
