"""What a JPEG 2000 codestream says about itself (ISO/IEC 15444-1 A.5.1, A.6.1), read before a decoder sees it.

A codestream that lies about its size can make a decoder allocate gigabytes or write out of bounds. So its header, as
that of JPEG (``fracture.io.jpeg``), is held against Rows and Columns first.
"""

from __future__ import annotations

import struct

from fracture.io.jpeg import MAX_SEGMENTS, Codestream

_JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_MAX_TILES = 65535  # ISO/IEC 15444-1 A.4.2: the tile index has 16 bits


def jpeg2000_start(data: bytes) -> bool:
    """Whether data begin as a JPEG 2000 codestream or a JP2 file does."""
    return data[:12] == _JP2 or data[:4] == b"\xff\x4f\xff\x51"


def jpeg2000_header(data: bytes) -> Codestream | None:
    """The SIZ marker of a JPEG 2000 codestream (bare, or in a JP2 file); ``None`` where there is none or it lies."""
    start = 0
    if data[:12] == _JP2:
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
    precision, signed = (depth & 0x7F) + 1, bool(depth & 0x80)
    lossy = _irreversible(data, start + 4 + size[0])
    return Codestream("jpeg2000", height - top, width - left, samples, precision, signed=signed, lossy=lossy)


def _irreversible(data: bytes, at: int) -> bool:
    """Whether the coding style (the COD marker, ISO/IEC 15444-1 A.6.1) names the 9-7 wavelet, which loses bits."""
    for _ in range(MAX_SEGMENTS):
        if data[at : at + 2] == b"\xff\x52":
            return data[at + 13 : at + 14] == b"\0"
        if data[at : at + 1] != b"\xff" or data[at : at + 2] == b"\xff\x90":
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True
