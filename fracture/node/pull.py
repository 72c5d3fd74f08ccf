"""Films that an archive has already: asked for, and read like those that are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from fracture.errors import ConfigurationError
from fracture.node.archive import query, retrieve
from fracture.node.config import Config, Target
from fracture.node.dicomweb import films_of
from fracture.node.films import Films, head_of
from fracture.node.logs import Audit


def wanted_of(queries: Sequence[str]) -> dict[str, str]:
    """``["PatientID=123,StudyDate=20260101-"]`` as values by DICOM keyword.

    Raises:
        ConfigurationError: Another form, an unknown keyword, or nothing asked for.
    """
    wanted: dict[str, str] = {}
    for part in (part for text in queries for part in re.split(r",(?=[A-Za-z]+=)", text)):
        keyword, equals, value = part.partition("=")
        if not equals or not value or tag_for_keyword(keyword) is None:
            raise ConfigurationError(
                "not a query", got=ascii(part), allowed="PatientID=123,StudyDate=20260101-20260131"
            )
        wanted[keyword] = value
    if not wanted:
        raise ConfigurationError("a query that asks for everything is refused", hint="--query StudyDate=20260101-")
    return wanted


def pull(config: Config, films: Films, audit: Audit, target: Target, wanted: Mapping[str, str]) -> tuple[int, int]:
    """Get the films of all studies that an archive has for a query.

    By DICOMweb they are kept here and now; by C-MOVE the archive sends them to the DICOM door, which must be open.

    Returns:
        How many objects were sent or found, and how many of them were new (by C-MOVE the door counts: -1).

    Raises:
        OutputError: The archive does not answer, or a film cannot be kept.
    """
    audit.write("pull", target=target.name, keywords=sorted(wanted))
    if not target.url:
        return sum(retrieve(config, target, study) for study in query(config, target, wanted)), -1
    found = new = 0
    for uid, content in films_of(config, target, wanted):
        found += 1
        if UID(uid).is_valid:
            new += films.receive(content, uid, target.name, head_of(content))
    return found, new
