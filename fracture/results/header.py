"""What a result's objects take from the film's header: a normalized copy. The film itself is never changed.

Real headers lack what the standard asks for, or hold what it forbids, and none of that may reach a new object: absent
and invalid values become empty, over-long ones too (a cut number would be another number), text of any character set
becomes Unicode. Without study, series and SOP instance UID there is nothing to refer to, and the film is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

from pydicom.dataset import Dataset

from fracture.errors import ConfigurationError, NotARadiographError
from fracture.io.dicom.parse import parse_header
from fracture.io.dicom.valid import valid, valid_table, values
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.images import sniff
from fracture.io.quiet import quiet

HeaderSource = str | os.PathLike[str] | bytes | IO[bytes] | Dataset

# Patient and study, with the type that General Study and Patient give them: type 2 is there even if empty.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
_OPTIONAL = (
    "IssuerOfPatientID",
    "OtherPatientIDs",
    "PatientBirthTime",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "TimezoneOffsetFromUTC",
    "BodyPartExamined",
)
_ANIMAL = (
    "PatientSpeciesDescription",
    "PatientBreedDescription",
    "ResponsiblePerson",
    "ResponsibleOrganization",
    "PatientSexNeutered",
)
_REFERENCE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_IMAGE = (
    *_REFERENCE,
    "Modality",
    "InstanceNumber",
    "SeriesNumber",
    "Laterality",
    "ImageLaterality",
    "PatientOrientation",
    "FrameOfReferenceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "PixelAspectRatio",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "BurnedInAnnotation",
    "Manufacturer",
    "ManufacturerModelName",
)
_LUT = ("LUTDescriptor", "LUTData", "LUTExplanation", "ModalityLUTType")
_ISSUER = ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_SEQUENCES = {
    "IssuerOfAccessionNumberSequence": _ISSUER,
    "PatientSpeciesCodeSequence": _CODE,
    "PatientBreedCodeSequence": _CODE,
    "ModalityLUTSequence": _LUT,
    "VOILUTSequence": _LUT,
}
_IDENTITY = (*_TYPE_2, *_OPTIONAL, *_ANIMAL)
_IDENTITY_SEQUENCES = ("IssuerOfAccessionNumberSequence", "PatientSpeciesCodeSequence", "PatientBreedCodeSequence")

_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d\Z")


@dataclass(frozen=True, slots=True, eq=False)
class SourceHeader:
    """What is taken from a film, normalized.

    Attributes:
        image: How the film is referred to and shown: UIDs, size, look-up tables and windows. No patient is in it.
        identity: Patient and study, to be copied into every object.
        frame: The frame that was judged, from 1; None where the film has but one.
    """

    image: Dataset
    identity: Dataset
    frame: int | None = None

    @property
    def uid(self) -> str:
        """The film's SOP instance UID."""
        return str(self.image.SOPInstanceUID)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return int(self.image.Columns), int(self.image.Rows)


def read_source(source: HeaderSource, *, frame: int | None = None, name: str | None = None) -> SourceHeader:
    """The normalized header of a film.

    Args:
        source: A path, a file's bytes, a file object, or a pydicom data set.
        frame: The frame that was judged, counted from 0; needed where the film has several.
        name: How errors call it.

    Raises:
        NotARadiographError: No DICOM file.
        ConfigurationError: It has no UIDs to refer to, or several frames and none is named.
        UnreadableFileError: It cannot be read.
    """
    if isinstance(source, Dataset):
        return normalized(source, frame=frame, name=name or "<dataset>")
    data, found = open_bytes(source, MAX_BYTES)
    name = name or found
    if sniff(data) not in ("dicom", ""):
        raise NotARadiographError(
            f"{name}: no DICOM file, so there is no study that a result could be put into",
            hint="give the film as DICOM, or make a study of its own: new_study=True, --new-study",
        )
    keywords = ("SpecificCharacterSet", *_IDENTITY, *_IMAGE)
    return normalized(parse_header(data, name, keywords, _SEQUENCES, max_bytes=MAX_BYTES), frame=frame, name=name)


def normalized(source: Dataset, *, frame: int | None = None, name: str = "<dataset>") -> SourceHeader:
    """The same of a data set that is read; it is not changed.

    Raises:
        ConfigurationError: As for :func:`read_source`.
    """
    with quiet():
        image, identity = _copy(source, _IMAGE), _copy(source, _IDENTITY)
        for keyword, inside in _SEQUENCES.items():
            items = [_item(item, inside) for item in values(source, keyword)[:16] if isinstance(item, Dataset)]
            if items := [item for item in items if len(item)]:
                setattr(identity if keyword in _IDENTITY_SEQUENCES else image, keyword, items)
        for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
            if keyword in image and not _positive_pair(image[keyword].value):
                del image[keyword]
    if missing := [keyword for keyword in _REFERENCE if keyword not in image]:
        raise ConfigurationError(
            f"{name}: a result refers to the film by its UIDs, and the file has none that is valid",
            got=f"no {', '.join(missing)}",
            hint="give the film as it is archived, or make a study of its own: new_study=True, --new-study",
        )
    for keyword in _TYPE_2:
        if keyword not in identity:
            setattr(identity, keyword, "")
    if "TimezoneOffsetFromUTC" in identity and not _OFFSET.match(identity.TimezoneOffsetFromUTC):
        del identity.TimezoneOffsetFromUTC
    _animal(identity)
    return SourceHeader(image, identity, _frame_number(image, frame, name))


def _frame_number(image: Dataset, frame: int | None, name: str) -> int | None:
    frames = int(image.get("NumberOfFrames") or 1)
    if frames == 1:
        return None
    if frame is None or not 0 <= frame < frames:
        raise ConfigurationError(
            f"{name}: the film has {frames} frames, and a result belongs to one",
            got=f"frame={frame}",
            allowed=f"0 to {frames - 1}",
            hint="give the frame that was judged, as for predict",
        )
    return frame + 1


def _positive_pair(value: Any) -> bool:
    return not isinstance(value, str) and len(list(value)) == 2 and min(map(float, value)) > 0


def _animal(identity: Dataset) -> None:
    """Of an animal the standard wants breed, owner and whether it is neutered too, even if empty (PS3.3 C.7.1.1 and
    C.7.2.2, type 2C)."""
    if not {"PatientSpeciesDescription", "PatientSpeciesCodeSequence"} & {element.keyword for element in identity}:
        for keyword in (*_ANIMAL, "PatientBreedCodeSequence"):
            if keyword in identity:
                delattr(identity, keyword)
        return
    for keyword in ("PatientBreedDescription", "ResponsiblePerson", "ResponsibleOrganization", "PatientSexNeutered"):
        if keyword not in identity:
            setattr(identity, keyword, "")
    for keyword in ("PatientBreedCodeSequence", "BreedRegistrationSequence"):
        if keyword not in identity:
            setattr(identity, keyword, [])


def _copy(source: Dataset, keywords: Iterable[str]) -> Dataset:
    copy = Dataset()
    for keyword in keywords:
        if (value := valid(source, keyword)) is not None:
            setattr(copy, keyword, value)
    return copy


def _item(source: Dataset, keywords: Iterable[str]) -> Dataset:
    """An item of a sequence; empty where its look-up table is malformed."""
    item = _copy(source, [keyword for keyword in keywords if not keyword.startswith("LUTD")])
    if "LUTData" not in keywords:
        return item
    table = valid_table(source)
    item.update(table)
    return item if table else table
