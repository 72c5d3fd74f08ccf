"""What may stay of a header. The list is ours.

Jones et al. 2020 (HIPAA compliance) say that their de-identification was "whitelist-based redaction and transformation
of quasi-identifiers", and that of the patient age (capped at 90), sex and institution were left; they print no list.
This one holds what the library reads, what the standard asks of a radiograph, and how the exposure was made, as far as
its values can be checked: words of a closed list, numbers, codes of a public dictionary. There is no free text.
"""

from __future__ import annotations

from functools import cache

from pydicom.sr import coding
from pydicom.sr.codedict import codes

from fracture.regions import DEFAULT_TREE

DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")

EMPTY = (
    "PatientBirthDate",
    "ReferringPhysicianName",
    "StudyID",
    "Manufacturer",
    "StudyDate",
    "StudyTime",
    "SeriesNumber",
)
"""Of type 2 in every image, and without a value here; dates where they are not shifted."""

NUMBERS = (
    *("SeriesNumber", "InstanceNumber", "NumberOfFrames", "SamplesPerPixel", "Rows", "Columns", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelAspectRatio", "PixelSpacing"),
    *("ImagerPixelSpacing", "NominalScannedPixelSpacing", "EstimatedRadiographicMagnificationFactor"),
    *("RescaleIntercept", "RescaleSlope", "WindowCenter", "WindowWidth", "PixelIntensityRelationshipSign"),
    *("LossyImageCompressionRatio", "KVP", "ExposureTime", "XRayTubeCurrent", "Exposure", "ExposureInuAs"),
    *("DistanceSourceToDetector", "DistanceSourceToPatient", "Sensitivity", "FrameTime"),
)

_YES_NO = ("YES", "NO")
_SIDES = tuple("APRLHF")
TERMS: dict[str, tuple[str, ...]] = {
    "Modality": ("CR", "DX", "RG", "RF", "IO", "PX", "HC", "OT", "SC", "MG", "XA", "CT", "MR", "US", "NM", "PT"),
    "ImageType": (
        *("ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "AXIAL", "LOCALIZER", "OTHER", "SINGLE PLANE"),
        *("BIPLANE A", "BIPLANE B", "DEFAULT", "POST_PROCESSED", "MIXED"),
    ),
    "PresentationIntentType": ("FOR PRESENTATION", "FOR PROCESSING"),
    "PatientSex": ("M", "F", "O"),
    "Laterality": ("L", "R"),
    "ImageLaterality": ("L", "R", "U", "B"),
    "ViewPosition": (
        *("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LATERAL", "LAT", "OBLIQUE", "OBL", "AXIAL", "SUNRISE"),
        *("CC", "MLO", "ML", "LM", "LMO", "XCCL", "SIO", "FB", "DP", "PLANTODORSAL", "DORSOPLANTAR"),
    ),
    "PatientOrientation": tuple(
        {a + b + c for a in _SIDES for b in ("", *_SIDES) for c in ("", *_SIDES) if b or not c}
    ),
    "PhotometricInterpretation": (
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
    ),
    "PixelIntensityRelationship": ("LIN", "LOG", "DISP"),
    "PixelSpacingCalibrationType": ("GEOMETRY", "FIDUCIAL"),
    "RescaleType": ("US", "HU", "OD", "MGML", "Z_EFF", "ED", "PCT"),
    "VOILUTFunction": ("LINEAR", "LINEAR_EXACT", "SIGMOID"),
    "PresentationLUTShape": ("IDENTITY", "INVERSE"),
    "LossyImageCompression": ("00", "01"),
    "LossyImageCompressionMethod": ("ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15", "ISO_13818_2"),
    "BurnedInAnnotation": _YES_NO,
    "QualityControlImage": (*_YES_NO, "BOTH"),
    "ConversionType": ("DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN"),
    "DetectorType": ("DIRECT", "SCINTILLATOR", "STORAGE", "FILM"),
    "PositionerType": ("CARM", "COLUMN", "MAMMOGRAPHIC", "PANORAMIC", "CEPHALOSTAT", "RIGID", "NONE"),
    "RadiationSetting": ("SC", "GR"),
    "OrganExposed": ("BREAST",),
    "BreastImplantPresent": _YES_NO,
    "BodyPartExamined": (
        *(part for region in DEFAULT_TREE.regions for part in region.body_parts),
        # PS3.16 annex L, of radiographs
        *("ABDOMEN", "ANKLE", "ARM", "BREAST", "CALCANEUS", "CHEST", "CLAVICLE", "COCCYX", "CSPINE", "ELBOW"),
        *("EXTREMITY", "FACE", "FEMUR", "FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE"),
        *("LEG", "LSPINE", "LSSPINE", "MANDIBLE", "NECK", "PATELLA", "PELVIS", "RIB", "SCAPULA", "SHOULDER"),
        *("SKULL", "SPINE", "SSPINE", "STERNUM", "TEETH", "THIGH", "THUMB", "TIBIA", "TMJ", "TOE", "TLSPINE"),
        *("TSPINE", "ULNA", "WHOLEBODY", "WRIST", "ZYGOMA"),
    ),
}
"""Words that each attribute may hold; an attribute with any other value is left out."""

TABLES = ("ModalityLUTSequence", "VOILUTSequence")
CODED = {
    "AnatomicRegionSequence": "AnatomicRegionModifierSequence",
    "ViewCodeSequence": "ViewModifierCodeSequence",
}
"""Sequences of codes, and the sequence of codes that their items may hold."""


@cache
def _meanings() -> dict[tuple[str, str], str]:
    concepts = (*codes.SCT.concepts.values(), *codes.DCM.concepts.values())
    known = {(code.scheme_designator, code.value): code.meaning for code in concepts}
    older = getattr(coding, "snomed_mapping", {}).get("SRT", {})  # T-D8200 and its like
    for value, newer in older.items():
        if ("SCT", newer) in known:
            known["SRT", value] = known["SNM3", value] = known["SCT", newer]
    return known


def meaning_of(scheme: str, value: str) -> str | None:
    """What a code of a public dictionary means, in the dictionary's words; None for any other."""
    return _meanings().get((scheme, value))
