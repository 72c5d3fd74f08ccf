"""What may be given to ``read``: file objects, addresses, gzip of any kind, and what a Radiograph makes sure of."""

from __future__ import annotations

import gzip
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fracture import Radiograph, read
from fracture.errors import InputError, MissingFileError, PixelValueError, UnreadableFileError
from fracture.io.ahead import source_name
from tests.dicom.builder import dataset, file_bytes
from tests.test_images import encoded, film


@pytest.fixture
def png() -> bytes:
    return encoded(Image.fromarray(film()), "PNG")


def test_file_objects(png: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(png)
    expected = read(png).pixels
    assert np.array_equal(read(io.BytesIO(png)).pixels, expected)
    assert read(io.BytesIO(png)).source == "<file>"
    with path.open("rb") as file:
        found = read(file)
        assert not file.closed
        assert found.source == str(path)
        assert np.array_equal(found.pixels, expected)
        with pytest.raises(UnreadableFileError, match=r"seek\(0\)"):
            read(file)
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        read(file)
    with path.with_suffix(".txt").open("w+") as text:
        text.write("hello")
        text.seek(0)
        with pytest.raises(PixelValueError, match="must give bytes; got str"):
            read(text)  # type: ignore[arg-type]
    with pytest.raises(UnreadableFileError, match="larger than the limit"):
        read(io.BytesIO(png), max_bytes=100)
    with pytest.raises(UnreadableFileError, match="larger than the limit"):
        read(png, max_bytes=100)


def test_a_missing_file_is_a_file_not_found_error() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read("absent.png")
    error = caught.value
    assert isinstance(error, MissingFileError)
    assert isinstance(error, UnreadableFileError)
    assert str(error) == "absent.png: no such file"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (MissingFileError, str(error))


def test_addresses(png: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a film with spaces.png"
    path.write_bytes(png)
    assert read(path.as_uri()).source == path.as_uri()
    assert np.array_equal(read(path.as_uri().replace("file:///", "file://localhost/")).pixels, read(path).pixels)
    with pytest.raises(MissingFileError):
        read("file:///absent.dcm")
    for address in ("https://example.org/film.png", "s3://films/1.dcm", "file://server/share/film.dcm"):
        with pytest.raises(UnreadableFileError, match="network"):
            read(address)


def test_gzip_of_several_members(png: bytes) -> None:
    """RFC 1952 2.2: members follow each other; padding after the last is left out, as gzip does."""
    expected = read(png).pixels
    parts = [gzip.compress(png[first : first + 100]) for first in range(0, len(png), 100)]
    assert np.array_equal(read(b"".join(parts)).pixels, expected)
    assert np.array_equal(read(b"".join([*parts, gzip.compress(b""), bytes(512)])).pixels, expected)
    with pytest.raises(UnreadableFileError, match="truncated"):
        read(b"".join(parts)[:-9])
    with pytest.raises(UnreadableFileError, match="damaged"):
        read(parts[0] + parts[1][:12] + b"\xff" * 20 + parts[1][32:])
    with pytest.raises(UnreadableFileError, match="empty"):
        read(gzip.compress(b""))


def test_what_inflates_a_hundredfold_is_refused_before_it_is_inflated() -> None:
    bomb = gzip.compress(encoded(Image.fromarray(film()), "PNG") + bytes(70 * 2**20))
    assert len(bomb) < 200_000
    with pytest.raises(UnreadableFileError, match="inflates to more than the limit"):
        read(bomb)
    small = gzip.compress(encoded(Image.fromarray(film()), "PNG") + bytes(30 * 2**20))
    assert read(small).bits == 8


@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "i4", "f4", "f8"])
def test_byte_order_never_matters(kind: str) -> None:
    """Faults 23."""
    values = film().astype(kind) * (1 / 512 if kind[0] == "f" else 16)
    values = values.astype(kind)
    for pixels in (values, np.dstack([values] * 3)):
        here, there = read(pixels), read(pixels.astype(f">{kind}"))
        assert np.array_equal(here.pixels, there.pixels)
        assert (here.bits, here.warnings) == (there.bits, there.warnings)


class NoArray:
    """What says that it gives an array, and does not."""

    def __array__(self, *_: object) -> np.ndarray:
        raise RuntimeError("it lies elsewhere")


def test_an_object_that_gives_no_array() -> None:
    with pytest.raises(PixelValueError, match="gives no NumPy array"):
        read(NoArray())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing": (0, 0)},
        {"spacing": (float("nan"), 1.0)},
        {"spacing": (float("inf"), 1.0)},
        {"spacing": (-0.1, 0.1)},
        {"spacing": (1e200, 1e200)},
        {"spacing": (0.1,)},
        {"spacing": 0.1},
        {"spacing": ("a", "b")},
        {"spacing": (0.1, 9.0)},
        {"regions": "wrist"},
        {"regions": (3,)},
        {"view": "ap"},
        {"laterality": "R"},
        {"orientation": ("L",)},
        {"orientation": "LF"},
        {"aspect": 0.0},
        {"aspect": float("nan")},
        {"pixels": np.zeros((4, 5))},
        {"pixels": np.zeros((4, 5, 3), np.float32)},
        {"pixels": np.zeros((0, 5), np.float32)},
        {"pixels": np.full((4, 5), np.nan, np.float32)},
        {"pixels": np.full((4, 5), 1.5, np.float32)},
        {"pixels": [[0.5]]},
    ],
    ids=str,
)
def test_a_radiograph_checks_its_own_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="mine: "):
        Radiograph(**{"pixels": np.zeros((4, 5), np.float32), "source": "mine", **wrong})


def test_spacing_gives_the_aspect() -> None:
    made = Radiograph(np.zeros((4, 5), np.float32), spacing=[0.4, np.float32(0.2)])  # type: ignore[arg-type]
    assert made.spacing == (0.4, pytest.approx(0.2))
    assert made.aspect == pytest.approx(2.0)


def test_a_data_set_that_a_caller_parsed_is_bounded_too() -> None:
    import pydicom

    made = dataset(WindowCenter=1000, WindowWidth=500)
    data = file_bytes(made)
    loaded = pydicom.dcmread(io.BytesIO(data))
    raw = loaded.get_item("WindowCenter")
    loaded._dict[raw.tag] = raw._replace(value=b"1\\" * 3_000_000, length=6_000_000)
    found = read(loaded)
    assert np.array_equal(found.pixels, read(data, window="percentile").pixels)


def test_a_source_has_one_name(png: bytes, tmp_path: Path) -> None:
    """What `read` calls a source is what a failure of it is called."""
    path = tmp_path / "a.png"
    path.write_bytes(png)
    array = np.zeros((4, 5), np.uint8)
    with path.open("rb") as stream:
        named: list[Any] = [stream, path, str(path), png, io.BytesIO(png), array, Image.fromarray(array), dataset()]
        for source in named:
            assert read(source).source == source_name(source)
    assert [source_name(source) for source in named[3:]] == ["<bytes>", "<file>", "<array>", "<image>", "<dataset>"]
    assert source_name(3) == "<int>"
