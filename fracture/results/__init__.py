"""Results as DICOM objects that open in every viewer: reports, presentation states, pictures, segmentations.

>>> p = fracture.predict("film.dcm")
>>> objects = p.to_dicom(["sr", "sc", "gsps", "seg", "ko"])        # pydicom data sets, in the film's study

Needs the extra ``[dicom]`` (highdicom). Any wing's result will do: see :class:`DicomResult`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.results.base import DicomResult as DicomResult
    from fracture.results.kinds import OBJECTS as OBJECTS
    from fracture.results.objects import to_dicom as to_dicom
    from fracture.results.reading import ReadPlace as ReadPlace, ReadReport as ReadReport, read_sr as read_sr
    from fracture.results.study_page import summary as summary

lazy_names(globals())
