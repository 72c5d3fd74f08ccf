"""What the hip reader gives back: ``Hip``, one proximal femur, and ``HipFilm``, one film with the hips found on it.

All coordinates are continuous source pixels with pixel edges. The records are frozen and hold plain values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fracture.errors import ConfigurationError
from fracture.hip.classes import CLASSES, LABELS, OPERATIONS, SIDES, fracture_probability, is_fracture
from fracture.results.base import FilmResult, kept_pixels
from fracture.wing.result import Box, GridToSource, ResultBase, html_table, known_fields
from fracture.wing.scene import Heat, Page, Scene, SceneBox, digits, suspicion

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from fracture.io.radiograph import Radiograph


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Hip(ResultBase):
    """One hip: where it is, and what it shows.

    Attributes:
        side: ``"left"`` or ``"right"``, the patient's, as the localizer says.
        box: Around the proximal femur, on the film, with the localizer's score.
        probabilities: Probability of each of the six classes, sum 1.
        threshold: What ``fracture_probability`` must reach (``>=``) for ``fractured``.
        advise_threshold: What P(nondisplaced neck) must reach for ``advise_imaging``; the point of the ROC curve that
            is nearest to its corner (Krogue et al. 2020). None where the card states none.
        edges: Edges of the film that the box reaches: the hip may go on beyond them.
        heatmaps: float32, shape (6, h, w), in [0, 1], Grad-CAM of each class on the grid of ``map_to_source``, aligned
            with the film; None where dropped.
        map_to_source: From cells of the heatmaps to source pixels.
        source: The film, as the caller gave it.
        width, height: Its size in pixels.
        views: Views that were fused into this answer.
        model, model_version: The weights.
        warnings: Findings that a user should see.
        radiograph: The film, kept by ``predict``.

    Raises:
        ConfigurationError: An unknown side, or probabilities that are none.
    """

    _shown = ("side", "label", "fractured", "fracture_probability", "threshold", "source", "model")
    _pixels = ("radiograph", "heatmaps")

    side: str
    box: Box
    probabilities: Mapping[str, float]
    threshold: float = 0.5
    advise_threshold: float | None = None
    edges: tuple[str, ...] = ()
    heatmaps: NDArray[np.float32] | None = field(default=None, repr=False)
    map_to_source: GridToSource | None = field(default=None, repr=False)
    source: str = "<array>"
    width: int = 0
    height: int = 0
    views: int = 1
    model: str = ""
    model_version: str | None = None
    warnings: tuple[str, ...] = ()
    radiograph: Radiograph | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise ConfigurationError("the side of a hip", got=self.side, allowed=SIDES)
        values = list(self.probabilities.values())
        known = tuple(self.probabilities) == CLASSES and all(0.0 <= value <= 1.0 for value in values)
        if not known or not math.isclose(sum(values), 1.0, abs_tol=1e-3):
            raise ConfigurationError(
                f"{self.source}: the probabilities of a hip's six classes",
                got=dict(self.probabilities),
                allowed="sum 1",
            )

    @property
    def box_score(self) -> float:
        """The localizer's score of the box, in [0, 1]."""
        return self.box.score

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top2[0][0]

    @property
    def top2(self) -> tuple[tuple[str, float], tuple[str, float]]:
        """The two most probable classes with their probabilities, as the paper's aided readers saw them."""
        first, second = sorted(self.probabilities.items(), key=lambda item: -item[1])[:2]
        return first, second

    @property
    def fracture_probability(self) -> float:
        """Sum over the three fracture classes; hardware counts as no fracture."""
        return fracture_probability(self.probabilities)

    @property
    def fractured(self) -> bool:
        """Whether ``fracture_probability`` reaches the threshold."""
        return self.fracture_probability >= self.threshold

    @property
    def advise_imaging(self) -> bool:
        """Whether CT or MRI is advised: the label is not a fracture, but P(nondisplaced neck) reaches its ideal point.

        The suggestion of Krogue et al. 2020, Discussion. False where the card states no such threshold.
        """
        return (
            self.advise_threshold is not None
            and not is_fracture(self.label)
            and self.probabilities["nondisplaced_neck"] >= self.advise_threshold
        )

    @property
    def operative_group(self) -> str | None:
        """The operation that usually follows the label (Krogue et al. 2020, Fig 1), None where there is none."""
        return OPERATIONS[self.label]

    @property
    def heatmap(self) -> NDArray[np.float32] | None:
        """Grad-CAM of the label, float32 (h, w) in [0, 1], on the grid of ``map_to_source``."""
        return self.heatmap_of(self.label)

    def heatmap_of(self, name: str) -> NDArray[np.float32] | None:
        """Grad-CAM of a class, float32 (h, w), on the grid of ``map_to_source``; None where the heatmaps were dropped.

        Raises:
            ConfigurationError: No such class.
        """
        if name not in CLASSES:
            raise ConfigurationError("unknown class of a hip", got=name, allowed=CLASSES)
        return None if self.heatmaps is None else self.heatmaps[CLASSES.index(name)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {
            "side": self.side,
            "box": {key: value for key, value in self.box.to_dict().items() if key in ("x0", "y0", "x1", "y1")},
            "box_score": float(self.box_score),
            "probabilities": {name: float(value) for name, value in self.probabilities.items()},
            "label": self.label,
            "fracture_probability": self.fracture_probability,
            "fractured": self.fractured,
            "threshold": self.threshold,
            "advise_imaging": self.advise_imaging,
            "advise_threshold": self.advise_threshold,
            "operative_group": self.operative_group,
            "top2": [[name, float(value)] for name, value in self.top2],
            "edges": list(self.edges),
            "views": self.views,
            "warnings": list(self.warnings),
        }

    @property
    def suspicion(self) -> float:
        """``fracture_probability`` as a person reads it: 0 to 1, and 0.5 is ``threshold``."""
        return suspicion(self.fracture_probability, self.threshold)

    @property
    def caption(self) -> tuple[str, ...]:
        """What a reader is told: side, suspicion, the two most probable classes, advice."""
        top = " or ".join(f"{LABELS[name]} ({digits(value)})" for name, value in self.top2)
        lines = [f"{self.side.capitalize()} hip: suspicion of a fracture {digits(self.suspicion)}. Most likely {top}."]
        if self.advise_imaging:
            lines.append(
                f"{self.side.capitalize()} hip: a nondisplaced fracture is not excluded; CT or MRI is advised."
            )
        return tuple(lines)

    def plot(self, ax: Axes | None = None, *, show_heatmap: bool = True, of: str | None = None) -> Axes:
        """Draw the film with this hip's box and its heatmap on matplotlib axes.

        Args:
            ax: Axes to draw on; new ones where left out.
            show_heatmap: Lay the heatmap over the box.
            of: The class whose heatmap is shown; the label's where left out.

        Raises:
            ConfigurationError: The hip does not hold its film or its heatmaps, or there is no such class.
        """
        from fracture.wing.axes import plot_page

        return plot_page(hip_page(self.source, self.radiograph, (self,), show_heatmap=show_heatmap, of=of), ax)

    def _repr_html_(self) -> str:
        top = ", ".join(f"{LABELS[name]} {value:.3f}" for name, value in self.top2)
        rows = [
            ("side", f"patient's {self.side}"),
            ("top two", top),
            ("fracture", f"{self.fracture_probability:.3f} (threshold {self.threshold:.3f})"),
            ("advise imaging", "yes" if self.advise_imaging else "no"),
            ("operation", self.operative_group or "none"),
            ("box score", f"{self.box_score:.3f}"),
            *(("warning", warning) for warning in self.warnings),
        ]
        return html_table(rows)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HipFilm(FilmResult):
    """One film with the hips found on it; an empty film is a real object.

    Attributes:
        hips: Patient's right first, as it stands on an AP film; ``()`` where there is none.
    """

    _kind, _command = "hips", "hip predict"
    _shown = ("source", "hips", "warnings", "model")

    hips: tuple[Hip, ...] = ()

    def drop_pixels(self) -> HipFilm:
        """The same without film and heatmaps, for holding many of them."""
        return replace(self, radiograph=None, hips=tuple(hip.drop_pixels() for hip in self.hips))

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> dict[str, Any]:
        """The hips of a JSON line."""
        shared = {key: line[key] for key in ("source", "width", "height", "model", "model_version")}
        hips = [
            Hip(**known_fields(Hip, one | shared) | {"box": Box(**one["box"], score=one["box_score"])})
            for one in line["hips"]
        ]
        return {"hips": tuple(hips)}

    def to_dict(self) -> dict[str, Any]:
        """One line of ``fracture hip predict``. Nothing in it stems from the patient's data but the path."""
        return self.line(hips=[hip.to_dict() for hip in self.hips])

    def scene(self, *, show_heatmap: bool = False) -> Scene:
        """What there is to see: the film with the hips' boxes, on request their heatmaps, and what is said of each.

        Raises:
            ConfigurationError: The film or the heatmaps were dropped.
        """
        return Scene((hip_page(self.source, self.radiograph, self.hips, show_heatmap=show_heatmap),))

    def plot(self, ax: Axes | None = None, *, show_heatmap: bool = True, of: str | None = None) -> Axes:
        """Draw the film with all hips on matplotlib axes; arguments and errors as for :meth:`Hip.plot`."""
        from fracture.wing.axes import plot_page

        return plot_page(hip_page(self.source, self.radiograph, self.hips, show_heatmap=show_heatmap, of=of), ax)


def hip_page(
    source: str, film: Radiograph | None, hips: Sequence[Hip], *, show_heatmap: bool, of: str | None = None
) -> Page:
    """The film of some hips as a page of a scene.

    Args:
        source: What to call the film in an error.
        film: The film; None where it was dropped.
        hips: The hips to show, in the order in which the caption describes them.
        show_heatmap: Lay each hip's heatmap over the film.
        of: The class whose heatmaps are shown; each label's where left out.

    Raises:
        ConfigurationError: The film or the heatmaps were dropped, or there is no such class.
    """
    pixels, heats = kept_pixels(source, film), []
    for hip in hips if show_heatmap else ():
        heat = hip.heatmap_of(of or hip.label)
        if heat is None or hip.map_to_source is None:
            raise ConfigurationError(f"{source}: this hip holds no heatmap", hint="predict with keep=True")
        heats.append(Heat(heat, *hip.map_to_source.affine))
    boxes = tuple(
        SceneBox(h.box.x0, h.box.y0, h.box.x1, h.box.y1, "sure" if h.fractured else "calm", h.side) for h in hips
    )
    suspected = [hip.side for hip in hips if hip.fractured]
    if suspected:
        verdict = f"Fracture suspected: {' and '.join(suspected)} hip"
    else:
        verdict = "No fracture found" if hips else "No hip found"
    lines = [line for hip in hips for line in hip.caption]
    if hips:
        lines.append("Suspicion runs from 0 to 1; the threshold is 0.5.")
    alarm = bool(suspected) if hips else None
    return Page(pixels, verdict, tuple(lines), alarm, boxes, heats=tuple(heats))
