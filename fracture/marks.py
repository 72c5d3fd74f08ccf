"""What the library writes carries its mark, so that it is never taken for a film, and only its own is replaced."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

__all__ = ["PNG_MARK", "is_own_picture", "is_results", "png_mark", "shows_other", "subject_of"]

PNG_MARK = {"Software": "fracture"}
"""Text of every PNG that is no film: overlays and figures (PNG specification, 11.3.3.2). Simulated films lack it."""


def png_mark(subject: str | None = None) -> PngInfo:
    """``PNG_MARK``, and what a picture shows (``subject_of``), as Pillow takes it (``pnginfo=``)."""
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    for key, text in PNG_MARK.items():
        mark.add_text(key, text)
    if subject is not None:
        mark.add_text("Subject", subject)
    return mark


def subject_of(kind: str, source: str) -> str:
    """What an overlay shows: ``kind`` of result (``film``, ``hips``) and the film's path. A checksum of both, since the
    path may name a patient."""
    return hashlib.sha256(os.fsencode(f"{kind}:{os.path.abspath(source)}")).hexdigest()  # noqa: PTH100


def shows_other(head: bytes, subject: str) -> bool:
    """Whether a picture of ours that begins so says that it shows something else."""
    mark = b"tEXtSubject\0"
    return mark in head and mark + subject.encode() not in head


def is_own_picture(head: bytes) -> bool:
    """Whether a file that begins so is a PNG with our mark, among the chunks before its pixels."""
    return head.startswith(b"\x89PNG") and b"tEXtSoftware\0fracture" in head.partition(b"IDAT")[0]


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
