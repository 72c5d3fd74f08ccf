"""Damaged files, files that lie, and files that would tell a secret."""

from __future__ import annotations

import contextlib
import logging
import random
import struct
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ImplicitVRLittleEndian

from fracture import read
from fracture.errors import FractureError, NotARadiographError, UnreadableFileError, UnsupportedError
from fracture.io.dicom.codestream import jpeg2000_header
from fracture.io.jpeg import jpeg_header, sound_jpeg
from tests.dicom.builder import SECRETS, code, dataset, file_bytes, gradient, lut

TELLTALES = (
    "Zyxwvut",
    "Quentina",
    "4711",
    "19330217",
    "20190813",
    "998877",
    "777666555",
    "Secrets",
    "Hidden",
    "ladder",
)


def tells(error: BaseException, log: str = "") -> str:
    """All text that a user or a log file would see of a failure."""
    shown = "".join(traceback.format_exception(error))
    return "\n".join((shown, str(error), repr(error), str(error.args), log))


def assert_keeps_secrets(text: str) -> None:
    assert not [word for word in TELLTALES if word.lower() in text.lower()]


FAULTS: dict[str, dict[str, Any]] = {
    "modality": {"Modality": "CT"},
    "modality holds the name": {"Modality": "Zyxwvut^Quentina"},
    "photometric holds the name": {"PhotometricInterpretation": "Zyxwvut^Quentina"},
    "no photometric": {"PhotometricInterpretation": None},
    "transfer syntax is the study": {"TransferSyntaxUID": SECRETS["StudyInstanceUID"]},
    "no pixels": {"PixelData": None},
    "short pixels": {"PixelData": b"Zyxwvut^Quentina"},
    "frames": {"NumberOfFrames": 3, "PixelData": gradient().tobytes() * 3},
    "rows": {"Rows": None},
    "bits": {"BitsStored": 33},
    "color": {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 1, "Rows": 5},
    "compressed text": {
        "TransferSyntaxUID": "1.2.840.10008.1.2.4.90",
        "PixelData": encapsulate([b"Zyxwvut^Quentina" * 10]),
    },
    "a window that is no number": {"WindowCenter": "1", "WindowWidth": "0"},
    "a malformed LUT": {"VOILUTSequence": lut([4, 0, 16], [1, 2])},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_failure_tells_a_secret(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = file_bytes(dataset(**FAULTS[fault]))
    assert b"Zyxwvut" in made
    caplog.clear()  # pydicom logs what the builder does
    try:
        radiograph = read(made)
    except FractureError as error:
        assert_keeps_secrets(tells(error, caplog.text))
    else:
        assert radiograph.warnings
        assert_keeps_secrets("\n".join((*radiograph.warnings, repr(radiograph), caplog.text)))


def test_attributes_that_hold_secrets_are_not_repeated() -> None:
    """A technician typed the name where the body part belongs."""
    made = dataset(
        BodyPartExamined="Zyxwvut",
        ViewPosition="Quentina",
        Laterality="Zyxwvut",
        AnatomicRegionSequence=[code("4711", meaning="Quentina")],
    )
    radiograph = read(file_bytes(made))
    shown = (radiograph.source, radiograph.regions, radiograph.view, radiograph.laterality, radiograph.warnings)
    assert_keeps_secrets(repr(shown))


def test_random_damage_to_the_header_tells_no_secret(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    refused = 0
    for implicit in (False, True):
        made = dataset(**({"TransferSyntaxUID": ImplicitVRLittleEndian} if implicit else {}))
        data = file_bytes(made)
        for seed in range(250):
            dice = random.Random(seed)
            broken = bytearray(data)
            for _ in range(dice.choice([1, 2, 6, 20])):
                broken[dice.randrange(128, len(data) - 1024)] = dice.randrange(256)
            if seed % 10 == 0:
                broken = broken[: dice.randrange(132, len(broken))]
            try:
                radiograph = read(bytes(broken), frame=0)
            except FractureError as error:
                refused += 1
                assert_keeps_secrets(tells(error))
            else:
                assert_keeps_secrets("\n".join(radiograph.warnings))
    assert refused > 100
    assert_keeps_secrets(caplog.text)
    assert capfd.readouterr() == ("", "")


def test_the_error_names_the_path_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "film.dcm").write_bytes(file_bytes(dataset(Rows=None)))
    monkeypatch.chdir(tmp_path)
    for path in ("film.dcm", "./film.dcm", str(tmp_path / "film.dcm")):
        with pytest.raises(UnreadableFileError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")


COMPRESSED = (
    "derived/leg_j2k_lossless.dcm",
    "derived/leg_jpegls.dcm",
    "derived/leg_rle.dcm",
    "derived/leg_8bit_jpeg_baseline.dcm",
    "lut_and_layout/htj2k_lossless_rgb.dcm",
    "lut_and_layout/OT_modality_and_voi_lut_16bit_jpegll.dcm",
)


@pytest.mark.parametrize("file", COMPRESSED)
def test_damaged_codestreams_neither_crash_nor_print(
    file: str, shared_dicom: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A bounded fuzz of each decoder: bytes replaced in the header of the codestream and in its body."""
    data = (shared_dicom / file).read_bytes()
    start = max(data.find(b"\xff\xd8\xff"), data.find(b"\xff\x4f\xff\x51"), len(data) // 5 if "rle" in file else -1)
    for seed in range(40):
        dice = random.Random(seed)
        broken = bytearray(data)
        reach = 160 if seed % 2 else len(data) - start
        for _ in range(dice.choice([1, 2, 5, 50])):
            broken[start + dice.randrange(reach)] = dice.randrange(256)
        began = time.process_time()
        with contextlib.suppress(UnreadableFileError, UnsupportedError, NotARadiographError):
            assert np.isfinite(read(bytes(broken), allow=("*",)).pixels).all()
        assert time.process_time() - began < 5.0
    assert capfd.readouterr() == ("", "")


def test_a_stream_at_which_gdcm_would_end_the_process(shared_dicom: Path) -> None:
    """A JFIF revision of 8: libjpeg warns, and GDCM throws through its own bindings."""
    data = bytearray((shared_dicom / "lut_and_layout/OT_modality_and_voi_lut_16bit_jpegll.dcm").read_bytes())
    expected = read(bytes(data)).pixels
    at = data.find(b"JFIF\0") + 5
    data[at] = 8
    assert np.array_equal(read(bytes(data)).pixels, expected)


def jpeg2000(**sizes: int) -> bytes:
    """The head of a codestream with chosen numbers in its SIZ marker."""
    values = {"w": 32, "h": 16, "x": 0, "y": 0, "tw": 32, "th": 16, "tx": 0, "ty": 0, "samples": 1, **sizes}
    siz = struct.pack(">HHIIIIIIIIH", 41, 0, *list(values.values()))
    return b"\xff\x4f\xff\x51" + siz + bytes((11, 1, 1)) + bytes(50)


@pytest.mark.parametrize(
    "sizes",
    [
        {"w": 4_000_000_000, "h": 4_000_000_000},
        {"tw": 0},
        {"tw": 1, "th": 1, "w": 60000, "h": 60000},
        {"x": 32},
        {"samples": 16384},
        {"samples": 0},
        {"h": 17},
    ],
)
def test_jpeg2000_that_lies_about_its_size(sizes: dict[str, int]) -> None:
    made = dataset(TransferSyntaxUID="1.2.840.10008.1.2.4.90", PixelData=encapsulate([jpeg2000(**sizes)]))
    began = time.process_time()
    with pytest.raises(UnreadableFileError, match=r"contradict the header|no valid header"):
        read(file_bytes(made))
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("syntax", ["50", "51", "57", "70", "80", "81"])
def test_jpeg_that_lies_about_its_size(syntax: str) -> None:
    head = b"\xff\xd8\xff" + (b"\xf7" if syntax in ("80", "81") else b"\xc3")
    stream = head + struct.pack(">HBHHB", 11, 12, 65535, 65535, 1) + b"\x01\x11\x00" + bytes(40)
    made = dataset(TransferSyntaxUID=f"1.2.840.10008.1.2.4.{syntax}", PixelData=encapsulate([stream]))
    with pytest.raises(UnreadableFileError, match="got 65535 x 65535 x 1; allowed: 32 x 16 x 1"):
        read(file_bytes(made))


def test_codestream_headers() -> None:
    assert jpeg2000_header(jpeg2000()) is not None
    assert jpeg2000_header(jpeg2000(samples=5)) is None
    assert jpeg_header(b"") is None
    assert jpeg_header(b"\xff\xd8" + b"\xff" * 40) is None
    assert jpeg_header(b"\xff\xd8\xff\xda" + bytes(20)) is None
    for cut in range(60):
        assert jpeg2000_header(jpeg2000()[:cut]) is None or cut >= 45


def huffman(counts: list[int], symbols: bytes, *, kind: int = 0) -> bytes:
    body = bytes((kind, *counts)) + symbols
    return b"\xff\xc4" + struct.pack(">H", 2 + len(body)) + body


def lossless(table: bytes, *, scan: bytes = b"\x01\x01\x00\x01\x00\x00", entropy: bytes = b"\x12\x34") -> bytes:
    frame = b"\xff\xc3" + struct.pack(">HBHHB", 11, 12, 16, 32, 1) + b"\x01\x11\x00"
    return b"\xff\xd8" + table + frame + b"\xff\xda" + struct.pack(">H", 8) + scan + entropy + b"\xff\xd9"


def test_only_sound_streams_reach_gdcm() -> None:
    good = huffman([0, 1, 5, *[0] * 13], bytes(range(6)))
    assert sound_jpeg(lossless(good)) == (lossless(good), True)
    comment = b"\xff\xfe\x00\x06secr"
    assert sound_jpeg(lossless(comment + good)) == (lossless(good), True)
    assert sound_jpeg(lossless(good)[:-2]) == (lossless(good), False)  # its end marker is put back
    assert sound_jpeg(lossless(good, entropy=b"\x12\xff\x00\x34")) is not None
    unsound = [
        lossless(b""),  # no table
        lossless(huffman([3, *[0] * 15], bytes(3))),  # three codes of one bit
        lossless(huffman([0, 1, 5, *[0] * 13], bytes(5))),  # a symbol too few
        lossless(huffman([1, *[0] * 15], b"\x11")),  # a difference of 17 bits
        lossless(huffman([0, 1, 5, *[0] * 13], bytes(range(6)), kind=0x10)),  # the wrong class
        lossless(good, scan=b"\x01\x01\x10\x01\x00\x00"),  # names a table that is not there
        lossless(good, scan=b"\x01\x02\x00\x01\x00\x00"),  # names a component that is not there
        lossless(good, scan=b"\x01\x01\x00\x09\x00\x00"),  # a predictor that does not exist
        lossless(good, entropy=b"\x12\xff\xc4\x34"),  # a marker within the scan
        lossless(good, entropy=b"\x12\xff\xd0\x34"),  # a restart that was not announced
        lossless(good, entropy=b""),
        lossless(b"\x00" + good),
    ]
    assert [sound_jpeg(stream) for stream in unsound] == [None] * len(unsound)


@pytest.mark.parametrize(
    "pixel_data",
    [
        b"\xfe\xff\x00\xe0" + struct.pack("<I", 0xFFFF),
        b"\xfe\xff\x00\xe0" + struct.pack("<I", 0),
        b"nonsense" * 4,
        b"\xfe\xff\x00\xe0" + struct.pack("<I", 0) + b"\xfe\xff\x00\xe0" + struct.pack("<I", 4096),
    ],
)
def test_encapsulation_that_is_damaged(pixel_data: bytes) -> None:
    made = dataset(TransferSyntaxUID="1.2.840.10008.1.2.4.90")
    made.PixelData = pixel_data
    made["PixelData"].VR = "OB"
    with pytest.raises(UnreadableFileError):
        read(made)


def test_fragments_are_put_together(shared_dicom: Path) -> None:
    import pydicom
    from pydicom.encaps import generate_frames

    source = pydicom.dcmread(shared_dicom / "derived/leg_8bit_jpeg_baseline.dcm")
    frame = next(generate_frames(source.PixelData, number_of_frames=1))
    expected = read(source).pixels
    source.PixelData = encapsulate([frame], fragments_per_frame=5)
    assert np.array_equal(read(source).pixels, expected)
    for has_table in (True, False):  # with offsets, and by start markers
        source.PixelData = encapsulate([frame, frame], fragments_per_frame=5, has_bot=has_table)
        source.NumberOfFrames = 2
        assert np.array_equal(read(source, frame=1).pixels, expected)


def test_headless_files(shared_dicom: Path) -> None:
    data = file_bytes(dataset())
    start = data.find(b"\x08\x00\x16\x00")
    expected = read(data).pixels
    assert np.array_equal(read(data[128:]).pixels, expected)  # "DICM" and on
    assert np.array_equal(read(data[132:]).pixels, expected)  # meta information and on
    assert np.array_equal(read(data[start:]).pixels, expected)  # the data set alone
    implicit = file_bytes(dataset(TransferSyntaxUID=ImplicitVRLittleEndian))
    assert np.array_equal(read(implicit[implicit.find(b"\x08\x00\x16\x00") :]).pixels, expected)
    big = file_bytes(dataset(gradient().byteswap(), TransferSyntaxUID="1.2.840.10008.1.2.2", BitsStored=12))
    radiograph = read(big[big.find(b"\x00\x08\x00\x16") :])
    assert radiograph.warnings == ("the file declares no transfer syntax; it was recognized from the data",)
    assert np.array_equal(radiograph.pixels, read(big).pixels)


def test_c_stderr_is_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    import ctypes
    import sys

    from fracture.io.quiet import c_stderr_closed

    if not sys.platform.startswith("linux"):
        pytest.skip("the C library's stderr is exchanged on Linux only")
    library = ctypes.CDLL(None)
    stderr = ctypes.c_void_p.in_dll(library, "stderr")
    with c_stderr_closed():
        library.fputs(b"hidden", ctypes.c_void_p(ctypes.c_void_p.in_dll(library, "stderr").value))
        print("python still speaks", file=sys.stderr)  # noqa: T201
    library.fputs(b"shown", stderr)
    library.fflush(None)
    printed = capfd.readouterr().err
    assert "python still speaks" in printed
    assert "shown" in printed
    assert "hidden" not in printed
