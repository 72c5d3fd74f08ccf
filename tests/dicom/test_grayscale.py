"""The gray scale pipeline against PS3.3's formulas, worked out by hand in the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fracture import read
from fracture.errors import NotARadiographError, UnreadableFileError, UnsupportedError
from fracture.io.dicom import decode_pixels
from tests.dicom.builder import dataset, file_bytes, gradient, lut


def pixels_of(stored: np.ndarray | None = None, window: str | int = "auto", **attributes: Any) -> np.ndarray:
    return read(file_bytes(dataset(stored, **attributes)), window=window).pixels


def linear(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, the pseudo-code of the standard, for an output of 0 to 1."""
    below = values <= center - 0.5 - (width - 1) / 2
    above = values > center - 0.5 + (width - 1) / 2
    inside = (values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5
    return np.where(below, 0.0, np.where(above, 1.0, inside))


@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1000, 500), (100.5, 33.3), (2000, 2), (2000, 1)])
def test_linear_window(center: float, width: float) -> None:
    values = gradient().astype(float)
    found = pixels_of(WindowCenter=center, WindowWidth=width)
    assert np.allclose(found, linear(values, center, width), atol=1e-6)


def test_linear_exact_and_sigmoid() -> None:
    values = gradient().astype(float)
    exact = pixels_of(WindowCenter=1000, WindowWidth=500, VOILUTFunction="LINEAR_EXACT")
    assert np.allclose(exact, np.clip((values - 1000) / 500 + 0.5, 0, 1), atol=1e-6)
    narrow = pixels_of(WindowCenter=1000, WindowWidth=0.5, VOILUTFunction="LINEAR_EXACT")
    assert set(np.unique(narrow[np.abs(values - 1000) > 1])) == {0.0, 1.0}
    sigmoid = pixels_of(WindowCenter=1000, WindowWidth=500, VOILUTFunction="SIGMOID")
    assert np.allclose(sigmoid, 1 / (1 + np.exp(-4 * (values - 1000) / 500)), atol=1e-6)


def test_window_follows_the_rescale() -> None:
    values = gradient().astype(float) * 2 - 1024
    found = pixels_of(RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=2000, WindowWidth=3000)
    assert np.allclose(found, linear(values, 2000, 3000), atol=1e-6)


def test_negative_slope_turns_the_raw_scale() -> None:
    found = pixels_of(RescaleSlope=-1, RescaleIntercept=4095, window="raw")
    assert np.allclose(found, 1 - gradient() / 4095, atol=1e-6)


@pytest.mark.parametrize("window", ["auto", "raw", "percentile"])
def test_monochrome1_is_inverted_last(window: str) -> None:
    two = pixels_of(window=window, WindowCenter=1000, WindowWidth=500)
    one = pixels_of(window=window, WindowCenter=1000, WindowWidth=500, PhotometricInterpretation="MONOCHROME1")
    assert np.allclose(one, 1 - two, atol=1e-6)
    inverse = pixels_of(window=window, WindowCenter=1000, WindowWidth=500, PresentationLUTShape="INVERSE")
    assert np.array_equal(inverse, one)
    both = pixels_of(
        window=window,
        WindowCenter=1000,
        WindowWidth=500,
        PresentationLUTShape="INVERSE",
        PhotometricInterpretation="MONOCHROME1",
    )
    assert np.array_equal(both, one)  # PS3.3 C.8.11.3.1.2: for DX the two always stand together


@pytest.mark.parametrize(
    ("center", "width"),
    [(2048, 0), (2048, -100), (2048, 0.5), (float("nan"), 100), (-9000, 100), (99999, 5), ("x", 100)],
)
def test_illegal_windows_fall_back_and_are_told(center: float, width: float) -> None:
    made = dataset(WindowCenter=1, WindowWidth=1)
    made["WindowCenter"]._value, made["WindowWidth"]._value = center, width
    radiograph = read(made)
    assert np.array_equal(radiograph.pixels, pixels_of(window="percentile"))
    assert "window is illegal" in radiograph.warnings[0]


def test_the_first_valid_window_is_taken() -> None:
    found = pixels_of(WindowCenter=[0, 1000], WindowWidth=[0, 500])
    assert np.array_equal(found, pixels_of(WindowCenter=1000, WindowWidth=500))


