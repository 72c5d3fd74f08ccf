"""PNG, JPEG and TIFF: every depth without loss, orientation, color, and damage."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fracture import read
from fracture.errors import (
    FractureError,
    ImageSizeError,
    MultiFrameError,
    NotARadiographError,
    PixelValueError,
    UnreadableFileError,
    UnsupportedError,
)
from fracture.io.images import apply_orientation, decode_image, gray_plane, sniff
from fracture.io.scaling import Plane, scale_plane


def film(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth 8-bit picture without symmetry."""
    y, x = np.mgrid[:height, :width]
    return (60 + 50 * np.sin(x / 9) + 40 * np.cos(y / 7) + x + y / 2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def test_8_bit_images_are_taken_as_they_are() -> None:
    pixels = film()
    for kind in ("PNG", "TIFF"):
        radiograph = read(encoded(Image.fromarray(pixels), kind))
        assert radiograph.bits == 8
        assert np.array_equal(np.rint(radiograph.pixels * 255), pixels)
    low_contrast = (100 + film() // 16).astype(np.uint8)
    assert read(encoded(Image.fromarray(low_contrast), "PNG")).pixels.max() < 0.5


def test_16_bit_without_loss() -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (30, 50), dtype=np.uint16)
    for data in (
        encoded(Image.fromarray(pixels), "PNG"),
        encoded(Image.fromarray(pixels), "TIFF"),
        encoded(Image.fromarray(pixels), "TIFF", compression="tiff_lzw"),
    ):
        radiograph = read(data)
        assert radiograph.bits == 16
        assert np.array_equal(np.rint(radiograph.pixels.astype(np.float64) * 65535), pixels)


def test_real_16_bit_pngs_without_loss(shared_data: Path) -> None:
    import cv2

    paths = sorted((shared_data / "grazpedwri_dx_sample" / "images").glob("*.png"))
    assert len(paths) == 8
    deep = 0
    for path in paths:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        radiograph = read(path, region="wrist")
        top = np.iinfo(stored.dtype).max
        deep += stored.dtype == np.uint16
        gray = stored if stored.ndim == 2 else stored[..., 0]
        assert np.array_equal(np.rint(radiograph.pixels.astype(np.float64) * top), gray)
        assert radiograph.regions == ("wrist",)
        assert radiograph.region_source == "caller"
    assert deep == 7


def test_real_jpegs_match_opencv(shared_data: Path) -> None:
    import cv2

    for path in sorted((shared_data / "fracatlas" / "images").glob("*.jpg"))[::300]:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(np.rint(read(path).pixels * 255), stored)


def test_12_bits_in_a_16_bit_container_get_a_window() -> None:
    pixels = (film().astype(np.uint16) * 16).clip(0, 4095)
    radiograph = read(encoded(Image.fromarray(pixels), "PNG"))
    assert radiograph.bits == int(pixels.max()).bit_length() == 12
    assert radiograph.pixels.min() == 0.0
    assert radiograph.pixels.max() == 1.0
    assert "percentile window" in radiograph.warnings[0]
    raw = read(encoded(Image.fromarray(pixels), "PNG"), window="raw")
    assert np.array_equal(np.rint(raw.pixels.astype(np.float64) * 65535), pixels)


def test_shallow_pngs() -> None:
    bits = film() > 100
    assert np.array_equal(read(encoded(Image.fromarray(bits), "PNG")).pixels, bits.astype(np.float32))
    palette = Image.fromarray(film()).convert("P")
    palette.putpalette([value for level in range(256) for value in (level, level, level)])
    assert np.array_equal(np.rint(read(encoded(palette, "PNG")).pixels * 255), np.asarray(palette))


def test_gray_in_color_and_opacity() -> None:
    pixels = film()
    color = np.stack([pixels] * 3, axis=2)
    for image in (Image.fromarray(color), Image.fromarray(np.dstack([color, np.full_like(pixels, 255)]))):
        assert np.array_equal(np.rint(read(encoded(image, "PNG")).pixels * 255), pixels)
    half = np.dstack([color, np.where(np.arange(60) < 30, 255, 0) * np.ones((40, 1))]).astype(np.uint8)
    radiograph = read(encoded(Image.fromarray(half), "PNG"))
    assert np.array_equal(np.rint(radiograph.pixels[:, :30] * 255), pixels[:, :30])
    assert not radiograph.pixels[:, 30:].any()
    assert "transparent" in radiograph.warnings[0]


def test_16_bit_color_keeps_its_depth() -> None:
    import cv2

    pixels = np.random.default_rng(1).integers(40000, 65536, (20, 30), dtype=np.uint16)
    for ending in (".png", ".tiff"):
        for channels in (3, 4):
            stack = np.dstack([pixels] * 3 + [np.full_like(pixels, 65535)] * (channels - 3))
            data = cv2.imencode(ending, stack)[1].tobytes()
            radiograph = read(data)
            assert np.array_equal(np.rint(radiograph.pixels.astype(np.float64) * 65535), pixels)


def test_chroma_noise_is_gray_and_a_photograph_is_not() -> None:
    color = np.dstack([film(), np.roll(film(), 20, axis=1), film()[::-1]])
    with pytest.raises(NotARadiographError, match=r"photo\.png.*color"):
        decode_image(encoded(Image.fromarray(color), "PNG"), "photo.png")
    with pytest.raises(NotARadiographError):
        read(encoded(Image.fromarray(color), "JPEG"))
    near = np.dstack([film(), film() + 3, film() - 2])
    pixels = np.rint(read(encoded(Image.fromarray(near), "PNG")).pixels * 255)
    assert np.array_equal(pixels, film())  # the median channel
    jpeg = read(encoded(Image.fromarray(np.dstack([film()] * 3)), "JPEG", quality=95))
    assert np.abs(np.rint(jpeg.pixels * 255) - film()).max() <= 6


def test_cmyk_jpeg() -> None:
    gray = Image.fromarray(np.dstack([film()] * 3)).convert("CMYK")
    radiograph = read(encoded(gray, "JPEG", quality=95))
    assert np.abs(np.rint(radiograph.pixels * 255) - film()).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_matches_pillow(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("JPEG", "PNG"):
        data = encoded(Image.fromarray(film()), kind, exif=exif)
        with Image.open(io.BytesIO(data)) as image:
            upright = np.asarray(ImageOps.exif_transpose(image))
            assert np.array_equal(np.rint(read(image).pixels * 255), upright)
        assert np.array_equal(np.rint(read(data).pixels * 255), upright)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)), st.integers(1, 8))
