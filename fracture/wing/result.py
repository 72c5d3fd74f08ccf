"""What the results of all wings share and are made of: boxes, grids on the source image, the failure of one input.

All coordinates are continuous source pixels with pixel edges: x right, y down, pixel (row i, column j) covers
[j, j+1) x [i, i+1). The records are frozen and hold plain values, so that they pickle and serialize.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from html import escape
from os import PathLike
from typing import Any, ClassVar, Literal, Self

import numpy as np

from fracture.errors import ConfigurationError, FractureError, unforeseen
from fracture.io.marks import subject_of
from fracture.iou import iou

__all__ = [
    "HIGH_SENSITIVITY",
    "HIGH_SPECIFICITY",
    "Box",
    "Failure",
    "GridToSource",
    "ResultBase",
    "html_table",
    "plain_number",
    "plain_numbers",
]

HIGH_SENSITIVITY = "high_sensitivity"
HIGH_SPECIFICITY = "high_specificity"


class ResultBase:
    """A frozen dataclass that equals its copies, arrays and errors included, so that pickling keeps it what it is.

    Attributes:
        ok: Whether there is a result; a ``Failure`` says False.
        source: What was read, as the caller gave it.
        _shown: Fields that ``repr`` shows, of a tuple only its length.
        _pixels: Fields that hold pixels: :meth:`drop_pixels` sets them to None, and they are not written.
        _kind: What overlays show, so that one of another kind is not taken for them.
    """

    __slots__ = ()
    ok: ClassVar[bool] = True
    _shown: ClassVar[tuple[str, ...]] = ()
    _pixels: ClassVar[tuple[str, ...]] = ()
    _kind: ClassVar[str] = "film"
    source: str

    def save_overlay(self, path: str | PathLike[str], **shown: Any) -> None:
        """Draw the result's ``scene`` and write it as PNG, without matplotlib and without a display.

        Args:
            path: File to write; its folder must exist.
            shown: As for ``scene``.

        Raises:
            ConfigurationError: As for ``scene``, or the file cannot be written.
            UnexpectedError: It cannot be drawn for a reason that nobody foresaw.
        """
        from fracture.wing.overlay import draw_scene, write_picture

        with unforeseen(self.source):
            drawn = draw_scene(self.scene(**shown))  # type: ignore[attr-defined]  # every result has one: wing.contract
            write_picture(drawn, path, subject_of(self._kind, self.source))

    def drop_pixels(self) -> Self:
        """The same without pixels, for holding many of them."""
        return replace(self, **dict.fromkeys(self._pixels))  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """All other fields as JSON-able values, records as objects; ``error`` is null."""
        names = [f.name for f in fields(self) if f.name not in self._pixels]  # type: ignore[arg-type]
        return {name: _plain(getattr(self, name)) for name in names} | {"error": None}

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _same_fields(self, other)

    def __hash__(self) -> int:
        return hash((type(self), self.source))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_short(getattr(self, name))}" for name in self._shown)
        return f"{type(self).__name__}({shown})"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle around a suspected fracture.

    Attributes:
        x0, y0, x1, y1: Left, top, right and bottom edge in source pixels (pixel-edge coordinates), x1 > x0, y1 > y0.
        score: How sure the networks are of it, in [0, 1]: for comparing boxes, no probability (docs/predictions.md).
        operating_point: The strictest operating point that the film reaches, ``"high_sensitivity"`` (a doubt, drawn
            dotted) or ``"high_specificity"`` (drawn solid), or ``None`` where it reaches none.

    Raises:
        ConfigurationError: An edge or the score is not finite, or the box has no area.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    score: float
    operating_point: str | None = None

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.x0, self.y0, self.x1, self.y1, self.score)):
            raise ConfigurationError("a box needs finite edges and a finite score", got=self)
        if not (self.x1 > self.x0 and self.y1 > self.y0):
            raise ConfigurationError("a box needs an area", got=self, allowed="x1 > x0 and y1 > y0")

    @property
    def width(self) -> float:
        """Extent along x in source pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Extent along y in source pixels."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """Area in square source pixels."""
        return self.width * self.height

    @property
    def center(self) -> tuple[float, float]:
        """The middle, (x, y) in source pixels."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def iou(self, other: Box) -> float:
        """Intersection over union with another box, in [0, 1]."""
        return float(iou((self.x0, self.y0, self.x1, self.y1), (other.x0, other.y0, other.x1, other.y1)))

    def to_dict(self) -> dict[str, Any]:
        """Edges, score and operating point as JSON-able values."""
        return {
            "x0": float(self.x0),
            "y0": float(self.y0),
            "x1": float(self.x1),
            "y1": float(self.y1),
            "score": float(self.score),
            "operating_point": self.operating_point,
        }


