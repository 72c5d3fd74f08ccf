"""The attributes of one image that decoding needs, checked before a pixel is touched."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from fracture.errors import NotARadiographError, UnreadableFileError, UnsupportedError
from fracture.io.dicom.walk import MAX_KEPT, MAX_TABLE, MAX_VALUE
from fracture.io.quiet import FAULTS, quiet

Attributes = Mapping[str, Any]

EXPLICIT_BE = "1.2.840.10008.1.2.2"

# The attributes that are read. No patient, study, physician, institution, date or comment is among them.
WANTED = (
    "SOPClassUID",
    "Modality",
    "PresentationIntentType",
    "PixelIntensityRelationshipSign",
    "PatientOrientation",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "AnatomicRegionModifierSequence",
    "ViewPosition",
    "ViewCodeSequence",
    "ViewModifierCodeSequence",
    "ImageLaterality",
    "Laterality",
    "FrameLaterality",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelAspectRatio",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelSpacingCalibrationType",
    "EstimatedRadiographicMagnificationFactor",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PresentationLUTShape",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "PixelData",
)

KNOWN_PHOTOMETRIC = (
    "MONOCHROME1",
    "MONOCHROME2",
    "PALETTE COLOR",
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_ICT",
    "YBR_RCT",
)


_NUMBERS = (
    "PixelAspectRatio",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "EstimatedRadiographicMagnificationFactor",
    "RescaleIntercept",
    "RescaleSlope",
    "WindowCenter",
    "WindowWidth",
)
_IN_ITEMS = ("CodeValue", "LUTDescriptor", "LUTData", "AnatomicRegionModifierSequence")
_TABLES = ("LUTData", *(f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")))


def tags(keywords: Iterable[str]) -> frozenset[int]:
    """The tags of some keywords."""
    return frozenset(tag for word in keywords if (tag := tag_for_keyword(word)) is not None)


WANTED_TAGS = tags(WANTED)
TABLES = tags(_TABLES)
NESTED = dict.fromkeys(tags(tuple(word for word in WANTED if word.endswith("Sequence"))), tags(_IN_ITEMS))
LARGEST, SMALLEST = 1e30, 1e-30
"""Magnitudes beyond which a number is malformed (our choice: no quantity here comes near, and products stay finite)."""


def collect(dataset: Dataset) -> Attributes:
    """The attributes of ``WANTED`` by keyword, converted once; sequences become lists of the same.

    pydicom converts values when they are first asked for, and may warn or raise then with the value in its words.
    Here all of that happens in silence: a malformed attribute is left out, a malformed number becomes NaN.
    """
    with quiet():
        return _collect(dataset, WANTED)


def pydicom_faults() -> tuple[type[Exception], ...]:
    """What pydicom raises on malformed data; two of its exceptions derive from ``Exception`` alone."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*FAULTS, BytesLengthException, InvalidDicomError)


def _collect(dataset: Dataset, keywords: tuple[str, ...]) -> Attributes:
    found: dict[str, Any] = {}
    faults = pydicom_faults()
    for keyword in keywords:
        try:
            value = None if _oversized(dataset, keyword) else dataset.get(keyword)
            if value is not None and keyword.endswith("Sequence"):
                value = [_collect(item, _IN_ITEMS) for item in value[:MAX_KEPT] if hasattr(item, "get")]
            if value is not None and keyword == "PixelData":
                found["PixelDataVR"] = str(dataset[keyword].VR)
        except faults:
            value = math.nan if keyword in _NUMBERS else None
        if value is not None:
            found[keyword] = value
    return found


def _oversized(dataset: Dataset, keyword: str) -> bool:
    """Whether a value that pydicom has not converted yet is longer than any legal one."""
    if keyword.endswith(("Sequence", "PixelData")) or keyword not in dataset:
        return False
    raw = dataset.get_item(keyword).value
    return isinstance(raw, bytes) and len(raw) > (MAX_TABLE if keyword in _TABLES else MAX_VALUE)


def text(dataset: Attributes, keyword: str) -> str:
    """A text attribute stripped and in upper case; the first of several; ``""`` where absent or malformed."""
    return next(iter(texts(dataset, keyword)), "")


def texts(dataset: Attributes, keyword: str) -> tuple[str, ...]:
    """All values of a text attribute, stripped and in upper case."""
    found = dataset.get(keyword)
    if found is None or isinstance(found, bytes):
        return ()
    many = list(found) if not isinstance(found, str) and hasattr(found, "__iter__") else [found]
    return tuple(str(one).strip("\x00 ").upper() for one in many if one is not None)


def floats(dataset: Attributes, keyword: str) -> tuple[float, ...]:
    """All values of a numeric attribute; malformed ones become NaN."""
    found = dataset.get(keyword)
    if found is None or isinstance(found, bytes):
        return ()
    many = [found] if isinstance(found, str) or not hasattr(found, "__iter__") else list(found)
    return tuple(_float(one) for one in many)


def _float(one: object) -> float:
    try:
        number = float(str(one))
    except ValueError:
        return math.nan
    return number if number == 0.0 or SMALLEST <= abs(number) <= LARGEST else math.nan


