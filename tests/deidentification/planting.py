"""Secrets in every place of a DICOM file that can hold text."""

from __future__ import annotations

import io
import warnings

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

TEXT, UID, DATE = "QZSECRET", "1.2.3.98765432123456789", "19121113"
MARKS = tuple(mark.encode() for mark in (TEXT, UID, DATE))
_VALUES = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"), TEXT),
    "UI": UID,
    "DA": DATE,
    "DT": DATE + "101112",
}
# Without these the file would not be read at all.
_NEEDED = (
    "PhotometricInterpretation",
    "SOPClassUID",
    "TransferSyntaxUID",
    "SpecificCharacterSet",
    "BurnedInAnnotation",
)
_ADDED = (
    *("PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "PatientAddress", "StudyDate", "StudyID"),
    *("InstitutionName", "StudyDescription", "SeriesDescription", "ImageComments", "OperatorsName", "AccessionNumber"),
    *("BodyPartExamined", "ViewPosition", "Manufacturer", "StationName", "DeidentificationMethod", "ImageType"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "Laterality"),
)


def planted(content: bytes) -> bytes:
    """The file with a secret in every string, in new strings, items, private elements, an overlay, and around it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(io.BytesIO(content), force=True)
        for keyword in _ADDED:
            setattr(found, keyword, "")
        found.RequestAttributesSequence = Sequence([_item()])
        found.AnatomicRegionSequence = Sequence([_item()])
        found.IconImageSequence = Sequence([_icon()])
        found.ModalityLUTSequence = Sequence([_table()])
        block = found.private_block(0x0009, TEXT, create=True)
        block.add_new(1, "LO", TEXT)
        block.add_new(2, "SQ", Sequence([_item()]))
        block.add_new(3, "OB", TEXT.encode())
        found.add_new(0x60003000, "OW", TEXT.encode())
        found.add_new(0x60000022, "LO", TEXT)
        found.add_new(0xFFFCFFFC, "OB", TEXT.encode())
        meta = found.file_meta
        for keyword in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "ImplementationVersionName"):
            setattr(meta, keyword, "")
        meta.PrivateInformationCreatorUID, meta.PrivateInformation = UID, TEXT.encode()
        _plant(found)
        _plant(meta)
        found.preamble = (TEXT.encode() * 16)[:128]
        stream = io.BytesIO()
        found.save_as(stream, enforce_file_format=True)
    return stream.getvalue() + TEXT.encode()


def without_pixels(content: bytes) -> bytes:
    """All bytes of a file but those of its pixels."""
    pixels = bytes(pydicom.dcmread(io.BytesIO(content)).PixelData)
    assert content.count(pixels) == 1
    return content.replace(pixels, b"")


def _plant(found: Dataset | FileMetaDataset) -> None:
    for element in found:
        if element.VR == "SQ":
            for item in element.value:
                _plant(item)
        elif element.VR in _VALUES and element.keyword not in _NEEDED:
            element.value = _VALUES[element.VR]


def _item() -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-1", "L", "hand"
    item.PatientName = ""
    inner = Dataset()
    inner.CodeMeaning = ""
    item.AnatomicRegionModifierSequence = Sequence([inner])
    return item


def _icon() -> Dataset:
    icon = Dataset()
    icon.PatientName, icon.PixelData = "", TEXT.encode()
    icon["PixelData"].VR = "OB"
    return icon


def _table() -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 8])
    item.add_new("LUTData", "OW", bytes(512))
    item.LUTExplanation = item.ModalityLUTType = ""
    return item
