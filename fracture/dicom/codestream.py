"""What a compressed frame says about itself, read before any decoder sees it.

A codestream that lies about its size can make a decoder allocate gigabytes or write out of bounds. So the headers of
JPEG and JPEG-LS (ISO/IEC 10918-1 B.2, 14495-1 C.2: the frame header SOFn) and of JPEG 2000 (ISO/IEC 15444-1 A.5.1:
the SIZ marker) are read here and held against Rows and Columns first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["Codestream", "jpeg2000_header", "jpeg_header"]

_MAX_TILES = 65535  # ISO/IEC 15444-1 A.4.2: the tile index has 16 bits


@dataclass(frozen=True, slots=True)
class Codestream:
    """The declared geometry of one compressed frame.

    Attributes:
        process: ``"baseline"``, ``"extended"``, ``"progressive"``, ``"lossless"``, ``"jpeg-ls"``, ``"jpeg2000"`` or
            ``"other"``.
        rows: Height in pixels.
        columns: Width in pixels.
        samples: Color components.
        precision: Bits per sample.
        signed: Whether samples are signed (JPEG 2000 only).
        adobe: Whether an Adobe marker says how colors are coded (JPEG only).
    """

    process: str
    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    adobe: bool = False


_PROCESSES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC3: "lossless", 0xF7: "jpeg-ls"}
_STANDALONE = (0x01, *range(0xD0, 0xD8))


def jpeg_header(data: bytes) -> Codestream | None:
    """The frame header of a JPEG or JPEG-LS stream; ``None`` where there is none."""
    if data[:2] != b"\xff\xd8":
        return None
    at, adobe = 2, False
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _STANDALONE:
            at += 2
            continue
        if marker in (0xD9, 0xDA):  # end, or scan before frame header
            return None
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            if at + 10 > len(data):
                return None
            precision, rows, columns, samples = struct.unpack(">BHHB", data[at + 4 : at + 10])
            return Codestream(_PROCESSES.get(marker, "other"), rows, columns, samples, precision, adobe=adobe)
        adobe = adobe or (marker == 0xEE and data[at + 4 : at + 9] == b"Adobe")
        at += 2 + max(length, 2)
    return None


def jpeg2000_header(data: bytes) -> Codestream | None:
    """The SIZ marker of a JPEG 2000 codestream (bare, or in a JP2 file); ``None`` where there is none or it lies."""
    start = 0
    if data[:12] == b"\x00\x00\x00\x0cjP  \r\n\x87\n":
        start = data.find(b"jp2c") + 4
        if start < 4:
            return None
    if data[start : start + 4] != b"\xff\x4f\xff\x51" or len(data) < start + 45:
        return None
    size = struct.unpack(">HHIIIIIIIIH", data[start + 4 : start + 42])
    _, _, width, height, left, top, tile_w, tile_h, tile_x, tile_y, samples = size
    if not (0 <= left < width and 0 <= top < height and tile_w and tile_h and 1 <= samples <= 4):
        return None
    if tile_x > left or tile_y > top:
        return None
    tiles = -(-(width - tile_x) // tile_w) * -(-(height - tile_y) // tile_h)
    components = data[start + 42 : start + 42 + 3 * samples]
    if tiles > _MAX_TILES or len(components) < 3 * samples:
        return None
    depths = {components[3 * i] for i in range(samples)}
    steps = {components[3 * i + j] for i in range(samples) for j in (1, 2)}
    if len(depths) != 1 or steps != {1}:  # subsampled or uneven components do not occur in DICOM
        return None
    depth = depths.pop()
    return Codestream("jpeg2000", height - top, width - left, samples, (depth & 0x7F) + 1, signed=bool(depth & 0x80))
