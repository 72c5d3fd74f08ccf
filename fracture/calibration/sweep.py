"""Box rules swept on maps of films that the members never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from fracture.calibration.cases import Case, box_tables
from fracture.evaluation.detection import FrocSensitivity, average_precision_boxes
from fracture.evaluation.matching import Criterion, match
from fracture.limb.boxes import BoxParameters, find_boxes
from fracture.wing.result import Box, GridToSource

__all__ = ["GRID", "TOLD_GRID", "Sweep"]

GRID: tuple[BoxParameters, ...] = tuple(
    BoxParameters(threshold=threshold, hysteresis=hysteresis)
    for threshold, hysteresis in product((0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5), (0.5, 0.7, 0.85))
)
"""What is tried: the map threshold and how far below it a box extends. Our choice."""

TOLD_GRID: tuple[BoxParameters, ...] = tuple(
    BoxParameters(quality=quality, suppress=overlap, film_power=power, candidate_floor=0.01)
    for quality, overlap, power in product((0.1, 0.15, 0.2, 0.25, 0.3, 0.4), (0.3, 0.4, 0.5), (0.25, 0.5, 1.0))
)
"""What is tried where cells tell boxes: reported quality, overlap of two boxes, the film's say. Our choice."""

_FALSE_POSITIVES = 0.5  # per film, where the FROC curve is read
_OVERLAP = Criterion("iou", 0.3)
_FOUND = Criterion("iou_or_center", 0.3)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Boxes of every case under every parameter set, made once and judged on any part of the cases.

    These are the boxes that would be reported, not the candidates: a map threshold above all peaks leaves the
    candidates as they are and reports nothing. Films below the score threshold take part, ranked by their scores.

    Attributes:
        cases: The films.
        grid: The parameter sets.
        boxes: ``boxes[g][i]``: boxes of case i under parameter set g, scored by themselves; the film's share of a
            box's score is in :meth:`value`.
    """

    cases: tuple[Case, ...]
    grid: tuple[BoxParameters, ...]
    boxes: tuple[tuple[tuple[Box, ...], ...], ...]

    @classmethod
    def over(cls, cases: Sequence[Case], grid: Sequence[BoxParameters] | None = None) -> Sweep:
        """Find all boxes, under :data:`GRID`, or :data:`TOLD_GRID` where cells tell them, if no grid is given."""
        if grid is None:
            grid = TOLD_GRID if any(case.examined.output.told for case in cases) else GRID
        return cls(tuple(cases), tuple(grid), tuple(tuple(_boxes(c, p) for c in cases) for p in grid))

    def rescored(self, cases: Sequence[Case]) -> Sweep:
        """The same boxes with other scores of the same films, without finding them again."""
        return replace(self, cases=tuple(cases))

    def value(self, index: int, keep: Sequence[int]) -> float:
        """Mean of AP at IoU 0.3 and of the FROC sensitivity at 0.5 false positives per film; 0 without fractures.

        Args:
            index: Which parameter set.
            keep: Which cases.
        """
        films = [self.cases[i].film for i in keep]
        told = any(self.cases[i].examined.output.told for i in keep)
        power = self.grid[index].film_power if told else 1.0
        scores = [self.cases[i].score ** power for i in keep]
        predicted, reference = box_tables(films, [self.boxes[index][i] for i in keep], scores)
        if len(reference) == 0:
            return 0.0
        overlap = average_precision_boxes(predicted, reference, _OVERLAP)[0] or 0.0
        curve = FrocSensitivity(match(predicted, reference, _FOUND))
        found = float(curve.at((_FALSE_POSITIVES,), np.ones((1, len(films))))[0, 0])
        return 0.5 * (overlap + found)

    def best(self, keep: Sequence[int], *, start: BoxParameters | None = None) -> BoxParameters:
        """The parameter set of the highest value on some cases; the first among equals.

        With ``start`` only the map threshold is chosen, and the rest is kept as it is there.
        """
        allowed = [
            g for g, p in enumerate(self.grid) if start is None or replace(p, threshold=start.threshold) == start
        ]
        return self.grid[max(allowed, key=lambda g: self.value(g, keep))]


def _boxes(case: Case, parameters: BoxParameters) -> tuple[Box, ...]:
    output, radiograph = case.examined.output, case.examined.radiograph
    if output.map is None or output.grid_to_source is None:
        return ()
    return find_boxes(
        output.map,
        parameters,
        to_source=GridToSource(*output.grid_to_source),
        size=(radiograph.width, radiograph.height),
        spacing=radiograph.spacing,
        extents=output.extents,
        told=output.told,
    )
