"""TIFF in the layouts that scanners and laboratories write; a page written here by the standard is the judge."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fracture import read
from fracture.data.images import read_header
from fracture.errors import MultiFrameError, NotARadiographError, UnreadableFileError, UnsupportedError
from fracture.io.images import decode_image
from tests.test_images import encoded, film

KINDS = ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"]


def page(
    pixels: np.ndarray,
    *,
    order: str = "<",
    planar: bool = False,
    tile: tuple[int, int] | None = None,
    rows: int | None = None,
    deflate: bool = False,
    predictor: int = 1,
    raw: bytes | None = None,
    **tags: Any,
) -> bytes:
    """A TIFF file of one page; ``pixels`` (height, width, samples), ``raw`` its one strip if it is packed otherwise."""
    height, width, samples = pixels.shape
    groups = [pixels[..., k : k + 1] for k in range(samples)] if planar else [pixels]
    chunks = []
    for group in groups if raw is None else []:
        if tile is None:
            parts = [group[y : y + (rows or height)] for y in range(0, height, rows or height)]
        else:
            high, wide = tile
            padded = np.pad(group, ((0, -height % high), (0, -width % wide), (0, 0)))
            spots = [(y, x) for y in range(0, height, high) for x in range(0, width, wide)]
            parts = [padded[y : y + high, x : x + wide] for y, x in spots]
        chunks += [_packed(part, order, predictor) for part in parts]
    chunks = chunks or [raw or b""]
    chunks = [zlib.compress(chunk) if deflate else chunk for chunk in chunks]
    ends = np.cumsum([0, *map(len, chunks)])
    values: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [8 * pixels.dtype.itemsize] * samples,
        259: [8 if deflate else 1],
        262: [2 if samples == 3 else 1],
        277: [samples],
        284: [2 if planar else 1],
        317: [predictor],
        339: [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * samples,
        **{int(tag[1:]): value for tag, value in tags.items()},
    }
    offsets = [8 + int(end) for end in ends[:-1]]
    sizes = [len(chunk) for chunk in chunks]
    if tile is None:
        values |= {273: offsets, 278: [rows or height], 279: sizes}
    else:
        values |= {322: [tile[1]], 323: [tile[0]], 324: offsets, 325: sizes}
    body = b"".join(chunks)
    return (
        struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(body))
        + body
        + directory(values, order, 8 + len(body))
    )


def directory(values: dict[int, list[int]], order: str, at: int, following: int = 0) -> bytes:
    entries, rest = b"", b""
    after = at + 2 + 12 * len(values) + 4
    for tag in sorted(values):
        count = len(values[tag])
        entries += struct.pack(f"{order}HHI", tag, 4, count)
        packed = struct.pack(f"{order}{count}I", *values[tag])
        entries += packed if count == 1 else struct.pack(f"{order}I", after + len(rest))
        rest += packed if count > 1 else b""
    return struct.pack(f"{order}H", len(values)) + entries + struct.pack(f"{order}I", following) + rest


def _packed(part: np.ndarray, order: str, predictor: int) -> bytes:
    if predictor == 2:
        part = np.diff(part, axis=1, prepend=np.zeros_like(part[:, :1]))
    if predictor == 3:
        high, _, samples = part.shape
        size = part.dtype.itemsize
        split = part.astype(f">f{size}").reshape(high, -1).view(np.uint8).reshape(high, -1, size).transpose(0, 2, 1)
        rows = split.reshape(high, -1, samples)
        return np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1])).tobytes()
    return part.astype(part.dtype.newbyteorder(order)).tobytes()


def values_of(kind: str, height: int = 40, width: int = 60) -> np.ndarray:
    unit = film(height, width)[..., None] / 255
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return unit.astype(dtype)
    span = np.iinfo(dtype)
    return (unit * (float(span.max) - span.min) * 0.999 + span.min).astype(dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [{}, {"rows": 7}, {"tile": (16, 32)}, {"deflate": True, "predictor": 2}, {"tile": (32, 16), "deflate": True}],
    ids=str,
)
def test_every_kind_of_sample_is_read_as_it_is(kind: str, order: str, options: dict[str, Any]) -> None:
    """Faults 18 and 29: unsigned 32 bits wrapped, signed and 64-bit ones were called damaged."""
    values = values_of(kind)
    if values.dtype.kind == "f" and options.get("predictor"):
        options = {**options, "predictor": 3}
    plane = decode_image(page(values, order=order, **options), "film.tif")
    assert plane.pixels.dtype == values.dtype
    assert np.array_equal(plane.pixels, values[..., 0])
    assert plane.bits == 8 * values.dtype.itemsize


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("options", [{}, {"rows": 7}, {"tile": (16, 32)}, {"deflate": True, "predictor": 2}], ids=str)
def test_gray_in_color_in_either_planar_configuration(kind: str, planar: bool, options: dict[str, Any]) -> None:
    values = np.repeat(values_of(kind), 3, axis=2)
    if kind == "f4" and options.get("predictor"):
        options = {**options, "predictor": 3}
    data = page(values, planar=planar, **options)
    assert np.array_equal(decode_image(data, "film.tif").pixels, values[..., 0])
    values[..., 0] = values[::-1, ::-1, 0]
    with pytest.raises(NotARadiographError, match="color"):
        decode_image(page(values, planar=planar, **options), "film.tif")


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 10, 12, 14, 24])
@pytest.mark.parametrize("photometric", [0, 1])
def test_samples_of_any_number_of_bits(bits: int, photometric: int) -> None:
    top = (1 << bits) - 1
    values = np.rint(film()[..., None] / 255 * top).astype(np.uint32)
    stored = top - values if photometric == 0 else values
    rows = ((stored[..., 0, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8).reshape(len(stored), -1)
    data = page(values, raw=np.packbits(rows, axis=1).tobytes(), t258=[bits], t262=[photometric])
    found = decode_image(data, "film.tif").pixels
    expected = values[..., 0] * 255 // top if 1 < bits < 8 else values[..., 0]
    slack = 1 if 1 < bits < 8 and photometric == 0 else 0
    assert np.abs(found.astype(int) - expected).max() <= slack


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "f4"])
def test_white_is_zero_in_every_kind(kind: str) -> None:
    values = values_of(kind)
    turned = ~values if values.dtype.kind in "ui" else values.max() + values.min() - values
    assert np.allclose(decode_image(page(turned, t262=[0]), "film.tif").pixels, values[..., 0])


def test_opacity_and_other_extra_samples() -> None:
    gray = values_of("u2")
    opacity = np.full_like(gray, 65535)
    opacity[:, :20] = 0
    both = np.concatenate([gray, opacity], axis=2)
    laid = decode_image(page(both, t262=[1], t338=[2]), "film.tif")
    assert np.array_equal(laid.pixels[:, 20:], gray[:, 20:, 0])
    assert not laid.pixels[:, :20].any()
    assert "transparent" in laid.warnings[0]
    for extra in (0, 1):  # unspecified, and multiplied already
        assert np.array_equal(decode_image(page(both, t262=[1], t338=[extra]), "film.tif").pixels, gray[..., 0])


def test_palette() -> None:
    gray = values_of("u1")
    ramp = [257 * level for level in range(256)]
    plane = decode_image(page(gray, t262=[3], t320=ramp * 3), "film.tif")
    assert np.array_equal(plane.pixels, gray[..., 0])
    with pytest.raises(NotARadiographError, match="color"):
        decode_image(page(gray, t262=[3], t320=ramp + ramp[::-1] + ramp), "film.tif")


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_to_path_bytes_and_images(kind: str, orientation: int, tmp_path: Any) -> None:
    """Faults 09 and 10: Pillow turns TIFF films itself, and so did we."""
    from fracture.io.images import apply_orientation

    values = values_of(kind)
    data = page(values, t274=[orientation], t262=[0])
    path = tmp_path / "film.tif"
    path.write_bytes(data)
    expected = read(apply_orientation(read(page(values, t262=[0])).pixels, orientation).copy()).pixels
    decoded = Image.open(io.BytesIO(data))
    decoded.load()
    for source in (path, data, io.BytesIO(data), Image.open(io.BytesIO(data)), decoded):
        found = read(source).pixels
        assert found.shape == expected.shape
        assert np.allclose(found, expected, atol=1e-6)
    header = read_header(path)
    assert header.size == expected.shape[::-1]
    assert (header.stored_width, header.stored_height) == (60, 40)


def test_an_image_that_pillow_opened_is_read_from_its_file() -> None:
    """16-bit color keeps its depth, which Pillow cuts; and the page that was sought is the one that is read."""
    values = np.repeat(values_of("u2"), 3, axis=2)
    lazy = Image.open(io.BytesIO(encoded(Image.fromarray(values[..., 0]), "PNG")))
    assert read(lazy).bits == 16
    pages = [Image.fromarray(film()), Image.fromarray(255 - film())]
    image = Image.open(io.BytesIO(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])))
    image.seek(1)
    assert np.array_equal(np.rint(read(image).pixels * 255), 255 - film())
    turned = Image.open(io.BytesIO(encoded(pages[0], "PNG"))).rotate(90, expand=True)
    assert read(turned).pixels.shape == (60, 40)


def test_thumbnails_are_no_pages() -> None:
    data = page(values_of("u1"))
    at = len(data)
    small = {254: [1], 256: [4], 257: [4], 258: [8], 259: [1], 262: [1], 273: [8], 277: [1], 278: [4], 279: [16]}
    tail = directory(small, "<", at)
    start = struct.unpack_from("<I", data, 4)[0]
    link = start + 2 + 12 * struct.unpack_from("<H", data, start)[0]
    both = data[:link] + struct.pack("<I", at) + data[link + 4 :] + tail
    assert read(both).pixels.shape == (40, 60)


def test_kinds_that_are_not_read_are_named() -> None:
    values = values_of("u1")
    with pytest.raises(UnsupportedError, match="compression 34887"):
        read(page(values, t259=[34887]))
    with pytest.raises(UnsupportedError, match="format \\[6\\]"):
        read(page(values, t339=[6]))
    with pytest.raises(UnsupportedError, match="differ in their bits"):
        read(page(np.repeat(values, 3, axis=2), t258=[5, 6, 5]))


def test_pages_and_tags_are_bounded() -> None:
    """A chain of directories, a page of many tags, and values that overlap cost next to nothing."""
    strip = bytes(64)
    tags = {256: [8], 257: [8], 258: [8], 259: [1], 262: [1], 273: [8], 277: [1], 278: [8], 279: [64]}
    chain, at = struct.pack("<2sHI", b"II", 42, 72) + strip, 72
    for _ in range(2000):
        at += 6 + 12 * len(tags)
        chain += directory(tags, "<", 0, at)
    with pytest.raises(MultiFrameError, match="2000 frames"):
        read(_ended(chain))
    assert read(_ended(chain), frame=1999).pixels.shape == (8, 8)
    looped = bytearray(_ended(chain))
    looped[-4:] = struct.pack("<I", 72)
    with pytest.raises(MultiFrameError, match="2000 frames"):
        read(bytes(looped))
    heavy = bytearray(page(values_of("u1")))
    start = struct.unpack_from("<I", heavy, 4)[0]
    many = b"".join(struct.pack("<HHII", 1000 + k, 1, len(heavy), 0) for k in range(60000))
    count = struct.unpack_from("<H", heavy, start)[0]
    crowded = heavy[: start + 2 + 12 * count] + many + bytes(heavy[start + 2 + 12 * count :])
    crowded[start : start + 2] = struct.pack("<H", count + 60000)
    assert read(bytes(crowded)).pixels.shape == (40, 60)


def _ended(chain: bytes) -> bytes:
    """The chain with no page after its last."""
    return chain[:-4] + bytes(4)


@pytest.mark.parametrize("cut", [0.2, 0.6, 0.95])
def test_damaged_pages(cut: float) -> None:
    data = page(values_of("u2"), deflate=True)
    with pytest.raises(UnreadableFileError):
        read(data[: int(len(data) * cut)])
