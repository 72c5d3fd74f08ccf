"""What a JPEG stream says about itself, read before any decoder sees it; and what decoders may see.

Every walk over markers is bounded here, in steps as well as in bytes. The headers are those of JPEG and JPEG-LS
(ISO/IEC 10918-1 B.2, 14495-1 C.2: the frame header SOFn).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        lossy: Whether decoded values may differ from what was encoded.
        adobe: Whether an Adobe marker says how colors are coded (JPEG only).
        jfif: Whether a JFIF marker says that colors are YCbCr (JPEG only).
    """

    process: str
    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    lossy: bool = True
    adobe: bool = False
    jfif: bool = False


MAX_SEGMENTS = 4096
"""Limit of the marker segments before a scan (our choice; an ICC profile and previews take some hundred)."""

MAX_FILL = 1 << 16
"""Limit of the fill bytes before one marker (our choice)."""

MAX_SCANS = 100
"""Limit of the scans of a progressive stream (our choice; encoders make about ten, and each costs a whole pass)."""

_PROCESSES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC3: "lossless", 0xF7: "jpeg-ls"}
_STANDALONE = (0x01, *range(0xD0, 0xD8))
_FILL = re.compile(rb"\xff{2,}")

Segment = tuple[int, int, int]
"""A marker, where its two bytes begin, and where its segment ends."""


def jpeg_segments(data: bytes) -> Iterator[Segment]:
    """The marker segments of a JPEG or JPEG-LS stream up to and with the first scan header, fill bytes passed over.

    Ends where a segment runs past the end of the data, where there is none, and at the limits above.
    """
    at = 2
    for _ in range(MAX_SEGMENTS if data[:2] == b"\xff\xd8" else 0):
        if (fill := _FILL.match(data, at, at + MAX_FILL)) is not None:
            at = fill.end() - 1
        if at + 2 > len(data) or data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            return
        marker = data[at + 1]
        if marker == 0xD9:
            return
        end = at + 2
        if marker not in _STANDALONE:
            end += max(int.from_bytes(data[end : end + 2], "big"), 2)
        if end > len(data):
            return
        yield marker, at, end
        if marker == 0xDA:
            return
        at = end