def test_orientations_form_the_square_s_symmetries(pixels: np.ndarray, orientation: int) -> None:
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    turned = apply_orientation(pixels, orientation)
    assert np.array_equal(apply_orientation(turned, inverse), pixels)
    assert turned.shape == (pixels.shape if orientation < 5 else pixels.shape[::-1])


def test_orientation_corners() -> None:
    """Where the stored top left corner goes (CIPA DC-008 4.6.4)."""
    stored = np.zeros((2, 3), np.uint8)
    stored[0, 0] = 1
    corners = {1: (0, 0), 2: (0, 2), 3: (1, 2), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (2, 1), 8: (2, 0)}
    for orientation, corner in corners.items():
        turned = apply_orientation(stored, orientation)
        assert tuple(np.argwhere(turned)[0]) == corner
    with pytest.raises(PixelValueError):
        apply_orientation(stored, 9)


def test_strange_exif_is_told() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    radiograph = read(encoded(Image.fromarray(film()), "JPEG", exif=exif))
    assert "orientation" in radiograph.warnings[0]


def test_tiff_with_white_zero() -> None:
    pixels = film()
    straight = read(encoded(Image.fromarray(pixels), "TIFF"))
    for bits, dtype in ((8, "<u1"), (16, "<u2")):
        top = (1 << bits) - 1
        values = pixels.astype(np.uint32) * (top // 255)
        radiograph = read(tiff((top - values).astype(dtype), bits, photometric=0))
        assert np.abs(radiograph.pixels - straight.pixels).max() < 1e-6


def tiff(pixels: np.ndarray, bits: int, *, photometric: int) -> bytes:
    """The smallest TIFF: one uncompressed strip."""
    strip = pixels.tobytes()
    entries = [(256, pixels.shape[1]), (257, pixels.shape[0]), (258, bits), (259, 1), (262, photometric)]
    entries += [(273, 8), (277, 1), (278, pixels.shape[0]), (279, len(strip))]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8 + len(strip)) + strip + directory


