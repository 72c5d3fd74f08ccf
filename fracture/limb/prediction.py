"""What a prediction gives back: ``Prediction`` or ``Failure``, and the ``Box`` and ``GridToSource`` they hold.

All coordinates are continuous source pixels with pixel edges: x right, y down, pixel (row i, column j) covers
[j, j+1) x [i, i+1). The records are frozen and hold plain values, so that they pickle and serialize.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from fracture.errors import ConfigurationError
from fracture.io.radiograph import Radiograph
from fracture.regions import plain_name
from fracture.results.base import DicomResult
from fracture.wing.result import (
    HIGH_SENSITIVITY,
    HIGH_SPECIFICITY as HIGH_SPECIFICITY,
    Box,
    Failure as Failure,
    GridToSource,
    html_table,
    plain_number,
    plain_numbers,
)
from fracture.wing.scene import Heat, Look, Page, Scene, SceneBox, as_gray, digits, suspicion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prediction(DicomResult):
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
        map_threshold: What a box must reach to be reported: a value of the probability map or, where cells tell the
            boxes, of their quality; ``None`` if the ensemble gives no map.
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
        weights_checksum: SHA-256 of the card, which holds those of the weights' files.
        spacing: Millimeters per source pixel, (row, column), or ``None`` where unknown.
        seconds: Wall time from file to prediction.
        warnings: Findings that a user should see.
        input_distance: How far the film's features lie from the training films', about 1 for a typical film; ``None``
            where the weights have no input check.
        radiograph: The film itself, kept by ``predict``, dropped by ``predict_many`` unless asked to keep it.

    Raises:
        ConfigurationError: The probability is not in [0, 1].
    """

    ok: ClassVar[Literal[True]] = True
    error: ClassVar[None] = None
    _shown = ("source", "fractured", "probability", "threshold", "region", "boxes", "warnings", "model")
    _pixels = ("radiograph", "probability_map")

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
    weights_checksum: str | None = None
    spacing: tuple[float, float] | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    input_distance: float | None = None
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

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> dict[str, Any]:
        """The boxes of a JSON line."""
        given = {key: line.get(key) for key in ("boxes", "candidates")}
        return {key: tuple(Box(**box) for box in boxes) for key, boxes in given.items() if boxes is not None}

    def to_dict(self) -> dict[str, Any]:
        """The prediction as JSON-able values: one line of ``fracture predict``.

        Pixels and map stay out, numbers that are not finite become null, and ``candidates`` is there only if it was
        asked for. Nothing in it stems from the patient's data but the path in ``source``.
        """
        regional = None if self.region_probabilities is None else plain_numbers(self.region_probabilities)
        line = {
            "source": self.source,
            "width": int(self.width),
            "height": int(self.height),
            "probability": plain_number(self.probability),
            "fractured": bool(self.fractured),
            "region": self.region,
            "region_source": self.region_source,
            "threshold": plain_number(self.threshold),
            "operating_point": self.operating_point,
            "boxes": [box.to_dict() for box in self.boxes],
            "model": self.model,
            "seconds": plain_number(self.seconds),
            "error": None,
            "regions": list(self.regions),
            "region_probabilities": regional,
            "operating_node": self.operating_node,
            "operating_reason": self.operating_reason,
            "thresholds": plain_numbers(self.thresholds),
            "reached": list(self.reached),
            "map_threshold": plain_number(self.map_threshold),
            "raw_probability": plain_number(self.raw_probability),
            "member_scores": plain_numbers(self.member_scores),
            "model_version": self.model_version,
            "spacing": None if self.spacing is None else [plain_number(value) for value in self.spacing],
            "warnings": list(self.warnings),
            "input_distance": plain_number(self.input_distance),
            "weights_checksum": self.weights_checksum,
        }
        if self.candidates is not None:
            line["candidates"] = [box.to_dict() for box in self.candidates]
        return line

    @property
    def suspicion(self) -> float:
        """The probability as a person reads it: 0 to 1, and 0.5 is ``threshold``; see :func:`.scene.suspicion`."""
        return suspicion(self.probability, self.threshold)

    def scene(
        self,
        *,
        image: NDArray[Any] | Radiograph | None = None,
        show_map: bool = False,
        show_candidates: bool = False,
    ) -> Scene:
        """What there is to see: the film with boxes, and on request the map and the candidates, and a caption.

        Args:
            image: The film, a ``Radiograph`` or an array (height, width) of uint8 or floating point in [0, 1], where
                the prediction does not hold it (``predict_many``).
            show_map: Lay the probability map over the film.
            show_candidates: Also show the candidates, thin and dotted.

        Raises:
            ConfigurationError: There are no pixels, no map, or no candidates to show, or the image has another size.
        """
        film, heats = self._film(image), tuple[Heat, ...]()
        if show_map:
            if self.probability_map is None or self.map_to_source is None:
                raise ConfigurationError(
                    f"{self.source}: this prediction holds no probability map",
                    hint="use weights whose members give a map, and predict with keep=True",
                )
            heats = (Heat(self.probability_map, *self.map_to_source.affine),)
        if show_candidates and self.candidates is None:
            raise ConfigurationError(
                f"{self.source}: candidates were not asked for", hint="predict with candidates=True"
            )
        weak = [box for box in self.candidates or () if box not in self.boxes] if show_candidates else []
        boxes = [SceneBox(b.x0, b.y0, b.x1, b.y1, "weak") for b in weak]
        for number, b in enumerate(self.boxes, 1):
            look: Look = "doubt" if b.operating_point == HIGH_SENSITIVITY else "sure"
            boxes.append(SceneBox(b.x0, b.y0, b.x1, b.y1, look, str(number) if len(self.boxes) > 1 else ""))
        word = "Fracture suspected" if self.fractured else "No fracture found"
        verdict = f"{word}: suspicion {digits(self.suspicion)} (threshold 0.5)"
        return Scene((Page(film, verdict, self._caption(), self.fractured, tuple(boxes), heats=heats),))

    def _film(self, image: NDArray[Any] | Radiograph | None) -> NDArray[np.uint8]:
        source = self.radiograph if image is None else image
        if source is None:
            raise ConfigurationError(
                f"{self.source}: this prediction does not hold its pixels",
                hint="pass image=fracture.read(path), or predict with keep=True",
            )
        pixels = source.pixels if isinstance(source, Radiograph) else np.asarray(source)
        if pixels.shape != (self.height, self.width):
            raise ConfigurationError(
                f"{self.source}: the image is not the one that was predicted",
                got=f"shape {pixels.shape}",
                allowed=f"({self.height}, {self.width})",
            )
        return as_gray(pixels)

    def _caption(self) -> tuple[str, ...]:
        origin = {"caller": "as given", "dicom": "from the file's header", "model": "the networks' guess"}
        shown = ", ".join(plain_name(name) for name in self.regions) or plain_name("any")
        known = origin.get(self.region_source or "", "nobody said")
        lines = [f"Region: {shown} ({known}). Set for {self.operating_point.replace('_', ' ')}."]
        if self.boxes and self.boxes[0].operating_point == HIGH_SENSITIVITY:
            lines.append("Dotted: a doubt, suspicious at high sensitivity only.")
        if len(self.boxes) > 1:
            lines.append("Boxes are numbered, the most suspicious first.")
        elif self.fractured and not self.boxes:
            lines.append("No single place stands out.")
        return tuple(lines)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        image: NDArray[Any] | Radiograph | None = None,
        show_map: bool = False,
        show_candidates: bool = False,
    ) -> Axes:
        """Draw :meth:`scene` on matplotlib axes, in source-pixel coordinates.

        Args:
            ax: Axes to draw on; new ones where left out.
            image, show_map, show_candidates: As for :meth:`scene`, errors too.
        """
        from fracture.wing.axes import plot_page

        (page,) = self.scene(image=image, show_map=show_map, show_candidates=show_candidates).pages
        return plot_page(page, ax)

    def _repr_html_(self) -> str:
        verdict = "fracture" if self.fractured else "no fracture"
        rows = [
            ("source", self.source),
            ("decision", f"{verdict}: suspicion {digits(self.suspicion)} (threshold 0.5)"),
            ("probability", f"{self.probability:.3f}, threshold {self.threshold:.3f}"),
            ("operating point", f"{self.operating_point} of {self.operating_node or 'unknown'}"),
            ("region", f"{self.region} ({self.region_source or 'unknown'})"),
            ("boxes", str(len(self.boxes))),
            ("model", f"{self.model} {self.model_version or ''}".strip()),
            *(("warning", warning) for warning in self.warnings),
        ]
        return html_table(rows)
