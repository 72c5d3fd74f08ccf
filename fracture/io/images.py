"""PNG, JPEG and TIFF to one gray plane.

One rule for a path, bytes, a file object and a PIL image: the pixels of an image that Pillow opened and has not
decoded yet come from its file, as if that had been given.

Pillow decodes, because it stays quiet on damaged files: OpenCV's codecs are 8 % faster on FracAtlas' JPEGs but
write to stderr from C. OpenCV serves only 16-bit color, which Pillow would cut to 8 bits, after Pillow has
found the file sound.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from fracture.errors import (
    FractureError,
    ImageSizeError,
    NotARadiographError,
    PixelValueError,
    UnreadableFileError,
    UnsupportedError,
)
from fracture.io import tiff
from fracture.io.jpeg import MAX_SCANS, exif_block, jpeg_header, plain, whole
from fracture.io.options import chosen_frame
from fracture.io.quiet import FAULTS, c_stderr_closed, quiet
from fracture.io.scaling import Plane, by_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

MAX_PIXELS = 100_000_000
"""Default limit of width times height, checked before decoding (our choice: five times the largest detectors)."""

GRAY_TOLERANCE = 8 / 255
"""Spread of a pixel's color channels that still counts as gray (our choice: the chroma noise of JPEG)."""

GRAY_EXCEPTIONS = 0.001
"""Share of the pixels that may spread further (our choice)."""


_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"\x1f\x8b", "gzip"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"PK\x05\x06", "ZIP"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"\x93NUMPY", "NumPy"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x7fELF", "program"),
    (b"<?xml", "XML"),
    (b"<html", "HTML"),
    (b"<!DOCTYPE", "HTML"),
)


def sniff(data: bytes) -> str:
    """The format by content: ``"dicom"``, ``"jpeg"``, ``"png"``, ``"tiff"``, ``"gzip"``, another's name, or ``""``.

    ``"dicom"`` needs the preamble; files without one are ``""`` here and are tried by the DICOM parser.
    """
    if data[128:132] == b"DICM":
        return "dicom"
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[257:262] == b"ustar":
        return "tar"
    if data[:4] in (b"\\\x01\x00\x00", b"\x00\x00\x01\\") and data[344:347] in (b"n+1", b"ni1"):
        return "NIfTI"
    return ""


def check_size(name: str, width: int, height: int, max_pixels: int, *, samples: int = 1) -> None:
    """Refuse an image by its declared size; a color pixel counts as its samples, which is what it costs.

    Raises:
        ImageSizeError: More than ``max_pixels`` pixels, or no pixels at all.
    """
    if width < 1 or height < 1:
        raise ImageSizeError(f"{name}: the image has no pixels", got=f"{width} x {height}")
    if width * height * samples > max_pixels:
        color = f" of {samples} samples" if samples > 1 else ""
        raise ImageSizeError(
            f"{name}: the image is larger than the limit",
            got=f"{width} x {height} = {width * height} pixels{color}",
            allowed=f"at most {max_pixels} pixels",
            hint="raise max_pixels if the file is trusted",
        )


def decode_image(data: bytes, name: str, *, frame: int | None = None, max_pixels: int = MAX_PIXELS) -> Plane:
    """Decode a PNG, JPEG or TIFF file held in memory to one gray plane.

    EXIF orientation is applied. Color counts as gray where its channels agree (``gray_plane``). A TIFF whose zero is
    white is inverted. Transparent pixels are laid on black.

    Args:
        data: The file's bytes.
        name: How errors call the file.
        frame: Page of a multi-page TIFF or frame of an animated PNG, from 0.
        max_pixels: Limit of width times height, checked before decoding.

    Raises:
        UnreadableFileError: The file is truncated or damaged, or of another format.
        UnsupportedError: A variant that no decoder here reads.
        ImageSizeError: The declared size is over the limit.
        MultiFrameError: Several pages, and no or no valid ``frame``.
        NotARadiographError: A color picture.
    """
    from PIL.Image import DecompressionBombError

    kind = sniff(data)
    try:
        if kind == "jpeg":
            return _decode_jpeg(data, name, frame, max_pixels)
        if kind == "png":
            return _decode_png(data, name, frame, max_pixels)
        if kind == "tiff":
            with quiet(), c_stderr_closed():  # libtiff prints
                return _decode_tiff(data, name, frame, max_pixels)
    except FractureError:
        raise
    except DecompressionBombError:
        raise ImageSizeError(f"{name}: the file declares tiles beyond Pillow's limit") from None
    except FAULTS:
        raise UnreadableFileError(
            f"{name}: the {kind.upper()} data is truncated or damaged", hint="export or copy the file again"
        ) from None
    raise UnreadableFileError(
        f"{name}: not a file format that is read here",
        got=kind or "unknown content",
        allowed=("DICOM", "PNG", "JPEG", "TIFF", "each also gzipped"),
    )