def test_float_tiff() -> None:
    unit = film().astype(np.float32) / 255
    assert np.array_equal(read(encoded(Image.fromarray(unit), "TIFF")).pixels, unit)
    wide = read(encoded(Image.fromarray(unit * 1000 - 200), "TIFF"))
    assert (wide.pixels.min(), wide.pixels.max()) == (0.0, 1.0)
    assert wide.warnings
    broken = unit.copy()
    broken[3, 4] = np.nan
    with pytest.raises(PixelValueError, match="NaN"):
        read(encoded(Image.fromarray(broken), "TIFF"))


def test_pages_and_frames() -> None:
    pages = [Image.fromarray(film()), Image.fromarray(255 - film())]
    for kind in ("TIFF", "PNG"):
        data = encoded(pages[0], kind, save_all=True, append_images=pages[1:])
        with pytest.raises(MultiFrameError, match="2 frames"):
            read(data)
        assert np.array_equal(np.rint(read(data, frame=1).pixels * 255), 255 - film())
        with pytest.raises(MultiFrameError, match="0 to 1"):
            read(data, frame=2)
    with pytest.raises(MultiFrameError):
        read(encoded(pages[0], "JPEG"), frame=1)
    assert read(encoded(pages[0], "JPEG"), frame=0).bits == 8


def bomb_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_bombs_are_refused_by_their_declared_size() -> None:
    with pytest.raises(ImageSizeError, match="60000 x 60000"):
        read(bomb_png(60000, 60000))
    jpeg = bytearray(encoded(Image.fromarray(film()), "JPEG"))
    at = jpeg.find(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(ImageSizeError, match="65000 x 65000"):
        read(bytes(jpeg))
    data = bytearray(tiff(film(), 8, photometric=1))
    at = data.rfind(struct.pack("<HHI", 256, 4, 1)) + 8
    data[at : at + 4] = struct.pack("<I", 2_000_000_000)
    with pytest.raises(ImageSizeError):
        read(bytes(data))
    with pytest.raises(ImageSizeError, match="at most 100 pixels"):
        read(encoded(Image.fromarray(film()), "PNG"), max_pixels=100)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_truncated_files(kind: str) -> None:
    data = encoded(Image.fromarray(film(200, 300)), kind)
    for part in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(UnreadableFileError, match="truncated or damaged"):
            read(data[: int(len(data) * part)])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}], ids=str)
