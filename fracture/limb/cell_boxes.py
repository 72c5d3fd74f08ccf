"""Boxes that the cells of a feature pyramid tell: the best of each network, and those of several networks joined.

A network with a pyramid (``ModelSpec.pyramid``) tells in each of its cells the box that the cell lies in and the
quality that it expects of it. Per network, boxes of neighboring cells are suppressed by the best among them. Boxes of
several networks that overlap are joined: their edges averaged by quality, and their quality summed and divided by the
number of networks, so that a box that one network alone sees counts for less (weighted boxes fusion, Solovyev et al.
2021, with one box per network and cluster; the limits are ours and stand in ``BoxParameters``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fracture.iou import iou

if TYPE_CHECKING:
    from fracture.models.pyramid import Cells
    from fracture.preprocess import Geometry

_LEAST: Final = 1e-6  # quality of a film whose cells see nothing: far below any that a trained network gives
_BLOCK: Final = 32  # boxes that are compared with all others at once
_MOST: Final = 300  # cells of a film that are looked at: ours, twenty times what is ever shown


@dataclass(frozen=True, slots=True, eq=False)
class CellBoxes:
    """Boxes with their quality, best first.

    Attributes:
        boxes: float64 (n, 4), (x0, y0, x1, y1) in source pixels, pixel-edge convention.
        quality: float64 (n,), in [0, 1], not increasing: the IoU that a box is expected to have with a fracture.
    """

    boxes: NDArray[np.float64]
    quality: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.quality)

    @property
    def best_logit(self) -> float:
        """Logit of the highest quality, at least that of one in a million: what these boxes say about the film."""
        best = min(max(float(self.quality[0]) if len(self) else 0.0, _LEAST), 1.0 - _LEAST)
        return math.log(best / (1.0 - best))


def best_cells(cells: Cells, geometries: Sequence[Geometry]) -> list[CellBoxes]:
    """What the surest cells of each film of a batch tell, in source pixels, clipped to the film.

    Args:
        cells: Of a network, for B films.
        geometries: The B films' letterboxes.
    """
    import torch  # not with this module, which the cards are read with

    quality = cells.quality.float().sigmoid().cpu().numpy()
    found = []
    for film_quality, film_boxes, geometry in zip(quality, cells.boxes, geometries, strict=True):
        best = _surest(film_quality)
        boxes = film_boxes[torch.from_numpy(best)].double().cpu().numpy()
        clipped = np.minimum(np.maximum(boxes, 0.0), np.array(2 * geometry.scaled_size, np.float64))
        seen = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
        found.append(CellBoxes(geometry.boxes_to_source(clipped[seen]), film_quality[best][seen].astype(np.float64)))
    return found


def _surest(quality: NDArray[np.float32]) -> NDArray[np.int64]:
    """Where the highest ``_MOST`` lie, best first, equal ones in their order; sorting all cells would take a
    millisecond a network."""
    known = np.arange(len(quality))
    if len(quality) > _MOST:
        known = np.flatnonzero(quality >= np.partition(quality, -_MOST)[-_MOST])
    return known[np.argsort(-quality[known], kind="stable")][:_MOST]


def suppress(boxes: NDArray[np.float64], quality: NDArray[np.float64], limit: float, *, most: int) -> CellBoxes:
    """The best boxes of which no two overlap more than ``limit`` (IoU), at most ``most``, best first.

    Args:
        boxes: float64 (n, 4).
        quality: float64 (n,).
        limit: In [0, 1]. Ours: 0.4; 0.3 and less found up to 0.03 less AP at IoU 0.5.
        most: Most boxes that are kept.

    Equal qualities keep the order they come in.
    """
    left = np.argsort(-quality, kind="stable")
    kept: list[int] = []
    while left.size and len(kept) < most:
        apart = iou(boxes[left[:_BLOCK], None], boxes[None, left]) <= limit
        free = np.ones(left.size, np.bool_)
        for place, others in enumerate(apart):
            if free[place]:
                kept.append(int(left[place]))
                free &= others
        free[: len(apart)] = False
        left = left[free]
    index = np.array(kept[:most], np.int64)
    return CellBoxes(boxes[index], quality[index])


def fuse(found: Sequence[CellBoxes], limit: float, *, least: float = 0.0) -> CellBoxes:
    """One list of boxes of several networks.

    The best box that is left begins a cluster; each other network adds its box that overlaps it most, where that is at
    least ``limit`` (IoU). A cluster's box is the mean of its boxes weighted by quality; its quality is the sum of
    theirs over the number of networks.

    Args:
        found: Per network, of :func:`suppress`; boxes of one network are not joined with each other.
        limit: In (0, 1].
        least: Clusters of less quality than this, except the best of all, may be left out: whoever shows none of them
            need not wait for them.

    Returns:
        The clusters, best first. One network's boxes come back as they are.
    """
    if len(found) == 1:
        return found[0]
    boxes = np.concatenate([f.boxes for f in found])
    quality = np.concatenate([f.quality for f in found])
    ends = np.cumsum([0, *map(len, found)])
    shared = iou(boxes[:, None], boxes[None])
    free = np.ones(len(quality), np.bool_)
    joined_boxes: list[NDArray[np.float64]] = []
    joined_quality: list[float] = []
    for first in np.argsort(-quality, kind="stable"):
        if not free[first]:
            continue
        if joined_quality and quality[first] < least and quality[first] <= max(joined_quality):
            break  # a cluster is at most as good as the best of its boxes, which is the one it begins with
        overlap = np.where(free, shared[first], -1.0)
        members = [int(first)]
        for start, end in itertools.pairwise(ends):
            if start <= first < end or start == end:
                continue
            nearest = int(start + np.argmax(overlap[start:end]))
            if overlap[nearest] >= limit:
                members.append(nearest)
        free[members] = False
        weights = quality[members]
        total = float(weights.sum())
        share = weights / total if total > 0 else np.full(len(members), 1.0 / len(members))
        joined_boxes.append(share @ boxes[members])
        joined_quality.append(total / len(found))
    all_boxes = np.array(joined_boxes, np.float64).reshape(-1, 4)
    all_quality = np.array(joined_quality, np.float64)
    order = np.argsort(-all_quality, kind="stable")
    return CellBoxes(all_boxes[order], all_quality[order])
