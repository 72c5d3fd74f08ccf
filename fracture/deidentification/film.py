"""``fracture.deidentify``: a film to its de-identified copy."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from fracture._version import __version__
from fracture.atomic import write_atomic
from fracture.deidentification.header import code_item, deidentify_header
from fracture.deidentification.pixels import PixelBox, Redacted, checked_boxes, redact
from fracture.deidentification.rules import Rules
from fracture.errors import NotARadiographError, UnsupportedError
from fracture.io.dicom.decode import checked_pixels, recognized
from fracture.io.dicom.grayscale import padding_values
from fracture.io.dicom.header import Attributes, Layout, layout
from fracture.io.dicom.parse import parse
from fracture.io.dicom.radiograph import check_modality
from fracture.io.dicom.uid import derived_uid
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.images import MAX_PIXELS, check_size, sniff
from fracture.io.quiet import memory_told

OWN_CLASS = derived_uid("fracture.deidentify")
"""Implementation Class UID of the files that are made here, by which they are known again."""

_DIGITAL = tuple(f"1.2.840.10008.5.1.4.1.1.1.{number}" for number in (1, 2, 3))
"""Digital X-ray, mammography, and intraoral images, for presentation and for processing."""

_CLEAN = ("113101", "Clean Pixel Data Option")


def deidentify(
    source: str | os.PathLike[str] | bytes | IO[bytes],
    *,
    key: bytes,
    dates: str = "remove",
    keep_institution: bool = False,
    boxes: Sequence[Sequence[float]] | None = None,
    outside_field: bool = False,
    allow: Collection[str] = (),
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> Dataset:
    """Make a de-identified copy of a DICOM film; the source is not changed.

    The copy is a new file of what a whitelist names (``fracture/deidentification/whitelist.py``): no private attribute,
    no free text, no overlay, no date. Of the patient stay sex and age, at most 90 years; the rest are pseudonyms and
    UIDs that follow from the key. Pixels are decoded and written uncompressed. It does not find faces, nor text within
    the exposed field: look at what you give away.

    Args:
        source: A path (gzip is unpacked), a DICOM file's bytes, or a file object in binary mode.
        key: Secret of at least 16 bytes, from which pseudonyms, UIDs and shifts follow; equal keys, equal pseudonyms.
        dates: ``"remove"``, or ``"shift"``: a patient's dates move back by the same 1 to 3650 days.
        keep_institution: Keep the institution's name, as the paper did, rather than a pseudonym.
        boxes: Places to make black in every frame, (x0, y0, x1, y1) in source pixels, continuous pixel edges, x right
            and y down; every pixel that a box touches. BurnedInAnnotation becomes NO.
        outside_field: Make everything black that is outside the exposed field, as found from the pixels
            (:func:`fracture.preprocess.find_field`). Text within it stays, and BurnedInAnnotation what it was.
        allow: Modalities beyond plain radiographs, as for ``fracture.read``.
        max_pixels: Limit of width times height times frames.
        max_bytes: Limit of the file's size, also once inflated.

    Returns:
        A data set with File Meta Information (Explicit VR Little Endian), ready for ``save_as``.

    Raises:
        UnsupportedError: Burned In Annotation is not NO, and neither boxes nor ``outside_field`` is given.
        NotARadiographError: No DICOM file, or no radiograph.
        PixelValueError: A box beside the film, or no field that stands out.
        InputError: As for ``fracture.read``.
        ConfigurationError: A malformed key, box or option.
    """
    rules = Rules(key, dates, keep_institution)
    places = checked_boxes(boxes)
    data, name = open_bytes(source, max_bytes)
    if sniff(data) not in ("dicom", ""):
        raise NotARadiographError(
            f"{name}: a picture file has no header that could be de-identified, and may hold text beside its pixels",
            got=sniff(data).upper(),
            allowed="DICOM",
            hint="de-identify the DICOM file it came from, or save the picture anew without its metadata",
        )
    with memory_told(name):
        parsed = parse(data, name, max_bytes=max_bytes)
        found = parsed.attributes
        check_modality(found, name, allow, [])
        form = layout(found, name, parsed.transfer_syntax, truncated=parsed.truncated)
        check_size(name, form.columns, form.rows * form.frames, max_pixels, samples=form.samples)
        form = recognized(found, form, name, [])
        if form.photometric == "PALETTE COLOR":
            raise UnsupportedError(
                f"{name}: a film with a color palette is not de-identified", hint="export it as gray"
            )
        checked_pixels(found, form, name)
        made = deidentify_header(data, rules, name=name)
        if made.get("BurnedInAnnotation") != "NO" and not places and not outside_field:
            raise UnsupportedError(
                f"{name}: text that names the patient may be burnt into the pixels",
                got=f"BurnedInAnnotation {made.get('BurnedInAnnotation') or 'absent'}",
                allowed="NO, or a way to remove such text",
                hint="look at the film, then give boxes (--box x0,y0,x1,y1) or outside_field=True (--outside-field)",
            )
        redacted = redact(found, form, name, boxes=places, outside_field=outside_field)
        return _finished(made, redacted, form, found, rules, data, places, outside_field)


def save(film: Dataset, path: str | os.PathLike[str]) -> None:
    """Write a de-identified film, whole or not at all.

    Args:
        film: From :func:`deidentify`.
        path: The new file; one that is there is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    write_atomic(Path(path), lambda temporary: temporary.write_bytes(stream.getbuffer()), size=stream.tell())


