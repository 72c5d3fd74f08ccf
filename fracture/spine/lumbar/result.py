"""What is said of one lumbar spine: discs with names and places, which series they were found on, and how sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.simulate.lumbar import LEVELS
from fracture.spine.frame import SliceFrame
from fracture.spine.lumbar.finding import Disc, Naming
from fracture.spine.lumbar.metric import CONDITIONS, SEVERITIES, row_of
from fracture.spine.result import SpineResult
from fracture.wing.scene import Page, Scene, SceneBox, ScenePoint


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LumbarSpine(SpineResult):
    """The discs of one spine, on the slice that shows them best; slices are counted from the patient's right.

    Attributes:
        discs: On a chain, from the lowest upward.
        naming: ``"clear"``, ``"doubtful"`` (transitional anatomy looks so) or ``"none"``; ``remarks`` say why.
        aspect: Height of a pixel by its width.
        chances: By row of RSNA 2024 (``fracture.spine.lumbar.metric.ROWS``), the probabilities of normal or mild,
            moderate, severe, weighted as its score is; empty where nothing was graded. From simulated studies alone.
        graded_on: Kinds of series that they come from.
        axial: By level, the axial slice that passes the disc: block, slice, millimeters away.
        sheet: uint8, each graded level on the series; None once dropped.
    """

    _shown = ("source", "naming", "discs")
    _pixels = ("pixels", "sheet")
    _kind, _command = "lumbar", "spine lumbar predict"
    _rows = "discs", Disc

    discs: tuple[Disc, ...]
    naming: Naming
    aspect: float = 1.0
    chances: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    graded_on: tuple[str, ...] = ()
    axial: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    sheet: NDArray[np.uint8] | None = None

    @property
    def grades(self) -> dict[str, str]:
        """The most probable severity of each row."""
        return {row: SEVERITIES[int(np.argmax(chances))] for row, chances in self.chances.items()}

    def disc(self, level: str) -> Disc | None:
        """The disc of a name, or None."""
        return next((disc for disc in self.discs if disc.level == level), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; ``levels`` has the five of RSNA 2024 by name, null where one was not found."""
        base = super().to_dict()
        named = {disc["level"]: disc for disc in base["discs"]}
        return base | {"levels": {level: named.get(level) for level in LEVELS}, "grades": self.grades}

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> dict[str, Any]:
        """Tables of tuples."""
        tables = {k: {row: tuple(one) for row, one in line.get(k, {}).items()} for k in ("chances", "axial")}
        return {**super().read(line), **tables}

    def on_frame(self, frame: SliceFrame, pixels: NDArray[np.uint8]) -> LumbarSpine:
        """The same with the discs in pixels of the frame, which ``pixels`` shows, uint8 (rows, columns)."""
        places = [(*frame.point(disc.x, disc.y), frame.box(disc.box)) for disc in self.discs]
        discs = tuple(replace(disc, x=x, y=y, box=box) for disc, (x, y, box) in zip(self.discs, places, strict=True))
        return self.moved(frame, pixels, discs=discs, sheet=None)

    def scene(self) -> Scene:
        """The slice with every disc and its name; where levels were graded, a page with each of them.

        Raises:
            ConfigurationError: The pixels were dropped.
        """
        look: Any = "calm" if self.naming == "clear" else "doubt"
        boxes = tuple(SceneBox(*disc.box, look) for disc in self.discs)
        points = tuple(ScenePoint(disc.x, disc.y, look, disc.level) for disc in self.discs)
        names = [disc.level for disc in self.discs if disc.level in LEVELS]
        verdict = {
            "clear": f"{len(names)} of 5 lumbar discs found and named",
            "doubtful": "Discs found; their names are doubtful",
            "none": "Discs found, no names" if self.discs else "No disc found",
        }[self.naming]
        first = Page(self.shown(), verdict, (*self.remarks, self.where), None, boxes, points)
        return Scene((first,) if self.sheet is None else (first, self._graded(self.sheet)))

    def _graded(self, sheet: NDArray[np.uint8]) -> Page:
        """One line of pictures for each level: T2, T1 on the right, T1 on the left, axial T2; the grades below."""
        levels = [level for level in LEVELS if row_of(CONDITIONS[0], level) in self.chances]
        tall = sheet.shape[0] / len(levels)
        points = tuple(ScenePoint(12, (k + 0.12) * tall, "calm", level) for k, level in enumerate(levels))
        lines = []
        for grade in SEVERITIES[:0:-1]:
            rows = [row.replace("_", " ") for row, found in self.grades.items() if found == grade]
            lines.append(f"{grade.capitalize()}: {', '.join(rows) or 'none'}.")
        lines.append(f"Graded on {', '.join(self.graded_on)}, by networks that know simulated studies alone.")
        severe = sum(grade == SEVERITIES[2] for grade in self.grades.values())
        verdict = f"{severe} of {len(self.chances)} rows graded severe"
        return Page(sheet, verdict, tuple(lines), None, (), points)
