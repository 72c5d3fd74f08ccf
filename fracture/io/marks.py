"""What the library writes carries its mark, so that it is never taken for a film, and only its own is replaced."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

_CHUNK = b"fxMk"  # ancillary, private, safe to copy (PNG specification, 5.4); readers that do not know it pass over it
_OURS = _CHUNK + b"fracture "


def png_mark(subject: str = "figure") -> PngInfo:
    """The mark of a PNG that is no film (overlays, figures) as Pillow takes it (``pnginfo=``). It is no text, and holds
    no name.

    Args:
        subject: What the picture shows; see ``subject_of``.
    """
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add(_CHUNK, f"fracture {subject}".encode())
    return mark


def subject_of(kind: str, source: str) -> str:
    """What an overlay shows: ``kind`` of result (``film``, ``hips``) and the film's path. A checksum of both, since the
    path may name a patient."""
    return hashlib.sha256(os.fsencode(f"{kind}:{os.path.abspath(source)}")).hexdigest()  # noqa: PTH100


def shows_other(head: bytes, subject: str) -> bool:
    """Whether a picture of ours that begins so says that it shows something else."""
    return _OURS in head and _OURS + subject.encode() not in head


def is_own_picture(head: bytes) -> bool:
    """Whether a file that begins so is a PNG with our mark, among the chunks before its pixels."""
    return head.startswith(b"\x89PNG") and _OURS in head.partition(b"IDAT")[0]


def is_results(head: bytes) -> bool:
    """Whether a file that begins so holds our JSON lines: its first line, or what there is of it, begins as ours."""
    if not head.startswith(b'{"source": "'):
        return False
    line, end, _ = head.partition(b"\n")
    if not end:
        return True  # longer than what was read, or half-written
    try:
        first = json.loads(line)
    except ValueError:
        return False
    return isinstance(first, dict) and {"source", "seconds", "error"} <= set(first)
