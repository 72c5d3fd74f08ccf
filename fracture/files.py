"""Paths and bytes to a file's content, within a byte limit and unpacked from gzip."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

from fracture.errors import UnreadableFileError
from fracture.images import sniff

__all__ = ["MAX_BYTES", "open_bytes"]

MAX_BYTES = 256 * 1024 * 1024
"""Default limit of a file's size, also once inflated (our choice: 100 million 16-bit pixels and a header)."""


def open_bytes(source: str | os.PathLike[str] | bytes | bytearray | memoryview, max_bytes: int) -> tuple[bytes, str]:
    """A file's content, unpacked from gzip, and how errors call the file.

    Args:
        source: A path (never fetched from the network), or the content itself.
        max_bytes: Limit of the size, also once inflated.

    Raises:
        UnreadableFileError: Missing, not a regular file, empty, too large, or damaged gzip.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        data, name = bytes(source), "<bytes>"
        if not data:
            raise UnreadableFileError(f"{name}: the file is empty")
    else:
        name = str(os.fspath(source))
        data = _load(name, max_bytes)
    if sniff(data) == "gzip":
        data = _gunzip(data, name, max_bytes)
        if sniff(data) == "gzip":
            raise UnreadableFileError(f"{name}: gzip within gzip is not opened", hint="unpack it first")
    return data, name


def _load(name: str, max_bytes: int) -> bytes:
    """The bytes of a regular file within the limit."""
    if "://" in name[:16] and not Path(name).exists():
        raise UnreadableFileError(
            f"{name}: an address on the network is not fetched", hint="download the file and give its path"
        )
    try:
        # A named pipe without a writer would block for ever.
        descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFileError(f"{name}: not a regular file", hint="give the path of one file")
            if status.st_size > max_bytes:
                raise UnreadableFileError(
                    f"{name}: the file is larger than the limit",
                    got=f"{status.st_size} bytes",
                    allowed=f"at most {max_bytes} bytes",
                    hint="raise max_bytes if the file is trusted",
                )
            data: bytes = file.read(status.st_size)
    except FileNotFoundError:
        raise UnreadableFileError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise UnreadableFileError(f"{name}: a folder, not a file", hint="give the files in it one by one") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
        raise UnreadableFileError(f"{name}: the file cannot be opened", got=reason) from None
    if not data:
        raise UnreadableFileError(f"{name}: the file is empty")
    return data


def _gunzip(data: bytes, name: str, max_bytes: int) -> bytes:
    """Inflate gzip through the cap; content of no known format is refused after its first bytes."""
    inflate = zlib.decompressobj(31)
    try:
        head = inflate.decompress(data, 4096)
        kind = sniff(head)
        if kind and kind not in ("dicom", "jpeg", "png", "tiff", "gzip"):
            raise UnreadableFileError(f"{name}: a gzipped file of a format that is not read here", got=kind)
        body = inflate.decompress(inflate.unconsumed_tail, max_bytes + 1 - len(head))
    except zlib.error:
        raise UnreadableFileError(f"{name}: the gzip data is damaged", hint="copy the file again") from None
    if len(head) + len(body) > max_bytes:
        raise UnreadableFileError(
            f"{name}: the file inflates to more than the limit",
            allowed=f"at most {max_bytes} bytes",
            hint="raise max_bytes if the file is trusted",
        )
    if not inflate.eof:
        raise UnreadableFileError(f"{name}: the gzip data is truncated", hint="copy the file again")
    if not head:
        raise UnreadableFileError(f"{name}: the file is empty")
    return head + body
