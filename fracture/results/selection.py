"""A film with a finding, marked "Of Interest": a key object selection, which lists and hanging protocols can follow."""

from __future__ import annotations

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from fracture.results.kinds import RESEARCH
from fracture.results.marks import Making


def make_selection(making: Making, verdict: str) -> Dataset:
    """The selection of the film, with the verdict as its text."""
    image = making.reference()
    content = KeyObjectSelection(
        document_title=codes.DCM.OfInterest,
        referenced_objects=[image],
        description=f"{verdict} ({RESEARCH})",
    )
    common = making.common("ko")
    made = KeyObjectSelectionDocument(evidence=[image], content=content, **common)
    return making.finish(made)
