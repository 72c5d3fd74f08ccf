"""``read``: every kind of source, the options, and what is refused before anything is decoded."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import fracture
from fracture import Radiograph, read
from fracture.errors import (
    ConfigurationError,
    ImageSizeError,
    NotARadiographError,
    PixelValueError,
    RegionError,
    UnreadableFileError,
    UnsupportedError,
)
from tests.dicom.builder import dataset, file_bytes, gradient


def film() -> np.ndarray:
    return np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)


def png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(film()).save(stream, "PNG")
    return stream.getvalue()


def test_every_kind_of_source_gives_the_same_pixels(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(png())
    (tmp_path / "film.gz").write_bytes(gzip.compress(png()))
    expected = film().astype(np.float32) / 255
    named = [
        (str(path), str(path)),
        (path, str(path)),
        (tmp_path / "film.gz", str(tmp_path / "film.gz")),
        (png(), "<bytes>"),
        (bytearray(png()), "<bytes>"),
        (film(), "<array>"),
        (film()[..., None], "<array>"),
        (Image.fromarray(film()), "<image>"),
    ]
    for source, name in named:
        radiograph = read(source)
        assert np.array_equal(radiograph.pixels, expected)
        assert radiograph.source == name
        assert (radiograph.height, radiograph.width) == (20, 30)
        assert not radiograph.pixels.flags.writeable
        assert radiograph.pixels.flags.c_contiguous


def test_a_dataset_is_a_source() -> None:
    made = dataset(WindowCenter=2048, WindowWidth=4096)
    radiograph = read(made)
    assert radiograph.source == "<dataset>"
    assert np.array_equal(radiograph.pixels, read(file_bytes(made)).pixels)


def test_a_tensor_is_a_source() -> None:
    torch = pytest.importorskip("torch")
    assert np.array_equal(read(torch.from_numpy(film())).pixels, read(film()).pixels)


def test_a_radiograph_is_returned_as_it_is() -> None:
    radiograph = read(film())
    assert read(radiograph) is radiograph
    again = read(radiograph, region="wrist")
    assert (again.regions, again.region_source) == (("wrist",), "caller")
    assert again.pixels is radiograph.pixels


def test_the_caller_s_array_stays_writable() -> None:
    pixels = np.full((4, 5), 0.5, np.float32)
    read(pixels)
    pixels[0, 0] = 1.0
    unit = np.full((4, 5), 255, np.uint8)
    read(unit)
    unit[0, 0] = 0


def test_a_radiograph_that_was_pickled_is_the_same_and_shows_itself_in_a_line() -> None:
    one = read(film(), region="wrist")
    again = pickle.loads(pickle.dumps(one))
    assert again == one
    assert hash(again) == hash(one)
    assert one != read(film() // 2, region="wrist")
    assert one != replace(one, view="lateral")
    assert one != one.pixels.tobytes()
    assert "width=30, height=20, regions=('wrist',)" in repr(one)
    assert len(repr(one)) < 160


def test_regions_of_the_caller() -> None:
    assert read(film(), region="Tibia/Fibula").regions == ("tibia_fibula",)
    assert read(film(), region=["hand", "wrist", "HAND"]).regions == ("hand", "wrist")
    with pytest.raises(RegionError, match="wrist"):
        read(film(), region="wirst")
    for odd in (5, ["wrist", None], b"wrist"):
        with pytest.raises(RegionError, match="named by a string"):
            read(film(), region=odd)  # type: ignore[arg-type]


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)))
def test_unit_floats_are_taken_as_they_are(pixels: np.ndarray) -> None:
    assert np.array_equal(read(pixels).pixels, pixels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(bad: float) -> None:
    pixels = np.zeros((4, 5))
    pixels[1, 2] = bad
    with pytest.raises(PixelValueError, match="NaN or infinite"):
        read(pixels)


@pytest.mark.parametrize(
    "shape", [(5,), (0, 5), (5, 0), (2, 20, 30), (20, 30, 2), (1, 1, 20, 30), ()], ids=lambda shape: str(shape)
)
def test_shapes_that_are_not_a_film(shape: tuple[int, ...]) -> None:
    with pytest.raises((PixelValueError, ImageSizeError)):
        read(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "datetime64[s]"])
def test_dtypes_that_are_not_pixels(dtype: object) -> None:
    with pytest.raises(PixelValueError, match="dtype"):
        read(np.zeros((4, 5), dtype=dtype))  # type: ignore[call-overload]


def test_color_arrays() -> None:
    stack = np.dstack([film()] * 3)
    assert np.array_equal(read(stack).pixels, read(film()).pixels)
    stack[..., 0] = 255 - stack[..., 0]
    with pytest.raises(NotARadiographError, match="color"):
        read(stack)


def test_a_constant_array_is_told() -> None:
    assert read(np.full((4, 5), 7, np.int32)).warnings[-1] == "all pixels have the same value"


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"nowhere\.png: no such file"):
        read(tmp_path / "nowhere.png")
    with pytest.raises(UnreadableFileError, match="a folder"):
        read(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(UnreadableFileError, match="empty"):
        read(tmp_path / "empty.png")
    with pytest.raises(UnreadableFileError, match="cannot be opened"):
        read("a\0b")
    with pytest.raises(UnreadableFileError, match="not fetched"):
        read("https://example.org/film.png")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read(tmp_path / "pipe")  # must not wait for a writer
    with pytest.raises(UnreadableFileError, match="empty"):
        read(b"")


def test_the_ending_of_a_name_means_nothing(tmp_path: Path) -> None:
    disguised = tmp_path / "film.dcm"
    disguised.write_bytes(png())
    assert np.array_equal(read(disguised).pixels, read(film()).pixels)
    (tmp_path / "film.png").write_bytes(file_bytes(dataset()))
    assert read(tmp_path / "film.png").bits == 12
    (tmp_path / "text.dcm").write_text("this is not DICOM\n" * 50)
    with pytest.raises(UnreadableFileError, match="DICOM, PNG, JPEG, TIFF"):
        read(tmp_path / "text.dcm")


def test_limits() -> None:
    with pytest.raises(ImageSizeError):
        read(film(), max_pixels=599)
    with pytest.raises(ImageSizeError):
        read(file_bytes(dataset()), max_pixels=511)
    assert read(file_bytes(dataset()), max_pixels=512).height == 16
    with pytest.raises(ImageSizeError):
        read(Image.fromarray(film()), max_pixels=10)


def test_large_files_are_refused_unread(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(10_000_000)
    with pytest.raises(UnreadableFileError, match="at most 1000000 bytes"):
        read(large, max_bytes=1_000_000)


def test_gzip_goes_through_a_cap() -> None:
    head = file_bytes(dataset(np.zeros((2000, 2000), np.uint16)))
    bomb = gzip.compress(head, 9)
    assert len(bomb) < 20_000
    with pytest.raises(UnreadableFileError, match="inflates to more than the limit"):
        read(bomb, max_bytes=1_000_000)
    assert read(bomb).width == 2000
    with pytest.raises(UnreadableFileError, match="truncated"):
        read(bomb[: len(bomb) // 2])
    with pytest.raises(UnreadableFileError, match="damaged"):
        read(bomb[:100] + b"\xff" * 100 + bomb[200:])
    with pytest.raises(UnreadableFileError, match="gzip within gzip"):
        read(gzip.compress(bomb))
    with pytest.raises(UnreadableFileError, match="PDF"):
        read(gzip.compress(b"%PDF-1.7" + bytes(10_000_000)))


def test_deflate_goes_through_a_cap() -> None:
    made = file_bytes(dataset(np.zeros((2000, 2000), np.uint16)))
    start = made.find(b"\x08\x00\x16\x00")  # the SOP Class UID is the first element of the data set
    meta = made[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0\0")
    length = meta.find(b"\x02\x00\x10\x00UI") + 6
    meta = meta[:length] + (22).to_bytes(2, "little") + meta[length + 2 :]
    meta = meta.replace(b"1.2.840.10008.1.2.1.99\0\0", b"1.2.840.10008.1.2.1.99")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(made[start:]) + deflate.flush()
    assert read(meta + body).width == 2000
    with pytest.raises(UnreadableFileError, match="inflates to more than the limit"):
        read(meta + body, max_bytes=1_000_000)
    with pytest.raises(UnreadableFileError, match="truncated"):
        read(meta + body[:-20])


@pytest.mark.parametrize(
    "options",
    [
        {"window": "bone"},
        {"window": -1},
        {"window": True},
        {"frame": -1},
        {"frame": 1.5},
        {"max_pixels": 0},
        {"max_bytes": "many"},
        {"allow": (3,)},
    ],
)
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        read(film(), **options)  # type: ignore[arg-type]


def test_unknown_sources() -> None:
    for source in (3, None, ["a.png"], {"pixels": film()}):
        with pytest.raises(UnsupportedError, match="unknown type"):
            read(source)  # type: ignore[arg-type]


def test_raw_and_percentile_windows() -> None:
    pixels = gradient(top=4095)
    made = file_bytes(dataset(pixels, WindowCenter=1000, WindowWidth=500))
    raw = read(made, window="raw").pixels
    assert np.allclose(raw, pixels / 4095, atol=1e-6)
    percentile = read(made, window="percentile").pixels
    low, high = np.percentile(pixels, (0.5, 99.5))
    assert np.allclose(percentile, np.clip((pixels - low) / (high - low), 0, 1), atol=1e-5)
    assert read(made).pixels.std() > raw.std()


def test_reading_jpegs_needs_no_heavy_imports() -> None:
    """A film read in a fresh interpreter loads neither torch, OpenCV, SciPy nor pydicom."""
    code = (
        "import sys, fracture\n"
        f"fracture.read({png()!r})\n"
        "heavy = {'torch', 'cv2', 'scipy', 'pydicom', 'matplotlib', 'pandas', 'gdcm'} & set(sys.modules)\n"
        "sys.exit(' '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_read_is_public() -> None:
    assert fracture.read is read
    assert fracture.Radiograph is Radiograph


def test_threads_may_read_the_first_dicom_files_together(repository: Path) -> None:
    """pydicom's circular imports must not be entered by two threads at once (seen once, in predict_many)."""
    code = (
        "import sys, threading, fracture\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "sys.setswitchinterval(1e-6)\n"
        "gate = threading.Barrier(4)\n"
        "def one(path):\n"
        "    gate.wait()\n"
        "    return fracture.read(path).width\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    assert all(pool.map(one, sys.argv[1:] * 4))\n"
    )
    film = str(repository / "examples" / "ankle_normal_lateral.dcm")
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code, film], check=True)
