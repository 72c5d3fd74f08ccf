"""Runs a node whose processes end themselves by SIGKILL at a named point: ``SETTINGS.json [POINT [COUNT]]``.

The points lie between any two of write, flush, rename, commit, answer, and of claim, send and confirm.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["OF_CHILDREN", "OF_THE_DOOR", "POINTS"]

OF_THE_DOOR = ("written", "flushed", "renamed", "kept", "committed", "answered")
OF_CHILDREN = ("claimed", "made", "read", "delivering", "delivered", "confirmed")
POINTS = (*OF_THE_DOOR, *OF_CHILDREN)


def arm(point: str, count: int) -> None:
    """Kill this process when it comes to a point for the ``count``-th time."""
    left = [count]

    def here() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(owner: Any, name: str, when: Callable[..., bool] = lambda *_, **__: True) -> None:
        _wrap(owner, name, lambda *a, **k: here() if when(*a, **k) else None, None)

    def after(owner: Any, name: str, when: Callable[..., bool] = lambda *_, **__: True) -> None:
        _wrap(owner, name, None, lambda *a, **k: here() if when(*a, **k) else None)

    from fracture.jobs.keep import Keep
    from fracture.jobs.table import Jobs

    if point == "written":
        before(os, "fsync", lambda descriptor: stat.S_ISREG(os.fstat(descriptor).st_mode))
    elif point == "flushed":
        before(Path, "replace")
    elif point == "renamed":
        after(Path, "replace")
    elif point in ("kept", "made"):  # a film; an object of a result
        after(Keep, "write")
    elif point == "committed":
        after(Jobs, "add")
    elif point == "answered":
        from pynetdicom.dimse import DIMSEServiceProvider

        after(DIMSEServiceProvider, "send_msg")
    elif point == "claimed":
        _wrap(Jobs, "claim", None, None, lambda found: here() if found else None)
    elif point == "read":  # all is written, nothing is committed
        before(Jobs, "finish", lambda _jobs, job, *_, **__: job.kind == "read")
    elif point in ("delivering", "delivered"):
        from pynetdicom.association import Association

        (before if point == "delivering" else after)(Association, "send_c_store")
    elif point == "confirmed":
        after(Jobs, "finish", lambda _jobs, job, *_, **__: job.kind.startswith("send"))


def _wrap(owner: Any, name: str, before: Any, after: Any, with_result: Any = None) -> None:
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def outer(*args: Any, **options: Any) -> Any:
        if before:
            before(*args, **options)
        result = inner(*args, **options)
        if after:
            after(*args, **options)
        if with_result:
            with_result(result)
        return result

    setattr(owner, name, outer)


def main(path: str, point: str = "", count: str = "1", role: str = "node") -> int:
    if role == "child":
        from fracture.node.child import main as child

        if point in OF_CHILDREN:
            arm(point, int(count))
        return child()
    from fracture.node.config import Config
    from fracture.node.family import COMMAND
    from fracture.node.logs import start_log
    from fracture.node.node import Node, open_rooms

    start_log("node")
    if point in OF_THE_DOOR:
        arm(point, int(count))
    command = [sys.executable, "-m", "tests.node.killing", path, point, count, "child"] if point else COMMAND
    with open_rooms(Config.of(json.loads(Path(path).read_text()), path)) as rooms:
        Node(rooms, command).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
