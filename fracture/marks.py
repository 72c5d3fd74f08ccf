"""What the library writes carries its mark, so that it is never taken for a film, and only its own is replaced."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

__all__ = ["PNG_MARK", "is_own_picture", "is_results", "png_mark"]

PNG_MARK = {"Software": "fracture"}
"""Text of every PNG that is no film: overlays and figures (PNG specification, 11.3.3.2). Simulated films lack it."""


def png_mark() -> PngInfo:
    """``PNG_MARK`` as Pillow takes it (``pnginfo=``)."""
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    for key, text in PNG_MARK.items():
        mark.add_text(key, text)
    return mark


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
