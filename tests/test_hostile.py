"""Small files that would cost minutes or gigabytes: refused or read within 5 s and 1 GiB, each made here."""

from __future__ import annotations

import gzip
import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate

from fracture import read
from fracture.errors import FractureError, ImageSizeError, UnreadableFileError
from fracture.io.dicom.walk import MAX_DEPTH
from tests import warm
from tests.dicom.builder import dataset, file_bytes, gradient
from tests.test_images import encoded, film

SECONDS, MEBIBYTES = 5.0, 900  # beside what an import of the library holds, some 100


def implicit(*elements: tuple[int, bytes]) -> bytes:
    """A DICOM file of these elements (tag, value) and those of a film."""
    meta = b"\x02\x00\x10\x00UI\x12\x00" + b"1.2.840.10008.1.2\0"
    own = {
        0x00080060: b"DX",
        0x00280002: struct.pack("<H", 1),
        0x00280004: b"MONOCHROME2 ",
        0x00280010: struct.pack("<H", 16),
        0x00280011: struct.pack("<H", 32),
        0x00280100: struct.pack("<H", 16),
        0x00280101: struct.pack("<H", 12),
        0x00280102: struct.pack("<H", 11),
        0x00280103: struct.pack("<H", 0),
        0x7FE00010: gradient().tobytes(),
    }
    body = b""
    for tag, value in sorted({**own, **dict(elements)}.items()):
        body += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
    return bytes(128) + b"DICM" + meta + body


def item(body: bytes = b"", *, undefined: bool = True) -> bytes:
    if undefined:
        return b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + body + b"\xfe\xff\x0d\xe0\0\0\0\0"
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body


def nested(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        body = b"\x08\x00\x18\x22\xff\xff\xff\xff" + item(body) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return body


def frames(count: int, fragments: int) -> bytes:
    table = struct.pack(f"<{count}I", *(10 * k for k in range(count)))
    pieces = item(table, undefined=False) + item(b"ab", undefined=False) * fragments
    made = dataset(TransferSyntaxUID="1.2.840.10008.1.2.4.70", NumberOfFrames=count)
    made.PixelData = pieces + b"\xfe\xff\xdd\xe0\0\0\0\0"
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    return file_bytes(made)


def png_of(chunks: bytes) -> bytes:
    data = encoded(Image.fromarray(film()), "PNG")
    return data[:33] + chunks + data[33:]


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def jpeg_of(segments: bytes) -> bytes:
    data = encoded(Image.fromarray(film()), "JPEG")
    return data[:2] + segments + data[2:]


def rle(packed: bytes) -> bytes:
    made = dataset(gradient(top=255).astype(np.uint8), TransferSyntaxUID="1.2.840.10008.1.2.5")
    made.PixelData = encapsulate([struct.pack("<16I", 1, 64, *[0] * 14) + packed])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    return file_bytes(made)


def scans() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((2000, 2000), np.uint8)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * 5000 + b"\xff\xd9"


FILES: dict[str, Callable[[], bytes]] = {
    "numbers": lambda: implicit((0x00280120, b"\1\0" * 25_000_000)),
    "decimals": lambda: implicit((0x00281050, b"1\\" * 10_000_000 + b"1 ")),
    "aspects": lambda: implicit((0x00280034, b"1\\" * 10_000_000 + b"1 ")),
    "orientations": lambda: implicit((0x00200020, b"L\\" * 10_000_000 + b"F ")),
    "views": lambda: implicit((0x00540220, item() * 4_000_000)),
    "tables": lambda: implicit((0x00283010, item(b"", undefined=False) * 8_000_000)),
    "items of a sequence that is not wanted": lambda: implicit((0x00081140, item(b"", undefined=False) * 8_000_000)),
    "offsets of fragments": lambda: frames(60_000, 60_001),
    "fragments": lambda: frames(2, 3_000_000),
    "fill bytes": lambda: jpeg_of(b"\xff" * 100_000_000),
    "segments": lambda: jpeg_of(b"\xff\xe5\0\2" * 15_000_000),
    "EXIF blocks": lambda: jpeg_of((b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)) * 1500),
    "scans": scans,
    "PNG chunks": lambda: png_of(chunk(b"teXt") * 5_000_000),
    "PNG texts": lambda: png_of(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000))) * 2000),
    "PNG profile": lambda: png_of(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200_000_000)))),
    "gzip members": lambda: gzip.compress(b"") * 500_000,
    "RLE that says nothing": lambda: rle(b"\x80" * 100_000_000),
}
CHEAP = ("offsets of fragments", "EXIF blocks", "scans", "PNG texts", "PNG profile", "gzip members")

CHILD = """
import re, sys, time, warnings
from pathlib import Path
warnings.simplefilter("error")
import fracture
from fracture.errors import InputError

def held(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

began, before = time.process_time(), held("VmRSS")
try:
    fracture.read(sys.argv[1])
except InputError as error:
    print(type(error).__name__)
print(time.process_time() - began, held("VmHWM") - before)
"""


@pytest.mark.parametrize("kind", FILES)
def test_within_five_seconds_and_one_gibibyte(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "film"
    data = FILES[kind]()
    path.write_bytes(data if kind in CHEAP else gzip.compress(data, 1))
    del data
    code, said, complaints = warm.run("-c", CHILD, str(path))
    assert (code, complaints) == (0, "")
    seconds, mebibytes = map(float, said.split()[-2:])
    assert seconds < SECONDS
    assert mebibytes < MEBIBYTES


def test_depth_is_bounded() -> None:
    assert read(implicit((0x00082218, b""))).bits == 12
    for depth in (MAX_DEPTH + 1, 5000):
        data = implicit()
        at = data.find(b"\x08\x00\x60\x00")
        with pytest.raises(UnreadableFileError, match="deep"):
            read(data[:at] + nested(depth) + data[at:])


def test_elements_are_bounded() -> None:
    data = implicit()
    at = data.find(b"\x08\x00\x60\x00")
    many = b"".join(struct.pack("<HHI", 8, 1, 0) for _ in range(1000))
    assert read(data[:at] + many + data[at:]).bits == 12
    began = time.process_time()
    with pytest.raises(UnreadableFileError, match="elements and items"):
        read(data[:at] + many * 600 + data[at:])
    assert time.process_time() - began < SECONDS


def test_a_value_that_is_too_long_is_left_out_and_told() -> None:
    found = read(implicit((0x00281050, b"1\\" * 20_000 + b"1 "), (0x00281051, b"100 ")))
    assert "WindowCenter is longer than any legal value; it was left out" in found.warnings
    assert np.array_equal(found.pixels, read(implicit(), window="percentile").pixels)


def test_many_members_and_many_fill_bytes_of_sound_files_are_read() -> None:
    data = jpeg_of(b"\xff" * 1000 + b"\xff\xfe\0\6some" * 500)
    assert np.array_equal(read(data).pixels, read(encoded(Image.fromarray(film()), "JPEG")).pixels)
    with pytest.raises(FractureError, match="members"):
        read(gzip.compress(b"") * 70_000)


def test_a_lack_of_memory_is_the_file_s_or_the_process_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that believes a number in its stream is told from a process that has no memory left."""

    def greedy(*_: object) -> None:
        np.empty(2**62, np.uint8)

    monkeypatch.setattr("fracture.io.images._decode_png", greedy)
    data = encoded(Image.fromarray(film()), "PNG")
    with pytest.raises(ImageSizeError, match="<bytes>: decoding it asks for more memory"):
        read(data)
    monkeypatch.setattr("fracture.io.quiet._ROOM", 2**62)
    with pytest.raises(MemoryError):
        read(data)
