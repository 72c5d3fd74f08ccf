"""Every file of the conformance set against what its index says a careful reader does with it."""

from __future__ import annotations

import csv
import functools
import hashlib
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fracture import read
from fracture.errors import FractureError, MultiFrameError, NotARadiographError
from fracture.io.dicom import decode_pixels
from fracture.io.dicom.decode import split_frames
from fracture.io.dicom.parse import parse
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.radiograph import Radiograph
from tests.conftest import SHARED
from tests.dicom import reference_jpeg

FOLDER = SHARED / "data" / "dicom"
ROWS = (
    list(csv.DictReader((FOLDER / "index.csv").read_text(encoding="utf-8").splitlines()))
    if (FOLDER / "index.csv").is_file()
    else []
)
LOSSY_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")

# HighBit 15 with 12 bits stored: the reference decoder of the index masks the low bits instead of shifting, which
# destroys the picture. Shifted, the file holds the very pixels of leg_explicit_le.
SHIFTED = {"derived/leg_highbit15_stored12.dcm": "derived/leg_explicit_le.dcm"}

pytestmark = pytest.mark.skipif(not ROWS, reason="needs the DICOM conformance files beside the project")


def row_of(file: str) -> dict[str, str]:
    return next(row for row in ROWS if row["file"] == file)


@functools.cache
def refused(file: str) -> bool:
    """Whether decoding the file is refused; filled by ``outcome``."""
    return isinstance(outcome(file), FractureError)


def outcome(file: str) -> np.ndarray | FractureError:
    try:
        return decode_pixels(FOLDER / file)
    except FractureError as error:
        return error


