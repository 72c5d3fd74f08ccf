"""Regular files: read within a limit, and told apart by their SHA-256 or by their place on the disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from fracture.errors import MissingFileError, UnreadableFileError


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """The bytes of a regular file within the limit; pipes, devices and folders are refused without waiting for them.

    Raises:
        UnreadableFileError: Missing, not a regular file, empty, or too large.
    """
    name = str(os.fspath(path))
    try:
        path = _local(name)
        # A named pipe without a writer would block for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFileError(f"{name}: not a regular file", hint="give the path of one file")
            if status.st_size > max_bytes:
                raise too_large(name, status.st_size, max_bytes)
            data: bytes = file.read(status.st_size)
    except FileNotFoundError:
        raise MissingFileError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise UnreadableFileError(f"{name}: a folder, not a file", hint="give the files in it one by one") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
        raise UnreadableFileError(f"{name}: the file cannot be opened", got=reason) from None
    if not data:
        raise UnreadableFileError(f"{name}: the file is empty")
    return data


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, as hexadecimal text.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as stream:  # noqa: PTH123
        return hashlib.file_digest(stream, "sha256").hexdigest()


def too_large(name: str, size: int | None, max_bytes: int) -> UnreadableFileError:
    """The error for a file of ``size`` bytes, or of more than the limit where that is all that is known."""
    return UnreadableFileError(
        f"{name}: the file is larger than the limit",
        got=None if size is None else f"{size} bytes",
        allowed=f"at most {max_bytes} bytes",
        hint="raise max_bytes if the file is trusted",
    )


def _local(name: str) -> str:
    """The path that a name means: its own, or that of a ``file://`` address."""
    if "://" not in name[:16] or Path(name).exists():
        return name
    address = urlsplit(name)
    if address.scheme.lower() == "file" and address.netloc in ("", "localhost"):
        from urllib.request import url2pathname  # brings a web client, which hardly any run needs

        return url2pathname(address.path)
    raise UnreadableFileError(
        f"{name}: an address on the network is not fetched", hint="download the file and give its path"
    )


def identity_of(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Device and inode of a file or folder, links followed; None where there is none."""
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)  # noqa: PTH116
        return status.st_dev, status.st_ino
    return None
