"""A study of its own for a film that was no DICOM file: its UIDs follow from its pixels, and it names nobody."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pydicom.valuerep import DS

from fracture.io.dicom.uid import derived_uid
from fracture.results.header import SourceHeader, normalized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.io.radiograph import Radiograph


def study_of(film: Radiograph) -> tuple[SourceHeader, NDArray[np.uint8] | NDArray[np.uint16]]:
    """The header of a new study, and the picture as it is stored in it: 8 bits, or 16 where the film has more.

    The patient's ID is made from the pixels too: archives would else put all nameless films into one patient.
    """
    top, kind = (255, np.uint8) if film.bits <= 8 else (65535, np.uint16)
    pixels = np.rint(film.pixels * np.float32(top)).astype(kind)
    digest = hashlib.sha256(pixels.tobytes() + repr(pixels.shape).encode()).hexdigest()
    made = Dataset()
    made.StudyInstanceUID = derived_uid("results", "study", digest)
    made.SeriesInstanceUID = derived_uid("results", "series", digest)
    made.SOPInstanceUID = derived_uid("results", "image", digest)
    made.SOPClassUID = SecondaryCaptureImageStorage
    made.Modality = "OT"
    made.PatientID = f"UNKNOWN-{digest[:16]}"
    made.StudyDescription = "Film without a study"
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape
    made.BitsAllocated = made.BitsStored = 8 * pixels.dtype.itemsize
    made.PixelRepresentation = 0
    if film.spacing is not None:
        made.PixelSpacing = [DS(value, auto_format=True) for value in film.spacing]
    return normalized(made, name=film.source), pixels
