"""DICOM's RLE (PS3.5 annex G) by Pillow's libtiff, whose PackBits is the same: some 50 times as fast as in Python."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 278, 279


def compress(made: Dataset, pixels: NDArray[np.uint8]) -> None:
    """Put 8-bit pixels (rows, columns) or (rows, columns, 3) into an object, as one RLE frame."""
    planes = [pixels] if pixels.ndim == 2 else [pixels[..., k] for k in range(pixels.shape[2])]
    segments = [_segment(plane) for plane in planes]
    begins = np.cumsum([64, *map(len, segments)])[:-1].tolist()
    header = struct.pack("<16I", len(segments), *begins, *[0] * (15 - len(begins)))
    made.file_meta.TransferSyntaxUID = RLELossless
    made.PixelData = encapsulate([header + b"".join(segments)])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True


def _segment(plane: NDArray[Any]) -> bytes:
    """One plane row by row, of even length."""
    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(plane))
    picture.save(file, "TIFF", compression="packbits", tiffinfo={_ROWS_PER_STRIP: plane.shape[0]})
    data = file.getbuffer()
    with Image.open(io.BytesIO(data)) as written:
        tags = written.tag_v2  # type: ignore[attr-defined]
        places = zip(tags[_STRIP_OFFSETS], tags[_STRIP_BYTES], strict=True)
        packed = b"".join(data[at : at + size] for at, size in places)
    return packed + b"\x00" * (len(packed) % 2)