def integers(dataset: Attributes, keyword: str, *, signed: bool = False, little_endian: bool = True) -> tuple[int, ...]:
    """All values of a 16-bit integer attribute, also where pydicom leaves it as bytes (OW, or US or SS)."""
    found = dataset.get(keyword)
    if found is None or isinstance(found, str):
        return ()
    if isinstance(found, bytes):
        order = "<" if little_endian else ">"
        return tuple(np.frombuffer(found[: len(found) // 2 * 2], f"{order}{'i' if signed else 'u'}2").tolist())
    many = list(found) if hasattr(found, "__iter__") else [found]
    try:
        return tuple(int(one) for one in many)
    except FAULTS:
        return ()


def items(dataset: Attributes, keyword: str) -> list[Attributes]:
    """The items of a sequence; empty where it is absent or malformed."""
    found = dataset.get(keyword)
    return found if isinstance(found, list) else []


@dataclass(frozen=True, slots=True)
class Layout:
    """How pixels are stored, checked for consistency (PS3.3 C.7.6.3, PS3.5 8.1).

    Attributes:
        rows: Height of a frame.
        columns: Width of a frame.
        samples: 1 or 3.
        frames: Number of frames, at least 1.
        allocated: Bits per sample in the file: 8, 16 or 32.
        stored: Significant bits per sample.
        high_bit: Position of the highest significant bit; not always ``stored - 1``.
        signed: Two's complement samples.
        planar: Color planes one after the other.
        swapped: 8-bit samples in big endian words of 16 bits, so in pairs the wrong way round (PS3.5 A.3).
        photometric: Photometric Interpretation.
        transfer_syntax: Transfer Syntax UID.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    planar: bool
    swapped: bool
    photometric: str
    transfer_syntax: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of decoded samples, in the machine's byte order."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(rows, columns), or (rows, columns, 3) for color."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame; YBR_FULL_422 has one pair of colors for two pixels (PS3.3 C.7.6.3.1.2)."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.allocated // 8


def layout(dataset: Attributes, name: str, transfer_syntax: str, *, truncated: bool = False) -> Layout:
    """The pixel layout of a data set.

    Raises:
        NotARadiographError: No image in the file.
        UnreadableFileError: A required attribute is missing or contradicts another.
        UnsupportedError: A layout that is legal but not read.
    """
    if "PixelData" not in dataset:
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            raise UnsupportedError(f"{name}: a DICOM file with floating point pixels (a parametric map)")
        if truncated:
            raise UnreadableFileError(
                f"{name}: the DICOM file is truncated before the end of its pixels", hint="copy the file again"
            )
        raise NotARadiographError(
            f"{name}: a DICOM file without pixels, or cut off before them", hint="give the image itself"
        )
    rows = _required(dataset, name, "Rows")
    columns = _required(dataset, name, "Columns")
    allocated = _required(dataset, name, "BitsAllocated")
    stored = _required(dataset, name, "BitsStored")
    representation = _required(dataset, name, "PixelRepresentation")
    samples = _optional(dataset, "SamplesPerPixel", 1)
    high_bit = _optional(dataset, "HighBit", stored - 1)
    frames = _optional(dataset, "NumberOfFrames", 1)
    photometric = text(dataset, "PhotometricInterpretation")
    if not photometric:
        raise UnreadableFileError(f"{name}: PhotometricInterpretation is missing", allowed=KNOWN_PHOTOMETRIC)
    if photometric not in KNOWN_PHOTOMETRIC:
        raise UnsupportedError(f"{name}: PhotometricInterpretation is unknown", allowed=KNOWN_PHOTOMETRIC)
    if rows < 1 or columns < 1 or rows > 65535 or columns > 65535:
        raise UnreadableFileError(f"{name}: the image has no pixels", got=f"Rows {rows}, Columns {columns}")
    if allocated not in (8, 16, 32):
        kind = UnsupportedError if allocated in (1, 64) else UnreadableFileError
        raise kind(f"{name}: BitsAllocated is not read", got=allocated, allowed=(8, 16, 32))
    if not 1 <= stored <= allocated:
        raise UnreadableFileError(
            f"{name}: BitsStored contradicts BitsAllocated", got=stored, allowed=f"1 to {allocated}"
        )
    if not stored - 1 <= high_bit < allocated:
        raise UnreadableFileError(
            f"{name}: HighBit contradicts BitsStored", got=high_bit, allowed=f"{stored - 1} to {allocated - 1}"
        )
    if representation not in (0, 1):
        raise UnreadableFileError(f"{name}: PixelRepresentation is invalid", got=representation, allowed=(0, 1))
    gray = photometric in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    if samples != (1 if gray else 3):
        raise UnreadableFileError(
            f"{name}: SamplesPerPixel contradicts {photometric}", got=samples, allowed=1 if gray else 3
        )
    if frames < 1:
        raise UnreadableFileError(f"{name}: NumberOfFrames is invalid", got=frames, allowed="1 or more")
    return Layout(
        rows=rows,
        columns=columns,
        samples=samples,
        frames=frames,
        allocated=allocated,
        stored=stored,
        high_bit=high_bit,
        signed=representation == 1,
        planar=_optional(dataset, "PlanarConfiguration", 0) == 1,
        swapped=transfer_syntax == EXPLICIT_BE and allocated == 8 and dataset.get("PixelDataVR") == "OW",
        photometric=photometric,
        transfer_syntax=transfer_syntax,
    )


def _required(dataset: Attributes, name: str, keyword: str) -> int:
    found = integers(dataset, keyword)
    if len(found) != 1:
        raise UnreadableFileError(f"{name}: {keyword} is missing or malformed")
    return found[0]


def _optional(dataset: Attributes, keyword: str, default: int) -> int:
    found = integers(dataset, keyword)
    return found[0] if len(found) == 1 else default