def is_frame_header(marker: int) -> bool:
    """Whether a marker is one of the SOFn, JPEG-LS' included."""
    return (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7


def jpeg_header(data: bytes) -> Codestream | None:
    """The frame header of a JPEG or JPEG-LS stream; ``None`` where there is none before the first scan."""
    adobe = jfif = False
    found: Codestream | None = None
    for marker, at, end in jpeg_segments(data):
        adobe |= marker == 0xEE and data[at + 4 : at + 9] == b"Adobe"
        jfif |= marker == 0xE0 and data[at + 4 : at + 9] == b"JFIF\0"
        if is_frame_header(marker) and found is None:
            if end < at + 10:
                return None
            precision, rows, columns, samples = struct.unpack(">BHHB", data[at + 4 : at + 10])
            process = _PROCESSES.get(marker, "other")
            found = Codestream(process, rows, columns, samples, precision, lossy=process != "lossless")
        elif marker == 0xDA and found is not None:
            near = data[end - 3]  # JPEG-LS (ISO/IEC 14495-1 C.2.3): how far values may lie off; 0 is lossless
            found = replace(found, lossy=near > 0) if found.process == "jpeg-ls" else found
    return None if found is None else replace(found, adobe=adobe, jfif=jfif)


def sound_jpeg(data: bytes) -> tuple[bytes, bool] | None:
    """A JPEG stream of a single scan, checked and freed of everything a decoder does not need.

    GDCM ends the process on streams whose tables contradict themselves or that make its libjpeg warn (a JFIF
    revision of 8 is enough), so its codecs see only what comes out here: the segments follow each other without
    gaps, Huffman tables hold a valid code (ISO/IEC 10918-1 C), quantization tables are complete, the scan names
    tables that are there, and between the scan header and the end marker lie only entropy-coded bytes and restart
    markers. Application and comment segments are left out. Put right are the spectral parameters of a sequential
    scan, which some real files have wrong (NEMA's RG2_JPLY), the sampling factors of a single component, which
    mean nothing (10918-1 A.2.2), and a missing end marker.

    Returns:
        The stream and whether it had its end marker, or ``None`` where it is not sound.
    """
    tables: set[tuple[str, int]] = set()
    frame: bytes | None = None
    kept = [data[:2]]
    restarts = False
    for marker, at, end in jpeg_segments(data):
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            continue
        body = data[at + 4 : end]
        found: set[tuple[str, int]] | None = None
        if marker == 0xC4:
            found = _huffman_tables(body)
        elif marker == 0xDB:
            found = _quantization_tables(body)
        elif marker in (0xC0, 0xC1, 0xC3) and frame is None:
            if (put_right := _sound_frame(body)) is not None:
                body = put_right
                frame, found = bytes((marker,)) + body, set()
        elif marker == 0xDD and len(body) == 2:
            restarts, found = body != b"\0\0", set()
        elif marker == 0xDA:
            stop, ended = _end_of_scan(data, end, restarts)
            if stop is None or frame is None or not _sound_scan(body, frame, tables):
                return None
            header = data[at : end - 3] + (body[-3:] if frame[0] == 0xC3 else b"\x00\x3f\x00")
            return b"".join((*kept, header, data[end:stop], END_OF_IMAGE)), ended
        if found is None:
            return None
        tables |= found
        kept.append(data[at : at + 4] + body)
    return None


def _sound_frame(body: bytes) -> bytes | None:
    """A frame header of one component, or of three that are not subsampled."""
    count = body[5] if len(body) > 5 else 0
    if count not in (1, 3) or len(body) != 6 + 3 * count or max(body[8::3]) > 3 or len({*body[6::3]}) != count:
        return None
    if count == 1:
        return body[:7] + b"\x11" + body[8:]
    return body if set(body[7::3]) == {0x11} else None


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


def _sound_scan(body: bytes, frame: bytes, tables: set[tuple[str, int]]) -> bool:
    """The scan header against the frame header (``frame``: the marker, then its body) and the tables seen."""
    count = frame[6]
    if len(body) != 4 + 2 * count or body[0] != count or body[1 : 1 + 2 * count : 2] != frame[7::3]:
        return False
    lossless, precision = frame[0] == 0xC3, frame[1]
    selectors = [divmod(one, 16) for one in body[2 : 2 + 2 * count : 2]]
    if any(("DC", dc) not in tables for dc, _ in selectors):
        return False
    if lossless:
        predictor, end, shift = body[-3:]
        return 1 <= predictor <= 7 and end == 0 and shift < precision
    named = all(("AC", ac) in tables for _, ac in selectors) and all(("Q", one) in tables for one in frame[9::3])
    return named and precision in (8, 12)


END_OF_IMAGE = b"\xff\xd9"
_OTHER = b"\xaa" * 64
"""What stands for lost data in ``whole``: its first bit differs from the zeros that decoders put there."""

_MARKER_IN_SCAN = re.compile(rb"\xff+[^\x00\xff]")


def _end_of_scan(data: bytes, start: int, restarts: bool) -> tuple[int | None, bool]:
    """Where entropy-coded data end, and whether an end marker stands there; ``None`` at another marker or no data."""
    for found in _MARKER_IN_SCAN.finditer(data, start):
        marker = data[found.end() - 1]
        if marker == 0xD9:
            return (found.start() if found.start() > start else None), True
        if not (restarts and 0xD0 <= marker <= 0xD7):
            return None, False
    end = len(data.rstrip(b"\xff"))
    return (end if end > start else None), False


def whole(stream: bytes, decode: Callable[[bytes], NDArray[Any]], *, ended: bool = True) -> NDArray[Any]:
    """Decode a JPEG stream whose end marker may be missing, if nothing else is (our method).

    Decoders fill what is missing without a word. So a stream without its end is decoded with the end marker alone and
    with other bytes before it: where pixels differ, data were missing.

    Args:
        stream: The stream.
        decode: Gives the pixels of a stream; raises ``OSError`` where the end is missing.
        ended: Whether the stream had its end marker, so that ``decode`` may be trusted.

    Raises:
        ValueError: Some pixels are missing.
        OSError: The stream is damaged.
    """
    if ended:
        try:
            return decode(stream)
        except OSError:
            if END_OF_IMAGE in stream[-2:]:
                raise
    body = stream.removesuffix(END_OF_IMAGE).rstrip(b"\xff")
    pixels = decode(body + END_OF_IMAGE)
    if not (_all_scans(body) and np.array_equal(pixels, decode(body + _OTHER + END_OF_IMAGE))):
        raise ValueError("short")
    return pixels


def plain(data: bytes) -> bytes | None:
    """A JPEG stream without fill bytes, comments and all application data but the two that say how colors are coded.

    Returns:
        The stream; ``None`` where no scan is found within the limits, or more scans than ``MAX_SCANS``.
    """
    kept = [data[:2]]
    for marker, at, end in jpeg_segments(data):
        if marker == 0xDA:
            if data.count(b"\xff\xda", at) > MAX_SCANS:
                return None
            return b"".join((*kept, data[at:]))
        told = data[at + 4 : at + 9] in (b"Adobe", b"JFIF\0")
        if told or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[at:end])
    return None


def exif_block(data: bytes) -> bytes:
    """The first EXIF block of a JPEG stream, a small TIFF file of its own; empty where there is none."""
    for marker, at, end in jpeg_segments(data):
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 10 : end]
    return b""


def _all_scans(data: bytes) -> bool:
    """Whether the scans of a progressive stream refine every coefficient of every component to its last bit."""
    header = jpeg_header(data)
    if header is None or header.process != "progressive":
        return True
    left: dict[int, set[int]] = {}
    at = -1
    for _ in range(MAX_SCANS):
        at = data.find(b"\xff\xda", at + 1)
        count = data[at + 4] if 0 <= at < len(data) - 4 else 0
        body = data[at + 5 : at + 8 + 2 * count]
        if at < 0 or len(body) < 3 + 2 * count:
            break
        first, last, bits = body[-3:]
        for component in body[0 : 2 * count : 2]:
            if bits & 15 == 0:
                left.setdefault(component, set(range(64))).difference_update(range(first, last + 1))
    return len(left) == header.samples and not any(left.values())
