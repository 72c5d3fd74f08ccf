"""A report back to what was found, from its coordinates, numbers and codes alone: no text is interpreted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from fracture.errors import DataError
from fracture.results.codes import key_of
from fracture.wing.result import Box

_LATERALITY, _SITE = ("272741003", "SCT"), ("363698007", "SCT")
_YES, _NO = ("52101004", "373066001"), ("272519000", "373067005")


@dataclass(frozen=True, slots=True)
class ReadPlace:
    """A group of statements as a report holds it.

    Attributes:
        kind: ``"film"``, ``"box"``, ``"hip"``, or what another wing calls its places.
        edges: (x0, y0, x1, y1), or (x, y) of a point, in source pixels, with the float32 precision of SCOORD.
        numbers: Numbers by key (``"score"``, ``"probability"``, ``"probabilities.normal"``).
        answers: Yes and no, present and absent, and words, by key.
        side: ``"left"``, ``"right"`` or None.
    """

    kind: str
    edges: tuple[float, ...]
    numbers: Mapping[str, float]
    answers: Mapping[str, bool | str]
    side: str | None = None


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What a report says.

    Attributes:
        film: Of the film as a whole.
        places: Of places on it, in order.
        referenced: SOP instance UID of the film.
        frame: Its frame, from 0; None where it has but one.
    """

    film: ReadPlace
    places: tuple[ReadPlace, ...]
    referenced: str
    frame: int | None = None

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes, with scores and operating points."""
        return tuple(
            Box(*p.edges, score=p.numbers["score"], operating_point=_word(p.answers.get("operating_point")))
            for p in self.places
            if p.kind == "box" and len(p.edges) == 4
        )


def read_sr(dataset: Dataset) -> ReadReport:
    """Read a report that this library wrote.

    Args:
        dataset: A Comprehensive 3D SR or Comprehensive SR as pydicom holds it.

    Raises:
        DataError: It is no report of ours.
    """
    try:
        groups = [_group(group) for group in _groups(dataset)]
        film = next(place for place, _, _ in groups if place.kind == "film")
        _, referenced, frame = groups[0]
    except (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise DataError(
            "no report of fracture", got=type(error).__name__, allowed="an SR made by Prediction.to_dicom"
        ) from None
    return ReadReport(film, tuple(place for place, _, _ in groups if place.kind != "film"), referenced, frame)


def _groups(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.ContentSequence:
        if _name(item) == ("126010", "DCM"):  # Imaging Measurements
            yield from (group for group in item.ContentSequence if _name(group) == ("125007", "DCM"))


def _group(group: Dataset) -> tuple[ReadPlace, str, int | None]:
    numbers: dict[str, float] = {}
    answers: dict[str, bool | str] = {}
    edges: tuple[float, ...] = ()
    side, referenced, frame = None, "", None
    for item in group.ContentSequence:
        key = key_of(*_name(item))
        if item.ValueType == "NUM" and key:
            numbers[key] = float(item.MeasuredValueSequence[0].NumericValue)
        elif item.ValueType == "CODE" and key:
            answers[key] = _answer(item.ConceptCodeSequence[0])
        elif item.ValueType == "CODE" and _name(item) == _SITE:
            sides = [inner for inner in item.get("ContentSequence", ()) if _name(inner) == _LATERALITY]
            side = sides[0].ConceptCodeSequence[0].CodeMeaning.lower() if sides else side
        elif item.ValueType == "SCOORD":
            data = [float(value) for value in item.GraphicData]
            edges = tuple(data[:2]) if len(data) == 2 else (*data[0:2], *data[4:6])
            image = item.ContentSequence[0].ReferencedSOPSequence[0]
            referenced = str(image.ReferencedSOPInstanceUID)
            frame = int(image.ReferencedFrameNumber) - 1 if "ReferencedFrameNumber" in image else None
    kind = str(answers.pop("statement"))
    if not edges:
        raise ValueError("a group without coordinates")
    return ReadPlace(kind, edges, numbers, answers, side), referenced, frame


def _name(item: Dataset) -> tuple[str, str]:
    return _code(item.ConceptNameCodeSequence[0])


def _code(item: Dataset) -> tuple[str, str]:
    return str(item.get("CodeValue") or item.get("LongCodeValue")), str(item.CodingSchemeDesignator)


def _answer(item: Dataset) -> bool | str:
    value, scheme = _code(item)
    return value in _YES if scheme == "SCT" and value in (*_YES, *_NO) else value


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None
