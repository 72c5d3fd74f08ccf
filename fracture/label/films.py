"""What goes to a labeling tool and comes back: films under neutral names, boxes in source pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fracture.errors import DataError, FractureError
from fracture.schema import Record, read_json

FORMAT = "fracture-label/1"
LIST = "films.json"
_LARGEST = 256 * 2**20  # bytes
_Side = Annotated[int, Field(gt=0, le=1_000_000)]
_Text = Annotated[str, Field(max_length=10_000)]


@dataclass(frozen=True, slots=True)
class Listed(Record):
    """A film that was exported.

    Attributes:
        picture: Its name in the tool, ``000001.png``: says nothing of the film.
        source: The film.
        width, height: Of the film and of the picture, in pixels.
        boxes: What was proposed, (x0, y0, x1, y1, score) in source pixels.
        fractured: What was proposed.
        suspicion: 0 to 1, the threshold at 0.5.
    """

    ERROR: ClassVar[type[FractureError]] = DataError

    picture: str
    source: _Text
    width: _Side
    height: _Side
    boxes: tuple[tuple[float, float, float, float, float], ...] = ()
    fractured: bool = False
    suspicion: float = 0.0


@dataclass(frozen=True, slots=True)
class Listing:
    """All films of an export; ``films.json`` in its folder.

    Attributes:
        films: In the order of the tool.
        model: Who proposed.
    """

    films: tuple[Listed, ...]
    model: str = ""

    def to_dict(self) -> dict[str, object]:
        """As JSON-able values."""
        return {"format": FORMAT, "model": self.model, "films": [film.to_dict() for film in self.films]}

    @classmethod
    def read(cls, path: Path) -> Listing:
        """From ``films.json``.

        Raises:
            DataError: It is not one.
        """
        content = read_json(path, limit=_LARGEST, error=DataError)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(f"{path} does not list exported films", hint=f"`fracture label export` writes {LIST}")
        films = content.get("films")
        if not isinstance(films, list) or not all(isinstance(film, dict) for film in films):
            raise DataError(f"{path}: films is a list of objects")
        return cls(tuple(Listed.from_dict(_tuples(film)) for film in films), str(content.get("model", "")))


@dataclass(slots=True)
class Answer:
    """What people said of one picture.

    Attributes:
        picture: Its name.
        width, height: Of the picture that they saw, as the tool says; 0 where it does not.
        boxes: Fractures, (x0, y0, x1, y1) in its pixels.
        verdict: ``"fracture"`` (with or without boxes), ``"normal"``, ``"unsure"``; ``""``: nobody looked.
        remarks: What was odd.
    """

    picture: str
    width: int = 0
    height: int = 0
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    verdict: Literal["fracture", "normal", "unsure", ""] = ""
    remarks: list[str] = field(default_factory=list)

    def add(self, points: Iterable[tuple[float, float]]) -> None:
        """A fracture by the points of its outline: the box around them."""
        across, down = zip(*points, strict=True)
        self.boxes.append((min(across), min(down), max(across), max(down)))


def _tuples(film: dict[str, object]) -> dict[str, object]:
    boxes = film.get("boxes")
    return {**film, "boxes": tuple(map(tuple, boxes))} if isinstance(boxes, list) else film
