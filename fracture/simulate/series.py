"""Simulated slices as DICOM: one CT or MR image (PS3.3 A.3, A.4) a file, which say where they lie in the patient.

As for films, nothing names a person, and identifiers come from what is given: the same series gives the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from fracture._version import __version__
from fracture.io.dicom.uid import derived_uid

_CLASSES = {"CT": UID("1.2.840.10008.5.1.4.1.1.2"), "MR": UID("1.2.840.10008.5.1.4.1.1.4")}


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedBlock:
    """Parallel slices at equal distances.

    Attributes:
        voxels: (slices, rows, columns), whole numbers of 16 bits.
        affine: (4, 4): (column, row, slice, 1) to millimeters of the patient, as
            :class:`fracture.wing.volume.Volume` has it.
    """

    voxels: NDArray[np.int16]
    affine: NDArray[np.float64]


def write_series(
    folder: Path,
    blocks: Sequence[SimulatedBlock],
    *,
    modality: Literal["CT", "MR"],
    description: str,
    study: str,
    number: int = 1,
    **more: Any,
) -> list[Path]:
    """Write a series to ``1.dcm``, ``2.dcm`` and so on; several blocks lie in one series, as axial MR has them.

    Args:
        folder: Made if missing.
        blocks: What it holds, in this order.
        modality: CT values are Hounsfield units.
        description: Series description.
        study: Series of one study give the same text; also the patient's ID.
        number: Series number.
        more: Further attributes by keyword, such as ``EchoTime``.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for block in blocks:
        columns, rows, step = block.affine[:3, :3].T
        wide, tall, thick = (float(np.linalg.norm(one)) for one in (columns, rows, step))
        way = [f"{value:.8f}" for value in (*(columns / wide), *(rows / tall))]
        for k, pixels in enumerate(block.voxels):
            data = Dataset()
            data.ImagePositionPatient = [f"{value:.5f}" for value in block.affine[:3, 3] + k * step]
            data.ImageOrientationPatient, data.PixelSpacing = way, [f"{tall:.6f}", f"{wide:.6f}"]
            data.SliceThickness = data.SpacingBetweenSlices = f"{thick:.6f}"
            data.Rows, data.Columns = pixels.shape
            data.PixelData = np.ascontiguousarray(pixels, "<i2").tobytes()
            data["PixelData"].VR = "OW"
            _header(data, modality, description, study, number, len(files) + 1)
            for keyword, value in more.items():
                setattr(data, keyword, value)
            files.append(folder / f"{len(files) + 1}.dcm")
            data.save_as(files[-1], enforce_file_format=True)
    return files


def _header(data: Dataset, modality: str, description: str, study: str, number: int, instance: int) -> None:
    data.file_meta = meta = FileMetaDataset()
    data.SOPClassUID = meta.MediaStorageSOPClassUID = _CLASSES[modality]
    data.SOPInstanceUID = derived_uid("instance", f"{study}/{number}/{instance}")
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = data.SOPInstanceUID, ExplicitVRLittleEndian
    data.StudyInstanceUID, data.FrameOfReferenceUID = derived_uid("study", study), derived_uid("frame", study)
    data.SeriesInstanceUID = derived_uid("series", f"{study}/{number}")
    data.Modality, data.SeriesDescription, data.StudyDescription = modality, description, "Simulated study"
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "SIMULATED^STUDY", study, "", ""
    data.StudyDate = data.SeriesDate = data.ContentDate = "20000101"
    data.StudyTime = data.SeriesTime = data.ContentTime = "120000"
    data.StudyID, data.SeriesNumber, data.InstanceNumber = "1", number, instance
    data.AccessionNumber = data.ReferringPhysicianName = data.PositionReferenceIndicator = ""
    data.Manufacturer, data.SoftwareVersions = "fracture.simulate", __version__
    data.ImageComments = "Simulated by fracture.simulate: not a patient, not for diagnosis"
    data.ImageType = ["ORIGINAL", "PRIMARY", "OTHER" if modality == "MR" else "AXIAL"]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 1
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PatientPosition, data.RescaleIntercept, data.RescaleSlope = "HFS", "0", "1"
    if modality == "MR":
        data.ScanningSequence, data.SequenceVariant, data.ScanOptions = "SE", "SK", ""
        data.MRAcquisitionType, data.EchoTrainLength = "2D", 1
        data.EchoTime, data.RepetitionTime = "", ""
        del data.RescaleIntercept, data.RescaleSlope
    else:
        data.RescaleType, data.KVP, data.AcquisitionNumber = "HU", "120", 1