def _decode_jpeg(data: bytes, name: str, frame: int | None, max_pixels: int) -> Plane:
    from PIL.JpegImagePlugin import JpegImageFile

    chosen_frame(name, frame, 1)
    header = jpeg_header(data)
    bare = plain(data)
    if header is not None and (header.precision != 8 or header.process not in ("baseline", "extended", "progressive")):
        raise UnsupportedError(
            f"{name}: a JPEG variant that is not read outside DICOM",
            got=f"{header.process} JPEG, {header.precision} bits",
            allowed="baseline, extended or progressive with 8 bits",
            hint="convert it to PNG",
        )
    if header is None or bare is None:
        raise UnreadableFileError(
            f"{name}: the JPEG data is truncated or damaged",
            got="no image within the limits",
            allowed=f"at most {MAX_SCANS} scans",
            hint="export or copy the file again",
        )
    check_size(name, header.columns, header.rows, max_pixels, samples=header.samples)

    def decode(stream: bytes) -> NDArray[Any]:
        image = JpegImageFile(io.BytesIO(stream))
        image.load()  # type: ignore[no-untyped-call, unused-ignore]
        return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))

    orientation, notes = _orientation_of(exif_block(data))
    plane = plane_from_array(whole(bare, decode), name)
    return Plane(apply_orientation(plane.pixels, orientation), plane.bits, (*plane.warnings, *notes))


def _orientation_of(block: bytes) -> tuple[int, tuple[str, ...]]:
    """The orientation in an EXIF block, and what is wrong with it."""
    if not block:
        return 1, ()
    try:
        value = tiff.exif_orientation(block.removeprefix(b"Exif\0\0"))
    except (FractureError, *FAULTS):
        return 1, ("the EXIF block is damaged; the pixels are taken as stored",)
    return _checked_orientation(value, "EXIF")


def _checked_orientation(value: object, what: str) -> tuple[int, tuple[str, ...]]:
    if isinstance(value, int) and value in range(1, 9):
        return value, ()
    return 1, (f"the {what} orientation is not one of 1 to 8; the pixels are taken as stored",)


