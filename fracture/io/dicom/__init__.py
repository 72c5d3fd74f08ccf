"""DICOM: parse a file, decode its pixels, and render a plain radiograph.

``parse`` finds the data set, ``header`` takes the attributes that are used (never one that names a patient),
``decode`` and ``codestream`` decode frames with permissively licensed codecs, ``grayscale`` applies the modality LUT,
the VOI LUT or window and the polarity, and ``radiograph`` puts a ``Radiograph`` together.
"""

from __future__ import annotations

# pydicom's modules import each other in a circle: two reading threads that import them for the first time at the same
# moment would see half of one. Imported here they are ready before any thread gets past this package's import lock.
import pydicom.filereader
import pydicom.filewriter  # noqa: F401

from fracture.io.dicom.decode import decode_pixels
from fracture.io.dicom.radiograph import radiograph_from_bytes, radiograph_from_dataset

__all__ = ["decode_pixels", "radiograph_from_bytes", "radiograph_from_dataset"]
