"""Frames of a DICOM file to arrays of stored values.

Each codestream goes to one decoder, named here, never to whichever plugin happens to be installed:

====================================  ===========================================================  ==============
transfer syntaxes                     decoder                                                      licence
====================================  ===========================================================  ==============
native, deflated                      NumPy, zlib                                                  BSD, zlib
JPEG with 8 bits, RLE                 Pillow (libjpeg-turbo, its PackBits)                         MIT-CMU
JPEG with 12 bits, lossless JPEG      GDCM                                                         BSD
JPEG-LS                               pyjpegls (CharLS)                                            MIT, BSD
JPEG 2000, HTJ2K                      pylibjpeg-openjpeg (OpenJPEG)                                MIT, BSD
====================================  ===========================================================  ==============

pylibjpeg-libjpeg (GPL) is never used, nor pylibjpeg-rle, which panics on damaged segments. A frame's own header is
held against Rows, Columns and Samples per Pixel before its decoder is called.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.errors import FractureError, UnreadableFileError, UnsupportedError
from fracture.io.dicom.codestream import jpeg2000_header, jpeg2000_start
from fracture.io.dicom.header import EXPLICIT_BE, Attributes, Layout, layout
from fracture.io.dicom.parse import parse
from fracture.io.dicom.walk import MAX_STEPS
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.images import MAX_PIXELS, check_size
from fracture.io.jpeg import END_OF_IMAGE, Codestream, jpeg_header, plain, sound_jpeg, whole
from fracture.io.quiet import FAULTS, c_stderr_closed, quiet

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", EXPLICIT_BE)
_RLE = ("1.2.840.10008.1.2.5",)
_JPEG = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70))
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203))
_ITEM = b"\xfe\xff\x00\xe0"
SUPPORTED = (*_NATIVE, *_RLE, *_JPEG, *_JPEG_LS, *_JPEG_2000)


def decode_pixels(
    source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> NDArray[Any]:
    """All stored values of a DICOM file, as ``fracture.read`` decodes them, before any LUT.

    Args:
        source: A path (gzip is unpacked) or a file's bytes.
        max_pixels: Limit of width times height times frames, checked before decoding.
        max_bytes: Limit of the file's size, also once inflated.

    Returns:
        (rows, columns), with a leading axis of frames where there are several and a last axis of 3 for color as
        stored (YBR stays YBR). Values lie in the low Bits Stored bits, whatever High Bit says.

    Raises:
        InputError: As ``fracture.read``.
    """
    data, name = open_bytes(source, max_bytes)
    parsed = parse(data, name, max_bytes=max_bytes)
    form = layout(parsed.attributes, name, parsed.transfer_syntax, truncated=parsed.truncated)
    check_size(name, form.columns, form.rows * form.frames, max_pixels, samples=form.samples)
    form = recognized(parsed.attributes, form, name, [])
    frames = [pixels for pixels, _ in decode_frames(parsed.attributes, form, name, range(form.frames))]
    return frames[0] if form.frames == 1 else np.stack(frames)


def decode_frame(dataset: Attributes, form: Layout, name: str, index: int) -> tuple[NDArray[Any], str]:
    """One frame of stored values; ``index`` is one of the file's.

    Returns:
        The frame, shape ``form.frame_shape``, and its photometric interpretation after decoding (a decoder may
        have turned YBR to RGB).

    Raises:
        UnreadableFileError: Truncated or damaged pixels, or a codestream that contradicts the header.
        UnsupportedError: A transfer syntax or process that is not read.
    """
    return next(decode_frames(dataset, form, name, (index,)))


def decode_frames(
    dataset: Attributes, form: Layout, name: str, indices: Iterable[int]
) -> Iterator[tuple[NDArray[Any], str]]:
    """Frames of stored values, one by one; the compressed data is divided once. See :func:`decode_frame`."""
    pixel_data = checked_pixels(dataset, form, name)
    if form.transfer_syntax in _NATIVE:
        yield from ((_native(pixel_data, form, index), form.photometric) for index in indices)
        return
    streams = split_frames(pixel_data, form.frames, name)
    for index in indices:
        try:
            found = _decode_codestream(streams[index], form, name)
        except FractureError:
            raise
        except FAULTS:
            raise UnreadableFileError(
                f"{name}: the compressed pixels are truncated or damaged", hint="export or copy the file again"
            ) from None
        yield found


def recognized(dataset: Attributes, form: Layout, name: str, notes: list[str]) -> Layout:
    """The layout with the transfer syntax that compressed pixels show, where the file calls them uncompressed.

    So are data sets without their file meta information, and files whose header was lost on the way.
    """
    if form.transfer_syntax not in _NATIVE or form.transfer_syntax == EXPLICIT_BE:
        return form
    pixel_data = _pixel_bytes(dataset, name)
    if pixel_data[:4] != _ITEM or len(pixel_data) >= form.frame_bytes * form.frames:
        return form
    head = split_frames(pixel_data, form.frames, name)[0][:12]
    jpeg = _JPEG[-1] if head[:2] == b"\xff\xd8" else _RLE[0]
    found = _JPEG_2000[1] if jpeg2000_start(head) else jpeg
    notes.append(
        "the pixels are compressed, though the file does not say so; the compression was recognized from the data"
    )
    return replace(form, transfer_syntax=found)


def checked_pixels(dataset: Attributes, form: Layout, name: str) -> memoryview:
    """The raw pixel data, its transfer syntax supported and, where not compressed, its length sufficient.

    Raises:
        UnreadableFileError: Missing or truncated pixels.
        UnsupportedError: A transfer syntax that is not read.
    """
    if form.transfer_syntax not in SUPPORTED:
        public = form.transfer_syntax.startswith("1.2.840.10008.") and len(form.transfer_syntax) < 32
        raise UnsupportedError(
            f"{name}: a transfer syntax that is not read here",
            got=form.transfer_syntax if public else "a private or malformed one",
            hint="export the image uncompressed",
        )
    pixel_data = _pixel_bytes(dataset, name)
    if form.transfer_syntax in _NATIVE:
        _check_native(pixel_data, form, name)
    return pixel_data


def _pixel_bytes(dataset: Attributes, name: str) -> memoryview:
    found = dataset.get("PixelData")
    if not isinstance(found, bytes | bytearray | memoryview) or not found:
        raise UnreadableFileError(f"{name}: the pixels are missing or malformed", hint="copy the file again")
    return memoryview(found)


def _check_native(pixel_data: memoryview, form: Layout, name: str) -> None:
    if form.photometric == "YBR_FULL_422" and (form.columns % 2 or form.allocated != 8 or form.planar):
        raise UnsupportedError(
            f"{name}: uncompressed YBR_FULL_422 of this layout is not read",
            got=f"{form.columns} columns, {form.allocated} bits",
            allowed="an even number of columns, 8 bits",
            hint="export it as gray",
        )
    expected = form.frame_bytes * form.frames
    if len(pixel_data) < expected:
        raise UnreadableFileError(
            f"{name}: the pixels are truncated",
            got=f"{len(pixel_data)} bytes",
            allowed=f"{expected} bytes for {form.columns} x {form.rows} x {form.frames} frames",
            hint="copy the file again",
        )


def _native(pixel_data: memoryview, form: Layout, index: int) -> NDArray[Any]:
    if form.swapped:
        words = np.frombuffer(pixel_data, ">u2", len(pixel_data) // 2)
        pixel_data = memoryview(words.astype("<u2").tobytes() + bytes(pixel_data[2 * words.size :]))
    order = ">" if form.transfer_syntax == EXPLICIT_BE else "<"
    count = form.frame_bytes // (form.allocated // 8)
    stored = np.frombuffer(pixel_data, f"{order}u{form.allocated // 8}", count, index * form.frame_bytes)
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if form.photometric == "YBR_FULL_422":
        quads = stored.reshape(form.rows, form.columns // 2, 4)  # Y Y Cb Cr for two pixels beside each other
        colors = np.repeat(quads[..., 2:], 2, axis=1)
        stored = np.concatenate([quads[..., :2].reshape(form.rows, form.columns, 1), colors], axis=2)
    elif form.samples > 1 and form.planar:
        stored = np.moveaxis(stored.reshape(form.samples, form.rows, form.columns), 0, -1)
    return _significant(stored.reshape(form.frame_shape), form)


def _significant(stored: NDArray[Any], form: Layout, precision: int | None = None) -> NDArray[Any]:
    """Unsigned containers to values: shift down to bit 0, drop what is above, extend the sign (PS3.5 8.1.1).

    Args:
        stored: As wide as Bits Allocated.
        form: The pixel layout.
        precision: Bits of a codestream's samples. Where they do not reach up to High Bit, they begin at bit 0.
    """
    bits, shift = form.stored, form.high_bit + 1 - form.stored
    if precision is not None and precision <= form.high_bit:
        bits, shift = min(bits, precision), 0
    if shift:
        stored = stored >> shift
    if bits < form.allocated:
        unit = stored.dtype.type
        stored = stored & unit((1 << bits) - 1)
        if form.signed:
            sign = unit(1 << (bits - 1))
            stored = (stored ^ sign) - sign
    return stored.view(form.dtype) if form.signed else stored


def split_frames(pixel_data: bytes | memoryview, frames: int, name: str) -> list[bytes]:
    """Encapsulated pixel data (PS3.5 A.4) as one codestream per frame; the delimiter at the end may be missing.

    Raises:
        UnreadableFileError: The items run past the end, do not make up the frames, or are beyond all number.
    """
    pixel_data = memoryview(pixel_data)
    fragments: list[memoryview] = []
    at = 0
    while at + 8 <= len(pixel_data) and pixel_data[at : at + 4] == _ITEM:
        length = int.from_bytes(pixel_data[at + 4 : at + 8], "little")
        if at + 8 + length > len(pixel_data) or len(fragments) >= MAX_STEPS:
            raise UnreadableFileError(f"{name}: the compressed pixels are truncated or damaged")
        fragments.append(pixel_data[at + 8 : at + 8 + length])
        at += 8 + length
    if len(fragments) < 1 + frames:
        raise UnreadableFileError(
            f"{name}: the compressed pixels hold fewer frames than declared",
            got=f"{max(len(fragments) - 1, 0)} fragments",
            allowed=f"{frames} frames",
        )
    table, fragments = fragments[0], fragments[1:]
    if frames == 1:
        return [b"".join(fragments)]
    if len(fragments) == frames:
        return [bytes(fragment) for fragment in fragments]
    return _group_fragments(table, fragments, frames, name)


def _group_fragments(table: memoryview, fragments: list[memoryview], frames: int, name: str) -> list[bytes]:
    """More fragments than frames: by the basic offset table, else each frame begins with a start marker."""
    begins = [0]
    for fragment in fragments[:-1]:
        begins.append(begins[-1] + 8 + len(fragment))
    offsets = np.frombuffer(table[: len(table) // 4 * 4], "<u4").tolist()
    number = {begin: i for i, begin in enumerate(begins)}
    if len(offsets) == frames and set(offsets) <= set(number):
        first = [number[offset] for offset in offsets]
    else:
        first = [i for i, part in enumerate(fragments) if bytes(part[:2]) in (b"\xff\xd8", b"\xff\x4f")]
    if len(first) != frames or first[0] != 0 or first != sorted(first):
        raise UnreadableFileError(f"{name}: the compressed pixels cannot be divided into {frames} frames")
    ends = [*first[1:], len(fragments)]
    return [b"".join(fragments[begin:end]) for begin, end in zip(first, ends, strict=True)]


def _decode_codestream(frame: bytes, form: Layout, name: str) -> tuple[NDArray[Any], str]:
    if form.transfer_syntax in _RLE:
        return _decode_rle(frame, form), form.photometric
    stream = jpeg2000_header(frame) if form.transfer_syntax in _JPEG_2000 else jpeg_header(frame)
    if stream is None:
        raise UnreadableFileError(f"{name}: the compressed pixels have no valid header")
    _check_stream(stream, form, name)
    if stream.process == "jpeg2000":
        return _decode_jpeg2000(frame, stream, form), _jpeg2000_photometric(form)
    if stream.process == "jpeg-ls":
        return _decode_jpeg_ls(frame, stream, form), form.photometric
    if stream.process in ("baseline", "extended", "progressive") and stream.precision == 8:
        return _decode_jpeg8(frame, stream, form)
    if stream.process in ("extended", "lossless"):
        if stream.samples != 1 and stream.process != "lossless":
            raise UnsupportedError(f"{name}: color in 12-bit JPEG is not read")
        sound = sound_jpeg(frame)
        if sound is None:
            raise UnreadableFileError(f"{name}: the compressed pixels are truncated or damaged")
        return whole(sound[0], lambda one: _decode_gdcm(one, stream, form), ended=sound[1]), form.photometric
    raise UnsupportedError(f"{name}: a JPEG process that is not read", got=stream.process)


def _check_stream(stream: Codestream, form: Layout, name: str) -> None:
    got = (stream.rows, stream.columns, stream.samples)
    if got != (form.rows, form.columns, form.samples):
        raise UnreadableFileError(
            f"{name}: the compressed pixels contradict the header",
            got=f"{stream.columns} x {stream.rows} x {stream.samples}",
            allowed=f"{form.columns} x {form.rows} x {form.samples}",
        )
    if not 1 <= stream.precision <= form.allocated:
        raise UnreadableFileError(
            f"{name}: the compressed pixels have more bits than BitsAllocated",
            got=stream.precision,
            allowed=f"1 to {form.allocated}",
        )


def _fit(values: NDArray[Any], stream: Codestream, form: Layout) -> NDArray[Any]:
    """Decoded values in the header's dtype, of the bits that it declares, whatever sign the codestream has."""
    if values.size != form.rows * form.columns * form.samples:
        raise ValueError("short")
    values = values.reshape(form.frame_shape)
    if stream.lossy and stream.precision > form.stored and form.high_bit == form.stored - 1:
        # A lossy codec overshoots: without its high bits the brightest white would turn black (our choice).
        low, high = (
            (-(1 << form.stored - 1), (1 << form.stored - 1) - 1) if form.signed else (0, (1 << form.stored) - 1)
        )
        if stream.signed == form.signed:
            values = np.clip(values, low, high)
    return _significant(values.astype(f"u{form.allocated // 8}", copy=False), form, stream.precision)