def request_token(rules: Rules, data: bytes, boxes: Sequence[Sequence[float]] | None, outside_field: bool) -> str:
    """What tells the copy of these bytes by this request from any other; nothing to those without the key."""
    parts = (rules.dates, str(rules.keep_institution), str(checked_boxes(boxes)), str(outside_field), __version__)
    return "request " + rules.digest("request", hashlib.sha256(data).hexdigest(), *parts)[:16]


def _finished(
    made: Dataset,
    redacted: Redacted,
    form: Layout,
    found: Attributes,
    rules: Rules,
    data: bytes,
    boxes: tuple[PixelBox, ...],
    outside_field: bool,
) -> Dataset:
    content = hashlib.sha256(data).hexdigest()
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if keyword not in made:  # of type 1 in a file
            setattr(made, keyword, rules.uid(f"{keyword} of {content}"))
    _describe(made, redacted, form, found, filled=bool(boxes) or outside_field)
    if boxes:  # somebody has looked
        made.BurnedInAnnotation = "NO"
        made.DeidentificationMethodCodeSequence.append(code_item(*_CLEAN))
    made.DeidentificationMethod = [
        *made.DeidentificationMethod,
        *[f"{len(boxes)} black boxes"] * bool(boxes),
        *["black outside of the exposed field"] * outside_field,
        request_token(rules, data, boxes or None, outside_field),
    ]
    if made.SOPClassUID.startswith(_DIGITAL):  # of type 2 there
        made.AcquisitionContextSequence = []
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = OWN_CLASS
    meta.ImplementationVersionName = f"FRACTURE_{__version__}"[:16]
    made.file_meta = meta
    return made


def _describe(made: Dataset, redacted: Redacted, form: Layout, found: Attributes, *, filled: bool) -> None:
    """The attributes of the pixels, as they are now."""
    pixels = redacted.pixels
    made.Rows, made.Columns, made.SamplesPerPixel = form.rows, form.columns, form.samples
    made.BitsAllocated, made.BitsStored, made.HighBit = form.allocated, form.stored, form.stored - 1
    made.PixelRepresentation = int(form.signed)
    made.PhotometricInterpretation = redacted.photometric
    if form.samples > 1:
        made.PlanarConfiguration = 0
    elif "PlanarConfiguration" in made:
        del made.PlanarConfiguration
    if form.frames == 1 and "NumberOfFrames" in made:
        del made.NumberOfFrames
    padding = padding_values(found, form) or (redacted.fill,) * filled
    if redacted.photometric.startswith("MONOCHROME"):
        for keyword, value in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), padding, strict=False):
            made.add_new(keyword, "SS" if form.signed else "US", value)
    body = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    made.add_new("PixelData", "OB" if form.allocated == 8 else "OW", body + b"\0" * (len(body) % 2))
