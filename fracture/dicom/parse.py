"""Bytes to a pydicom data set that holds only the attributes the reader uses.

Everything that may be missing around a data set is handled here: the preamble, the file meta information, the
transfer syntax. A deflated data set is inflated through a byte cap before pydicom sees it.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fracture.dicom.header import WANTED, collect, pydicom_faults
from fracture.errors import UnreadableFileError
from fracture.quiet import quiet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from fracture.dicom.header import Attributes

__all__ = ["Parsed", "parse"]

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"

_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_VRS = frozenset(
    (
        *_LONG_VRS,
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH"),
        *(b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    )
)
_END_OF_FILE = ("end of file", "eof", "no tag to read", "end-of-file")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A data set and how it was encoded.

    Attributes:
        attributes: What the file holds of ``fracture.dicom.header.WANTED``, by keyword.
        transfer_syntax: The transfer syntax UID, as declared or as found.
        truncated: The file ends within an element.
        warnings: What a user should know.
    """

    attributes: Attributes
    transfer_syntax: str
    truncated: bool
    warnings: tuple[str, ...]


def parse(data: bytes, name: str, *, max_bytes: int) -> Parsed:
    """Parse a DICOM file held in memory, with or without preamble and file meta information.

    Args:
        data: The file's bytes.
        name: How errors call the file.
        max_bytes: Cap for a deflated data set once inflated.

    Raises:
        UnreadableFileError: Not DICOM, or damaged so far that no data set can be found.
    """
    start = 132 if data[128:132] == b"DICM" else 4 if data[:4] == b"DICM" else 0
    declared, body = _file_meta(data, start)
    if declared is None and start == 0 and body == 0 and not _plausible(data):
        raise UnreadableFileError(
            f"{name}: not a file format that is read here",
            got="unknown content",
            allowed=("DICOM", "PNG", "JPEG", "TIFF", "each also gzipped"),
        )
    notes: list[str] = []
    if declared is None:
        found = _sniff_encoding(data[body : body + 8])
        if found is None:
            raise UnreadableFileError(
                f"{name}: no transfer syntax is declared and none can be recognized", hint="export the file again"
            )
        notes.append("the file declares no transfer syntax; it was recognized from the data")
        declared = found
    encoded = data[body:] if body else data
    if declared == DEFLATED_LE:
        encoded = _inflate(encoded, name, max_bytes)
    if not encoded:
        raise UnreadableFileError(f"{name}: the DICOM file ends after its header", hint="copy the file again")
    dataset, truncated = _read(encoded, name, declared)
    return Parsed(collect(dataset), declared, truncated, tuple(notes))


def _file_meta(data: bytes, start: int) -> tuple[str | None, int]:
    """The declared transfer syntax, and where the data set begins (group 2 is always explicit little endian)."""
    at, found = start, None
    while at + 8 <= len(data) and data[at : at + 2] == b"\x02\x00":
        element = int.from_bytes(data[at + 2 : at + 4], "little")
        vr = data[at + 4 : at + 6]
        if vr in _LONG_VRS:
            length, header = int.from_bytes(data[at + 8 : at + 12], "little"), 12
        elif vr in _VRS:
            length, header = int.from_bytes(data[at + 6 : at + 8], "little"), 8
        else:
            length, header = int.from_bytes(data[at + 4 : at + 8], "little"), 8
        if at + header + length > len(data):
            break
        if element == 0x0010:
            value = data[at + header : at + header + length]
            found = value.decode("ascii", "replace").strip("\x00 ")
        at += header + length
    return found or None, at


def _plausible(data: bytes) -> bool:
    """Whether bytes without preamble and meta information may begin a data set: a low group, a length that fits."""
    encoding = _sniff_encoding(data[:8])
    if encoding is None or len(data) < 8:
        return False
    if encoding == IMPLICIT_LE:
        return int.from_bytes(data[4:8], "little") <= len(data) - 8
    return True


def _sniff_encoding(head: bytes) -> str | None:
    if len(head) < 8:
        return None
    explicit = head[4:6] in _VRS
    if head[:2] in (b"\x08\x00", b"\x04\x00"):
        return EXPLICIT_LE if explicit else IMPLICIT_LE
    if head[:2] == b"\x00\x08" and explicit:
        return EXPLICIT_BE
    return None


def _inflate(data: bytes, name: str, max_bytes: int) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflate.decompress(data, max_bytes + 1)
    except zlib.error:
        raise UnreadableFileError(f"{name}: the deflated data set is damaged", hint="copy the file again") from None
    if len(body) > max_bytes:
        raise UnreadableFileError(
            f"{name}: the deflated data set inflates to more than the limit",
            allowed=f"at most {max_bytes} bytes",
            hint="raise max_bytes if the file is trusted",
        )
    if not inflate.eof:
        raise UnreadableFileError(f"{name}: the deflated data set is truncated", hint="copy the file again")
    return body


def _read(encoded: bytes, name: str, transfer_syntax: str) -> tuple[Dataset, bool]:
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_dataset
    from pydicom.tag import BaseTag

    wanted: list[BaseTag | int] = [tag for word in WANTED if (tag := tag_for_keyword(word)) is not None]
    pixel_data = 0x7FE00010
    try:
        with quiet() as caught:
            dataset = read_dataset(
                io.BytesIO(encoded),
                is_implicit_VR=transfer_syntax == IMPLICIT_LE,
                is_little_endian=transfer_syntax != EXPLICIT_BE,
                stop_when=lambda tag, _vr, _length: int(tag) > pixel_data,
                specific_tags=wanted,
            )
    except pydicom_faults():
        raise UnreadableFileError(
            f"{name}: the DICOM data set is truncated or damaged", hint="export or copy the file again"
        ) from None
    texts = [str(item.message).lower() for item in caught]
    return dataset, any(sign in text for text in texts for sign in _END_OF_FILE)
