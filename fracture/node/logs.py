"""What a node writes about itself: a log for whoever runs it, without identity, and an audit trail."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("fracture.node")
_UID = re.compile(r"\b(?:2\.25\.\d{4,}|\d+(?:\.\d+){4,})")  # an IPv4 address has four numbers


class LogLine(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without UIDs."""
        said = {"time": _now(), "level": record.levelname.lower(), "role": self._role, "event": record.getMessage()}
        # An error's text may name a file, and a film's file bears its UID.
        return _UID.sub("UID", json.dumps({**said, **getattr(record, "told", {})}, default=str))


def start_log(role: str) -> None:
    """Write the log to standard error. Other libraries are silent: what they say may quote a header."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine(role))
    _LOG.handlers, _LOG.propagate = [handler], False
    _LOG.setLevel(logging.INFO)
    for other in ("pynetdicom", "pydicom", "dicomweb_client"):
        logging.getLogger(other).setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")


def log(event: str, *, level: int = logging.INFO, **told: Any) -> None:
    """One line: numbers of jobs, names of targets, counts; never a UID, a name, or a value of a header."""
    _LOG.log(level, event, extra={"told": told})


class Audit:
    """Who sent what, what was answered, which weights read it, where it went: JSON lines that are only appended to.

    It names objects by UID, so it is readable by its owner alone. One file a month; several processes write to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, event: str, **told: Any) -> None:
        """Append one line. A full disk is told in the log, and stops nothing."""
        now = _now()
        line = json.dumps({"time": now, "event": event, **told}, default=str) + "\n"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = os.open(self._folder / f"{now[:7]}.jsonl", flags, 0o600)
            try:
                os.write(descriptor, line.encode("ascii"))  # one call: lines of several processes do not mix
            finally:
                os.close(descriptor)
        except OSError as error:
            log("the audit trail cannot be written", level=logging.ERROR, error=error.strerror)

    def lines(self) -> list[Mapping[str, Any]]:
        """Everything in it, in order; a line that a kill cut off is left out."""
        found = []
        for path in sorted(self._folder.glob("*.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue
        return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
