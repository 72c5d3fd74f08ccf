"""The header of a film to that of its de-identified copy: a new one, of what the whitelist names."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from typing import IO, Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from fracture._version import __version__
from fracture.deidentification.rules import Rules
from fracture.deidentification.whitelist import CODED, DATES, EMPTY, NUMBERS, TABLES, TERMS, TIMES, meaning_of
from fracture.io.dicom.parse import parse_header
from fracture.io.dicom.valid import valid, valid_table, values
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.quiet import quiet

HeaderSource = str | os.PathLike[str] | bytes | IO[bytes] | Dataset

OLDEST = 90
"""Years: everybody older is this old (Jones et al. 2020, table 1, note f)."""

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_READ = ("PatientID", "PatientAge", "PatientBirthDate", "AccessionNumber", "InstitutionName", "SOPClassUID")
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_TABLE = ("LUTDescriptor", "LUTData", "ModalityLUTType")
_MAY_BE_EMPTY = (
    "BodyPartExamined",
    "DetectorType",
    "Laterality",
    "PatientOrientation",
    "PositionerType",
    "ViewPosition",
)
"""Of type 2 in some images: there, if only empty, where the film has them."""

_AGE = re.compile(r"(\d{1,3})([DWMY])")
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
_TABLE_TYPES = ("OD", "HU", "US")
# PS3.16 CID 7050
_PROFILE = ("113100", "Basic Application Confidentiality Profile")
_CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")
_SHIFTED = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
_INSTITUTION = ("113112", "Retain Institution Identity Option")


def deidentify_header(source: HeaderSource, rules: Rules, *, name: str | None = None) -> Dataset:
    """The de-identified header of a film, without pixels: as that of the film which ``fracture.deidentify`` makes.

    Args:
        source: A path, a file's bytes, a file object, or a pydicom data set, which is not changed.
        rules: Key and options.
        name: How errors call it.

    Returns:
        A new data set. It names nothing as clean: ``BurnedInAnnotation`` is what the film's header says, if anything.

    Raises:
        InputError: The file cannot be read.
    """
    if not isinstance(source, Dataset):
        data, found = open_bytes(source, MAX_BYTES)
        keywords = ("SpecificCharacterSet", *_UIDS, *_READ, *DATES, *TIMES, *NUMBERS, *TERMS)
        inner: dict[str, tuple[str, ...]] = {sequence: (*_CODE, modifier) for sequence, modifier in CODED.items()}
        inner |= dict.fromkeys(CODED.values(), _CODE) | dict.fromkeys(TABLES, _TABLE)
        source = parse_header(data, name or found, keywords, inner, max_bytes=MAX_BYTES)
    with quiet():
        return _made(source, rules)


def _made(source: Dataset, rules: Rules) -> Dataset:
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    for keyword in EMPTY:
        setattr(made, keyword, "")
    made.SOPClassUID = _class(source)
    for keyword in _UIDS:
        if uid := str(next(iter(values(source, keyword)), "")).strip("\x00 "):  # malformed ones too
            setattr(made, keyword, rules.uid(uid))
    for keyword in NUMBERS:
        if (number := valid(source, keyword)) is not None:
            setattr(made, keyword, number)
    for keyword, terms in TERMS.items():
        if (words := _words(source, keyword, terms)) is not None:
            setattr(made, keyword, words)
        elif keyword in _MAY_BE_EMPTY and keyword in source:
            setattr(made, keyword, "")
    for keyword, modifier in CODED.items():
        if items := _codes(source, keyword, modifier):
            setattr(made, keyword, items)
    for keyword in TABLES:
        if items := [item for one in values(source, keyword)[:16] if (item := _table(one, keyword))]:
            setattr(made, keyword, items)
    if made.SOPClassUID == SECONDARY_CAPTURE and "ConversionType" not in made:
        made.ConversionType = "WSD"
    if "PixelSpacingCalibrationType" in made:
        made.PixelSpacingCalibrationDescription = "not kept"  # free text, which must not be empty
    _patient(made, source, rules)
    return made


def _class(source: Dataset) -> str:
    """The storage class if it is a public one; any image may be a secondary capture."""
    found = str(valid(source, "SOPClassUID") or "")
    return found if found.startswith(_STORAGE) and UID(found).name != found else SECONDARY_CAPTURE


def _words(source: Dataset, keyword: str, terms: tuple[str, ...]) -> Any:
    """The value if all its words are on the list. Image Type may have words of the maker's, which become OTHER."""
    found = [str(value).strip("\x00 ").upper() for value in values(source, keyword)[:8]]
    if keyword == "ImageType":
        found = [word if not word or word in terms else "OTHER" for word in found]
        if found[:1] not in (["ORIGINAL"], ["DERIVED"]) or found[1:2] not in (["PRIMARY"], ["SECONDARY"]):
            return None
    if not any(found) or not all(word in terms or (not word and keyword == "ImageType") for word in found):
        return None
    return found if len(found) > 1 else found[0]


