"""Pictures as secondary captures: what every viewer shows, even one that knows no report and no presentation state.

The words stand in the pixels, "research use" among them. Whether a name stands there too is what the film's own
BurnedInAnnotation says: we write none.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DS

from fracture.results.kinds import RESEARCH
from fracture.results.marks import Making
from fracture.results.rle import compress
from fracture.wing.overlay import draw_page
from fracture.wing.scene import Page

if TYPE_CHECKING:
    from numpy.typing import NDArray


def make_capture(making: Making, page: Page) -> Dataset:
    """The overlay with its caption, in color and RLE."""
    picture = draw_page(page)
    made = capture(making, "sc", picture, page.verdict)
    image = making.header.image
    width, _ = making.header.size
    if spacing := image.get("PixelSpacing") or image.get("ImagerPixelSpacing"):
        made.PixelSpacing = [DS(float(value) * width / picture.shape[1], auto_format=True) for value in spacing]
    return made


def capture(making: Making, kind: str, pixels: NDArray[Any], words: str) -> Dataset:
    """A picture in the film's study.

    Args:
        making: The film and what is said of it.
        kind: ``"sc"``, ``"summary"``, or ``"image"`` for a film that was no DICOM, which is stored as it is.
        pixels: uint8 (height, width, 3), or uint8 or uint16 (height, width).
        words: What it shows, in a line.
    """
    image, derived = making.header.image, kind != "image"
    color = pixels.ndim == 3
    plain = np.zeros((1, 1, 3) if color else (1, 1), pixels.dtype)  # the pixels follow, compressed by us
    made = SCImage.from_ref_dataset(
        ref_dataset=making.reference(),
        pixel_array=plain,
        photometric_interpretation="RGB" if color else "MONOCHROME2",
        bits_allocated=8 * pixels.dtype.itemsize,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # asked for; blanked below, since what is drawn is not the patient
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **making.common(kind),
    )
    if not derived:
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        made.SeriesInstanceUID = image.SeriesInstanceUID
    made.Rows, made.Columns = pixels.shape[:2]
    if derived:
        compress(made, pixels)
        made.DerivationDescription = f"Findings of fracture {making.statement.model}, {RESEARCH}"
        made.ImageComments = words
        made.SourceImageSequence = [_source(making)]
    else:
        made.PixelData = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
    made.ImageType = (
        ["DERIVED", "SECONDARY", "OVERLAY" if kind == "sc" else "SUMMARY"] if derived else ["ORIGINAL", "SECONDARY"]
    )
    made.ConversionType = "WSD" if derived else "DI"
    made["PatientOrientation"].value = ""
    for keyword in ("BurnedInAnnotation", *(() if derived else ("PixelSpacing",))):
        if keyword in image:
            made[keyword] = copy.deepcopy(image[keyword])
    return making.finish(made)


def _source(making: Making) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = making.header.image.SOPClassUID
    item.ReferencedSOPInstanceUID = making.header.image.SOPInstanceUID
    purpose = Dataset()
    code = codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code[:3]
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item