def _decode_rle(frame: bytes, form: Layout) -> NDArray[Any]:
    """RLE (PS3.5 G): a header of 16 numbers, then one segment per byte of a sample, the high byte first."""
    width = form.allocated // 8
    count = form.rows * form.columns
    header = np.frombuffer(frame, "<u4", 16).tolist()
    if header[0] != form.samples * width:
        raise ValueError("segments")
    begins = [*header[1 : 1 + header[0]], len(frame)]
    packed = memoryview(frame)
    planes = np.empty((form.samples, count, width), np.uint8)
    for segment in range(header[0]):
        sample, byte = divmod(segment, width)
        planes[sample, :, width - 1 - byte] = _unpack_bits(packed[begins[segment] : begins[segment + 1]], count)
    values = planes.view(f"<u{width}").reshape(form.samples, form.rows, form.columns)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    stored = values[0] if form.samples == 1 else np.moveaxis(values, 0, -1)
    return _significant(stored, form)


def _unpack_bits(packed: memoryview, count: int) -> NDArray[np.uint8]:
    """One PackBits segment, exactly ``count`` bytes of it."""
    from PIL import Image

    unpacked: NDArray[np.uint8] = np.asarray(Image.frombytes("L", (count, 1), packed, "packbits", "L"))[0]
    return unpacked


