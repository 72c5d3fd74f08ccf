"""A simulated film as a DICOM Digital X-Ray Image for presentation (PS3.3 A.26), valid after ``dciodvfy``.

Everything that could name a person is synthetic and fixed: ``SIMULATED``, the year 2000, identifiers below the UUID
root 2.25 that are derived from the film's content alone, so that the same film gives the same file.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from fracture._version import __version__
from fracture.io.dicom.uid import derived_uid

_DX_FOR_PRESENTATION = UID("1.2.840.10008.5.1.4.1.1.1.1")

# Region -> Body Part Examined (PS3.16 annex L), SNOMED CT code and meaning (PS3.16 CID 4031).
_BODY_PARTS = {
    "ankle": ("ANKLE", "70258002", "Ankle joint"),
    "femur": ("FEMUR", "71341001", "Femur"),
    "finger": ("FINGER", "7569003", "Finger"),
    "forearm": ("FOREARM", "14975008", "Forearm"),
    "hand": ("HAND", "85562004", "Hand"),
    "hip": ("HIP", "24136001", "Hip joint"),
    "knee": ("KNEE", "72696002", "Knee"),
    "pelvis": ("PELVIS", "816092008", "Pelvis"),
    "tibia_fibula": ("LEG", "30021000", "Lower leg"),
    "wrist": ("WRIST", "74670003", "Wrist joint"),
}

_FROM_THE_BACK = ("finger", "hand", "wrist")

# View -> View Position, SNOMED CT code and meaning (PS3.16 CID 4010).
_VIEWS = {
    "AP": ("399348003", "antero-posterior"),
    "PA": ("272479007", "postero-anterior"),
    "LL": ("399173006", "left lateral"),
    "RL": ("399198007", "right lateral"),
    "LLO": ("399184004", "left oblique"),
    "RLO": ("399236003", "right oblique"),
}


class _Film(Protocol):
    """What is written of a film; see ``fracture.simulate.SimulatedFilm``."""

    @property
    def pixels(self) -> NDArray[np.uint16]: ...
    @property
    def seed(self) -> int: ...
    @property
    def region(self) -> str: ...
    @property
    def view(self) -> str: ...
    @property
    def laterality(self) -> str: ...
    @property
    def spacing(self) -> float: ...
    @property
    def orientation(self) -> tuple[str, str]: ...


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def to_dataset(film: _Film, *, inverted: bool) -> Dataset:
    """The film as a data set with File Meta Information (Explicit VR Little Endian), ready for ``save_as``.

    Args:
        film: The film.
        inverted: Store MONOCHROME1 (0 is white) rather than MONOCHROME2.

    Returns:
        12 bits stored in 16, the window over the whole range, body part, view and laterality as strings and codes.
    """
    pixels = (4095 - film.pixels) if inverted else film.pixels
    digest = hashlib.sha256(np.ascontiguousarray(pixels, dtype="<u2").tobytes()).hexdigest()
    key = f"{film.seed}/{film.region}/{film.view}/{digest}"
    data = Dataset()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _DX_FOR_PRESENTATION
    meta.MediaStorageSOPInstanceUID = derived_uid("instance", key)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = derived_uid("fracture.simulate")
    meta.ImplementationVersionName = f"FRACTURE_{__version__}"[:16]
    data.file_meta = meta
    _general(data, film, key)
    _anatomy(data, film)
    _equipment(data, film)
    _image(data, film, pixels, inverted)
    return data


def _general(data: Dataset, film: _Film, key: str) -> None:
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID = _DX_FOR_PRESENTATION
    data.SOPInstanceUID = derived_uid("instance", key)
    data.InstanceCreationDate, data.InstanceCreationTime = "20000101", "120000"
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20000101"
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = data.ContentTime = "120000"
    data.AccessionNumber = ""
    data.Modality = "DX"
    data.PresentationIntentType = "FOR PRESENTATION"
    data.ReferringPhysicianName = ""
    data.StudyDescription = "Simulated radiograph"
    data.PatientName = "SIMULATED^FILM"
    data.PatientID = f"SIMULATED-{film.seed}"
    data.PatientBirthDate = ""
    data.PatientSex = ""
    data.StudyInstanceUID = derived_uid("study", key)
    data.SeriesInstanceUID = derived_uid("series", key)
    data.StudyID = "1"
    data.SeriesNumber = 1
    data.InstanceNumber = 1
    data.ImageComments = "Simulated by fracture.simulate: not a patient, not for diagnosis"


def _anatomy(data: Dataset, film: _Film) -> None:
    part, code, meaning = _BODY_PARTS[film.region]
    side = "L" if film.laterality == "left" else "R"
    paired = film.region != "pelvis"
    data.BodyPartExamined = part
    data.ImageLaterality = side if paired else "U"
    region = _code(code, "SCT", meaning)
    data.AnatomicRegionSequence = Sequence([region])
    if film.view == "frontal":
        position = "PA" if film.region in _FROM_THE_BACK else "AP"
    else:
        position = {"lateral": f"{side}L", "oblique": f"{side}LO"}[film.view]
    data.ViewPosition = position
    value, words = _VIEWS[position]
    view = _code(value, "SCT", words)
    view.ViewModifierCodeSequence = Sequence([])
    data.ViewCodeSequence = Sequence([view])
    data.PatientOrientation = list(film.orientation)
    data.AcquisitionContextSequence = Sequence([])


def _equipment(data: Dataset, film: _Film) -> None:
    data.Manufacturer = "fracture.simulate"
    data.ManufacturerModelName = "simulated detector"
    data.DeviceSerialNumber = "SIMULATED"
    data.SoftwareVersions = __version__
    data.PositionerType = "NONE"
    data.DetectorType = "SCINTILLATOR"
    data.DetectorID = "SIMULATED"
    data.ImagerPixelSpacing = [f"{film.spacing:.6f}", f"{film.spacing:.6f}"]
    data.PixelSpacing = [f"{film.spacing:.6f}", f"{film.spacing:.6f}"]
    data.PixelSpacingCalibrationType = "GEOMETRY"
    data.PixelSpacingCalibrationDescription = "Simulated with parallel rays: no magnification"


def _image(data: Dataset, film: _Film, pixels: np.ndarray, inverted: bool) -> None:
    data.ImageType = ["ORIGINAL", "PRIMARY", ""]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    data.Rows, data.Columns = film.pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation = 0
    data.PixelIntensityRelationship = "LOG"
    data.PixelIntensityRelationshipSign = 1 if inverted else -1
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", "1", "US"
    data.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    data.LossyImageCompression = "00"
    data.BurnedInAnnotation = "NO"
    data.WindowCenter, data.WindowWidth = "2048", "4096"
    data.WindowCenterWidthExplanation = "FULL RANGE"
    data.QualityControlImage = "NO"
    data.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
    data["PixelData"].VR = "OW"
