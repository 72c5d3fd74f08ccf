"""Frames of CT and MR files: where each lies in the patient, how it was made, and its values.

Single-frame files (PS3.3 A.3, A.4) and multi-frame Enhanced ones (A.36, A.38), whose functional groups say it frame by
frame. Nothing that names a patient is read; identifiers of series and instances serve to tell files apart and are
never shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fracture.errors import NotARadiographError, SeriesError, UnreadableFileError, UnsupportedError
from fracture.io.dicom.decode import decode_frames, recognized
from fracture.io.dicom.grayscale import modality_curve, padding_mask
from fracture.io.dicom.header import SMALLEST, floats, layout, pydicom_faults
from fracture.io.dicom.parse import parse, parse_header
from fracture.io.dicom.radiograph import modality_of_class
from fracture.io.dicom.valid import values
from fracture.io.images import MAX_PIXELS, check_size
from fracture.io.quiet import quiet

MODALITIES = ("CT", "MR")
AIR = -1024.0
"""Hounsfield units of what a CT file declares to be no image (our choice; scanners write -1024 to -3024)."""

_MOST_FRAMES = 4096  # of a file (our choice: eight times the slices of a whole spine at 1 mm)
_MOST_KEPT = 60 * _MOST_FRAMES  # elements and items of their functional groups that are copied
_UNIT = 1e-2  # how far direction cosines may be from unit length and from a right angle (our choice)
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
_TIMES = ("EchoTime", "RepetitionTime", "InversionTime", "TemporalPositionIdentifier")
_WORDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription", "NumberOfFrames")
_GROUPS: dict[str, tuple[str, ...]] = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRTimingAndRelatedParametersSequence": ("RepetitionTime",),
    "MRModifierSequence": ("InversionTimes",),
    "FrameContentSequence": ("TemporalPositionIndex",),
}
_SHARED, _EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_NESTED = {**_GROUPS, _SHARED: tuple(_GROUPS), _EACH: tuple(_GROUPS)}
_IN_GROUPS = {"EchoTime": "EffectiveEchoTime", "InversionTime": "InversionTimes"}
_IN_GROUPS["TemporalPositionIdentifier"] = "TemporalPositionIndex"


@dataclass(frozen=True, slots=True)
class Frame:
    """What a CT or MR file says of one frame, but for its pixels.

    Attributes:
        source: The file, as the caller gave it.
        index: Which frame of the file, from 0.
        modality: ``"CT"`` or ``"MR"``.
        series, instance: Identifiers, to tell files apart; never shown.
        description: What the series is called, in upper case; to be searched for words, never shown.
        rows, columns: Size.
        position: Center of the first pixel, (x, y, z) in millimeters of the patient: left, back, head.
        orientation: Direction cosines of the rows and of the columns in the same axes, six numbers.
        spacing: Millimeters from row to row, and from column to column.
        step: Distance that the file says slices have, or their thickness, in millimeters; None where it says neither.
        echo, repetition, inversion: Times in milliseconds; None where not said.
        time: Which of several points in time; None where not said.
        rescale: Slope and intercept of this frame of an Enhanced file; None where the file says it for all.
    """

    source: str
    index: int
    modality: str
    series: str
    instance: str
    description: str
    rows: int
    columns: int
    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    spacing: tuple[float, float]
    step: float | None = None
    echo: float | None = None
    repetition: float | None = None
    inversion: float | None = None
    time: float | None = None
    rescale: tuple[float, float] | None = None


def frames_of(data: bytes, name: str, *, max_bytes: int) -> tuple[Frame, ...]:
    """The frames of a DICOM file, pixels not yet decoded.

    Raises:
        UnreadableFileError: Not DICOM, or damaged.
        NotARadiographError: DICOM, but neither CT nor MR.
        SeriesError: It does not say where a frame lies.
    """
    keywords = (*_WORDS, *_PLACE, *_TIMES, "Rows", "Columns")
    head = parse_header(data, name, keywords, _NESTED, max_bytes=max_bytes, most=_MOST_KEPT)
    with quiet():
        return tuple(_frames(head, name))


def frame_values(data: bytes, name: str, frames: Sequence[Frame], *, max_bytes: int) -> Iterator[NDArray[np.float32]]:
    """Values of some frames of one file: Hounsfield units for CT, the scanner's own for MR.

    The modality LUT or rescale is applied (PS3.3 C.11.1), and no window. What a CT file declares to be padding becomes
    :data:`AIR`.

    Yields:
        float32 (rows, columns) for each of ``frames``.

    Raises:
        InputError: Missing, damaged or colored pixels, or more than the file can hold.
    """
    parsed = parse(data, name, max_bytes=max_bytes)
    attributes = parsed.attributes
    form = layout(attributes, name, parsed.transfer_syntax, truncated=parsed.truncated)
    check_size(name, form.columns, form.rows, MAX_PIXELS, samples=form.samples)
    if form.photometric != "MONOCHROME2":
        raise UnsupportedError(
            f"{name}: slices of this kind are not read", got=form.photometric, allowed="MONOCHROME2", hint=_HINT
        )
    if wrong := [frame.index for frame in frames if frame.index >= form.frames]:
        raise UnreadableFileError(f"{name}: the file holds fewer frames than it declares", got=wrong[0] + 1, hint=_HINT)
    form = recognized(attributes, form, name, [])
    stored = decode_frames(attributes, form, name, (frame.index for frame in frames))
    for frame, (pixels, _) in zip(frames, stored, strict=True):
        told: dict[str, Any] = dict(attributes)
        if frame.rescale is not None:
            told |= {"RescaleSlope": frame.rescale[0], "RescaleIntercept": frame.rescale[1]}
        notes: list[str] = []
        found = modality_curve(told, form, notes)(pixels.astype(np.float64))
        if notes or not np.isfinite(found).all():
            raise UnreadableFileError(f"{name}: {notes[0] if notes else 'values beyond all number'}", hint=_HINT)
        if frame.modality == "CT" and (mask := padding_mask(pixels, attributes, form)) is not None:
            found[mask] = AIR
        yield found.astype(np.float32)


_HINT = "export the series again"


def _frames(head: Dataset, name: str) -> Iterator[Frame]:
    modality = _word(head, "Modality") or modality_of_class(_word(head, "SOPClassUID"))
    if modality not in MODALITIES:
        known = modality if len(modality) <= 16 and modality.isalnum() else "no modality"
        raise NotARadiographError(f"{name}: not a slice of a series", got=known, allowed=MODALITIES)
    rows, columns = (_numbers(head, word) for word in ("Rows", "Columns"))
    if len(rows) != 1 or len(columns) != 1 or min(*rows, *columns) < 1:
        raise UnreadableFileError(f"{name}: a slice without pixels", got="no Rows or Columns", hint=_HINT)
    shared = next(iter(_items(head, _SHARED)), None)
    each = _items(head, _EACH)
    declared = _numbers(head, "NumberOfFrames")
    count = int(declared[0]) if declared and math.isfinite(declared[0]) else 1
    if count != len(each) and (count > 1 or each):
        raise SeriesError(
            f"{name}: a multi-frame file must say of each frame where it lies",
            got=f"{count} frames, {len(each)} with a place",
            hint="export it as an Enhanced CT or MR object, or as single slices",
        )
    whole = Frame(
        name,
        0,
        modality,
        _word(head, "SeriesInstanceUID"),
        _word(head, "SOPInstanceUID"),
        _word(head, "SeriesDescription"),
        int(rows[0]),
        int(columns[0]),
        *_UNKNOWN,
    )
    for index, item in enumerate(each or [None]):
        groups = [part for part in (item, shared) if part is not None]
        yield replace(whole, index=index, **_place(head, groups, name), **_made(head, groups))


_UNKNOWN = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 1.0))


def _place(head: Dataset, groups: Sequence[Dataset], name: str) -> dict[str, Any]:
    position, orientation, spacing = (_said(head, groups, word) for word in _PLACE[:3])
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    right = len(orientation) == 6 and all(map(math.isfinite, orientation))
    right = right and all(abs(float(np.linalg.norm(one)) - 1) < _UNIT for one in (across, down))
    faults = {
        "ImagePositionPatient": len(position) != 3 or not all(map(math.isfinite, position)),
        "ImageOrientationPatient": not right or abs(float(across @ down)) > _UNIT,
        "PixelSpacing": len(spacing) != 2 or not all(0.01 <= one <= 20 for one in spacing),
    }
    if wrong := [word for word, at_fault in faults.items() if at_fault]:
        raise SeriesError(
            f"{name}: the slice does not say where it lies in the patient",
            got=f"{', '.join(wrong)} missing or malformed",
            allowed="a position, two directions at a right angle, and a spacing of 0.01 to 20 mm (PS3.3 C.7.6.2)",
            hint="take the series from the archive, not a screen capture",
        )
    steps = (_said(head, groups, word) for word in ("SpacingBetweenSlices", "SliceThickness"))
    step = next((abs(found[0]) for found in steps if len(found) == 1 and 0.01 <= abs(found[0]) <= 100), None)
    return {"position": tuple(position), "orientation": tuple(orientation), "spacing": tuple(spacing), "step": step}


def _made(head: Dataset, groups: Sequence[Dataset]) -> dict[str, Any]:
    times = (next(iter(_said(head, groups, word)), None) for word in _TIMES)
    made = dict(zip(("echo", "repetition", "inversion", "time"), times, strict=True))
    made = {key: value if value is not None and math.isfinite(value) else None for key, value in made.items()}
    rescale = tuple(next(iter(_said(None, groups, word)), None) for word in ("RescaleSlope", "RescaleIntercept"))
    return {**made, "rescale": None if None in rescale else rescale}


def _said(head: Dataset | None, groups: Sequence[Dataset], keyword: str) -> tuple[float, ...]:
    """Numbers from a frame's own groups, else from the shared ones, else from the file's top level."""
    inside = _IN_GROUPS.get(keyword, keyword)
    for group in groups:
        for sequence, words in _GROUPS.items():
            if inside in words:
                for item in _items(group, sequence):
                    if found := _numbers(item, inside):
                        return found
    return () if head is None else _numbers(head, keyword)


def _numbers(item: Dataset, keyword: str) -> tuple[float, ...]:
    """As the file says; what is no number becomes NaN, and a cosine of next to nothing (3.7e-33) zero."""
    found = values(item, keyword)
    return tuple(0.0 if _tiny(one) else number for one, number in zip(found, floats({"": found}, ""), strict=True))


def _tiny(value: object) -> bool:
    try:
        return abs(float(str(value))) < SMALLEST
    except ValueError:
        return False


def _word(item: Dataset, keyword: str) -> str:
    return next((str(value).strip("\x00 ").upper() for value in values(item, keyword) if value is not None), "")


def _items(item: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(item.get(keyword) or ())
    except pydicom_faults():
        return []