def test_voi_lut_goes_before_the_window() -> None:
    entries = (np.linspace(0, 1, 4096) ** 2 * 65535).astype(int)
    made = {"VOILUTSequence": lut([4096, 0, 16], entries.tolist()), "WindowCenter": 1, "WindowWidth": 2}
    assert np.allclose(pixels_of(**made), entries[gradient()] / 65535, atol=1e-6)
    assert np.allclose(pixels_of(window=1, **made), entries[gradient()] / 65535, atol=1e-6)
    assert np.allclose(pixels_of(window=0, **made), linear(gradient().astype(float), 1, 2), atol=1e-6)


def test_lut_beyond_its_ends_and_as_bytes() -> None:
    entries = np.arange(100, 1124, dtype="<u2")
    for data in (entries.tolist(), entries.tobytes()):
        found = pixels_of(VOILUTSequence=lut([1024, 500, 11], data))
        expected = (100 + np.clip(gradient().astype(int) - 500, 0, 1023)) / 2047
        assert np.allclose(found, expected, atol=1e-6)


def test_8_bit_lut_packed_in_words() -> None:
    entries = np.arange(256, dtype=np.uint8)[::-1]
    stored = gradient(top=255).astype(np.uint8)
    found = pixels_of(stored, VOILUTSequence=lut([256, 0, 8], entries.tobytes()))
    assert np.allclose(found, entries[stored] / 255, atol=1e-6)


def test_lut_with_wrong_bits() -> None:
    """16 bits declared, 12 used: taken by their use, so that the film does not turn black."""
    entries = np.arange(4096)
    found = pixels_of(VOILUTSequence=lut([4096, 0, 16], entries.tolist()))
    assert np.allclose(found, gradient() / 4095, atol=1e-6)


def test_lut_of_65536_entries() -> None:
    stored = gradient(top=65535)
    entries = np.arange(65536)[::-1].astype("<u2")
    found = pixels_of(stored, VOILUTSequence=lut([0, 0, 16], entries.tobytes()))
    assert np.allclose(found, 1 - stored / 65535, atol=1e-6)


def test_modality_lut_with_a_negative_first_value() -> None:
    stored = np.linspace(-2048, 2047, 512).round().astype(np.int16).reshape(16, 32)
    entries = np.arange(4096) * 16
    made = {"ModalityLUTSequence": lut([4096, -2048, 16], entries.tolist()), "BitsStored": 12}
    found = pixels_of(stored, WindowCenter=32768, WindowWidth=65536, **made)
    assert np.allclose(found, linear(entries[stored.astype(int) + 2048].astype(float), 32768, 65536), atol=1e-6)
    raw = pixels_of(stored, window="raw", **made)
    assert np.allclose(raw, entries[stored.astype(int) + 2048] / 65535, atol=1e-6)


@pytest.mark.parametrize("descriptor", [[4096, 0], [4096, 0, 16], [5000, 0, 16], [4, 0, 0]])
def test_malformed_luts_are_left_out_and_told(descriptor: list[int]) -> None:
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        sequence = lut(descriptor if len(descriptor) == 3 else [4096, 0, 16], [1, 2, 3, 4])
        sequence[0].LUTDescriptor = descriptor
        radiograph = read(dataset(**{keyword: sequence}))
        assert np.array_equal(radiograph.pixels, pixels_of(window="percentile"))
        assert "LUT is empty or malformed" in radiograph.warnings[0]


def test_percentile_window_ignores_padding() -> None:
    stored = gradient(40, 40, top=3000)
    stored[:20] = 4095
    found = pixels_of(stored, PixelPaddingValue=4095)
    low, high = np.percentile(stored[20:], (0.5, 99.5))
    assert np.allclose(found[20:], np.clip((stored[20:] - low) / (high - low), 0, 1), atol=1e-5)
    assert not found[:20].any()
    ranged = pixels_of(stored, PixelPaddingValue=4000, PixelPaddingRangeLimit=4095)
    assert np.array_equal(ranged, found)


def test_signed_padding() -> None:
    stored = np.linspace(-100, 100, 512).round().astype(np.int16).reshape(16, 32)
    stored[0] = -2000
    found = pixels_of(stored, PixelPaddingValue=-2000)
    assert not found[0].any()
    assert found[1:].max() == 1.0