def _decode_jpeg8(frame: bytes, stream: Codestream, form: Layout) -> tuple[NDArray[Any], str]:
    import io

    from PIL.JpegImagePlugin import JpegImageFile

    if (bare := plain(frame)) is None:
        raise ValueError("no scan")
    color = form.samples == 3
    # An Adobe marker says how colors are coded, and Pillow follows it; else they are taken as they come.
    draft = "YCbCr" if color and not stream.adobe else None

    def decode(one: bytes) -> NDArray[Any]:
        with quiet():
            image = JpegImageFile(io.BytesIO(one))
        if draft:
            image.draft(draft, image.size)
        return np.asarray(image)

    pixels = _fit(whole(bare, decode), stream, form)
    if not color:
        return pixels, form.photometric
    if stream.adobe:
        return pixels, "RGB"
    # JFIF knows no other colors than YCbCr, whatever the header says.
    return pixels, "YBR_FULL" if stream.jfif else form.photometric


def _decode_jpeg_ls(frame: bytes, stream: Codestream, form: Layout) -> NDArray[Any]:
    import jpeg_ls

    # CharLS looks for missing data for ever in a stream without an end marker; a second one does no harm.
    try:
        raw, header = jpeg_ls.decode_buffer(frame + END_OF_IMAGE)
    except RuntimeError:
        if frame[-1:] != b"\0":  # DICOM's padding to an even length, which is too much where the end is missing
            raise
        raw, header = jpeg_ls.decode_buffer(frame[:-1] + END_OF_IMAGE)
    values = np.frombuffer(raw, "<u1" if stream.precision <= 8 else "<u2")
    if form.samples == 3 and header.get("interleave_mode") == 0:  # one plane after the other
        values = np.moveaxis(values.reshape(3, form.rows, form.columns), 0, -1)
    return _fit(values, stream, form)


