"""The record of a run beside its results, by which it goes on after it was killed.

``OUT.jsonl.run/journal.jsonl`` holds, one JSON object a line: what the run was (weights, options), then every result as
it was written, with its film's SHA-256, and at the end a summary. It is only ever appended to, and a result stands in
it before it stands in ``OUT.jsonl``, so that ``OUT.jsonl`` can be made from it at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fracture.atomic import hold
from fracture.errors import ConfigurationError, OutputError
from fracture.regular import sha256_of

FORMAT = "fracture-run"
_SYNC = 1.0  # seconds between two flushes to the disk: what a power cut, not a kill, may cost


@dataclass(frozen=True, slots=True)
class Entry:
    """A result: the film's SHA-256 when it was read, None where it could not be, and the line."""

    sha256: str | None
    line: dict[str, Any]


def encode(content: Mapping[str, Any]) -> bytes:
    """One JSON line. ASCII alone, so that every name can be written to every stream: one that is no UTF-8 comes as
    ``\\udcxx``, from which Python's ``json`` makes the same path again."""
    return json.dumps(content, allow_nan=False).encode("ascii") + b"\n"


def film_sha256(path: str) -> str | None:
    """A film's checksum, None where it cannot be read (then reading it fails too)."""
    try:
        if not os.path.isfile(path):  # noqa: PTH113
            return None
        return sha256_of(path)
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Writing results: what the system refuses is an ``OutputError``; a reader that left (``| head``) stays what it is.

    Raises:
        OutputError: Disk full, closed, gone.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            "the results cannot be written",
            got=error.strerror,
            hint="make room, or choose another --json; --resume goes on where it stopped",
        ) from error


def record_files(path: Path) -> tuple[Path, Path]:
    """The record and the lock beside a file of results."""
    place = path.with_name(path.name + ".run")
    return place / "journal.jsonl", place / "lock"


def is_record(head: bytes) -> bool:
    """Whether a file that begins so is the record of a run."""
    return head.startswith(encode({"format": FORMAT})[:-2])


class Journal:
    """The two files of a run: results, and the record beside them. Made by :func:`journaled`.

    Attributes:
        before: Results of the run that is resumed, by source; empty for a new run.
    """

    def __init__(self, results: IO[bytes], record: IO[bytes], before: dict[str, Entry]) -> None:
        self._results, self._record = results, record
        self._synced = time.monotonic()
        self.before = before

    def begin(self, lines: list[dict[str, Any]]) -> None:
        """Start the results file with these earlier lines, and drop what follows them."""
        with writing():
            self._results.seek(0)
            _write(self._results, b"".join(encode(line) for line in lines))  # mostly the bytes that are there already
            self._results.truncate()

    def add(self, entry: Entry) -> None:
        """Write one result; a resumed one is already in the record."""
        with writing():
            if self.before.get(entry.line["source"]) is not entry:
                _write(self._record, encode({"sha256": entry.sha256, "line": entry.line}))
            _write(self._results, encode(entry.line))
        if time.monotonic() - self._synced > _SYNC:
            self.sync()

    def end(self, summary: Mapping[str, Any]) -> None:
        """Write the summary of the run."""
        with writing():
            _write(self._record, encode({"summary": summary}))
        self.sync()

    def sync(self) -> None:
        """Flush what was written to the disk."""
        with writing():
            for stream in (self._record, self._results):
                os.fsync(stream.fileno())
        self._synced = time.monotonic()


@contextlib.contextmanager
def journaled(path: Path, request: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Iterator[Journal]:
    """Open the results of a run and its record, for one process at a time.

    Args:
        path: The results, ``OUT.jsonl``.
        request: What decides the results: weights, options.
        resume: Continue the run that wrote ``path``; where there is none, start a new one.
        overwrite: Drop what is there.

    Raises:
        OutputError: Another run writes there, or the files cannot be written.
        ConfigurationError: There are results and neither ``resume`` nor ``overwrite``; or what is there is not the
            same request's.
    """
    record, lock = record_files(path)
    request = json.loads(json.dumps(request))
    with hold(lock, f"the file of results {path}"):
        there = path.read_bytes() if path.exists() else b""
        if there and not resume and not overwrite:
            raise ConfigurationError(
                "there are results of an earlier run",
                got=path,
                hint="--resume continues that run, --overwrite replaces its results",
            )
        before, keep = _read(record, path, request, there) if resume else ({}, 0)
        with contextlib.ExitStack() as stack:
            with writing():
                results, log = (stack.enter_context(_opened(one)) for one in (path, record))
                if not keep:
                    results.truncate(0)
                log.truncate(keep)
                log.seek(keep)
                if not keep:
                    _write(log, encode({"format": FORMAT, **request}))
            yield Journal(results, log, before)


def _opened(path: Path) -> IO[bytes]:
    """To read and write, made where missing, with what is in it. Unbuffered: what is written survives a kill."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b", buffering=0)


def _write(stream: IO[bytes], content: bytes) -> None:
    while content:  # a disk that is almost full takes a part
        content = content[stream.write(content) :]


def _read(record: Path, path: Path, request: Mapping[str, Any], there: bytes) -> tuple[dict[str, Entry], int]:
    """The results of before by source, and how many bytes of the record are whole."""
    text = record.read_bytes() if record.exists() else b""
    head, *rest = text.splitlines(keepends=True) or [b""]
    stated = _parsed(head)
    if stated is None or stated.pop("format", None) != FORMAT:
        if not there:
            return {}, 0
        raise ConfigurationError(
            f"{path} has no record of the run that wrote it",
            got=f"{record} is missing or damaged",
            hint="--overwrite starts over; or choose another --json",
        )
    if changed := sorted(key for key in {*stated, *request} if stated.get(key) != request.get(key)):
        raise ConfigurationError(
            f"{path} was written by another request",
            got="; ".join(f"{key} {stated.get(key)} then, {request.get(key)} now" for key in changed),
            hint="give the same weights and options as before, or --overwrite to start over",
        )
    before: dict[str, Entry] = {}
    keep, lines = len(head), set()
    for line in rest:
        entry = _parsed(line)
        if entry is None:
            break  # half-written when the run was killed
        keep += len(line)
        if "line" in entry:
            before[entry["line"]["source"]] = Entry(entry["sha256"], entry["line"])
            lines.add(encode(entry["line"]))
    *whole, half = there.rstrip(b"\0").split(b"\n")  # a machine that lost power may leave zeros at the end
    strange = [line for line in whole if line + b"\n" not in lines]
    if strange or not any(line.startswith(half) for line in (*lines, b"")):
        raise ConfigurationError(
            f"{path} holds lines that its run did not write",
            got=(strange or [half])[0][:80].decode("utf-8", "backslashreplace"),
            hint="--overwrite starts over; or choose another --json",
        )
    return before, keep


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
