"""The codes of our objects: the standard's own, and a private scheme where it has none (PS3.16 annex D, CID 244, 7469).

A box's score is no probability, and the standard has no code for what it is: 99FRACTURE has, in words that say so.
"""

from __future__ import annotations

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from fracture.regions import DEFAULT_TREE, plain_name

SCHEME = "99FRACTURE"

FRACTURE = Code("125605004", "SCT", "Fracture of bone")
_RADIOGRAPHY = Code("168537006", "SCT", "Plain radiography")
_PROCEDURES = {
    "CT": Code("77477000", "SCT", "Computed tomography"),
    "MR": Code("113091000", "SCT", "Magnetic resonance imaging"),
}
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
PRESENT, ABSENT = Code("52101004", "SCT", "Present"), Code("272519000", "SCT", "Absent")
YES, NO = Code("373066001", "SCT", "Yes"), Code("373067005", "SCT", "No")
SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
PROBABILITY = codes.DCM.Probability

VERTEBRAE = {f"C{k}": getattr(codes.SCT, f"C{k}Vertebra") for k in range(1, 8)}
"""Vertebrae by the names that results call them (CID 4031)."""
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")

_STANDARD = {"probability": PROBABILITY, "fracture_probability": PROBABILITY, "fractured": FRACTURE}
_MEANINGS = {
    "score": "Score of the box, 0 to 1, no probability",
    "box_score": "Score of the place, 0 to 1, no probability",
    "raw_probability": "Score before calibration, no probability",
    "operating_point": "Strictest operating point that is reached",
    "advise_imaging": "CT or MRI is advised",
    "operative_group": "Operation that usually follows",
    "edges": "Edge of the film that the region reaches",
    "statement": "What the group describes",
}


def words(key: str) -> str:
    """A key of a result as words: ``probabilities.neck`` as "Probability: neck"."""
    stem, _, name = key.partition(".")
    stem = {
        "probabilities": "Probability",
        "region_probabilities": "Probability that it shows",
        "reached": "Reached",
    }.get(stem, stem)
    return (f"{stem}: {name}" if name else stem).replace("_", " ")[:64]


def private(key: str) -> Code:
    """A code of our own scheme, its value the key."""
    return Code(key, SCHEME, _MEANINGS.get(key, words(key)))


def coded(key: str) -> Code:
    """The code that stands for a key of a result: the standard's where it has one."""
    return _STANDARD.get(key) or private(key)


def key_of(value: str, scheme: str) -> str | None:
    """The key that a code stands for; None for a code that is none of ours. ``probability`` stands for both."""
    if scheme == SCHEME:
        return value
    return next(
        (key for key, code in _STANDARD.items() if (code.value, code.scheme_designator) == (value, scheme)), None
    )


def procedure(modality: str) -> Code:
    """What was done with the patient to get an image of a modality."""
    return _PROCEDURES.get(modality, _RADIOGRAPHY)


def site_of(region: str) -> Code | None:
    """A region as an anatomic site (CID 4031), None where SNOMED CT has no code that we know."""
    known = DEFAULT_TREE.get(region).codes if region in DEFAULT_TREE else ()
    value = next((code for code in known if code.isdecimal()), None)
    return None if value is None else Code(value, "SCT", plain_name(region).capitalize())
