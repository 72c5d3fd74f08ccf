"""Standard output and standard error of a process whose caller may have closed them, or may read another encoding."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys

from fracture.errors import OutputError

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    """Text for people on one line: what would end the line, move the cursor, or is no character at all, is escaped."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def prepare_streams() -> None:
    """Keep a command running whatever its streams cannot encode, or are closed.

    A character that the encoding of the stream lacks (a cp1252 pipe, a name that is no UTF-8) is written as a
    backslash escape. A stream that the caller closed (``>&-``) takes its number again, so that no file that is opened
    later gets what was meant for it; writing to a closed standard output then fails as it does in other programs, and
    what was meant for a closed standard error is dropped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given, which is this one.
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def check_stdout() -> None:
    """Check before any work that results can be written to standard output.

    Raises:
        OutputError: It is closed, or full.
    """
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # a stream without a file behind it
        return
    try:
        os.write(number, b"")
    except OSError as error:
        raise OutputError(
            "standard output cannot be written", got=error.strerror, hint="redirect it, or give --json OUT.jsonl"
        ) from error


def leave_stdout() -> None:
    """Discard what is left in standard output's buffer, so that the interpreter does not fail on it at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