def apply_orientation(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn a plane upright.

    Args:
        pixels: (height, width, ...) as stored.
        orientation: EXIF tag 0x0112, 1 to 8 (CIPA DC-008, 4.6.4): 1 as stored, 2 mirrored left-right, 3 turned by
            180 degrees, 4 mirrored top-bottom, 5 transposed, 6 to be turned clockwise, 7 transposed along the
            other diagonal, 8 to be turned counter-clockwise.

    Returns:
        A view; 5 to 8 swap height and width.

    Raises:
        PixelValueError: Another orientation.
    """
    if orientation == 1:
        return pixels
    if orientation not in range(2, 9):
        raise PixelValueError("unknown EXIF orientation", got=orientation, allowed="1 to 8")
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def _decode_png(data: bytes, name: str, frame: int | None, max_pixels: int) -> Plane:
    from PIL.PngImagePlugin import PngImageFile

    if data[12:16] != b"IHDR" or len(data) < 33:
        raise UnreadableFileError(f"{name}: the PNG header is truncated or damaged")
    width, height, depth, color = struct.unpack(">IIBB", data[16:26])
    samples = {0: 1, 3: 1, 4: 2}.get(color, 3)
    check_size(name, width, height, max_pixels, samples=samples)
    data, exif = _plain_png(data, name)
    with quiet():
        image = PngImageFile(io.BytesIO(data))
        if number := chosen_frame(name, frame, int(getattr(image, "n_frames", 1))):
            check_size(name, width, height * (number + 1), max_pixels)  # all frames before it are decoded, too
            image.seek(number)
    image.load()  # type: ignore[no-untyped-call, unused-ignore]
    orientation, notes = _orientation_of(exif)
    deep = depth == 16 and color in (2, 4, 6)
    plane = _deep_color(data, name) if deep else _plane(image, name)
    pixels = apply_orientation(plane.pixels, orientation)
    return Plane(pixels, depth if color == 0 else plane.bits, (*plane.warnings, *notes))


_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"IEND")
_MAX_CHUNKS = 100_000  # of a PNG file (our choice: 256 MB in the chunks of 8 KiB that libpng writes, three times over)
_MAX_EXIF = 1 << 16  # bytes of an EXIF block, as in JPEG


def _plain_png(data: bytes, name: str) -> tuple[bytes, bytes]:
    """A PNG file of the chunks that hold pixels alone, and its EXIF block."""
    kept, exif, at = [data[:8]], b"", 8
    for _ in range(_MAX_CHUNKS):
        if at >= len(data):
            return b"".join(kept), exif
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind in _PNG_CHUNKS:
            kept.append(data[at:end])
        elif kind == b"eXIf" and not exif and end - at <= _MAX_EXIF:
            exif = data[at + 8 : end - 4]
        if kind == b"IEND":
            return b"".join(kept), exif
        at = end
    raise UnreadableFileError(f"{name}: more PNG chunks than the limit", allowed=f"at most {_MAX_CHUNKS}")


def _decode_tiff(data: bytes, name: str, frame: int | None, max_pixels: int) -> Plane:
    page = tiff.choose_page(tiff.pages(data, name), name, frame)
    check_size(name, *page.size, max_pixels, samples=min(page.samples, 3))
    orientation, notes = _checked_orientation(page.orientation, "TIFF")
    stored = tiff.layout_pixels(page, name)
    plane = _plane(tiff.pillow_image(page, name), name) if stored is None else _tiff_plane(stored, page, name)
    return Plane(apply_orientation(plane.pixels, orientation), plane.bits, (*plane.warnings, *notes))


def _tiff_plane(stored: NDArray[Any], page: tiff.Page, name: str) -> Plane:
    """Samples of a TIFF page to gray: white-is-zero turned round, palette, color and opacity resolved."""
    bits, photometric = page.bits, page.one(262, 1)
    color = 3 if photometric == 2 else 1
    if stored.shape[2] < color:
        raise ValueError("samples")
    if stored.dtype.kind == "u" and bits not in (8, 16, 32, 64):
        if bits < 8 and photometric != 3:
            stored = (stored.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8)
            bits = 1 if bits == 1 else 8
        elif color == 3:
            stored = stored << (8 * stored.dtype.itemsize - bits)
    gray = stored[..., :color]
    if photometric == 3:
        palette = np.array(page.values(320, limit=3 << 16), np.uint16).reshape(3, -1).T
        levels = palette >> 8 if int(palette.max()) > 255 else palette
        gray = levels.astype(np.uint8)[np.minimum(gray[..., 0], len(levels) - 1)]
        bits = 8
    if photometric == 0:
        gray = inverted(gray, 8 if page.bits < 8 else bits)
    # ExtraSamples (TIFF 6.0, section 18): 2 is opacity; 1 is opacity that the colors are multiplied with already.
    if page.values(338)[:1] == (2,) and stored.shape[2] == color + 1 and photometric != 3:
        gray = np.concatenate([*[gray] * (3 // color), stored[..., color:]], axis=2)
    plane = plane_from_array(gray, name)
    return Plane(plane.pixels > 0 if bits == 1 else plane.pixels, bits, plane.warnings)


def inverted(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """A plane whose zero is white with its scale turned round."""
    if pixels.dtype.kind == "u":
        return np.asarray(pixels.dtype.type((1 << bits) - 1) - pixels)
    if pixels.dtype.kind == "i":
        return ~pixels
    if pixels.dtype.kind == "b":
        return ~pixels
    return np.asarray(pixels.max() + pixels.min() - pixels)


def _deep_color(data: bytes, name: str) -> Plane:
    """16-bit color, which Pillow would cut to 8 bits. Pillow has decoded it once, so OpenCV finds it sound."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise UnsupportedError(f"{name}: 16-bit color of a kind that is not read", hint="save it as 16-bit gray")
    return plane_from_array(pixels, name)


def _plane(image: Image, name: str) -> Plane:
    mode = image.mode
    if mode in ("L", "I;16", "I", "F"):
        return Plane(np.asarray(image), {"L": 8, "I;16": 16}.get(mode, 32))
    if mode.startswith("I;16"):
        return Plane(np.asarray(image).astype(np.uint16), 16)
    if mode == "1":
        return Plane(np.asarray(image), 1)
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return plane_from_array(np.asarray(image.convert("RGBA")), name)
    return plane_from_array(np.asarray(image.convert("RGB")), name)


def plane_from_pil(
    image: Image, name: str, *, frame: int | None = None, max_pixels: int = MAX_PIXELS, max_bytes: int
) -> Plane:
    """A PIL image as one gray plane, as the file it was opened from, or, once it is decoded, as the pixels it holds.

    Raises:
        InputError: As :func:`decode_image`.
        UnreadableFileError: The image is lazily loaded from a damaged file.
        ImageSizeError: The image is over the size limit.
        NotARadiographError: A color picture.
    """
    check_size(name, *image.size, max_pixels)
    from PIL.Image import DecompressionBombError

    try:
        data = _file_of(image, max_bytes)
        if data is not None:
            count = int(getattr(image, "n_frames", 1))
            return decode_image(data, name, frame=image.tell() if frame is None and count > 1 else frame)
        with quiet():
            image.load()
            orientation, notes = _checked_orientation(image.getexif().get(0x0112, 1), "EXIF")  # a TIFF is upright now
            plane = _plane(image, name)
        if _white_is_zero(image):
            plane = Plane(inverted(plane.pixels, plane.bits), plane.bits, plane.warnings)
    except FractureError:
        raise
    except (*FAULTS, DecompressionBombError):
        raise UnreadableFileError(f"{name}: the image's file is truncated or damaged") from None
    return Plane(apply_orientation(plane.pixels, orientation), plane.bits, (*plane.warnings, *notes))


def _file_of(image: Any, max_bytes: int) -> bytes | None:
    """The bytes of the file that an image was opened from, if it was not decoded (or drafted) yet."""
    file = getattr(image, "fp", None)
    if file is None or not getattr(image, "tile", None) or getattr(image, "decoderconfig", ()) not in ((), (0, 0)):
        return None
    if file.closed or not file.seekable():
        return None
    where = file.tell()
    file.seek(0)
    data: bytes = file.read(max_bytes + 1)
    file.seek(where)
    return data if len(data) <= max_bytes and sniff(data).upper() == image.format else None


def _white_is_zero(image: Any) -> bool:
    """Whether a decoded TIFF image still has its scale the wrong way round: Pillow turns only some modes."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(262) == 0 and image.mode not in ("1", "L", "P")


def plane_from_array(pixels: NDArray[Any], name: str) -> Plane:
    """One gray plane from an array.

    Args:
        pixels: (height, width), or (height, width, c) with c = 1, 3 (color) or 4 (color and opacity); color in any
            channel order, since its channels must agree. Boolean, integer or floating point.
        name: How errors call the array.

    Raises:
        PixelValueError: Another shape or dtype, or no pixels.
        NotARadiographError: The color channels differ.
    """
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)) or pixels.size == 0:
        raise PixelValueError(
            f"{name}: an array must hold one plane",
            got=f"shape {pixels.shape}",
            allowed="(height, width) or (height, width, 1, 3 or 4)",
            hint="index one frame, or move the channels to the end",
        )
    if pixels.dtype.kind not in "buif" or pixels.dtype.itemsize > 8:
        raise PixelValueError(f"{name}: pixels must be boolean, integer or floating point", got=f"dtype {pixels.dtype}")
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    bits = 1 if pixels.dtype == np.bool_ else 8 * pixels.dtype.itemsize
    if pixels.ndim == 2:
        return Plane(pixels, bits)
    if pixels.shape[2] == 1:
        return Plane(pixels[..., 0], bits)
    plane = gray_plane(pixels[..., :3], name)
    if pixels.shape[2] == 3:
        return Plane(plane, bits)
    top = 1.0 if pixels.dtype.kind in "fb" else float(np.iinfo(pixels.dtype).max)
    opacity = pixels[..., 3]
    if bool((opacity == top).all()):
        return Plane(plane, bits)

    def laid(gray: NDArray[Any], opaque: NDArray[Any]) -> NDArray[Any]:
        blended = gray * (opaque.astype(np.float64) / top)
        return blended if pixels.dtype.kind == "f" else np.rint(blended)

    return Plane(by_rows(laid, plane, opacity, dtype=pixels.dtype), bits, ("transparent pixels were laid on black",))


def gray_plane(color: NDArray[Any], name: str) -> NDArray[Any]:
    """The common plane of color channels that agree.

    Args:
        color: (height, width, 3).
        name: How errors call the image.

    Returns:
        (height, width): the first channel where all are equal, else their median, so that no value is invented.

    Raises:
        NotARadiographError: More than 0.1 % of the pixels spread by more than 8/255 of the range (our choice).
    """
    first = color[..., 0]
    if np.array_equal(first, color[..., 1]) and np.array_equal(first, color[..., 2]):
        return np.ascontiguousarray(first)
    second, third = color[..., 1], color[..., 2]
    lesser, greater = np.minimum(first, second), np.maximum(first, second)
    low, high = np.minimum(lesser, third), np.maximum(greater, third)
    top = 1.0 if color.dtype.kind in "fb" else float(np.iinfo(color.dtype).max)
    wide = np.float64 if color.dtype.kind == "i" else np.uint8 if color.dtype.kind == "b" else color.dtype
    spread = np.subtract(high, low, dtype=wide)
    share = float(np.count_nonzero(~(spread <= GRAY_TOLERANCE * top))) / spread.size
    if share > GRAY_EXCEPTIONS:
        raise NotARadiographError(
            f"{name}: a color picture",
            got=f"{100 * share:.1f} % of the pixels are colored",
            allowed="gray, or color channels that agree",
            hint="if it is a radiograph with colored marks, convert it to gray first",
        )
    median: NDArray[Any] = np.maximum(lesser, np.minimum(greater, third))
    return median
