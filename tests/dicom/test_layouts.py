"""Stored values wherever the bits lie and whatever else a file holds; pydicom, where it reads a file, is the judge."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ImplicitVRLittleEndian

from fracture import read
from fracture.errors import UnreadableFileError
from fracture.io.dicom import decode_pixels
from tests.dicom.builder import dataset, file_bytes, gradient, lossless_jpeg, lut

JPEG, LOSSLESS, JPEG_LS, J2K, RLE = (f"1.2.840.10008.1.2.{tail}" for tail in ("4.50", "4.70", "4.80", "4.90", "5"))
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def compressed(stream: bytes, like: np.ndarray, syntax: str, **attributes: Any) -> Dataset:
    made = dataset(like, TransferSyntaxUID=syntax, **attributes)
    made.PixelData = encapsulate([stream])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return made


def jpeg_ls(pixels: np.ndarray) -> bytes:
    import jpeg_ls

    return bytes(jpeg_ls.encode_array(np.ascontiguousarray(pixels)))


def jpeg_2000(pixels: np.ndarray, bits: int = 16) -> bytes:
    from openjpeg.utils import encode_array

    return bytes(encode_array(pixels, photometric_interpretation=2, bits_stored=bits))


def baseline(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


CODECS = {
    LOSSLESS: lambda pixels: lossless_jpeg(pixels[..., None], 16),
    JPEG_LS: jpeg_ls,
    J2K: jpeg_2000,
}


@pytest.mark.parametrize("syntax", CODECS)
@pytest.mark.parametrize("high", [11, 13, 15])
def test_bits_above_and_below_the_stored_ones_are_dropped(syntax: str, high: int) -> None:
    """PS3.5 8.1.1: overlays in unused bits are no pixels, native or compressed (faults 01)."""
    values, shift = gradient(64, 64), high - 11
    container = ((values << shift) | (0 if high == 15 else 0x8000) | (1 if shift else 0)).astype(np.uint16)
    native = dataset(container, BitsStored=12, HighBit=high, **WINDOW)
    made = compressed(CODECS[syntax](container), container, syntax, BitsStored=12, HighBit=high, **WINDOW)
    assert np.array_equal(decode_pixels(file_bytes(made)), values)
    assert np.array_equal(read(file_bytes(made)).pixels, read(native).pixels)


@pytest.mark.parametrize("syntax", CODECS)
def test_the_sign_is_that_of_the_stored_bits(syntax: str) -> None:
    """12 signed bits in 16, zeros or anything above them (faults 32)."""
    values = (gradient(64, 64).astype(int) - 2048).astype(np.int16)
    container = (values.view(np.uint16) & 0x0FFF) | np.uint16(0x4000)
    made = compressed(CODECS[syntax](container), values, syntax, BitsStored=12)
    assert np.array_equal(decode_pixels(file_bytes(made)), values)
    extended = compressed(CODECS[syntax](values.view(np.uint16)), values, syntax, BitsStored=12)
    assert np.array_equal(decode_pixels(file_bytes(extended)), values)


def test_a_lossy_codec_that_overshoots_keeps_white_white() -> None:
    """Masked, 4097 of 12 bits would be 1."""
    values = np.full((32, 32), 4095, np.uint16)
    values[:, 16:] += 2
    from openjpeg.utils import encode_array

    stream = encode_array(values, photometric_interpretation=2, bits_stored=16, compression_ratios=[1.0001])
    made = compressed(bytes(stream), values, "1.2.840.10008.1.2.4.91", BitsStored=12)
    assert decode_pixels(file_bytes(made)).min() > 4000


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_8_bit_pixels_in_big_endian_words(vr: str) -> None:
    """OW swaps bytes in pairs, OB does not (faults 02)."""
    values = gradient(15, 31, top=255).astype(np.uint8)
    raw = values.tobytes() + b"\0"
    stored = np.frombuffer(raw, "<u2").astype(">u2").tobytes() if vr == "OW" else raw
    made = dataset(values, TransferSyntaxUID="1.2.840.10008.1.2.2", PixelData=stored)
    made["PixelData"].VR = vr
    data = file_bytes(made)
    assert np.array_equal(pydicom.dcmread(io.BytesIO(data)).pixel_array, values)
    assert np.array_equal(decode_pixels(data), values)


def test_jfif_goes_before_a_header_that_says_rgb() -> None:
    """Faults 03: JFIF knows YCbCr alone; pydicom reads it so, DCMTK goes by the header."""
    gray = gradient(64, 64, top=255).astype(np.uint8)
    color = np.dstack([gray] * 3)
    made = compressed(
        baseline(color), gray, JPEG, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB"
    )
    assert np.abs(read(file_bytes(made), window="raw").pixels * 255 - gray).max() < 4


@pytest.mark.parametrize(("vr", "value"), [("SS", -2000), ("US", 63536), ("US", 2096)])
def test_padding_in_either_sign(vr: str, value: int) -> None:
    """Faults 04: 63536 and -2000 are the same 16 bits, and 2096 the same 12."""
    values = np.linspace(-1000, 1000, 512).round().astype(np.int16).reshape(16, 32)
    values[0] = -2000
    made = dataset(values, BitsStored=12, PhotometricInterpretation="MONOCHROME1")
    made.add_new("PixelPaddingValue", vr, value)
    found = read(file_bytes(made)).pixels
    assert not found[0].any()
    assert found[1].max() == 1.0


def test_negative_padding_of_unsigned_pixels() -> None:
    values = gradient(top=60000)
    values[0] = 65535
    made = dataset(values)
    made.add_new("PixelPaddingValue", "SS", -1)
    assert not read(file_bytes(made)).pixels[0].any()


@pytest.mark.parametrize("storage", ["12.1", "12.2", "12.3"])
def test_fluoroscopy_is_shown_without_its_modality_lut(storage: str) -> None:
    """Faults 05: it leads back to linear values for subtraction; DCMTK leaves it out as well."""
    uid = f"1.2.840.10008.5.1.4.1.1.{storage}"
    cube = (65535 * (np.arange(4096) / 4095.0) ** 3).astype(int).tolist()
    plain = read(dataset(Modality="RF", SOPClassUID=uid, **WINDOW)).pixels
    table = dataset(Modality="RF", SOPClassUID=uid, ModalityLUTSequence=lut([4096, 0, 16], cube), **WINDOW)
    rescaled = dataset(Modality="RF", SOPClassUID=uid, RescaleSlope=0.5, RescaleIntercept=9, **WINDOW)
    for made in (table, rescaled):
        assert np.array_equal(read(file_bytes(made)).pixels, plain)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
def test_a_voi_lut_that_begins_below_zero(signed: bool, implicit: bool) -> None:
    """Faults 06: its first value may be written as unsigned, in implicit VR always."""
    stored = gradient()
    values = stored.astype(int) - 2048
    entries = (65535 * (np.arange(4096) / 4095.0) ** 2).astype(int)
    table = lut([4096, -2048, 16], entries.tolist())
    if not signed:
        table[0].add_new("LUTDescriptor", "US", [4096, 65536 - 2048, 16])
    made = dataset(
        values.astype(np.int16) if signed else stored,
        BitsStored=12,
        VOILUTSequence=table,
        **({} if signed else {"RescaleIntercept": -2048, "RescaleSlope": 1}),
        **({"TransferSyntaxUID": ImplicitVRLittleEndian} if implicit else {}),
    )
    assert np.allclose(read(file_bytes(made)).pixels, entries[stored] / 65535, atol=1e-6)


@pytest.mark.parametrize("factor", [0x11, 0x21, 0x22])
def test_sampling_factors_of_a_single_component_mean_nothing(factor: int) -> None:
    """ISO/IEC 10918-1 A.2.2 (faults 07)."""
    values = gradient()
    made = compressed(lossless_jpeg(values[..., None], 12, factor=factor), values, LOSSLESS)
    assert np.array_equal(decode_pixels(file_bytes(made)), values)


def test_a_missing_end_marker_is_forgiven_and_missing_pixels_are_not() -> None:
    values = gradient()
    full = lossless_jpeg(values[..., None], 12)
    for ending in (b"", b"\0" * 32):
        made = compressed(full[:-2] + ending, values, LOSSLESS)
        assert np.array_equal(decode_pixels(file_bytes(made)), values)
    for cut in (6, 60):
        with pytest.raises(UnreadableFileError, match="truncated"):
            decode_pixels(file_bytes(compressed(full[:-cut], values, LOSSLESS)))
    gray = gradient(64, 64, top=255).astype(np.uint8)
    whole = baseline(gray)
    expected = decode_pixels(file_bytes(compressed(whole, gray, JPEG)))
    assert np.array_equal(decode_pixels(file_bytes(compressed(whole[:-2], gray, JPEG))), expected)
    with pytest.raises(UnreadableFileError, match="truncated"):
        decode_pixels(file_bytes(compressed(whole[:-40], gray, JPEG)))


def test_jpeg_ls_without_its_end_ends_nevertheless() -> None:
    """CharLS would look for the missing data for ever."""
    values = gradient(32, 32)
    full = jpeg_ls(values)
    assert np.array_equal(decode_pixels(file_bytes(compressed(full[:-2], values, JPEG_LS))), values)
    for cut in range(4, len(full) - 30, 7):
        for ending in (b"", b"\xff", bytes(20)):
            with pytest.raises(UnreadableFileError):
                decode_pixels(file_bytes(compressed(full[:-cut] + ending, values, JPEG_LS)))


@pytest.mark.parametrize("tail", [b"", b"\0" * 8, b"\xfe\xff\xdd\xe0\xff\xff\xff\xff", b"\xfc\xff\xfc\xffOB\0\0"])
def test_a_missing_sequence_delimiter_at_the_end(tail: bytes) -> None:
    """Faults 08."""
    values = gradient()
    data = file_bytes(compressed(jpeg_ls(values), values, JPEG_LS))
    assert data.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    assert np.array_equal(decode_pixels(data[:-8] + tail), values)
    with pytest.raises(UnreadableFileError, match="truncated"):
        decode_pixels(data[:-20])


def test_a_missing_delimiter_of_another_sequence() -> None:
    made = dataset(VOILUTSequence=lut([4096, 0, 16], list(range(4096))))
    made["VOILUTSequence"].is_undefined_length = True
    data = file_bytes(made)
    assert data.count(b"\xfe\xff\xdd\xe0\0\0\0\0") == 1
    assert np.array_equal(read(data.replace(b"\xfe\xff\xdd\xe0\0\0\0\0", b"")).pixels, read(data).pixels)


def test_native_ybr_full_422() -> None:
    """Faults 27: two luminances, then the colors that both pixels share."""
    gray = gradient(16, 32, top=255).astype(np.uint8)
    raw = np.full((16, 16, 4), 128, np.uint8)
    raw[..., :2] = gray.reshape(16, 16, 2)
    made = dataset(gray, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="YBR_FULL_422")
    made.PixelData = raw.tobytes()
    found = decode_pixels(file_bytes(made))
    assert found.shape == (16, 32, 3)
    assert np.array_equal(found[..., 0], gray)
    assert np.abs(read(file_bytes(made), window="raw").pixels * 255 - gray).max() < 1
    made.PixelData = raw.tobytes()[:-4]
    with pytest.raises(UnreadableFileError, match="truncated"):
        read(file_bytes(made))


def test_lossless_jpeg_in_color() -> None:
    gray = gradient(16, 32, top=255).astype(np.uint8)
    color = np.dstack([gray, gray, np.minimum(gray, 254)])
    options = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    made = compressed(lossless_jpeg(color, 8), gray, LOSSLESS, **options)
    assert np.array_equal(decode_pixels(file_bytes(made)), color)
    assert np.array_equal(np.rint(read(file_bytes(made), window="raw").pixels * 255), gray)


@pytest.mark.parametrize("syntax", [LOSSLESS, JPEG_LS, J2K, RLE])
def test_compressed_pixels_of_a_data_set_that_lost_its_meta_information(syntax: str) -> None:
    """Faults 26: what compressed them shows in the pixels."""
    values = gradient(64, 64)
    if syntax == RLE:
        made = dataset(values)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.compress(RLE, encoding_plugin="pydicom")
    else:
        made = compressed(CODECS[syntax](values), values, syntax)
    expected = read(file_bytes(made)).pixels
    loaded = pydicom.dcmread(io.BytesIO(file_bytes(made)))
    del loaded.file_meta
    found = read(loaded)
    assert np.array_equal(found.pixels, expected)
    assert "compressed" in found.warnings[0]
