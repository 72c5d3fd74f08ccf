"""A result as a structured report: TID 1500 in Comprehensive 3D SR, as IHE AI Results has it, or Comprehensive SR.

One group of statements belongs to the whole film, and its region is the whole image: OHIF shows nothing at all of a
report whose group has no region. Every place has a group of its own. SCOORD's coordinates are pixel edges with (0, 0)
at the upper left corner (PS3.3 C.18.6), as ours are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from fracture.results import codes as own
from fracture.results.kinds import MANUFACTURER, RESEARCH
from fracture.results.marks import Making, name_predecessor
from fracture.results.statement import Place, Value


def make_report(making: Making, *, previous: Sequence[Dataset] = (), comprehensive_3d: bool = True) -> Dataset:
    """The report: preliminary, unverified.

    Args:
        making: The film and what is said of it.
        previous: Reports of earlier readings of the same film, named as predecessors.
        comprehensive_3d: Comprehensive 3D SR, else Comprehensive SR for archives that know no other.
    """
    image = making.reference()
    placed = (
        image.SOPClassUID == making.header.image.SOPClassUID
        and "ImagerPixelSpacing" in image
        and len(image.get("PatientOrientation") or ()) == 2
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(making)),
        procedure_reported=own.procedure(str(image.get("Modality"))),
        imaging_measurements=[_group(making, image, place) for place in (None, *making.statement.places)],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[image] if placed else None,
    )
    root = content[0]
    bare = Dataset()  # the measurements follow: the constructor goes through all that it gets, five times
    bare.update(root)
    bare.add_new("ContentSequence", "SQ", [item for item in root.ContentSequence if item.ValueType != "CONTAINER"])
    kind, parts = (sr.Comprehensive3DSR, ()) if comprehensive_3d else (sr.ComprehensiveSR, ("comprehensive",))
    made = kind(
        evidence=[image],
        content=bare,
        is_complete=True,
        **making.common("sr", *parts),
    )
    made.ContentSequence = root.ContentSequence
    for before in previous:
        name_predecessor(made, before)
    return making.finish(made)


def _observer(making: Making) -> sr.ObserverContext:
    statement = making.statement
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=making.device,
        name=f"fracture, {RESEARCH}",
        manufacturer_name=MANUFACTURER,
        model_name=f"{statement.model} {statement.version}",
        serial_number=statement.checksum or None,
    )
    return sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)


def _algorithm(making: Making, *, whole: bool) -> sr.AlgorithmIdentification:
    """TID 4019; a parameter is a text "key=value", the checksum and all thresholds among them, once for the film."""
    statement = making.statement
    settings = {"weights_sha256": statement.checksum or "not recorded", **statement.settings, "use": RESEARCH}
    return sr.AlgorithmIdentification(
        name=f"fracture {statement.model}",
        version=statement.version,
        parameters=[f"{key}={value}" for key, value in settings.items()] if whole else None,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=MANUFACTURER,
    )


def _group(making: Making, image: Dataset, place: Place | None) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """A measurement group, TID 1410: of a place, or of the whole film where it is None."""
    statement = making.statement
    name, kind = ("film", "film") if place is None else (place.name, place.kind)
    values = statement.values if place is None else place.values
    source = sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID)
    edges = (0.0, 0.0, float(statement.width), float(statement.height)) if place is None else place.edges
    region = sr.ImageRegion("POINT" if len(edges) == 2 else "POLYLINE", outline(edges), source)
    told = "fractured" in values or kind == "box"
    judged = told or (place is None and any("fractured" in one.values for one in statement.places))
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(making.uid("tracking", name), name),
        referenced_region=region,
        finding_type=own.FRACTURE if judged else codes.SCT.ClinicalFinding,
        algorithm_id=_algorithm(making, whole=place is None),
        finding_sites=_sites(making, place),
        measurements=[_number(key, value) for key, value in values.items() if _is_number(value)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(own.private("statement"), own.private(kind)),
            *(_evaluation(key, value) for key, value in values.items() if not _is_number(value)),
        ],
    )
    for remark in statement.remarks if place is None else ():
        comment = sr.TextContentItem(codes.DCM.Comment, remark, sr.RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(comment)
    return group


def outline(edges: Sequence[float]) -> np.ndarray:
    """A point, or a rectangle as a closed line of five points, float (n, 2) of (x, y)."""
    if len(edges) == 2:
        return np.array([edges])
    x0, y0, x1, y1 = edges
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])


def _sites(making: Making, place: Place | None) -> list[sr.FindingSite]:
    """Where on the body: the film's regions, or what the place's own list names ("hips"), with the side."""
    own_site = None if place is None else own.site_of(place.kind)
    sites = [own_site] if own_site else [site for r in making.statement.regions if (site := own.site_of(r))]
    side = {"L": "left", "R": "right"}.get(making.laterality) if place is None or place.side is None else place.side
    return [sr.FindingSite(site, laterality=own.SIDES[side] if side else None) for site in sites]


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(key: str, value: Value) -> sr.Measurement:
    return sr.Measurement(name=own.coded(key), value=float(value), unit=codes.UCUM.NoUnits)


def _evaluation(key: str, value: Value) -> sr.QualitativeEvaluation:
    if isinstance(value, bool):
        yes, no = (own.PRESENT, own.ABSENT) if key == "fractured" else (own.YES, own.NO)
        return sr.QualitativeEvaluation(own.coded(key), yes if value else no)
    return sr.QualitativeEvaluation(own.coded(key), own.private(str(value)))
