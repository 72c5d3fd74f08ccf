"""What all our objects carry: UIDs that a retry gives again, series by kind, who made them, and that it is research.

An object's UID depends on the film, the weights, its kind, and what was asked and found. So a retry makes the same
objects, which an archive knows already, and another reading makes others.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from highdicom import ContributingEquipment
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ComputedRadiographyImageStorage

from fracture._version import __version__
from fracture.io.dicom.uid import derived_uid
from fracture.results.codes import SCHEME
from fracture.results.header import SourceHeader
from fracture.results.kinds import KINDS, MANUFACTURER, RESEARCH
from fracture.results.statement import Statement

_COPIED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)
_DOCUMENTS = ("SR", "KO")
_FRAMED = ("ReferencedImageSequence", "SourceImageSequence", "ReferencedSOPSequence")
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_KNOWN = tuple(_STORAGE + tail for tail in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "7"))
"""Storage classes of films of one frame."""

_UNPAIRED = """
    ABDOMEN ABDOMENPELVIS AORTA BACK BLADDER BRAIN CERVIX CHEST CHESTABDOMEN CHESTABDPELVIS COCCYX COLON CSPINE
    CTSPINE DUODENUM ESOPHAGUS FACE GALLBLADDER HEAD HEADNECK HEART ILEUM ILIUM JAW LARYNX LIVER LSPINE LSSPINE
    MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE PANCREAS PELVIS PHARYNX RECTUM
    SCALP SKULL SPINE SPLEEN SSPINE STERNUM STOMACH THYMUS THYROID TLSPINE TONGUE TRACHEA TSPINE WHOLEBODY
"""
"""Body parts that have no side (PS3.16 annex L, as ``dciodvfy`` takes it): their objects must not name one."""


@dataclass(frozen=True, slots=True, eq=False)
class Making:
    """One film's objects in the making.

    Attributes:
        header: The film's.
        statement: What is said of it.
        now: The time that all objects of a call carry, in the time zone of the film's header where it names one.
    """

    header: SourceHeader
    statement: Statement
    now: datetime

    @classmethod
    def of(cls, header: SourceHeader, statement: Statement, now: datetime | None = None) -> Making:
        """Objects of now."""
        offset = header.identity.get("TimezoneOffsetFromUTC")
        zone = None
        if offset:
            minutes = int(offset[1:3]) * 60 + int(offset[3:])
            zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
        return cls(header, statement, (now or datetime.now().astimezone()).astimezone(zone))

    def uid(self, kind: str, *parts: str) -> UID:
        """The UID of an object, or of a part of it."""
        film = f"{self.header.uid}/{self.header.frame or ''}"
        return derived_uid("results", film, self.statement.checksum, self.statement.digest, kind, *parts)

    def equipment(self) -> dict[str, Any]:
        """How constructors of highdicom call the maker."""
        statement = self.statement
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": f"fracture {statement.model}"[:64],
            "software_versions": [__version__, statement.version[:64]],
            "device_serial_number": statement.checksum[:64] or "unknown",
        }

    @property
    def device(self) -> UID:
        """The UID of these weights as an observer."""
        return derived_uid("results", "device", self.statement.model, self.statement.version, self.statement.checksum)

    @property
    def laterality(self) -> str:
        """The film's side, L or R; empty where it has none or says none."""
        image = self.header.image
        side = str(image.get("ImageLaterality") or image.get("Laterality") or "")
        return side if side in ("L", "R") else ""

    def reference(self) -> Dataset:
        """The film as constructors of highdicom want it: nobody's, of a class and with the one frame that they know.

        They refuse or repeat what they find else; :meth:`finish` puts in what is right.
        """
        reference = Dataset()
        reference.update(self.header.image)  # elements are shared: new ones are put in their place, none is changed
        for keyword in _COPIED:
            setattr(reference, keyword, "")
        if self.header.frame is not None or str(reference.SOPClassUID) not in _KNOWN:
            reference.add_new("SOPClassUID", "UI", ComputedRadiographyImageStorage)
        if "NumberOfFrames" in reference:
            del reference.NumberOfFrames
        return reference

    def common(self, kind: str, *parts: str) -> dict[str, Any]:
        """What all constructors of highdicom take: UIDs, series, maker."""
        number, description = KINDS[kind]
        series = derived_uid("results", str(self.header.image.SeriesInstanceUID), self.statement.checksum, kind)
        maker = ContributingEquipment(
            **self.equipment(),
            purpose_of_reference=codes.DCM.ProcessingEquipment,
            contribution_description=f"Found fractures by neural networks; {RESEARCH}, not a medical device",
        )
        return {
            "series_instance_uid": series,
            "series_number": number,
            "series_description": f"{description} by fracture, {RESEARCH}",
            "sop_instance_uid": self.uid(kind, *parts),
            "instance_number": max(1, int(self.header.image.get("InstanceNumber") or 1)),
            "contributing_equipment": [maker],
            "specific_character_set": "ISO_IR 192",
            **self.equipment(),
        }

    def finish(self, made: Dataset, others: Sequence[SourceHeader] = ()) -> Dataset:
        """The last step for every kind: patient and study, the films by their own class and frame, the side, one time.

        Args:
            made: What a constructor gave.
            others: More films that it refers to.
        """
        for element in self.header.identity:
            if element.keyword != "BodyPartExamined" or made.Modality not in _DOCUMENTS:
                made[element.tag] = copy.deepcopy(element)
        for header in (self.header, *others):
            _refer(made, "", header)
        if made.Modality in ("OT", "PR") and self.header.identity.get("BodyPartExamined") not in _UNPAIRED.split():
            made.Laterality = self.laterality  # type 2C (PS3.3 C.7.3.1)
        day, time = self.now.strftime("%Y%m%d"), self.now.strftime("%H%M%S.%f")
        for keyword in ("InstanceCreationDate", "ContentDate", "PresentationCreationDate", "DateOfSecondaryCapture"):
            if keyword in made:
                made[keyword].value = day
                made[keyword.replace("Date", "Time")].value = time
        for item in made.ContributingEquipmentSequence:
            item.ContributionDateTime = day + time
        made.CodingSchemeIdentificationSequence = [_scheme()]
        return made


def _refer(item: Dataset, within: str, header: SourceHeader) -> None:
    """The film's class, and its frame where the standard has a place for it, wherever it is referred to."""
    if item.get("ReferencedSOPInstanceUID") == header.uid:
        item.ReferencedSOPClassUID = header.image.SOPClassUID
        if header.frame is not None and within in _FRAMED:
            item.ReferencedFrameNumber = header.frame
    for element in item:
        if element.VR == "SQ":
            for inner in element.value:
                evidence = within in ("ReferencedSeriesSequence",) and element.keyword == "ReferencedSOPSequence"
                _refer(inner, "" if evidence else element.keyword, header)


def name_predecessor(report: Dataset, before: Dataset) -> None:
    """Say that a report follows another one of the same film (PS3.3 C.17.2)."""
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = before.SOPClassUID, before.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = before.SeriesInstanceUID, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = before.StudyInstanceUID, [series]
    report.PredecessorDocumentsSequence = [*report.get("PredecessorDocumentsSequence", ()), study]


def _scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "Private codes of the open-source library fracture"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