def test_a_film_of_one_value_is_told() -> None:
    radiograph = read(dataset(np.full((8, 8), 77, np.uint16)))
    assert "same value" in radiograph.warnings[0]


@given(st.integers(1, 16), st.booleans(), st.data())
@settings(max_examples=60, deadline=None)
def test_any_depth_sign_and_high_bit(stored_bits: int, signed: bool, data: st.DataObject) -> None:
    """Values survive wherever the significant bits lie in their container, whatever fills the rest."""
    high = data.draw(st.integers(stored_bits - 1, 15))
    low_end, high_end = (-(1 << stored_bits - 1), (1 << stored_bits - 1) - 1) if signed else (0, (1 << stored_bits) - 1)
    values = np.array(data.draw(st.lists(st.integers(low_end, high_end), min_size=6, max_size=6))).reshape(2, 3)
    junk = np.array(data.draw(st.lists(st.integers(0, 65535), min_size=6, max_size=6))).reshape(2, 3)
    shift = high + 1 - stored_bits
    mask = ((1 << stored_bits) - 1) << shift
    container = (((values << shift) & mask) | (junk & ~mask & 0xFFFF)).astype(np.uint16)
    made = file_bytes(
        dataset(
            container, BitsStored=stored_bits, HighBit=high, PixelRepresentation=int(signed), PixelPaddingValue=None
        )
    )
    found = decode_pixels(made)
    assert found.dtype == (np.int16 if signed else np.uint16)
    assert np.array_equal(found, values)
    raw = read(made, window="raw").pixels
    assert np.allclose(raw, (values - low_end) / (high_end - low_end), atol=1e-6)


def test_32_bit_pixels() -> None:
    stored = (np.arange(64, dtype=np.uint32) * 60_000_000).reshape(8, 8)
    found = pixels_of(stored, window="raw")
    assert np.allclose(found, stored / (2.0**32 - 1), atol=1e-6)
    assert pixels_of(stored).max() == 1.0


def rgb(red: np.ndarray, green: np.ndarray, blue: np.ndarray, **attributes: Any) -> Any:
    stack = np.dstack([red, green, blue]).astype(np.uint8)
    values = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB", **attributes}
    return dataset(red.astype(np.uint8), PixelData=stack.tobytes(), **values)


def test_color_that_is_gray() -> None:
    gray = gradient(top=255).astype(np.uint8)
    expected = pixels_of(gray, window="raw")
    assert np.array_equal(read(rgb(gray, gray, gray), window="raw").pixels, expected)
    planar = rgb(gray, gray, gray, PlanarConfiguration=1)
    planar.PixelData = gray.tobytes() * 3
    assert np.array_equal(read(planar, window="raw").pixels, expected)
    neutral = np.full_like(gray, 128)
    ybr = rgb(gray, neutral, neutral, PhotometricInterpretation="YBR_FULL")
    assert np.allclose(read(ybr, window="raw").pixels, expected, atol=1 / 255)
    with pytest.raises(NotARadiographError, match="color"):
        read(rgb(gray, 255 - gray, gray))
    with pytest.raises(NotARadiographError, match="color"):
        read(rgb(gray, gray, gray, PhotometricInterpretation="YBR_FULL"))


def test_palette() -> None:
    index = gradient(top=255).astype(np.uint8)
    ramp = np.arange(256, dtype="<u2") * 257
    attributes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color in ("Red", "Green", "Blue"):
        attributes[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        attributes[f"{color}PaletteColorLookupTableData"] = ramp.tobytes()
    assert np.allclose(pixels_of(index, window="raw", **attributes), index / 255, atol=1e-6)
    attributes["RedPaletteColorLookupTableData"] = ramp[::-1].tobytes()
    with pytest.raises(NotARadiographError, match="color"):
        pixels_of(index, **attributes)
    with pytest.raises(UnsupportedError, match="palette"):
        pixels_of(index, PhotometricInterpretation="PALETTE COLOR")


def test_native_pixels_too_short() -> None:
    with pytest.raises(UnreadableFileError, match="truncated; got 100 bytes"):
        read(file_bytes(dataset(PixelData=bytes(100))))
