"""Paths, file objects and bytes to a file's content, within a byte limit and unpacked from gzip."""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection
from typing import IO

from fracture.errors import PixelValueError, UnreadableFileError
from fracture.io.ahead import source_name
from fracture.io.images import sniff
from fracture.regular import read_regular, too_large

MAX_BYTES = 256 * 1024 * 1024
"""Default limit of a file's size, also once inflated (our choice: 100 million 16-bit pixels and a header)."""


FORMATS = ("dicom", "jpeg", "png", "tiff")
"""Formats of films, by their names in ``sniff``."""

MAX_MEMBERS = 1 << 16
"""Limit of the members of a gzip file (our choice: bgzip makes one per 64 KiB, so 16 times those of ``MAX_BYTES``)."""


def inflated_limit(packed: int, max_bytes: int) -> int:
    """Most bytes that ``packed`` compressed bytes may inflate to (our choice).

    Beyond 64 MiB no more than a hundredfold: films compress to a half or a quarter, and nothing but a bomb goes on so.
    """
    return min(max_bytes, max(64 * 1024 * 1024, 100 * packed))


def open_bytes(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes],
    max_bytes: int,
    *,
    formats: Collection[str] = FORMATS,
) -> tuple[bytes, str]:
    """A file's content, unpacked from gzip, and how errors call the file.

    Args:
        source: A path or ``file://`` address (never fetched from the network), a file object opened in binary mode,
            read from where it stands and not closed, or the content itself.
        max_bytes: Limit of the size, also once inflated.
        formats: What may be gzipped, by its name in ``sniff``; unknown content always may.

    Raises:
        MissingFileError: No such file.
        UnreadableFileError: Not a regular file, empty, too large, or damaged gzip.
        PixelValueError: A file object that gives text.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        data, name = bytes(source), source_name(source)
        if not data:
            raise UnreadableFileError(f"{name}: the file is empty")
        if len(data) > max_bytes:
            raise too_large(name, len(data), max_bytes)
    elif isinstance(source, str | os.PathLike):
        name = str(os.fspath(source))
        data = read_regular(name, max_bytes)
    else:
        data, name = _from_object(source, max_bytes)
    if sniff(data) == "gzip":
        data = _gunzip(data, name, max_bytes, formats)
        if sniff(data) == "gzip":
            raise UnreadableFileError(f"{name}: gzip within gzip is not opened", hint="unpack it first")
    return data, name


def _from_object(file: IO[bytes], max_bytes: int) -> tuple[bytes, str]:
    name = source_name(file)
    try:
        data = file.read(max_bytes + 1)
    except (OSError, ValueError):  # closed, or not opened for reading
        raise UnreadableFileError(f"{name}: the file object cannot be read", hint="open it in mode 'rb'") from None
    if not isinstance(data, bytes):
        raise PixelValueError(
            f"{name}: a file object must give bytes", got=type(data).__name__, hint="open it in mode 'rb'"
        )
    if not data:
        raise UnreadableFileError(f"{name}: the file object gives no bytes", hint="is it read already? seek(0) first")
    if len(data) > max_bytes:
        raise too_large(name, None, max_bytes)
    return data, name


def _gunzip(data: bytes, name: str, max_bytes: int, formats: Collection[str]) -> bytes:
    """Inflate the members of a gzip file (RFC 1952 2.2) through the cap, a piece at a time.

    Content of no known format is refused after its first bytes. What follows the last member and is none (padding)
    is left out, as gzip does.
    """
    body = bytearray()
    at, known = 0, False
    limit = inflated_limit(len(data), max_bytes)
    view = memoryview(data)
    for _ in range(MAX_MEMBERS):
        if bytes(view[at : at + 2]) != b"\x1f\x8b":
            break
        inflate = zlib.decompressobj(31)
        while not inflate.eof:
            piece = view[at : at + _PIECE]
            if not piece:
                raise UnreadableFileError(f"{name}: the gzip data is truncated", hint="copy the file again")
            try:
                body += inflate.decompress(piece, max(1, min(limit + 1 - len(body), 64 * _PIECE)))
            except zlib.error:
                raise UnreadableFileError(f"{name}: the gzip data is damaged", hint="copy the file again") from None
            at += len(piece) - len(inflate.unconsumed_tail) - len(inflate.unused_data)
            if len(body) > limit:
                raise UnreadableFileError(
                    f"{name}: the file inflates to more than the limit",
                    allowed=f"at most {limit} bytes for {len(data)}",
                    hint="if it is trusted, unpack it first, or raise max_bytes",
                )
            if not known and len(body) >= 512:
                known = True
                kind = sniff(bytes(body[:512]))
                if kind and kind not in (*formats, "gzip"):
                    raise UnreadableFileError(f"{name}: a gzipped file of a format that is not read here", got=kind)
    else:
        raise UnreadableFileError(f"{name}: more gzip members than the limit", allowed=f"at most {MAX_MEMBERS}")
    if not body:
        raise UnreadableFileError(f"{name}: the file is empty")
    return bytes(body)


_PIECE = 1 << 16
