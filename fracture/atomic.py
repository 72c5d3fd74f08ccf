"""Files that appear whole or not at all, survive a power cut, and are written by one process at a time.

Everything that the library writes and reads again (checkpoints, cards, splits, records, caches, reports) is written by
:func:`write_atomic` or by its two short forms :func:`write_text` and :func:`write_json`: into a file beside the target,
flushed to the disk, renamed, and the folder's entry flushed too. Whatever happens there is a whole file: the new one,
or the one before, or none. Lines that are appended as they come (``predict --json``) are the one exception.

A process that works in a folder or on a file for long holds it by :func:`hold`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from fracture.errors import OutputError

if sys.platform == "win32":  # pragma: no cover - exercised on Windows alone
    import msvcrt
else:
    import fcntl

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomic(path: str | Path, fill: Callable[[Path], object], *, size: int | None = None) -> None:
    """Let ``fill(temporary path)`` write a file, then rename it to ``path``; missing folders are made.

    Args:
        path: Target; a regular file there is replaced, a link by a file.
        fill: Writes the temporary file, which exists and is empty. It may raise; then nothing is left of it.
        size: Bytes that will be needed, for the message where the disk is full.

    Raises:
        OutputError: It cannot be written (disk full, read-only, a folder or a device in its place); whatever stood at
            ``path`` still does.
    """
    path = Path(path)
    # A name may have 255 bytes, and a character up to four.
    temporary = path.parent / f".{path.name[:40]}.{os.getpid()}.{threading.get_ident()}.part"
    try:
        _make_folder(path.parent)
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a file that can be replaced", got=_kind(path), allowed="a file's name")
        temporary.touch()
        mode = temporary.stat().st_mode  # what the umask gives; some writers make files that only their owner reads
        fill(temporary)
        temporary.chmod(mode)
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except (OSError, SafetensorError) as error:
        _discard(temporary)
        raise _cannot_write(path, error, size) from error
    except BaseException:
        _discard(temporary)
        raise


def write_text(path: str | Path, text: str) -> None:
    """A UTF-8 text file with ``\\n`` line ends, by :func:`write_atomic`. Characters that UTF-8 lacks (half of a
    surrogate pair, from a file name that is no UTF-8) are written as ``\\udcxx``.

    Raises:
        OutputError: As :func:`write_atomic`.
    """
    content = text.encode("utf-8", errors="backslashreplace")
    write_atomic(path, lambda temporary: temporary.write_bytes(content), size=len(content))


def write_json(path: str | Path, content: Any, *, indent: int | None = 1) -> None:
    """A JSON document and a line end, by :func:`write_atomic`. NaN and infinity, which JSON does not know, are errors.

    Raises:
        OutputError: As :func:`write_atomic`.
        ValueError, TypeError: Something in it that JSON does not know.
    """
    write_text(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")


def cache_folder(kind: str) -> Path:
    """The user's folder of things that can be made again: ``kind`` in ``$FRACTURE_CACHE``, else in
    ``$XDG_CACHE_HOME/fracture``, else in ``~/.cache/fracture``. It need not exist."""
    if root := os.environ.get("FRACTURE_CACHE"):
        return Path(root) / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fracture" / kind


def sweep(folder: str | Path) -> None:
    """Remove what killed processes left half-written in a folder that several may write to at once.

    A file of the last day may still be another process's, on this machine or on another, and stays.
    """
    oldest = time.time() - 24 * 3600
    for rest in Path(folder).glob(".*.part"):
        with contextlib.suppress(OSError):
            if rest.stat().st_mtime < oldest:
                rest.unlink()


@contextlib.contextmanager
def hold(path: str | Path, what: str) -> Iterator[None]:
    """Keep other processes from the same work while this block runs; a process that dies lets go of it.

    Args:
        path: The lock's own file, made where missing and left behind (removing it would let two in).
        what: What is being held, for the message: ``"the run folder runs/a"``.

    Raises:
        OutputError: Another process holds it, or the file cannot be made.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise _cannot_write(path, error, None) from error
    with stream:
        try:
            _lock(stream.fileno())
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read(200).strip() or "another process"
            raise OutputError(
                f"{what} is in use",
                got=holder,
                hint="wait until it has ended, or give another place; two at once would overwrite each other",
            ) from None
        except OSError:
            pass  # a file system without locks: go on as if there were no other
        with contextlib.suppress(OSError):  # a full disk does not keep anybody from holding
            stream.truncate(0)
            stream.write(f"process {os.getpid()}")
            stream.flush()
        yield


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":  # pragma: no cover
        try:
            os.lseek(descriptor, 2**30, os.SEEK_SET)  # a byte beyond the text, which others then can read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _make_folder(folder: Path) -> None:
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in made:
        _flush_folder(one.parent)


def _flush_folder(folder: Path) -> None:
    """The new name itself is on the disk only when the folder is; systems that cannot do it do it themselves."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _kind(path: Path) -> str:
    return "a folder" if stat.S_ISDIR(path.stat().st_mode) else "a device, pipe or socket"


def _cannot_write(path: Path, error: Exception, size: int | None) -> OutputError:
    # safetensors tells the number of the system's error in words alone: "os error 27", before 0.8 "code: 27".
    told = re.search(r"(?:os error|code:) (\d+)", str(error))
    full = (int(told[1]) if told else getattr(error, "errno", None)) in _FULL
    kept = "the one before is whole" if path.exists() else "there was none before"
    room = f"free at least {max(1, 2 * size // 2**20)} MiB" if size is not None else "free some room"
    return OutputError(
        f"{path}: " + ("the disk is full" if full else "the file cannot be written") + f"; {kept}",
        got=error,
        hint=f"{room if full else 'make the folder writable'} and run the same command again",
    )
