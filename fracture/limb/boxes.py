"""From a probability map to boxes in source pixels.

The rule, with the parameters of ``BoxParameters``. Jones et al. 2020 binarize the map at a region-specific
threshold and place boxes "around high-probability regions" by a heuristic they do not describe; all below is our
choice.

1. The map is up-sampled bilinearly (``upsample``, odd, so that every cell center stays among the samples):
   a stride-8 cell is coarse beside a fracture of four cells.
2. Hysteresis: a region is a connected set of samples >= ``low`` that holds a cell >= ``threshold``, where
   ``low = hysteresis * threshold``.
3. Regions smaller than the minimum area are dropped (square millimeters where the spacing is known, else source
   pixels). The area is that of the region, not of its box.
4. Boxes that overlap, touch, or lie within ``merge_gap`` cells of each other in both directions are replaced by
   their common box, again and again until none do. Since growing a box never separates it from another,
   the outcome does not depend on the order, and merging twice changes nothing.
   Where networks have a feature pyramid (``ModelSpec.pyramid``), rules 1 to 4 do not apply: boxes are those that its
   cells tell, ranked by their quality, suppressed per network and joined over networks (:mod:`.cell_boxes`); reported
   are those that reach ``quality``, and the best in any case. A box's score is its quality times the film's score to
   the power of ``film_power``; that score is of the networks that tell boxes (``EnsembleOutput.box_score``).
5. Boxes are clipped to the source image and ordered by score. A box's score is the film's score times the peak
   of the map in its regions (the map is trained on fractured films only: alone it means little on a normal one).

Candidates continue the same list below the threshold: each further local maximum of the map, down to
``candidate_floor``, with the region in which it would first be reported if the threshold were lowered to
its own height: the samples >= ``hysteresis * peak`` connected to it. It is a candidate of its own only if
no higher cell lies in that region, so two candidates below the threshold are separated by a dip to
``hysteresis`` of the lower one, and no candidate lies inside a stronger one. A region below the minimum
area is tried again at lower heights, as it would be if the threshold went on falling, until it is large
enough or joins a stronger one. With ``candidate_rule="threshold"`` (default) the reported boxes are among
the candidates exactly as they are, with the same scores: what is evaluated is what is shown. With
``"peaks"`` the regions above the threshold are split at their own peaks too, and nothing is merged.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fracture.errors import ConfigurationError, ModelError
from fracture.limb.cell_boxes import CellBoxes, fuse, suppress
from fracture.schema import WHOLE, Gone, Record, Share
from fracture.wing.result import Box, GridToSource

_Positive = Annotated[float, Field(gt=0, le=1)]
_NEW, _TAKEN = 2, 4  # marks in the mask of floodFill, which uses 1 for its border
_RETRY = 0.75  # a region below the minimum area is tried again as if its peak were this much lower


@dataclass(frozen=True, slots=True)
class BoxParameters(Record):
    """How a map becomes boxes; JSON-able, kept in a card. The defaults are ours, to be swept on out-of-fold maps.

    Attributes:
        threshold: Map value that a region must reach, in (0, 1]. A region of the body with a map threshold of
            its own replaces it (``with_threshold``).
        hysteresis: Share of the threshold down to which a region extends, in (0, 1]: 0.5 is the half-maximum
            outline of a blob that just reaches the threshold.
        min_area_mm2: Smallest region in square millimeters, used where the spacing is known: 4 is 2 mm x 2 mm.
        min_area_px: Smallest region in square source pixels, used where the spacing is unknown: 64 is one
            stride-8 cell of a film that is not resized.
        suppress: Overlap (IoU) above which the weaker of two boxes that cells of one network tell is dropped, in
            [0, 1].
        quality: Quality that a reported box must reach where cells tell it, in [0, 1]; a region of the body with a
            map threshold of its own replaces it. Ours, as the next two.
        fuse: Overlap (IoU) from which boxes of two networks are one, in (0, 1].
        film_power: Exponent of the film's score in the score of a box that a cell tells, 0 to 2.
        merge_gap: Boxes within this many map cells of each other are merged: what the map hardly resolves.
            0 merges those that overlap or touch; a negative value merges none.
        upsample: Odd factor of the bilinear refinement, 1 for none.
        connectivity: 8 (diagonal neighbors are connected) or 4.
        candidate_floor: Lowest map peak of a candidate, in (0, 1].
        candidate_rule: ``"threshold"`` or ``"peaks"``, see the module's text.
        max_boxes: Most boxes reported, the highest scores first.
        max_candidates: Most candidates, at least ``max_boxes``.

    Raises:
        ConfigurationError: A value is outside the range stated above.
    """

    _GONE: ClassVar[Gone] = {"use_extents": (True, False)}

    threshold: _Positive = 0.5
    hysteresis: _Positive = 0.5
    min_area_mm2: Annotated[float, Field(ge=0)] = 4.0
    min_area_px: Annotated[float, Field(ge=0)] = 64.0
    suppress: Share = 0.3
    quality: Share = 0.2
    fuse: Annotated[float, Field(gt=0, le=1)] = 0.55
    film_power: Annotated[float, Field(ge=0, le=2)] = 0.5
    merge_gap: Annotated[float, Field(ge=-1000, le=1000)] = 1.0
    upsample: Annotated[Literal[1, 3, 5, 7], WHOLE] = 3
    connectivity: Annotated[Literal[4, 8], WHOLE] = 8
    candidate_floor: _Positive = 0.05
    candidate_rule: Literal["threshold", "peaks"] = "threshold"
    max_boxes: Annotated[int, Field(ge=1)] = 20
    max_candidates: Annotated[int, Field(le=10_000)] = 100

    def _check(self) -> None:
        if self.max_boxes > self.max_candidates:
            raise ConfigurationError(
                "BoxParameters.max_boxes must be at most max_candidates",
                got=f"max_boxes={self.max_boxes}, max_candidates={self.max_candidates}",
            )

    @property
    def low(self) -> float:
        """The map value down to which a reported region extends."""
        return self.hysteresis * self.threshold

    def reports(self, *, told: bool = False) -> float:
        """What a box must reach to be reported: ``quality`` where cells tell the boxes, else ``threshold``."""
        return self.quality if told else self.threshold

    def with_threshold(self, threshold: float | None, *, told: bool = False) -> BoxParameters:
        """The same parameters with a body region's own map threshold; unchanged for ``None``.

        With ``told`` it is of the map of qualities, whose cells tell the boxes.
        """
        if threshold is None:
            return self
        return replace(self, quality=threshold) if told else replace(self, threshold=threshold)


class _Region(NamedTuple):
    """A region of the map: half-open box and area in up-sampled cells, highest value, and whether it is reported."""

    x0: float
    y0: float
    x1: float
    y1: float
    peak: float
    area: int
    strong: bool


def find_boxes(
    probability_map: NDArray[np.float32],
    parameters: BoxParameters | None = None,
    *,
    to_source: GridToSource,
    size: tuple[int, int],
    score: float = 1.0,
    spacing: tuple[float, float] | None = None,
    operating_point: str | None = None,
    told: Sequence[CellBoxes] = (),
) -> tuple[Box, ...]:
    """Boxes around the regions of a map that reach the map threshold.

    The caller decides whether the film is above its score threshold at all; here boxes come back in any case.

    Args:
        probability_map: float32, shape (h, w), in [0, 1]; cell (i, j) covers [j, j+1) x [i, i+1) of the grid.
        parameters: Thresholds and rules, the defaults where left out.
        to_source: From grid cells to source pixels, both in pixel-edge coordinates.
        size: Source image size in pixels, (width, height).
        score: The film's probability in [0, 1], a factor of each box's score.
        spacing: Millimeters per source pixel, (row, column), or ``None`` where unknown.
        operating_point: Written into each box: the strictest point that the film reaches.
        told: Per network with a feature pyramid, of :func:`fracture.limb.cell_boxes.best_cells`; where there are any,
            boxes are made of them.

    Returns:
        Boxes inside [0, width] x [0, height], highest score first, ties by position (top, then left); ``()``
        for a map that stays below the threshold.

    Raises:
        ModelError: The map is not a finite two-dimensional float32 array.
    """
    chosen = parameters or BoxParameters()
    if told:
        return _told_boxes(told, chosen, size, score, operating_point)
    grid = _checked(probability_map)
    found = _regions(grid, chosen, chosen.threshold, chosen.threshold, _min_area(chosen, to_source, spacing))
    return _to_boxes(_merged(found, chosen), chosen, to_source, size, score, operating_point)[: chosen.max_boxes]


def find_candidates(
    probability_map: NDArray[np.float32],
    parameters: BoxParameters | None = None,
    *,
    to_source: GridToSource,
    size: tuple[int, int],
    score: float = 1.0,
    spacing: tuple[float, float] | None = None,
    operating_point: str | None = None,
    told: Sequence[CellBoxes] = (),
) -> tuple[Box, ...]:
    """Every box of the map down to ``candidate_floor``, whatever the film's decision: what FROC and AP need.

    Arguments, order and errors as for ``find_boxes``, whose boxes are among these with
    ``candidate_rule="threshold"``. Boxes below the map threshold carry no ``operating_point``.
    """
    chosen = parameters or BoxParameters()
    if told:
        return _told_boxes(told, chosen, size, score, operating_point, candidates=True)
    grid = _checked(probability_map)
    split = chosen.candidate_rule == "peaks"
    floor = min(chosen.candidate_floor, chosen.threshold)
    ceiling = 1.0 if split else chosen.threshold
    found = _regions(grid, chosen, floor, ceiling, _min_area(chosen, to_source, spacing))
    strong = [region for region in found if region.strong]
    weak = [region for region in found if not region.strong]
    strong = _not_nested(strong) if split else _merged(strong, chosen)
    weak = _not_nested(weak, strong)
    boxes = _to_boxes(strong, chosen, to_source, size, score, operating_point)[: chosen.max_candidates]
    room = chosen.max_candidates - len(boxes)
    return _ordered([*boxes, *_to_boxes(weak, chosen, to_source, size, score, None)[:room]])


def merge_boxes(
    boxes: Sequence[tuple[float, float, float, float]], gap: float
) -> list[tuple[float, float, float, float]]:
    """Replace boxes that lie within ``gap`` of each other in both directions by their common box, until none do.

    Args:
        boxes: (x0, y0, x1, y1) each, any unit.
        gap: Largest distance, in the same unit, along x and along y; 0 merges boxes that overlap or touch,
            a negative value none.

    Returns:
        The merged boxes in ascending order: the same for any order of the input, and unchanged by a second pass.
    """
    merged = sorted(set(boxes))
    if gap < 0:
        return merged
    index = 0
    while index < len(merged):
        x0, y0, x1, y1 = merged[index]
        for other in range(len(merged)):
            a0, b0, a1, b1 = merged[other]
            if other != index and a0 - x1 <= gap and x0 - a1 <= gap and b0 - y1 <= gap and y0 - b1 <= gap:
                merged[index] = (min(x0, a0), min(y0, b0), max(x1, a1), max(y1, b1))
                del merged[other]
                index = -1  # the larger box may now reach one that was passed
                break
        index += 1
    return sorted(merged)


def _told_boxes(
    told: Sequence[CellBoxes],
    parameters: BoxParameters,
    size: tuple[int, int],
    score: float,
    operating_point: str | None,
    *,
    candidates: bool = False,
) -> tuple[Box, ...]:
    """Boxes that cells tell, best quality first; the best one is reported whatever its quality, so that a film that is
    called fractured shows where. Candidates that would not be reported carry no operating point."""
    each = [suppress(t.boxes, t.quality, parameters.suppress, most=parameters.max_candidates) for t in told]
    joined = fuse(each, parameters.fuse, least=0.0 if candidates else parameters.quality)
    limit = np.tile(np.asarray(size, np.float64), 2)
    boxes: list[Box] = []
    for corners, quality in zip(np.clip(joined.boxes, 0.0, limit).tolist(), joined.quality.tolist(), strict=True):
        x0, y0, x1, y1 = corners
        if x1 <= x0 or y1 <= y0:
            continue
        reported = not boxes or (quality >= parameters.quality and len(boxes) < parameters.max_boxes)
        if not reported and not (candidates and quality >= parameters.candidate_floor):
            break
        point = operating_point if reported else None
        boxes.append(Box(x0, y0, x1, y1, float(score**parameters.film_power * quality), point))
    return tuple(boxes[: parameters.max_candidates])


def _checked(probability_map: NDArray[np.float32]) -> NDArray[np.float32]:
    grid = np.asarray(probability_map)
    if grid.ndim != 2 or grid.dtype != np.float32 or grid.size == 0:
        raise ModelError(
            "boxes are found in one probability map",
            got=f"{grid.dtype} {grid.shape}",
            allowed="float32 (height, width)",
        )
    if not np.isfinite(grid.sum(dtype=np.float64)):
        raise ModelError("the probability map holds NaN or infinite values", hint="check the weights")
    return np.ascontiguousarray(grid)


def _min_area(parameters: BoxParameters, to_source: GridToSource, spacing: tuple[float, float] | None) -> float:
    """Smallest region in up-sampled cells."""
    cell = to_source.scale_x * to_source.scale_y / parameters.upsample**2
    if spacing is None:
        return parameters.min_area_px / cell
    return parameters.min_area_mm2 / (cell * spacing[0] * spacing[1])


def _upsampled(grid: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Bilinear, edges aligned: sample k covers [k/factor, (k+1)/factor) of the grid; centers keep their value."""
    if factor == 1:
        return grid
    height, width = grid.shape
    fine = np.asarray(
        cv2.resize(grid, (width * factor, height * factor), interpolation=cv2.INTER_LINEAR), dtype=np.float32
    )
    fine[factor // 2 :: factor, factor // 2 :: factor] = grid  # exactly, whatever the rounding of the weights
    return fine


def _regions(
    grid: NDArray[np.float32], parameters: BoxParameters, floor: float, ceiling: float, min_area: float
) -> list[_Region]:
    """Regions around local maxima >= ``floor``: all that reach the threshold, then the first ``max_candidates``.

    A peak owns the samples >= hysteresis * min(height, ceiling) connected to it; the ceiling is the map threshold, or 1
    where regions are split at their peaks. Peaks are visited downwards. A fill that meets the region of an
    earlier peak would, let run on, hold that higher peak: it is part of its slope and makes no region, but its
    samples are taken all the same. A region that is too small is given back and tried again as if its peak were
    lower, in its turn.
    """
    lowest = np.float32(floor)
    if grid.max() < lowest:
        return []
    rows, columns = np.nonzero((grid >= cv2.dilate(grid, np.ones((3, 3), np.uint8))) & (grid >= lowest))
    queue = [(-v, y, x) for v, y, x in zip(grid[rows, columns].tolist(), rows.tolist(), columns.tolist(), strict=True)]
    heapq.heapify(queue)  # the highest first, ties by position
    factor, half = parameters.upsample, parameters.upsample // 2
    threshold = float(np.float32(parameters.threshold))
    fine = _upsampled(grid, factor)
    taken = np.zeros((fine.shape[0] + 2, fine.shape[1] + 2), np.uint8)  # floodFill sets its border to 1
    neighbors = np.ones((3, 3), np.uint8)
    if parameters.connectivity == 4:
        neighbors[::2, ::2] = 0
    flags = parameters.connectivity | (_NEW << 8) | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY
    found: list[_Region] = []
    weak = 0
    while queue and weak < parameters.max_candidates:
        negative, row, column = heapq.heappop(queue)
        height = -negative
        y, x = row * factor + half, column * factor + half
        if taken[y + 1, x + 1]:
            continue
        reach = float(grid[row, column] - np.float32(parameters.hysteresis * min(height, ceiling)))
        area, _, _, (left, top, wide, high) = cv2.floodFill(
            fine, taken, (x, y), 0.0, loDiff=reach, upDiff=2.0, flags=flags
        )
        around = taken[top : top + high + 2, left : left + wide + 2]
        new = around == _NEW
        if area < min_area:
            around[new] = 0
            if height * _RETRY >= floor:
                heapq.heappush(queue, (-height * _RETRY, row, column))
            continue
        slope = bool(found) and bool((cv2.dilate(new.view(np.uint8), neighbors) & (around == _TAKEN)).any())
        around[new] = _TAKEN
        if slope:
            continue
        highest = float(fine[top : top + high, left : left + wide][new[1:-1, 1:-1]].max())
        strong = height >= threshold
        corners = (float(left), float(top), float(left + wide), float(top + high))
        found.append(_Region(*corners, highest, int(area), strong))
        weak += not strong
    return found


def _merged(regions: list[_Region], parameters: BoxParameters) -> list[_Region]:
    """Common boxes of regions that overlap or nearly touch, each with the highest peak and the summed area."""
    if parameters.merge_gap < 0:
        return regions
    gap = np.floor(parameters.merge_gap * parameters.upsample + 1e-9)
    merged = []
    for x0, y0, x1, y1 in merge_boxes([region[:4] for region in regions], float(gap)):
        inside = [r for r in regions if x0 <= r.x0 and y0 <= r.y0 and r.x1 <= x1 and r.y1 <= y1]
        peak, area = max(r.peak for r in inside), sum(r.area for r in inside)
        merged.append(_Region(x0, y0, x1, y1, peak, area, strong=True))
    return merged


def _not_nested(regions: list[_Region], others: Sequence[_Region] = ()) -> list[_Region]:
    """Those whose box lies inside no earlier box, nor inside one of ``others``."""
    kept: list[_Region] = []
    for r in sorted(regions, key=lambda r: (-r.peak, r.y0, r.x0, r.y1, r.x1)):
        if not any(k.x0 <= r.x0 and k.y0 <= r.y0 and r.x1 <= k.x1 and r.y1 <= k.y1 for k in (*others, *kept)):
            kept.append(r)
    return kept


def _to_boxes(
    regions: list[_Region],
    parameters: BoxParameters,
    to_source: GridToSource,
    size: tuple[int, int],
    score: float,
    operating_point: str | None,
) -> tuple[Box, ...]:
    """Source-pixel boxes, clipped to the image (those wholly outside are dropped) and in order."""
    width, height = size
    factor = parameters.upsample
    boxes = []
    for r in regions:
        x0, y0, x1, y1 = to_source.box(r.x0 / factor, r.y0 / factor, r.x1 / factor, r.y1 / factor)
        x0, x1 = max(0.0, x0), min(float(width), x1)
        y0, y1 = max(0.0, y0), min(float(height), y1)
        if x1 > x0 and y1 > y0:
            boxes.append(Box(x0, y0, x1, y1, float(score * r.peak), operating_point))
    return _ordered(boxes)


def _ordered(boxes: list[Box]) -> tuple[Box, ...]:
    return tuple(sorted(boxes, key=lambda box: (-box.score, box.y0, box.x0, box.y1, box.x1)))