@dataclass(frozen=True, slots=True)
class GridToSource:
    """Where the cells of a map lie on the source image: ``source = offset + scale * cell``, along x and along y.

    Both sides are pixel-edge coordinates: cell (i, j) covers [j, j+1) x [i, i+1) of the grid.

    Attributes:
        scale_x, scale_y: Source pixels per cell, above 0.
        offset_x, offset_y: Source coordinates of the grid's upper left corner; negative where the grid reaches
            beyond the image.

    Raises:
        ConfigurationError: A value is not finite, or a scale is not positive.
    """

    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0

    def __post_init__(self) -> None:
        values = (self.scale_x, self.scale_y, self.offset_x, self.offset_y)
        if not all(math.isfinite(value) for value in values) or min(self.scale_x, self.scale_y) <= 0:
            raise ConfigurationError(
                "a grid needs finite offsets and positive, finite source pixels per cell", got=self
            )

    @property
    def affine(self) -> tuple[float, float, float, float]:
        """(scale_x, scale_y, offset_x, offset_y)."""
        return self.scale_x, self.scale_y, self.offset_x, self.offset_y

    def box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """Edges in cells to edges in source pixels.

        Args:
            x0, y0, x1, y1: Cell edges, x right and y down, 0 at the grid's left and top edge.
        """
        return (
            self.offset_x + self.scale_x * x0,
            self.offset_y + self.scale_y * y0,
            self.offset_x + self.scale_x * x1,
            self.offset_y + self.scale_y * y1,
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Failure(ResultBase):
    """An input that could not be read or judged: what ``predict_many`` yields in its place.

    Attributes:
        ok: False: there is no prediction. ``if result.ok:`` tells a type checker so, too.
        source: The path as the caller gave it, or ``"<array>"`` and the like.
        error: Why; ``raise failure.error`` gives the exception that ``predict`` would have raised.
        seconds: Wall time until the failure.
    """

    ok: ClassVar[Literal[False]] = False
    _shown = ("source", "error")

    source: str
    error: FractureError
    seconds: float = 0.0

    @classmethod
    def of(cls, source: str, error: FractureError, seconds: float = 0.0) -> Failure:
        """A failure that keeps no film alive: an error's traceback holds all that its functions held.

        Args:
            source: What the caller named.
            error: Why it could not be used.
            seconds: Spent on it.
        """
        part: BaseException | None = error
        while part is not None:
            part.__traceback__, part = None, part.__cause__ or part.__context__
        return cls(source, error, seconds)

    def to_dict(self) -> dict[str, Any]:
        """The same keys as the first thirteen of ``Prediction.to_dict``, null but for source, seconds and error."""
        return {
            "source": self.source,
            "width": None,
            "height": None,
            "probability": None,
            "fractured": None,
            "region": None,
            "region_source": None,
            "threshold": None,
            "operating_point": None,
            "boxes": None,
            "model": None,
            "seconds": plain_number(self.seconds),
            "error": {"type": type(self.error).__name__, "message": str(self.error)},
        }


def html_table(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values as an HTML table, every text escaped: how notebooks show a result."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def known_fields(kind: type, line: Mapping[str, Any]) -> dict[str, Any]:
    """What a JSON line says of the fields of a result, lists as tuples; what is null is left out."""
    names = {f.name for f in fields(kind)}
    kept = {name: value for name, value in line.items() if name in names and value is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}


def plain_number(value: float | None) -> float | None:
    """A plain float, or None for a number that JSON cannot hold."""
    return None if value is None or not math.isfinite(value) else float(value)


def plain_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same for every value of a mapping."""
    return {str(name): plain_number(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return plain_number(value) if isinstance(value, float) else value


def _same_fields(one: Any, other: Any) -> bool:
    return all(_same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return isinstance(one, int | float) and isinstance(other, int | float) and bool(one == other)
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, BaseException):
        return bool(one.args == other.args)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if is_dataclass(one):
        return _same_fields(one, other)
    return bool(one == other)


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return str(len(value))
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
