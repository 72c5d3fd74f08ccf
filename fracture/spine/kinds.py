"""What kind of series it is: modality, plane, and the weighting of MR, from its name or from its times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from fracture.io.dicom.frames import Frame
    from fracture.spine.planes import Plane


Weighting: TypeAlias = Literal["T1", "T2", "STIR", "PD"]
SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2 = "Sagittal T1", "Sagittal T2/STIR", "Axial T2"
"""The three kinds of RSNA 2024, as its ``train_series_descriptions.csv`` calls them."""

_NAMES: tuple[tuple[Weighting, re.Pattern[str]], ...] = (
    ("STIR", re.compile(r"\b(STIR|TIRM)|[_ ]IR\b")),
    ("T1", re.compile(r"(?<![A-Z0-9])T1(?!\d)")),
    ("T2", re.compile(r"(?<![A-Z0-9])T2(?!\d)")),
    ("PD", re.compile(r"(?<![A-Z])(PD|DP|PROTON)(?![A-Z])|PROTON")),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """Modality, plane and weighting of a series.

    Attributes:
        modality: ``"CT"`` or ``"MR"``; empty where the file does not say.
        plane: What its slices are.
        weighting: Of MR; None where it cannot be told.
        told_by: ``"name"`` (the series description) or ``"times"`` (echo, repetition and inversion); None for neither.
    """

    modality: str
    plane: Plane
    weighting: Weighting | None = None
    told_by: Literal["name", "times"] | None = None

    @property
    def rsna(self) -> str | None:
        """The kind as RSNA 2024 names it; None for all others."""
        if self.plane == "sagittal" and self.weighting in ("T2", "STIR"):
            return SAGITTAL_T2
        names = {("sagittal", "T1"): SAGITTAL_T1, ("axial", "T2"): AXIAL_T2}
        return names.get((self.plane, self.weighting or ""))

    def __str__(self) -> str:
        return " ".join(word for word in (self.plane, self.weighting, self.modality) if word)


def kind_of(frame: Frame, plane: Plane) -> Kind:
    """The kind of the series that a frame is of.

    The name goes first where it says exactly one weighting. The times are ours, in milliseconds: an inversion time of
    80 to 250 is STIR; an echo of up to 30 is T1 with a repetition below 1,200, with an inversion of 500 to 1,200 (T1
    FLAIR), else PD; an echo of 60 or more with a repetition above 1,500 is T2.
    """
    if frame.modality != "MR":
        return Kind(frame.modality, plane)
    named = {weighting for weighting, pattern in _NAMES if pattern.search(frame.description)}
    if "STIR" in named:
        named -= {"T2", "T1"}  # "T2 STIR"; a STIR is both
    if len(named) == 1:
        return Kind("MR", plane, named.pop(), "name")
    weighting = _by_times(frame.echo, frame.repetition, frame.inversion)
    return Kind("MR", plane, weighting, "times" if weighting else None)


def _by_times(echo: float | None, repetition: float | None, inversion: float | None) -> Weighting | None:
    if inversion is not None and 80 <= inversion <= 250:
        return "STIR"
    if echo is None or repetition is None:
        return None
    if echo <= 30:
        flair = inversion is not None and 500 <= inversion <= 1200
        return "T1" if repetition < 1200 or flair else "PD"
    return "T2" if echo >= 60 and repetition > 1500 else None
