"""Values of a header as the standard wants them, or none: what may be copied into an object that we write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset

from fracture.io.dicom.header import integers, pydicom_faults

_CS = re.compile(r"[A-Z0-9 _]{1,16}\Z")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*\Z")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?\Z")
_AGE = re.compile(r"\d{3}[DWMY]\Z")
_ALLOWED = {"PatientSex": ("M", "F", "O"), "PatientIdentityRemoved": ("YES", "NO"), "BurnedInAnnotation": ("YES", "NO")}
_ALLOWED |= {"Laterality": ("L", "R"), "ImageLaterality": ("L", "R", "U", "B")}
_LENGTHS = {"SH": 16, "LO": 64}


def valid(source: Dataset, keyword: str) -> Any:
    """The value as the standard wants it, its text stripped; None where it is absent or no such value.

    Args:
        source: As it was read; only this attribute of it is looked at. Call this within ``quiet()``.
        keyword: Of an attribute of text or numbers.
    """
    vr, count = dictionary_VR(keyword), dictionary_VM(keyword)
    found = [_one(keyword, vr, str(value)) for value in values(source, keyword) if value is not None]
    if not found or any(value is None for value in found) or (count.isdecimal() and len(found) != int(count)):
        return None
    return found if len(found) > 1 else found[0]


def values(source: Dataset, keyword: str) -> list[Any]:
    """All values of an attribute; none where it is absent or malformed."""
    try:
        found = source.get(keyword)
    except pydicom_faults():
        return []
    if found is None or isinstance(found, bytes):
        return []
    many = hasattr(found, "__iter__") and not isinstance(found, str) and dictionary_VR(keyword) != "PN"
    return list(found) if many else [found]


def valid_table(source: Dataset) -> Dataset:
    """Descriptor and data of a look-up table's item, in little endian words, whichever of US, SS and OW its writer
    took; empty if it is malformed."""
    item = Dataset()
    little = getattr(source, "original_encoding", (None, True))[1] is not False
    descriptor = integers({"LUTDescriptor": source.get("LUTDescriptor")}, "LUTDescriptor", little_endian=little)
    data = integers({"LUTData": source.get("LUTData")}, "LUTData", little_endian=little)
    count = (descriptor[0] & 0xFFFF or 1 << 16) if len(descriptor) == 3 else 0
    packed = count and descriptor[2] <= 8 and len(data) in (count // 2, (count + 1) // 2)
    if not count or not 8 <= descriptor[2] <= 16 or (len(data) != count and not packed):
        return item
    first = descriptor[1]
    signed = first < 0 and count < 1 << 15
    item.add_new(
        "LUTDescriptor", "SS" if signed else "US", [count & 0xFFFF, first if signed else first & 0xFFFF, descriptor[2]]
    )
    item.add_new("LUTData", "OW", np.asarray(data).astype("<u2").tobytes())
    return item


def _one(keyword: str, vr: str, text: str) -> Any:
    text = text.strip("\x00 ")
    if not text or "\\" in text or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        return None
    if vr in _CHECKS:
        return _CHECKS[vr](text.upper() if vr == "CS" else text, keyword)
    return text if len(text) <= _LENGTHS.get(vr, 1024) else None


def _number(text: str, _: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return None
    return text if len(text) <= 16 and abs(number) < 1e30 else None


def _whole(text: str, _: str) -> int | None:
    return int(text) if re.match(r"[+-]?\d{1,10}\Z", text) and abs(int(text)) < 1 << 31 else None


def _date(text: str, _: str) -> str | None:
    text = text.replace(".", "") if re.match(r"\d{4}\.\d\d\.\d\d\Z", text) else text
    try:
        return text if len(text) == 8 and text.isdecimal() and datetime.strptime(text, "%Y%m%d") else None
    except ValueError:
        return None


def _time(text: str, _: str) -> str | None:
    text = text.replace(":", "")
    return text if _TIME.match(text) else None


def _name(text: str, _: str) -> str | None:
    groups = text.rstrip("=").split("=")
    return text if len(groups) <= 3 and all(len(one) <= 64 and one.count("^") <= 4 for one in groups) else None


def _word(text: str, keyword: str) -> str | None:
    return text if _CS.match(text) and text in _ALLOWED.get(keyword, (text,)) else None


_CHECKS: Mapping[str, Any] = {
    "CS": _word,
    "DA": _date,
    "TM": _time,
    "PN": _name,
    "DS": _number,
    "IS": _whole,
    "SS": _whole,
    "US": _whole,
    "AS": lambda text, _: text if _AGE.match(text) else None,
    "UI": lambda text, _: text if len(text) <= 64 and _UID.match(text) else None,
}
