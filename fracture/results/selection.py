"""A film with a finding, marked "Of Interest": a key object selection, which lists and hanging protocols can follow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

from fracture.errors import ConfigurationError
from fracture.io.quiet import quiet
from fracture.results.header import HeaderSource, SourceHeader, read_source
from fracture.results.kinds import RESEARCH, require_highdicom
from fracture.results.statement import statement_of

if TYPE_CHECKING:
    from fracture.results.marks import Making


def make_selection(making: Making, verdict: str, others: Sequence[SourceHeader] = ()) -> Dataset:
    """The selection of the film, with the verdict as its text.

    Args:
        making: The film and what is said of it.
        verdict: What stands in the selection.
        others: More films of the study that are selected with it.
    """
    from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
    from pydicom.sr.codedict import codes

    images = [making.reference(), *(replace(making, header=header).reference() for header in others)]
    content = KeyObjectSelection(
        document_title=codes.DCM.OfInterest,
        referenced_objects=images,
        description=f"{verdict} ({RESEARCH})",
    )
    made = KeyObjectSelectionDocument(evidence=images, content=content, **making.common("ko"))
    return making.finish(made, others)


def select_films(
    films: Sequence[tuple[HeaderSource, Mapping[str, Any]]], verdict: str, *, now: datetime | None = None
) -> Dataset:
    """Several films of a study as one selection "Of Interest".

    Args:
        films: Each film, and its result's JSON line.
        verdict: What stands in the selection.
        now: The time that it carries.

    Raises:
        ConfigurationError: No film, films of several studies, or one without UIDs.
        MissingDependencyError: highdicom is not installed.
    """
    require_highdicom()
    from fracture.results.marks import Making

    headers = [read_source(film, frame=line.get("frame")) for film, line in films]
    studies = {str(header.image.StudyInstanceUID) for header in headers}
    if len(studies) != 1:
        raise ConfigurationError("a selection is of films of one study", got=f"{len(studies)} studies")
    uids = "/".join(header.uid for header in headers)
    statement = replace(statement_of(films[0][1]), digest=hashlib.sha256(uids.encode()).hexdigest())
    with quiet():
        return make_selection(Making.of(headers[0], statement, now), verdict, headers[1:])
