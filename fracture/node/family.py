"""The processes of a node: started, watched, and started again."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from fracture.node.config import Config
from fracture.node.logs import log

COMMAND = (sys.executable, "-m", "fracture.node.child")

_LONGEST_PAUSE = 60.0  # seconds until a process that dies again and again is started anew
_WELL = 60.0  # seconds after which a process that died is thought to have been well


@dataclass
class Child:
    """One process of a role.

    Attributes:
        role: ``"worker"`` or ``"sender"``.
        name: The target of a sender.
        died: Called with the owner's name and why, once a process has died by itself.
        command: How it is started.
        ready: Whether it has said that it is.
        restarts: How often it was started again.
    """

    role: str
    name: str
    config: Config
    died: Callable[[str, str], object]
    command: Sequence[str] = COMMAND
    ready: bool = field(default=False, init=False)
    restarts: int = field(default=0, init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _owner: str = field(default="", init=False)
    _began: float = field(default=0.0, init=False)
    _next: float = field(default=0.0, init=False)
    _quick: int = field(default=0, init=False)

    def tend(self) -> None:
        """Start it where it does not run, and notice when it died."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self.ready, self.process = False, None
            well = time.monotonic() - self._began > _WELL
            self._quick = 0 if well else self._quick + 1
            self._next = time.monotonic() + min(_LONGEST_PAUSE, 0.5 * 2.0 ** min(self._quick, 8))
            why = f"the {self.role} died ({'signal ' + str(-code) if code < 0 else 'exit code ' + str(code)})"
            log("a process died", level=logging.ERROR, process=self.role, target=self.name, reason=why)
            self.restarts += 1
            self.died(self._owner, why)
        if self.process is None and time.monotonic() >= self._next:
            self._start()

    def _start(self) -> None:
        self._owner = f"{self.role}-{uuid.uuid4().hex[:12]}"
        self._began = time.monotonic()
        told = {
            "role": self.role,
            "name": self.name,
            "owner": self._owner,
            "config": self.config.model_dump(mode="json", exclude_unset=True),
        }
        process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process = process
        if process.stdin is None or process.stdout is None:
            return
        threading.Thread(target=self._listen, args=(process, process.stdout), daemon=True).start()
        try:
            process.stdin.write(json.dumps(told).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:  # it died already, which the next look will tell
            return

    def _listen(self, process: subprocess.Popen[bytes], stream: IO[bytes]) -> None:
        with stream:
            if stream.readline() == b"ready\n" and self.process is process:
                self.ready = True

    def stop(self) -> None:
        """Tell it to end after the job in hand."""
        if self.process is not None:
            self.process.terminate()

    def wait(self, until: float) -> None:
        """Wait for its end, and end it by force at ``until`` (of the monotonic clock); its lease then runs out."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            log("a process is ended by force", level=logging.WARNING, process=self.role)
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
