"""Box rules swept on maps of films that the members never saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from fracture.calibration.cases import Case, box_tables
from fracture.evaluation.detection import FrocSensitivity, average_precision_boxes
from fracture.evaluation.matching import Criterion, match
from fracture.limb.boxes import BoxParameters, find_boxes
from fracture.schema import Record
from fracture.wing.result import Box, GridToSource

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
        found = [_under(case, grid) for case in cases]
        return cls(tuple(cases), tuple(grid), tuple(tuple(boxes[g] for boxes in found) for g in range(len(grid))))

    @classmethod
    def thresholds(cls, cases: Sequence[Case], rules: BoxParameters) -> Sweep:
        """The map thresholds of the grid under other rules that stay as they are."""
        told = any(case.examined.output.told for case in cases)
        grid = TOLD_GRID if told else GRID
        values = dict.fromkeys(p.reports(told=told) for p in grid)
        return cls.over(cases, [rules.with_threshold(value, told=told) for value in values])

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
        scores = [self.cases[i].box_score ** power for i in keep]
        predicted, reference = box_tables(films, [self.boxes[index][i] for i in keep], scores)
        if len(reference) == 0:
            return 0.0
        overlap = average_precision_boxes(predicted, reference, _OVERLAP)[0] or 0.0
        curve = FrocSensitivity(match(predicted, reference, _FOUND))
        found = float(curve.at((_FALSE_POSITIVES,), np.ones((1, len(films))))[0, 0])
        return 0.5 * (overlap + found)

    def found(self, index: int, keep: Sequence[int]) -> float:
        """Share of the annotated fractures that a reported box hits (IoU 0.3, or its center inside); NaN without any.

        Args:
            index: Which parameter set.
            keep: Which cases.
        """
        films = [self.cases[i].film for i in keep]
        predicted, reference = box_tables(films, [self.boxes[index][i] for i in keep])
        by = match(predicted, reference, _FOUND).by[0]
        return float((by >= 0).mean()) if by.size else math.nan

    @property
    def told(self) -> bool:
        """Whether cells tell the boxes."""
        return any(case.examined.output.told for case in self.cases)

    def best(self, keep: Sequence[int], *, start: BoxParameters | None = None) -> BoxParameters:
        """The parameter set of the highest value on some cases; the first among equals.

        With ``start`` only the map threshold is chosen, and the rest is kept as it is there.
        """
        allowed = range(len(self.grid)) if start is None else self._thresholds(start)
        return self.grid[max(allowed, key=lambda g: self.value(g, keep))]

    def sensitive(self, keep: Sequence[int], target: float, *, start: BoxParameters) -> BoxParameters:
        """The highest map threshold at which ``target`` of the fractures of some cases are found, the rest as in
        ``start``; the threshold that finds most of them, the highest of these, where none finds so many."""
        shares = {g: self.found(g, keep) for g in self._thresholds(start)}
        enough = [g for g, share in shares.items() if share >= target]
        chosen = enough or [g for g, share in shares.items() if share == max(shares.values())]
        return self.grid[max(chosen, key=lambda g: self.grid[g].reports(told=self.told))]

    def _thresholds(self, start: BoxParameters) -> list[int]:
        """The parameter sets that differ from ``start`` in the map threshold alone."""
        told = self.told
        same = start.reports(told=told)
        return [g for g, p in enumerate(self.grid) if p.with_threshold(same, told=told) == start]


@dataclass(frozen=True, slots=True)
class MapRule(Record):
    """How the map thresholds of a calibration are chosen.

    Attributes:
        kind: ``"sensitivity"``: for each region the highest threshold that keeps a minimum sensitivity for boxes (Jones
            et al. 2020, Methods). ``"balance"``: the highest mean of AP at IoU 0.3 and of the FROC sensitivity at 0.5
            false positives a film (ours).
        target: The share of annotated fractures that a reported box must hit, for ``"sensitivity"``. The paper does not
            state its own; ours is 0.75, near what the shipped networks find at their lowest thresholds.

    Raises:
        ConfigurationError: Another kind, or a target that is not in (0, 1].
    """

    kind: Literal["sensitivity", "balance"] = "sensitivity"
    target: Annotated[float, Field(gt=0, le=1)] = 0.75

    def choose(self, sweep: Sweep, keep: Sequence[int], start: BoxParameters) -> BoxParameters:
        """``start`` with the map threshold that the rule finds on some cases of a sweep."""
        if self.kind == "balance":
            return sweep.best(keep, start=start)
        return sweep.sensitive(keep, self.target, start=start)

    def words(self, data: str) -> str:
        """For the card: which rule, on which films."""
        if self.kind == "balance":
            return f"highest mean of AP at IoU 0.3 and FROC sensitivity at 0.5 false alarms a film; {data}"
        return (
            f"highest threshold at which reported boxes hit {100 * self.target:g} % of the fractures (IoU 0.3 or "
            f"center), or, where none does, the one that hits most; {data}"
        )


PAPERS = MapRule()
"""The rule of the paper, with our target."""


def _under(case: Case, grid: Sequence[BoxParameters]) -> list[tuple[Box, ...]]:
    """A film's boxes under each parameter set. Where cells tell them, sets that differ in the quality of what is
    reported, or in the film's say, share one search: the boxes of a higher quality are the first of a lower one's."""
    if not case.examined.output.told:
        return [_boxes(case, parameters) for parameters in grid]
    least = min((parameters.quality for parameters in grid), default=0.0)
    searched = [replace(parameters, quality=least, film_power=1.0) for parameters in grid]
    found = {parameters: _boxes(case, parameters) for parameters in dict.fromkeys(searched)}
    return [
        tuple(box for k, box in enumerate(found[search]) if k == 0 or box.score >= parameters.quality)
        for search, parameters in zip(searched, grid, strict=True)
    ]


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
        told=output.told,
    )