@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_decoding_does_what_the_index_says(row: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    started = time.process_time()
    found = outcome(row["file"])
    assert time.process_time() - started < 5.0
    assert capfd.readouterr() == ("", "")
    expect = row["expect"]
    if isinstance(found, FractureError):
        assert row["file"] in str(found)
        assert type(found) is not FractureError
        assert not expect.startswith(("decode", "tolerant decode"))
        return
    assert not expect.startswith("parse")
    assert expect != "error"
    assert not expect.startswith("error:")
    if "any result" in expect or not row["pixel_sha256"]:
        return
    assert "x".join(map(str, found.shape)) == row["pixel_shape"]
    if row["transfer_syntax"] in LOSSY_JPEG:
        return  # test_lossy_jpeg_agrees_with_a_second_decoder
    sha = row_of(SHIFTED.get(row["file"], row["file"]))["pixel_sha256"]
    little = found.astype(found.dtype.newbyteorder("<"))
    assert hashlib.sha256(little.tobytes()).hexdigest() == sha


def attempt(path: str) -> tuple[Radiograph | None, FractureError | None]:
    try:
        return read(path), None
    except FractureError as error:
        return None, error


@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_reading_gives_a_radiograph_or_one_error_with_the_file_s_name(
    row: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    path = str(FOLDER / row["file"])
    started = time.process_time()
    radiograph, error = attempt(path)
    if error is not None:
        assert path in str(error)
        assert error.__cause__ is None
        if row["expect"].startswith(("decode", "tolerant")):  # decodable, but not a plain radiograph
            assert isinstance(error, NotARadiographError | MultiFrameError)
            if row["NumberOfFrames"] in ("", "1") and row["PhotometricInterpretation"].startswith("MONO"):
                assert read(path, allow=("*",)).source == path
    if radiograph is not None:
        shape = row["pixel_shape"].split("x")
        assert len(shape) < 2 or radiograph.pixels.shape == tuple(map(int, shape))
        assert radiograph.source == path
    assert time.process_time() - started < 10.0
    assert capfd.readouterr() == ("", "")


def test_every_expected_refusal_is_one() -> None:
    """Counted once more from the index, so that no file slips through both tests above."""
    found = {row["file"] for row in ROWS if (FOLDER / row["file"]).stat().st_size < 1_000_000 and refused(row["file"])}
    must = {row["file"] for row in ROWS if row["expect"] == "error" or row["expect"].startswith(("error:", "parse"))}
    may = {row["file"] for row in ROWS if "any result" in row["expect"] or " or " in row["expect"]}
    assert len(ROWS) == 104
    assert must <= found <= must | may
    assert len(must) > 15


@pytest.mark.parametrize(
    ("file", "block_rows"),
    [
        ("derived/leg_8bit_jpeg_baseline.dcm", None),
        ("lut_and_layout/XA_96frames_jpeg_baseline.dcm", None),
        ("wg04/RG2_JPLY.dcm", 40),
        ("wg04/RG2_JPLY_fixed.dcm", 40),
        ("wg04/RG3_JPLY.dcm", 40),
    ],
)
def test_lossy_jpeg_agrees_with_a_second_decoder(file: str, block_rows: int | None) -> None:
    data, name = open_bytes(FOLDER / file, MAX_BYTES)
    parsed = parse(data, name, max_bytes=MAX_BYTES)
    frames = int(parsed.attributes.get("NumberOfFrames", 1))
    stream = split_frames(parsed.attributes["PixelData"], frames, name)[0]
    second = reference_jpeg.decode(stream, block_rows)
    found = decode_pixels(FOLDER / file)
    found = found if found.ndim == 2 else found[0]
    assert np.abs(found[: len(second)].astype(np.int64) - second).max() <= 2


@pytest.mark.parametrize(
    ("file", "like", "tolerance"),
    [
        ("leg_implicit_le.dcm", "leg_explicit_le.dcm", 0.0),
        ("leg_explicit_be.dcm", "leg_explicit_le.dcm", 0.0),
        ("leg_deflated.dcm", "leg_explicit_le.dcm", 0.0),
        ("leg_rle.dcm", "leg_explicit_le.dcm", 0.0),
        ("leg_jpegls.dcm", "leg_explicit_le.dcm", 0.0),
        ("leg_j2k_lossless.dcm", "leg_explicit_le.dcm", 0.0),
        ("leg_highbit15_stored12.dcm", "leg_explicit_le.dcm", 0.0),
        ("leg_nonsquare_spacing.dcm", "leg_explicit_le.dcm", 0.0),
        ("leg_imager_spacing_magnified.dcm", "leg_explicit_le.dcm", 0.0),
        ("leg_two_windows.dcm", "leg_explicit_le.dcm", 0.0),  # its first window is the same
        ("leg_8bit.dcm", "leg_explicit_le.dcm", 0.006),
        ("leg_8bit_jpeg_baseline.dcm", "leg_8bit.dcm", 0.1),
    ],
)
def test_derived_files_render_alike(file: str, like: str, tolerance: float) -> None:
    found, expected = read(FOLDER / "derived" / file), read(FOLDER / "derived" / like)
    assert np.abs(found.pixels - expected.pixels).max() <= tolerance


def test_polarity() -> None:
    """The same picture as MONOCHROME1 and, inverted, as MONOCHROME2.

    Both carry the window (550, 1024), which PS3.3 applies before the polarity. Mirrored about 1023 / 2 the window
    would be (474, 1024), so the two differ by at most 76 / 1023 in the file's own window, and by nothing in ours.
    """
    one, two = FOLDER / "derived" / "leg_explicit_le.dcm", FOLDER / "derived" / "leg_mono2_inverted.dcm"
    for window in ("raw", "percentile"):
        assert np.abs(read(one, window=window).pixels - read(two, window=window).pixels).max() < 1e-5
    first, second = read(one).pixels, read(two).pixels
    assert np.abs(first - second).max() <= 76 / 1023 + 1e-6
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.999


@functools.cache
def hand_film() -> Radiograph:
    return read(FOLDER / "clinical" / "CR_hand_PA_adult_J2KR.dcm")


def test_bone_is_bright() -> None:
    """The lower leg (MONOCHROME1) and the hand (MONOCHROME2): bone in the middle, air at the corner."""
    leg = read(FOLDER / "wg04" / "RG3_REF.dcm.gz").pixels
    hand = hand_film().pixels
    for pixels in (leg, hand):
        height, width = pixels.shape
        middle = pixels[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
        assert np.percentile(middle, 90) > np.percentile(pixels, 20) + 0.2


def test_what_the_files_say_about_themselves() -> None:
    hip = read(FOLDER / "wg04" / "RG2_REF.dcm.gz")
    assert (hip.regions, hip.region_source, hip.bits) == (("hip",), "dicom", 10)
    assert (hip.spacing, hip.spacing_source) == ((0.2, 0.2), "PixelSpacing")
    hand = hand_film()
    assert (hand.regions, hand.view) == (("hand",), "frontal")
    assert read(FOLDER / "wg04" / "RG2_RLE.dcm", region="femur").region_source == "caller"
    chest = read(FOLDER / "wg04" / "RG1_JLSN.dcm")
    assert (chest.regions, chest.region_source, chest.spacing) == ((), None, None)
    assert "PixelSpacing" in chest.warnings[0]
    uneven = read(FOLDER / "derived" / "leg_nonsquare_spacing.dcm")
    assert uneven.spacing == (0.3, 0.15)
    magnified = read(FOLDER / "derived" / "leg_imager_spacing_magnified.dcm")
    assert magnified.spacing == pytest.approx((0.16, 0.16))
    assert "Magnification" in str(magnified.spacing_source)
    headless = read(FOLDER / "clinical" / "CR_chest_headless_implicit.dcm")
    assert "transfer syntax" in headless.warnings[0]


def test_frames_are_chosen() -> None:
    path = FOLDER / "derived" / "leg_3frames.dcm"
    with pytest.raises(MultiFrameError, match="3 frames"):
        read(path)
    first, mirrored = read(path, frame=0).pixels, read(path, frame=1).pixels
    assert np.array_equal(first, read(FOLDER / "derived" / "leg_explicit_le.dcm").pixels)
    assert np.array_equal(mirrored, first[:, ::-1])
    with pytest.raises(MultiFrameError, match="0 to 2"):
        read(path, frame=3)
    xa = read(FOLDER / "lut_and_layout" / "XA_96frames_jpeg_baseline.dcm", frame=95, allow=("XA",))
    assert xa.pixels.shape == (512, 512)


def test_windows_of_a_file() -> None:
    path = FOLDER / "derived" / "leg_two_windows.dcm"
    wide, bone = read(path, window=0), read(path, window=1)
    assert np.array_equal(wide.pixels, read(path).pixels)
    assert bone.pixels.std() != wide.pixels.std()
    with pytest.raises(FractureError, match="2 windows"):
        read(path, window=2)
    lut = read(FOLDER / "lut_and_layout" / "MG_voi_lut_sequence_jpegll.dcm", window=3, allow=("MG",))
    auto = read(FOLDER / "lut_and_layout" / "MG_voi_lut_sequence_jpegll.dcm", allow=("MG",))
    assert np.array_equal(lut.pixels, auto.pixels)  # three windows come first, then the LUTs


def test_broken_files_cost_little_memory() -> None:
    tracemalloc.start()
    for path in sorted((FOLDER / "broken").glob("*.dcm")):
        tracemalloc.reset_peak()
        outcome(f"broken/{path.name}")
        assert tracemalloc.get_traced_memory()[1] < 200_000_000, path.name
    tracemalloc.stop()


def test_paths_of_every_kind_give_the_same_film(tmp_path: Path) -> None:
    import pydicom

    path = FOLDER / "derived" / "leg_j2k_lossless.dcm"
    expected = read(path).pixels
    assert np.array_equal(read(str(path)).pixels, expected)
    assert np.array_equal(read(path.read_bytes()).pixels, expected)
    assert np.array_equal(read(pydicom.dcmread(path)).pixels, expected)
    odd = tmp_path / "no_ending"
    odd.write_bytes(path.read_bytes())
    assert np.array_equal(read(odd).pixels, expected)
