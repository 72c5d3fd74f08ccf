"""What a file is, by its first bytes: a film that should be read, or a kind of thing that a folder's scan leaves out.

A name or a suffix says nothing: PACS exports call films ``IM000001`` or ``CR.1.2.276...``. Where the bytes do not
decide (a file that cannot be opened), the file is taken for a film, so that it fails and is not left out.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from pathlib import Path

from fracture.errors import InputError
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.images import sniff
from fracture.io.marks import is_own_picture, is_results

FILM = "film"
ARCHIVES = frozenset({"ZIP archive", "tar archive", "7z archive", "RAR archive", "xz archive", "bzip2 archive"})
_FILMS = ("jpeg", "png", "tiff")
_HEAD = 4096
_DIRECTORY = "1.2.840.10008.1.3.10"
_BARE_DICOM = (b"\x02\x00", b"\x08\x00", b"\x04\x00", b"\x00\x08", b"DI")  # groups that `parse` may begin with
_TEXT = bytes({*range(0x20, 0x100), *b"\t\n\r\f\x1b"} - {0x7F})


def kind_of(path: str) -> str:
    """``FILM``, or what else lies at a path, in words for a user."""
    try:
        status = os.stat(path)  # noqa: PTH116 (ten thousand of them)
        if not stat.S_ISREG(status.st_mode):
            return _special(status.st_mode)
        head = read_head(path)
    except OSError as error:
        dangling = isinstance(error, FileNotFoundError) or error.errno == errno.ELOOP
        return "dangling link" if dangling and os.path.islink(path) else FILM  # noqa: PTH114
    if not head:
        return "empty file"
    if sniff(head) == "gzip":
        inflate = zlib.decompressobj(31)
        try:
            head = inflate.decompress(head, _HEAD)
        except zlib.error:
            return "damaged gzip"
        if not head:
            return "empty file" if inflate.eof else "damaged gzip"
    return _kind_of_bytes(head, path)


def _special(mode: int) -> str:
    for what, test in (("pipe", stat.S_ISFIFO), ("socket", stat.S_ISSOCK), ("folder", stat.S_ISDIR)):
        if test(mode):
            return what
    return "device"


def read_head(path: str) -> bytes:
    """The first bytes of a file; a pipe in its place would not be waited for.

    Raises:
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        head: bytes | None = file.read(_HEAD)
    return head or b""


def _kind_of_bytes(head: bytes, path: str) -> str:
    kind = sniff(head)
    if kind == "dicom":
        return _kind_of_dicom(head)
    if is_own_picture(head):
        return "picture made by fracture"
    if kind in _FILMS:
        return FILM
    if kind:
        return f"{kind} archive" if f"{kind} archive" in ARCHIVES else f"{kind} file"
    if is_results(head):
        return "results of fracture"
    if head[:2] in _BARE_DICOM and _is_bare_dicom(path, head):
        return FILM
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27:
        return "weights"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or not head.translate(None, _TEXT):
        return "text"
    return "file of unknown content"


def _kind_of_dicom(head: bytes) -> str:
    """By the class that the file meta information states (PS3.10 7.1): a directory, or an object without an image."""
    from fracture.io.dicom.radiograph import NO_IMAGE, modality_of_class  # a folder of pictures needs no pydicom

    at = head.find(b"\x02\x00\x02\x00UI", 132)
    if at < 0:
        return FILM
    size = int.from_bytes(head[at + 6 : at + 8], "little")
    uid = head[at + 8 : at + 8 + size].decode("ascii", "replace").strip("\0 ")
    if uid == _DIRECTORY:
        return "DICOMDIR"
    return "DICOM object without an image" if modality_of_class(uid) in NO_IMAGE else FILM


def _is_bare_dicom(path: str, head: bytes) -> bool:
    """Whether a file without preamble is DICOM: a first element that is written out, or a data set that can be read."""
    if head[:2] in (b"\x02\x00", b"\x08\x00", b"\x04\x00") and head[4:6] in (b"UI", b"UL", b"CS", b"OB"):
        return True
    from fracture.io.dicom.parse import parse

    try:
        data, name = open_bytes(Path(path), MAX_BYTES)
        return bool(parse(data, name, max_bytes=MAX_BYTES).attributes)
    except InputError:
        return False
