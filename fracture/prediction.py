"""What a prediction gives back: ``Prediction`` or ``Failure``, and the ``Box`` and ``GridToSource`` they hold.

All coordinates are continuous source pixels with pixel edges: x right, y down, pixel (row i, column j) covers
[j, j+1) x [i, i+1). The records are frozen and hold plain values, so that they pickle and serialize.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fracture.errors import ConfigurationError, FractureError
from fracture.wing.result import ResultBase

if TYPE_CHECKING:
    from os import PathLike

    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from fracture.radiograph import Radiograph

__all__ = ["HIGH_SENSITIVITY", "HIGH_SPECIFICITY", "Box", "Failure", "GridToSource", "Prediction"]

HIGH_SENSITIVITY = "high_sensitivity"
HIGH_SPECIFICITY = "high_specificity"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle around a suspected fracture.

    Attributes:
        x0, y0, x1, y1: Left, top, right and bottom edge in source pixels (pixel-edge coordinates), x1 > x0, y1 > y0.
        score: The film's probability times the peak of the probability map inside, in [0, 1].
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
        wide = min(self.x1, other.x1) - max(self.x0, other.x0)
        high = min(self.y1, other.y1) - max(self.y0, other.y0)
        if wide <= 0 or high <= 0:
            return 0.0
        shared = wide * high
        return shared / (self.area + other.area - shared)

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

    def box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """Edges in cells to edges in source pixels."""
        return (
            self.offset_x + self.scale_x * x0,
            self.offset_y + self.scale_y * y0,
            self.offset_x + self.scale_x * x1,
            self.offset_y + self.scale_y * y1,
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prediction(ResultBase):
    """What the detector says about one radiograph.

    Attributes:
        ok: True: the film was read and judged. ``if result.ok:`` tells a type checker that it is no ``Failure``.
        error: None; a ``Failure`` holds the error.
        source: The path as the caller gave it, or ``"<array>"`` and the like.
        width, height: Size of the source image in pixels.
        probability: Probability of a fracture somewhere on the film, in [0, 1], after calibration.
        fractured: Whether the probability reaches ``threshold`` (``>=``).
        boxes: Boxes of a film that is called fractured, highest score first; ``()`` for any other film.
        threshold: The score threshold that decided.
        operating_point: Its name, ``"high_sensitivity"`` unless asked otherwise.
        operating_node: The region node whose operating point was used.
        operating_reason: Why that node: the region itself, its nearest ancestor, ...
        thresholds: Score thresholds of all operating points by name, where they exist.
        reached: Names of the operating points that the probability reaches.
        map_threshold: The map threshold of the boxes, ``None`` if the ensemble gives no map.
        candidates: Every box of the map whatever the decision, or ``None`` if not asked for.
        regions: Anatomical regions shown, by name; ``()`` where unknown.
        region_source: ``"caller"``, ``"dicom"``, ``"model"``, or ``None`` where unknown.
        region_probabilities: The model's own opinion per region, or ``None`` without a region head.
        raw_probability: The mean of the members' scores before any calibration, where it differs in kind.
        member_scores: Score per ensemble member by name, as averaged.
        probability_map: float32, shape (h, w), in [0, 1], on the grid of ``map_to_source``; ``None`` if the
            ensemble gives none or it was dropped.
        map_to_source: From cells of ``probability_map`` to source pixels.
        model: Name of the weights.
        model_version: Version of the weights, from their card.
        spacing: Millimeters per source pixel, (row, column), or ``None`` where unknown.
        seconds: Wall time from file to prediction.
        warnings: Findings that a user should see.
        radiograph: The film itself, kept by ``predict``, dropped by ``predict_many`` unless asked to keep it.

    Raises:
        ConfigurationError: The probability is not in [0, 1].
    """

    ok: ClassVar[Literal[True]] = True
    error: ClassVar[None] = None
    _shown = ("source", "fractured", "probability", "threshold", "region", "boxes", "warnings", "model")

    source: str
    width: int
    height: int
    probability: float
    fractured: bool
    threshold: float
    boxes: tuple[Box, ...] = ()
    operating_point: str = HIGH_SENSITIVITY
    operating_node: str | None = None
    operating_reason: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    reached: tuple[str, ...] = ()
    map_threshold: float | None = None
    candidates: tuple[Box, ...] | None = None
    regions: tuple[str, ...] = ()
    region_source: str | None = None
    region_probabilities: Mapping[str, float] | None = None
    raw_probability: float | None = None
    member_scores: Mapping[str, float] = field(default_factory=dict)
    probability_map: NDArray[np.float32] | None = field(default=None, repr=False)
    map_to_source: GridToSource | None = field(default=None, repr=False)
    model: str = ""
    model_version: str | None = None
    spacing: tuple[float, float] | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    radiograph: Radiograph | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:  # also refuses NaN
            raise ConfigurationError(
                f"{self.source}: a probability is in [0, 1]", got=self.probability, hint="check the weights"
            )

    @property
    def region(self) -> str:
        """The regions shown joined by ``+`` (``"forearm+wrist"``), ``"any"`` where unknown."""
        return "+".join(self.regions) or "any"

    def drop_pixels(self) -> Prediction:
        """The same prediction without the film and the map, for holding many of them."""
        return replace(self, radiograph=None, probability_map=None)

    def to_dict(self) -> dict[str, Any]:
        """The prediction as JSON-able values: one line of ``fracture predict``.

        Pixels and map stay out, numbers that are not finite become null, and ``candidates`` is there only if it was
        asked for. Nothing in it stems from the patient's data but the path in ``source``.
        """
        line = {
            "source": self.source,
            "width": int(self.width),
            "height": int(self.height),
            "probability": _number(self.probability),
            "fractured": bool(self.fractured),
            "region": self.region,
            "region_source": self.region_source,
            "threshold": _number(self.threshold),
            "operating_point": self.operating_point,
            "boxes": [box.to_dict() for box in self.boxes],
            "model": self.model,
            "seconds": _number(self.seconds),
            "error": None,
            "regions": list(self.regions),
            "region_probabilities": None if self.region_probabilities is None else _numbers(self.region_probabilities),
            "operating_node": self.operating_node,
            "operating_reason": self.operating_reason,
            "thresholds": _numbers(self.thresholds),
            "reached": list(self.reached),
            "map_threshold": _number(self.map_threshold),
            "raw_probability": _number(self.raw_probability),
            "member_scores": _numbers(self.member_scores),
            "model_version": self.model_version,
            "spacing": None if self.spacing is None else [_number(value) for value in self.spacing],
            "warnings": list(self.warnings),
        }
        if self.candidates is not None:
            line["candidates"] = [box.to_dict() for box in self.candidates]
        return line

    def plot(
        self,
        ax: Axes | None = None,
        *,
        image: NDArray[Any] | Radiograph | None = None,
        show_map: bool = False,
        show_candidates: bool = False,
    ) -> Axes:
        """Draw the film with its boxes, and on request the map and the candidates, on matplotlib axes.

        Args:
            ax: Axes to draw on; new ones where left out.
            image: The film, (height, width), where the prediction does not hold it (``predict_many``).
            show_map: Lay the probability map over the film.
            show_candidates: Also draw the candidates, thin and dotted.

        Returns:
            The axes, in source-pixel coordinates.

        Raises:
            ConfigurationError: There are no pixels, no map, or no candidates to draw, or the image has another size.
        """
        from fracture.plotting import plot_prediction

        return plot_prediction(self, ax, image=image, show_map=show_map, show_candidates=show_candidates)

    def save_overlay(
        self,
        path: str | PathLike[str],
        *,
        image: NDArray[Any] | Radiograph | None = None,
        show_map: bool = False,
        show_candidates: bool = False,
    ) -> None:
        """Write the film with boxes, scores and a caption as PNG, without matplotlib and without a display.

        Args:
            path: File to write; its folder must exist.
            image, show_map, show_candidates: As for ``plot``.

        Raises:
            ConfigurationError: As for ``plot``, or the file cannot be written.
        """
        from fracture.plotting import save_overlay

        save_overlay(self, path, image=image, show_map=show_map, show_candidates=show_candidates)

    def _repr_html_(self) -> str:
        verdict = "fracture" if self.fractured else "no fracture"
        rows = [
            ("source", self.source),
            ("decision", f"{verdict} ({self.probability:.3f}, threshold {self.threshold:.3f})"),
            ("operating point", f"{self.operating_point} of {self.operating_node or 'unknown'}"),
            ("region", f"{self.region} ({self.region_source or 'unknown'})"),
            ("boxes", str(len(self.boxes))),
            ("model", f"{self.model} {self.model_version or ''}".strip()),
            *(("warning", warning) for warning in self.warnings),
        ]
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
        return f"<table>{cells}</table>"


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
        """A failure that keeps no film alive: an error's traceback holds all that its functions held."""
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
            "seconds": _number(self.seconds),
            "error": {"type": type(self.error).__name__, "message": str(self.error)},
        }


def _number(value: float | None) -> float | None:
    """A plain float, or None for a number that JSON cannot hold."""
    return None if value is None or not math.isfinite(value) else float(value)


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {str(name): _number(value) for name, value in values.items()}
