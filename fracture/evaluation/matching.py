"""The one matcher of predicted boxes with reference fractures; AP, FROC and every per-fracture table use it.

Boxes are (x0, y0, x1, y1) in source pixels, continuous pixel-edge convention, x right, y down. On each film the
predictions are taken by falling score (equal scores in the order given); each takes the free fracture that fits it
best under the criterion, the later one among equals, as COCO's reference evaluation does. Because it is greedy by
score, the matches at any higher threshold are the matches of the predictions that remain: one pass serves all
thresholds.

All films are matched at once: round r handles the r-th prediction of every film.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from fracture.errors import EvaluationError, FractureError
from fracture.evaluation.stats.checks import BoolArray, FloatArray, IntArray
from fracture.iou import iou
from fracture.schema import Record

CriterionName = Literal["iou", "center", "overlap", "iou_or_center"]


@dataclass(frozen=True, slots=True)
class Criterion(Record):
    """When a predicted box counts as a hit of a fracture.

    Attributes:
        name: ``"iou"``: intersection over union >= threshold. ``"center"``: the center of the prediction lies in
            the fracture's box, its border included. ``"overlap"``: the share of the fracture's box that the
            prediction covers >= threshold. ``"iou_or_center"``: either of the first two.
        threshold: For IoU and overlap; unused by ``"center"``.

    Raises:
        EvaluationError: An unknown name, or a threshold outside (0, 1].
    """

    ERROR: ClassVar[type[FractureError]] = EvaluationError

    name: CriterionName = "iou"
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.3

    def text(self) -> str:
        """The criterion in words."""
        return {
            "iou": f"IoU ≥ {self.threshold:g}",
            "center": "center of the predicted box inside the fracture's box",
            "overlap": f"prediction covers ≥ {self.threshold:g} of the fracture's box",
            "iou_or_center": f"IoU ≥ {self.threshold:g}, or center inside the fracture's box",
        }[self.name]


HIT = Criterion()
"""IoU >= 0.3, our choice."""


@dataclass(frozen=True, slots=True, eq=False)
class BoxTable:
    """Boxes of many films in one table, films in order.

    Attributes:
        film: int64 (k,), film number of each box, rising.
        boxes: float64 (k, 4), x0, y0, x1, y1 in source pixels.
        scores: float64 (k,); all 1 for reference boxes.
        films: Number of films, with or without boxes.
        crowd: bool (k,), reference regions of fractures that nobody told apart (COCO's ``iscrowd``).
    """

    film: IntArray
    boxes: FloatArray
    scores: FloatArray
    films: int
    crowd: BoolArray

    def __len__(self) -> int:
        return int(self.film.size)

    def where(self, keep: BoolArray) -> BoxTable:
        """The boxes in ``keep``, bool (k,), of the same films."""
        return BoxTable(self.film[keep], self.boxes[keep], self.scores[keep], self.films, self.crowd[keep])

    @property
    def areas(self) -> FloatArray:
        """Areas in square pixels, float64 (k,)."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        areas: FloatArray = sides[:, 0] * sides[:, 1]
        return areas


def box_table(
    film: ArrayLike,
    boxes: ArrayLike,
    scores: ArrayLike | None = None,
    *,
    films: int,
    name: str = "boxes",
    crowd: ArrayLike | None = None,
) -> BoxTable:
    """Check boxes and order them by film (stable within a film).

    Args:
        film: int (k,), film number 0 .. films - 1 of each box; k may be 0.
        boxes: float (k, 4), x0, y0, x1, y1 in source pixels.
        scores: float (k,); ``None`` for reference boxes.
        films: Number of films.
        name: What to call the boxes in an error.
        crowd: bool (k,), crowd regions of a reference; ``None``: none.

    Raises:
        EvaluationError: Wrong shapes, NaN, empty boxes (x1 <= x0 or y1 <= y0), or a film number out of range.
    """
    number = np.asarray(film, dtype=np.int64).reshape(-1)
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    score = np.ones(number.size) if scores is None else np.asarray(scores, dtype=np.float64).reshape(-1)
    many = np.zeros(number.size, dtype=bool) if crowd is None else np.asarray(crowd, dtype=bool).reshape(-1)
    if not (number.size == corners.shape[0] == score.size == many.size):
        raise EvaluationError(
            f"{name} need a film and a score each", got=f"{number.size}, {corners.shape[0]}, {score.size}"
        )
    if not np.isfinite(corners).all() or not np.isfinite(score).all():
        raise EvaluationError(f"{name} hold NaN or infinite numbers")
    empty = np.flatnonzero((corners[:, 2] <= corners[:, 0]) | (corners[:, 3] <= corners[:, 1]))
    if empty.size:
        raise EvaluationError(
            f"{name} must have a positive width and height: {empty.size} do not",
            got=corners[empty[0]].tolist(),
            allowed="x1 > x0 and y1 > y0",
            hint="are these (x, y, width, height)?",
        )
    if number.size and (number.min() < 0 or number.max() >= films):
        raise EvaluationError(f"{name} name a film that does not exist", got=number.max(), allowed=f"0 .. {films - 1}")
    order = np.argsort(number, kind="stable")
    return BoxTable(number[order], corners[order], score[order], films, many[order])


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Which prediction hit which fracture, for T criteria at once.

    Attributes:
        predicted: The predictions, by film and falling score.
        reference: The reference fractures, by film, without crowd regions.
        rank: int64 (p,), place of each prediction on its film, 0 = highest score.
        hit: int64 (T, p), index of the fracture hit, -1 for a false positive.
        by: int64 (T, r), index of the prediction that hit each fracture, -1 for a miss.
        iou: float64 (T, p), IoU with the fracture hit, 0 for a false positive.
        criteria: The T criteria.
        by_score: int64 (p,), the predictions of all films by falling score, equal scores in film order.
        ignored: bool (T, p), predictions that hit no fracture but lie in a crowd region: neither right nor wrong, as in
            COCO's evaluation.
        normal: bool (films,), films without a fracture or a crowd region.
    """

    predicted: BoxTable
    reference: BoxTable
    rank: IntArray
    hit: IntArray
    by: IntArray
    iou: FloatArray
    criteria: tuple[Criterion, ...]
    by_score: IntArray
    ignored: BoolArray
    normal: BoolArray

    def ranked(self, index: int) -> IntArray:
        """Numbers of the predictions that count under a criterion, by falling score: int of shape (k,)."""
        order: IntArray = self.by_score[~self.ignored[index][self.by_score]]
        return order


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """All pairs of a prediction and a fracture of the same film that touch, by prediction.

    Attributes:
        prediction: int64 (q,).
        reference: int64 (q,).
        iou: float64 (q,), intersection over union.
        covered: float64 (q,), share of the fracture's box that is covered.
        inside: bool (q,), the prediction's center lies in the fracture's box.
        own: float64 (q,), share of the prediction's box that lies in the fracture's.
    """

    prediction: IntArray
    reference: IntArray
    iou: FloatArray
    covered: FloatArray
    inside: BoolArray
    own: FloatArray


def pair_boxes(predicted: BoxTable, reference: BoxTable) -> Pairs:
    """Every touching pair of a prediction and a fracture on the same film."""
    counts = np.bincount(reference.film, minlength=reference.films)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1])) if counts.size else np.zeros(0, dtype=np.int64)
    per_prediction = counts[predicted.film]
    left = np.repeat(np.arange(len(predicted)), per_prediction)
    offset = np.arange(left.size) - np.repeat(np.cumsum(per_prediction) - per_prediction, per_prediction)
    right = starts[predicted.film][left] + offset
    a, b = predicted.boxes[left], reference.boxes[right]
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    touch = (width > 0) & (height > 0)
    left, right, a, b = left[touch], right[touch], a[touch], b[touch]
    common = width[touch] * height[touch]
    own = predicted.areas[left]
    other = reference.areas[right]
    center = (a[:, :2] + a[:, 2:]) / 2
    inside = ((center >= b[:, :2]) & (center <= b[:, 2:])).all(axis=1)
    return Pairs(left, right, iou(a, b), common / other, inside, common / own)


def match(
    predicted: BoxTable,
    reference: BoxTable,
    criteria: Criterion | tuple[Criterion, ...],
    *,
    max_per_film: int | None = None,
) -> Matches:
    """Match predictions with fractures, film by film, greedily by falling score.

    Args:
        predicted: Predicted boxes.
        reference: Reference boxes of the same films.
        criteria: One or several hit criteria; each gives its own matching.
        max_per_film: Keep only so many predictions of a film, the highest scores (COCO: 100); ``None``: all.

    Raises:
        EvaluationError: The tables differ in their number of films.
    """
    wanted = (criteria,) if isinstance(criteria, Criterion) else tuple(criteria)
    if not wanted:
        raise EvaluationError("matching needs at least one hit criterion")
    if predicted.films != reference.films:
        raise EvaluationError(
            "predictions and references must cover the same films", got=f"{predicted.films} and {reference.films}"
        )
    order = np.lexsort((-predicted.scores, predicted.film))
    film = predicted.film[order]
    first = np.searchsorted(film, np.arange(predicted.films))
    rank = np.arange(film.size) - first[film] if film.size else np.zeros(0, dtype=np.int64)
    if max_per_film is not None:
        keep = rank < max_per_film
        order, film, rank = order[keep], film[keep], rank[keep]
    ranked = BoxTable(film, predicted.boxes[order], predicted.scores[order], predicted.films, predicted.crowd[order])
    singles, crowds = reference.where(~reference.crowd), reference.where(reference.crowd)
    pairs = pair_boxes(ranked, singles)
    hit = np.full((len(wanted), len(ranked)), -1, dtype=np.int64)
    by = np.full((len(wanted), len(singles)), -1, dtype=np.int64)
    ignored = np.zeros(hit.shape, dtype=bool)
    iou = np.zeros((len(wanted), len(ranked)))
    for index, criterion in enumerate(wanted):
        _match_one(pairs, rank, criterion, hit[index], by[index], iou[index])
    if len(crowds):
        regions = pair_boxes(ranked, crowds)
        for index, criterion in enumerate(wanted):
            # COCO divides by the prediction alone here: a box inside a crowd region fits it.
            inside = regions.inside if "center" in criterion.name else np.zeros(regions.own.size, dtype=bool)
            if criterion.name != "center":
                inside = inside | (regions.own >= min(criterion.threshold, 1.0 - 1e-10))
            ignored[index, regions.prediction[inside]] = True
        ignored &= hit < 0
    by_score = np.argsort(-ranked.scores, kind="stable")
    normal = np.bincount(reference.film, minlength=reference.films) == 0
    return Matches(ranked, singles, rank, hit, by, iou, wanted, by_score, ignored, normal)


def _match_one(
    pairs: Pairs, rank: IntArray, criterion: Criterion, hit: IntArray, by: IntArray, iou: FloatArray
) -> None:
    # COCO's tolerance: a threshold of 1 still accepts a box equal up to rounding.
    needed = min(criterion.threshold, 1.0 - 1e-10)
    if criterion.name == "iou":
        eligible, quality = pairs.iou >= needed, pairs.iou
    elif criterion.name == "center":
        eligible, quality = pairs.inside, pairs.iou
    elif criterion.name == "overlap":
        eligible, quality = pairs.covered >= needed, pairs.covered
    else:
        eligible, quality = (pairs.iou >= needed) | pairs.inside, pairs.iou
    kept = np.flatnonzero(eligible)
    # By round, then prediction, then quality, then reference: the last free one of a prediction is its match.
    order = kept[
        np.lexsort((pairs.reference[kept], quality[kept], pairs.prediction[kept], rank[pairs.prediction[kept]]))
    ]
    prediction, fracture, overlap = pairs.prediction[order], pairs.reference[order], pairs.iou[order]
    rounds = rank[prediction]
    if not order.size:
        return
    edges = np.flatnonzero(np.concatenate(([True], rounds[1:] != rounds[:-1], [True])))
    for start, stop in pairwise(edges):
        free = np.flatnonzero(by[fracture[start:stop]] < 0) + start
        if not free.size:
            continue
        last = np.concatenate((prediction[free][1:] != prediction[free][:-1], [True]))
        chosen = free[last]
        hit[prediction[chosen]] = fracture[chosen]
        by[fracture[chosen]] = prediction[chosen]
        iou[prediction[chosen]] = overlap[chosen]


def select_films(table: BoxTable, films: BoolArray | IntArray) -> BoxTable:
    """The boxes of some films, which are renumbered 0, 1, ..

    Args:
        table: The boxes.
        films: bool (films,), or the films' numbers in their new order, -1 for one without boxes.

    Raises:
        EvaluationError: A mask that does not have one entry per film.
    """
    if films.dtype == np.bool_ and films.shape != (table.films,):
        raise EvaluationError("a selection needs one entry per film", got=films.shape, allowed=(table.films,))
    rows = np.flatnonzero(films) if films.dtype == np.bool_ else films
    number = np.full(table.films, -1, dtype=np.int64)
    number[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    kept, film = table.where(number[table.film] >= 0), number[table.film]
    return box_table(film[film >= 0], kept.boxes, kept.scores, films=rows.size, crowd=kept.crowd)