def _codes(source: Dataset, keyword: str, modifier: str = "") -> list[Dataset]:
    made = []
    for one in values(source, keyword)[:16]:
        if not isinstance(one, Dataset):
            continue
        value, scheme = str(valid(one, "CodeValue") or ""), str(valid(one, "CodingSchemeDesignator") or "")
        if meaning := meaning_of(scheme, value):
            item = code_item(value, meaning, scheme)
            if modifier and (keyword == "ViewCodeSequence" or modifier in one):
                setattr(item, modifier, _codes(one, modifier))
            made.append(item)
    return made


def code_item(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    """An item of a sequence of codes."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning[:64]
    return item


def _table(one: Any, keyword: str) -> Dataset | None:
    if not isinstance(one, Dataset) or not len(item := valid_table(one)):
        return None
    if keyword == "ModalityLUTSequence":
        kind = valid(one, "ModalityLUTType")
        item.ModalityLUTType = kind if kind in _TABLE_TYPES else "US"
    return item


def _patient(made: Dataset, source: Dataset, rules: Rules) -> None:
    patient = str(valid(source, "PatientID") or valid(source, "StudyInstanceUID") or "")
    made.PatientID = made.PatientName = rules.pseudonym("patient", patient)
    made.AccessionNumber = rules.pseudonym("accession", str(valid(source, "AccessionNumber") or ""))
    if "PatientSex" not in made:
        made.PatientSex = ""
    if age := _age(source):
        made.PatientAge = age
    institution = str(valid(source, "InstitutionName") or "")
    if institution:
        made.InstitutionName = institution if rules.keep_institution else rules.pseudonym("institution", institution)
    shifted = rules.dates == "shift" and bool(patient)
    if shifted:
        for keyword in DATES:
            if day := valid(source, keyword):
                setattr(made, keyword, _moved(day, rules.days(patient)))
        for keyword in TIMES:
            if time := valid(source, keyword):
                setattr(made, keyword, time)
    made.PatientIdentityRemoved = "YES"
    made.LongitudinalTemporalInformationModified = "MODIFIED" if shifted else "REMOVED"
    made.DeidentificationMethod = [
        f"fracture {__version__}: whitelist, keyed pseudonyms and UIDs",
        "dates moved back by a keyed number of days" if shifted else "dates removed",
        f"age capped at {OLDEST} years",
    ]
    done = [_PROFILE, _CHARACTERISTICS, *[_SHIFTED] * shifted, *[_INSTITUTION] * rules.keep_institution]
    made.DeidentificationMethodCodeSequence = [code_item(*one) for one in done]


def _moved(day: str, days: int) -> str:
    try:
        return (datetime.strptime(day, "%Y%m%d") - timedelta(days)).strftime("%Y%m%d").zfill(8)
    except (OverflowError, ValueError):  # before the year 1
        return ""


def _age(source: Dataset) -> str:
    """The age that is stated, else the one that follows from the birth date; capped where either is above the cap."""
    stated = _AGE.fullmatch(str(next(iter(values(source, "PatientAge")), "")).strip("\x00 ").upper())
    born = valid(source, "PatientBirthDate")
    seen = next((day for keyword in DATES if (day := valid(source, keyword))), None)
    years = None
    if born and seen and born <= seen:
        years = int(seen[:4]) - int(born[:4]) - (seen[4:] < born[4:])
    said = int(stated[1]) * _DAYS[stated[2]] / _DAYS["Y"] if stated else None
    if max(years or 0, said or 0) >= OLDEST:
        return f"{OLDEST:03d}Y"
    if stated:
        return f"{int(stated[1]):03d}{stated[2]}"
    if years is None or not seen:
        return ""
    if years:
        return f"{years:03d}Y"
    days = (datetime.strptime(seen, "%Y%m%d") - datetime.strptime(born, "%Y%m%d")).days
    return f"{days // 30:03d}M" if days >= 30 else f"{days:03d}D"
