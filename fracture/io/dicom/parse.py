"""Bytes to the attributes that the reader uses.

Everything that may be missing around a data set is handled here: the preamble, the file meta information, the
transfer syntax. A deflated data set is inflated through a byte cap before pydicom sees it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from fracture.errors import UnreadableFileError
from fracture.io.dicom.header import EXPLICIT_BE, NESTED, TABLES, WANTED_TAGS, Attributes, collect, pydicom_faults, tags
from fracture.io.dicom.walk import MAX_KEPT, VRS, Found, TooMuch, element_at, walk
from fracture.io.files import inflated_limit
from fracture.io.quiet import quiet

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
_MAX_META = 1000  # elements of file meta information (our choice; eleven are defined)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A data set and how it was encoded.

    Attributes:
        attributes: What the file holds of ``fracture.io.dicom.header.WANTED``, by keyword.
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
    data, body, declared, notes = _data_set(data, name, max_bytes)
    dataset, found = _walked(data, body, name, declared, WANTED_TAGS, NESTED)
    attributes: dict[str, Any] = dict(collect(dataset))
    attributes.update((keyword_for_tag(tag), b"") for tag in found.present)
    if found.pixels is not None:
        attributes["PixelData"] = memoryview(data)[slice(*found.pixels)]
        attributes["PixelDataVR"] = found.pixel_vr.decode("ascii")
    notes += [f"{keyword_for_tag(tag)} is longer than any legal value; it was left out" for tag in found.oversized]
    return Parsed(attributes, declared, found.truncated, tuple(notes))


def parse_header(
    data: bytes,
    name: str,
    keywords: Iterable[str],
    nested: Mapping[str, Iterable[str]],
    *,
    max_bytes: int,
    most: int = MAX_KEPT,
) -> Dataset:
    """Some attributes of a DICOM file as pydicom holds them, not converted yet; within the same bounds as ``parse``.

    Args:
        data: The file's bytes.
        name: How errors call the file.
        keywords: What to take at top level; never the pixels.
        nested: Of which sequences, at any depth, and what of their items.
        max_bytes: Cap for a deflated data set once inflated.
        most: Limit of the elements and items taken.

    Raises:
        UnreadableFileError: As ``parse``.
    """
    data, body, declared, _ = _data_set(data, name, max_bytes)
    inside = {next(iter(tags((word,)))): tags(words) for word, words in nested.items()}
    return _walked(data, body, name, declared, tags((*keywords, *nested)), inside, most)[0]


def _data_set(data: bytes, name: str, max_bytes: int) -> tuple[bytes, int, str, list[str]]:
    """The data, inflated; where its data set begins; its transfer syntax; what a user should know."""
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
    if declared == DEFLATED_LE:
        data, body = _inflate(data[body:], name, max_bytes), 0
    if body >= len(data):
        raise UnreadableFileError(f"{name}: the DICOM file ends after its header", hint="copy the file again")
    return data, body, declared, notes


def _file_meta(data: bytes, start: int) -> tuple[str | None, int]:
    """The declared transfer syntax, and where the data set begins (group 2 is always explicit little endian)."""
    at, found = start, None
    for _ in range(_MAX_META):
        if data[at : at + 2] != b"\x02\x00":
            break
        try:
            one = element_at(data, at, implicit=False, big=False)
        except struct.error:
            break
        if one.value + one.length > len(data):
            break
        if one.tag == 0x00020010:
            found = data[one.value : one.value + min(one.length, 64)].decode("ascii", "replace").strip("\x00 ")
        at = one.value + one.length
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
    explicit = head[4:6] in VRS
    if head[:2] in (b"\x08\x00", b"\x04\x00"):
        return EXPLICIT_LE if explicit else IMPLICIT_LE
    if head[:2] == b"\x00\x08" and explicit:
        return EXPLICIT_BE
    return None


def _inflate(data: bytes, name: str, max_bytes: int) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    limit = inflated_limit(len(data), max_bytes)
    try:
        body = inflate.decompress(data, limit + 1)
    except zlib.error:
        raise UnreadableFileError(f"{name}: the deflated data set is damaged", hint="copy the file again") from None
    if len(body) > limit:
        raise UnreadableFileError(
            f"{name}: the deflated data set inflates to more than the limit",
            allowed=f"at most {limit} bytes for {len(data)}",
            hint="raise max_bytes if the file is trusted",
        )
    if not inflate.eof:
        raise UnreadableFileError(f"{name}: the deflated data set is truncated", hint="copy the file again")
    return body


def _walked(
    data: bytes,
    start: int,
    name: str,
    transfer_syntax: str,
    wanted: Collection[int],
    nested: Mapping[int, Collection[int]],
    most: int = MAX_KEPT,
) -> tuple[Dataset, Found]:
    from pydicom.filereader import read_dataset

    # Some files declare implicit VRs and have explicit ones; the other way is seen element by element.
    implicit = transfer_syntax == IMPLICIT_LE and data[start + 4 : start + 6] not in VRS
    big = transfer_syntax == EXPLICIT_BE
    try:
        found = walk(data, start, wanted, nested, TABLES, implicit=implicit, big=big, most=most)
        with quiet():
            dataset = read_dataset(io.BytesIO(found.kept), is_implicit_VR=implicit, is_little_endian=not big)
    except TooMuch as limit:
        raise UnreadableFileError(
            f"{name}: the DICOM data set is beyond the limits of what is read", got=str(limit)
        ) from None
    except pydicom_faults():
        raise UnreadableFileError(
            f"{name}: the DICOM data set is truncated or damaged", hint="export or copy the file again"
        ) from None
    return dataset, found