def _decode_jpeg2000(frame: bytes, stream: Codestream, form: Layout) -> NDArray[Any]:
    from openjpeg.utils import decode

    logger = logging.getLogger("_openjpeg")
    if not logger.handlers:  # without any handler Python itself would print its messages to stderr
        logger.addHandler(logging.NullHandler())
    return _fit(np.asarray(decode(frame)), stream, form)


def _jpeg2000_photometric(form: Layout) -> str:
    # OpenJPEG undoes the color transforms of JPEG 2000 itself.
    return "RGB" if form.photometric in ("YBR_ICT", "YBR_RCT") else form.photometric


def _decode_gdcm(frame: bytes, stream: Codestream, form: Layout) -> NDArray[Any]:
    """12-bit and lossless JPEG by GDCM's codecs, without its file reader."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((form.columns, form.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2" if stream.samples == 1 else "RGB")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    lossless = stream.process == "lossless"
    syntax = "1.2.840.10008.1.2.4.57" if lossless else "1.2.840.10008.1.2.4.51"
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    container = 8 if stream.precision <= 8 else 16
    image.SetPixelFormat(gdcm.PixelFormat(stream.samples, container, stream.precision, stream.precision - 1, 0))
    with c_stderr_closed():
        buffer = image.GetBuffer()
    if buffer is None:
        raise ValueError("not decoded")
    raw = buffer.encode("utf-8", "surrogateescape")  # SWIG hands bytes over as text
    return _fit(np.frombuffer(raw, f"<u{container // 8}"), stream, form)
