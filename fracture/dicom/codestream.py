"""What a compressed frame says about itself, read before any decoder sees it.

A codestream that lies about its size can make a decoder allocate gigabytes or write out of bounds. So the headers of
JPEG and JPEG-LS (ISO/IEC 10918-1 B.2, 14495-1 C.2: the frame header SOFn) and of JPEG 2000 (ISO/IEC 15444-1 A.5.1:
the SIZ marker) are read here and held against Rows and Columns first.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

__all__ = ["Codestream", "jpeg2000_header", "jpeg_header", "sound_jpeg"]

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


def sound_jpeg(data: bytes) -> bytes | None:
    """A one-component JPEG stream of a single scan, checked and freed of everything a decoder does not need.

    GDCM ends the process on streams whose tables contradict themselves or that make its libjpeg warn (a JFIF
    revision of 8 is enough), so its codecs see only what comes out here: the segments follow each other without
    gaps, Huffman tables hold a valid code (ISO/IEC 10918-1 C), quantization tables are complete, the scan names
    tables that are there, and between the scan header and the end marker lie only entropy-coded bytes and restart
    markers. Application and comment segments are left out. The spectral parameters of a sequential scan, which
    some real files have wrong (NEMA's RG2_JPLY), are put right.

    Returns:
        The stream, or ``None`` where it is not sound.
    """
    if data[:2] != b"\xff\xd8":
        return None
    tables: set[tuple[str, int]] = set()
    frame: bytes | None = None
    kept = [data[:2]]
    at, restarts = 2, False
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        body = data[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            return None
        found: set[tuple[str, int]] | None = None
        if marker == 0xC4:
            found = _huffman_tables(body)
        elif marker == 0xDB:
            found = _quantization_tables(body)
        elif marker in (0xC0, 0xC1, 0xC3) and frame is None:
            if len(body) == 9 and body[5] == 1 and body[7] == 0x11 and body[8] <= 3:
                frame, found = bytes((marker,)) + body, set()
        elif marker == 0xDD and len(body) == 2:
            restarts, found = body != b"\0\0", set()
        elif 0xE0 <= marker <= 0xEF or marker == 0xFE:
            at += 2 + length
            continue
        elif marker == 0xDA:
            end = _end_of_scan(data, at + 2 + length, restarts)
            if end is None or not _sound_scan(body, frame, tables):
                return None
            header = data[at : at + 7] + (body[3:] if frame and frame[0] == 0xC3 else b"\x00\x3f\x00")
            return b"".join((*kept, header, data[at + 2 + length : end], b"\xff\xd9"))
        if found is None:
            return None
        tables |= found
        kept.append(data[at : at + 2 + length])
        at += 2 + length
    return None


def _huffman_tables(body: bytes) -> set[tuple[str, int]] | None:
    found: set[tuple[str, int]] = set()
    at = 0
    while at + 17 <= len(body):
        kind, number = divmod(body[at], 16)
        counts = body[at + 1 : at + 17]
        symbols = body[at + 17 : at + 17 + sum(counts)]
        room = 1
        for count in counts:
            room = 2 * room - count
            if room < 0:  # more codes than the bits allow
                return None
        if kind > 1 or number > 3 or not symbols or len(symbols) != sum(counts):
            return None
        if kind == 0 and max(symbols) > 16:
            return None
        found.add(("AC" if kind else "DC", number))
        at += 17 + len(symbols)
    return found if at == len(body) and found else None


def _quantization_tables(body: bytes) -> set[tuple[str, int]] | None:
    found: set[tuple[str, int]] = set()
    at = 0
    while at < len(body):
        wide, number = divmod(body[at], 16)
        size = 64 * (2 if wide else 1)
        steps = body[at + 1 : at + 1 + size]
        if wide > 1 or number > 3 or len(steps) != size:
            return None
        found.add(("Q", number))
        at += 1 + size
    return found if found else None


def _sound_scan(body: bytes, frame: bytes | None, tables: set[tuple[str, int]]) -> bool:
    """The scan header against the frame header (``frame``: the marker, then its body) and the tables seen."""
    if frame is None or len(body) != 6 or body[0] != 1 or body[1] != frame[7]:
        return False
    lossless, precision = frame[0] == 0xC3, frame[1]
    dc, ac = divmod(body[2], 16)
    if ("DC", dc) not in tables:
        return False
    if lossless:
        predictor, end, shift = body[3], body[4], body[5]
        return 1 <= predictor <= 7 and end == 0 and shift < precision
    return ("AC", ac) in tables and ("Q", frame[9]) in tables and precision in (8, 12)


_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00]")


def _end_of_scan(data: bytes, start: int, restarts: bool) -> int | None:
    """Where the end marker stands; ``None`` where there is none, no data before it, or another marker."""
    at = start
    while (found := _MARKER_IN_SCAN.search(data, at)) is not None:
        marker = data[found.end() - 1]
        if marker == 0xD9:
            return found.start() if found.start() > start else None
        if marker == 0xFF:  # fill byte before a marker
            at = found.end() - 1
            continue
        if not (restarts and 0xD0 <= marker <= 0xD7):
            return None
        at = found.end()
    return None