@pytest.mark.parametrize("color", [False, True])
def test_a_jpeg_without_its_last_bytes_is_read_if_no_pixel_is_missing(options: dict[str, Any], color: bool) -> None:
    """Faults 28; decoders would fill what is missing with gray, without a word."""
    image = Image.fromarray(film(100, 120))
    data = encoded(image.convert("RGB") if color else image, "JPEG", quality=95, **options)
    expected = read(data).pixels
    for ended in (data[:-2], data[:-1], data[:-2] + bytes(100)):
        assert np.array_equal(read(ended).pixels, expected)
    for cut in (8, 60, len(data) // 3):
        with pytest.raises(UnreadableFileError, match="truncated or damaged"):
            read(data[:-cut])
    if options.get("progressive"):  # whole scans that are missing
        with pytest.raises(UnreadableFileError, match="truncated or damaged"):
            read(data[: data.rfind(b"\xff\xda")])


def test_other_formats_are_named() -> None:
    image = Image.fromarray(film())
    for kind in ("GIF", "BMP", "WebP"):
        with pytest.raises(UnreadableFileError, match=kind):
            read(encoded(image, kind.upper()))
    assert sniff(encoded(image, "PNG")) == "png"
    assert sniff(b"hello") == ""


def test_jpeg_variants_without_a_decoder_are_named() -> None:
    data = bytearray(encoded(Image.fromarray(film()), "JPEG"))
    data[data.find(b"\xff\xc0") + 1] = 0xC3
    with pytest.raises(UnsupportedError, match="lossless JPEG"):
        read(bytes(data))


def test_damaged_images_end_in_one_of_our_errors(capfd: pytest.CaptureFixture[str]) -> None:
    """A bounded fuzz: flipped bytes and cuts, in every format; nothing is printed, not even from C."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(film(80, 100))
    files = [
        encoded(image, "JPEG", exif=exif),
        encoded(image, "JPEG", progressive=True),
        encoded(image, "PNG"),
        encoded(image, "TIFF", compression="tiff_lzw"),
        encoded(image, "TIFF", compression="tiff_deflate"),
        encoded(image, "TIFF", compression="jpeg"),
        encoded(image.convert("1"), "TIFF", compression="group4"),
        encoded(image, "TIFF", save_all=True, append_images=[image]),
    ]
    refused = 0
    for data in files:
        for seed in range(60):
            dice = random.Random(seed)
            broken = bytearray(data)
            for _ in range(dice.choice([1, 2, 5, 20])):
                broken[dice.randrange(min(len(broken), 400 if seed % 2 else len(broken)))] = dice.randrange(256)
            if seed % 5 == 0:
                broken = broken[: dice.randrange(1, len(broken))]
            try:
                read(bytes(broken), frame=0)
            except FractureError:
                refused += 1
    assert refused > 100
    assert capfd.readouterr() == ("", "")


@given(
    hnp.arrays(
        st.sampled_from([np.bool_, np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
        elements=None,
    ),
    st.sampled_from(["auto", "raw", "percentile"]),
)
@example(np.array([[1.79769313e308, -9.97920155e291]]), "auto")
@example(np.array([[0.0, 1.79769313e308, -1.79769313e308]]), "percentile")
@example(np.array([[3.4e38, -3.4e38, 1.0]], np.float32), "auto")
@settings(max_examples=200, deadline=None)
def test_scaling_keeps_order_and_range(pixels: np.ndarray, window: str) -> None:
    """Whatever the dtype: finite values in [0, 1], and a brighter pixel never becomes darker."""
    with np.errstate(all="ignore"):
        usable = bool(np.isfinite(pixels).all())
    try:
        scaled, bits, _ = scale_plane(Plane(pixels, 8 * pixels.dtype.itemsize), "array", window)
    except PixelValueError:
        assert pixels.dtype.kind == "f"
        assert not usable or window == "raw"
        return
    assert scaled.dtype == np.float32
    assert scaled.shape == pixels.shape
    assert 0.0 <= scaled.min() <= scaled.max() <= 1.0
    assert 1 <= bits <= 64
    order = np.argsort(pixels, axis=None, kind="stable")
    assert (np.diff(scaled.ravel()[order]) >= 0).all()


@given(hnp.arrays(np.uint16, (4, 5), elements=st.integers(0, 65535)))
def test_full_range_uint16_scales_by_its_dtype(pixels: np.ndarray) -> None:
    pixels[0, 0] = 65535
    scaled, bits, notes = scale_plane(Plane(pixels, 16), "array")
    assert np.array_equal(np.rint(scaled.astype(np.float64) * 65535), pixels)
    assert (bits, notes) == (16, [])


def test_gray_plane_tolerates_few_colored_pixels() -> None:
    color = np.dstack([film(100, 100)] * 3)
    color[:3, :3] = (255, 0, 0)  # nine of ten thousand: a small colored mark
    assert gray_plane(color, "film").shape == (100, 100)
    color[:4, :4] = (255, 0, 0)
    with pytest.raises(NotARadiographError):
        gray_plane(color, "film")
