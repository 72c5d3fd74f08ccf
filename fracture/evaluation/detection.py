"""Box-level results: average precision, FROC, per-fracture table, results by fracture size.

Average precision is COCO's: predictions of all films by falling score, precision made monotone, mean over the 101
recalls 0, 0.01 .. 1; it agrees with pycocotools (one category, all areas, at most ``max_per_film`` predictions of a
film). FROC (Bunch 1977; Chakraborty 2013) is the sensitivity per fracture against false positives per film. A second
prediction on a fracture that was already hit is a false positive in both. Predictions in a crowd region (COCO's
``iscrowd``: fractures that nobody told apart) are neither right nor wrong, as in pycocotools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_matrix

from fracture.errors import EvaluationError
from fracture.evaluation.matching import HIT, BoxTable, Criterion, Matches, match
from fracture.evaluation.stats.checks import BoolArray, FloatArray, IntArray
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.intervals import proportion
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap, Resampler, bootstrap_columns, bootstrap_keywords
from fracture.evaluation.stats.statistics import divide

COCO_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""IoU 0.50, 0.55 .. 0.95."""

AP_CRITERIA = tuple(Criterion("iou", value) for value in (0.1, 0.3, *COCO_IOUS))
"""The criteria that ``box_level`` reports AP for."""

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per film at which the sensitivity is read, 1/8 .. 8."""

_RECALLS = np.linspace(0.0, 1.0, 101)

FilmsCounted = Literal["all", "normal"]


class BoxAveragePrecision:
    """COCO average precision of one matching, as a ``Statistic`` over film weights.

    Args:
        matches: The matching.
        index: Which of its criteria.
    """

    def __init__(self, matches: Matches, index: int = 0) -> None:
        order = matches.ranked(index)
        is_hit = matches.hit[index][order] >= 0
        film = matches.predicted.film[order]
        # Only hits move recall: column j sums the false positives just before hit j, column k + j is hit j itself.
        place = np.cumsum(is_hit) - is_hit
        count = int(is_hit.sum())
        used = is_hit | (place < count)
        column = np.where(is_hit, count + place, place)[used]
        shape = (2 * count, matches.predicted.films)
        self._sums = csr_matrix((np.ones(column.size), (column, film[used])), shape=shape)
        self._fractures = np.bincount(matches.reference.film, minlength=matches.reference.films).astype(np.float64)
        self._hits = count

    def __call__(self, weights: FloatArray) -> FloatArray:
        """AP per row of ``weights`` (b, films); NaN where a row has no fracture."""
        fractures = weights @ self._fractures
        if self._hits == 0:
            return np.where(fractures > 0, 0.0, np.nan)
        sums: FloatArray = np.asarray(self._sums @ weights.T).T
        false = np.cumsum(sums[:, : self._hits], axis=1)
        true = np.cumsum(sums[:, self._hits :], axis=1)
        precision = np.nan_to_num(divide(true, true + false))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = np.nan_to_num(divide(true, fractures[:, None]))
        out = np.full(weights.shape[0], np.nan)
        padded = np.hstack([envelope, np.zeros((envelope.shape[0], 1))])
        for row in np.flatnonzero(fractures > 0):
            out[row] = padded[row, np.searchsorted(recall[row], _RECALLS, side="left")].mean()
        return out


class FrocSensitivity:
    """Sensitivity per fracture at given false positives per film, as ``Statistic``s over film weights.

    The sensitivity at a rate is the highest that any score threshold gives with at most that many false positives
    per film: a step function of observed thresholds, never interpolated (our choice).

    Args:
        matches: The matching.
        index: Which of its criteria.
        films: ``"all"``: false positives on all films by all films; ``"normal"``: both on films without a fracture.
    """

    def __init__(self, matches: Matches, index: int = 0, films: FilmsCounted = "all") -> None:
        if films not in ("all", "normal"):
            raise EvaluationError("unknown films for false positives", got=films, allowed=("all", "normal"))
        fractures = np.bincount(matches.reference.film, minlength=matches.reference.films)
        counted = np.ones(fractures.size, dtype=bool) if films == "all" else matches.normal
        order = matches.ranked(index)
        score, film = matches.predicted.scores[order], matches.predicted.film[order]
        is_hit = matches.hit[index][order] >= 0
        self.thresholds = np.unique(score[is_hit])[::-1]
        levels = self.thresholds.size
        # Level = the highest threshold (that gains a hit) at which the prediction is still shown.
        level = np.searchsorted(-self.thresholds, -score, side="left")
        use = (level < levels) & (is_hit | counted[film])
        column = np.where(is_hit, levels + level, level)[use]
        self._sums = csr_matrix((np.ones(column.size), (column, film[use])), shape=(2 * levels, fractures.size))
        self._fractures = fractures.astype(np.float64)
        self._counted = counted.astype(np.float64)
        self._levels = levels

    def curve(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """False positives per film and sensitivity at each threshold that gains a hit, each (b, levels)."""
        sums: FloatArray = np.asarray(self._sums @ weights.T).T
        false = np.cumsum(sums[:, : self._levels], axis=1)
        true = np.cumsum(sums[:, self._levels :], axis=1)
        return (
            divide(false, (weights @ self._counted)[:, None]),
            divide(true, (weights @ self._fractures)[:, None]),
        )

    def at(self, rates: Sequence[float], weights: FloatArray) -> FloatArray:
        """Sensitivity at each rate, float64 (b, rates); NaN where a row has no fracture (or no film counted)."""
        false, true = self.curve(weights)
        valid = ((weights @ self._fractures) > 0) & ((weights @ self._counted) > 0)
        out = np.full((weights.shape[0], len(rates)), np.nan)
        for row in np.flatnonzero(valid):
            reached = np.searchsorted(false[row], np.asarray(rates) + 1e-12, side="right")
            out[row] = np.concatenate(([0.0], true[row]))[reached]
        return out

    def threshold_at(self, rate: float) -> float | None:
        """The lowest threshold with at most ``rate`` false positives per film, ``None`` where none gains a hit."""
        false, _ = self.curve(np.ones((1, self._fractures.size)))
        reached = int(np.searchsorted(false[0], rate + 1e-12, side="right"))
        return None if reached == 0 else float(self.thresholds[reached - 1])


@dataclass(frozen=True, slots=True, eq=False)
class Froc:
    """A free-response ROC.

    Attributes:
        criterion: The hit criterion.
        films: Which films the false positives are counted on, ``"all"`` or ``"normal"``.
        sensitivities: One estimate per rate, at most that many false positives per film.
        rates: False positives per film.
        mean: Mean of the sensitivities over the rates.
        false_positives: float64 (k,), the curve's false positives per film.
        true_positives: float64 (k,), the curve's sensitivity.
        thresholds: float64 (k,), the curve's box score thresholds.
    """

    criterion: Criterion
    films: str
    rates: tuple[float, ...]
    sensitivities: tuple[Estimate, ...]
    mean: Estimate
    false_positives: FloatArray
    true_positives: FloatArray
    thresholds: FloatArray

    def at(self, rate: float) -> Estimate:
        """The sensitivity at one of ``rates``.

        Raises:
            EvaluationError: It is not one of them.
        """
        if rate not in self.rates:
            raise EvaluationError("the FROC was not evaluated at this rate", got=rate, allowed=self.rates)
        return self.sensitivities[self.rates.index(rate)]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary, without the curve."""
        return {
            "criterion": self.criterion.text(),
            "false_positives_on": f"{self.films} films",
            "sensitivity": {f"{r:g}": e.to_dict() for r, e in zip(self.rates, self.sensitivities, strict=True)},
            "mean": self.mean.to_dict(),
        }


def average_precision_boxes(
    predicted: BoxTable,
    reference: BoxTable,
    criteria: Criterion | tuple[Criterion, ...] = AP_CRITERIA,
    *,
    max_per_film: int | None = 100,
) -> tuple[float | None, ...]:
    """COCO average precision per criterion, without intervals.

    Args:
        predicted: Predicted boxes.
        reference: Reference boxes.
        criteria: Hit criteria.
        max_per_film: Predictions kept of each film, highest scores first (COCO's maxDets, 100).

    Returns:
        One number per criterion, ``None`` where there is no fracture at all.
    """
    matches = match(predicted, reference, criteria, max_per_film=max_per_film)
    one = np.ones((1, predicted.films))
    values = [float(BoxAveragePrecision(matches, index)(one)[0]) for index in range(len(matches.criteria))]
    return tuple(value if np.isfinite(value) else None for value in values)


@bootstrap_keywords
def froc(
    predicted: BoxTable,
    reference: BoxTable,
    criterion: Criterion | None = None,
    *,
    rates: Sequence[float] = FROC_RATES,
    films: FilmsCounted = "all",
    bootstrap: Bootstrap = DEFAULT,
) -> Froc:
    """FROC with bootstrap intervals; all predictions of a film count, without a cap.

    Args:
        predicted: Predicted boxes; for a whole curve these must be all candidates, whatever the film's call.
        reference: Reference boxes.
        criterion: Hit criterion; ``None``: IoU >= 0.3.
        rates: False positives per film to read the sensitivity at, positive.
        films: Films that the false positives are counted on.
        bootstrap: How intervals are drawn; its groups are (films,).

    Raises:
        EvaluationError: Bad input. Without any fracture the estimates are "not defined".
    """
    matches = match(predicted, reference, criterion or HIT)
    return _froc(matches, rates, films, bootstrap.over(predicted.films))


def _froc(matches: Matches, rates: Sequence[float], films: FilmsCounted, resampler: Resampler) -> Froc:
    wanted = tuple(float(rate) for rate in rates)
    if not wanted or min(wanted) <= 0:
        raise EvaluationError("FROC rates are positive", got=wanted)
    sensitivity = FrocSensitivity(matches, 0, films)

    def columns(weights: FloatArray) -> FloatArray:
        values = sensitivity.at(wanted, weights)
        return np.hstack([values, values.mean(axis=1, keepdims=True)])

    names = [*(f"{rate:g}" for rate in wanted), "mean"]
    why = "there is no fracture to find" if not len(matches.reference) else "there is no film without a fracture"
    estimates = bootstrap_columns(names, columns, resampler, reason=why)
    false, true = sensitivity.curve(np.ones((1, matches.predicted.films)))
    return Froc(
        matches.criteria[0],
        films,
        wanted,
        tuple(estimates[f"{rate:g}"] for rate in wanted),
        estimates["mean"],
        false[0],
        true[0],
        sensitivity.thresholds,
    )


@dataclass(frozen=True, slots=True, eq=False)
class BoxLevel(Record, keys={"matches": None}):
    """All box-level results.

    Attributes:
        films: Number of films.
        fractures: Number of reference fractures.
        predictions: Number of predicted boxes.
        average_precision: Name (``"0.1"``, ``"0.3"``, ``"0.5"``, ``"0.5:0.95"``) to estimate.
        hit_average_precision: AP under the chosen criterion.
        three_highest: Share of fractures that one of their film's three highest boxes, whatever its score, meets with
            an IoU of at least 0.5.
        froc: The FROC under the chosen criterion.
        matches: The matching under the chosen criterion, all predictions.
    """

    films: int
    fractures: int
    predictions: int
    average_precision: dict[str, Estimate]
    hit_average_precision: Estimate
    three_highest: Estimate
    froc: Froc
    matches: Matches


@bootstrap_keywords
def box_level(
    predicted: BoxTable,
    reference: BoxTable,
    criterion: Criterion | None = None,
    *,
    rates: Sequence[float] = FROC_RATES,
    films: FilmsCounted = "all",
    max_per_film: int | None = 100,
    bootstrap: Bootstrap = DEFAULT,
) -> BoxLevel:
    """AP at IoU 0.1, 0.3, 0.5, 0.5:0.95 and under the hit criterion, the FROC, and what a film's three highest boxes
    find, all from one matcher, with bootstrap intervals.

    Args:
        predicted: Predicted boxes (all candidates, for whole curves).
        reference: Reference boxes.
        criterion: When a box hits, for the FROC and one AP; ``None``: IoU >= 0.3.
        rates: As for ``froc``.
        films: As for ``froc``.
        max_per_film: Cap for AP only, COCO's 100.
        bootstrap: How intervals are drawn; its groups are (films,).

    Raises:
        EvaluationError: Bad input.
    """
    resampler = bootstrap.over(predicted.films)
    capped = match(predicted, reference, AP_CRITERIA, max_per_film=max_per_film)
    names = [f"{criterion.threshold:g}" for criterion in AP_CRITERIA]
    parts = {name: BoxAveragePrecision(capped, index) for index, name in enumerate(names)}
    hit = BoxAveragePrecision(match(predicted, reference, criterion or HIT, max_per_film=max_per_film))

    three = match(predicted, reference, Criterion("iou", 0.5), max_per_film=3)
    met, every = (
        np.bincount(three.reference.film[chosen], minlength=predicted.films).astype(np.float64)
        for chosen in (three.by[0] >= 0, slice(None))
    )

    def columns(weights: FloatArray) -> FloatArray:
        coco = np.stack([parts[f"{value:g}"](weights) for value in COCO_IOUS], axis=1)
        precisions = [parts["0.1"](weights), parts["0.3"](weights), coco[:, 0], coco.mean(axis=1), hit(weights)]
        return np.stack([*precisions, divide(weights @ met, weights @ every)], axis=1)

    averages = bootstrap_columns(
        ("0.1", "0.3", "0.5", "0.5:0.95", "hit", "three"), columns, resampler, reason="there is no fracture to find"
    )
    highest, hits = averages.pop("three"), averages.pop("hit")
    matches = match(predicted, reference, criterion or HIT)
    return BoxLevel(
        predicted.films,
        len(matches.reference),
        len(predicted),
        averages,
        hits,
        highest,
        _froc(matches, rates, films, resampler),
        matches,
    )


@dataclass(frozen=True, slots=True)
class FractureRow:
    """One reference fracture and what became of it.

    Attributes:
        film: Film number.
        box: x0, y0, x1, y1 in source pixels.
        longest_side: Longest side of its box in pixels.
        hit: Whether any prediction hit it.
        score: Score of that prediction, ``None`` for a miss.
        iou: IoU with it, ``None`` for a miss.
        rank: Place of that prediction on its film, 0 = highest score, ``None`` for a miss.
    """

    film: int
    box: tuple[float, float, float, float]
    longest_side: float
    hit: bool
    score: float | None
    iou: float | None
    rank: int | None


def fracture_table(matches: Matches, index: int = 0) -> tuple[FractureRow, ...]:
    """One row per reference fracture, films in order.

    Args:
        matches: The matching, from :func:`match`.
        index: Which of its criteria, from 0.
    """
    rows = []
    sides = matches.reference.boxes[:, 2:] - matches.reference.boxes[:, :2]
    for place, by in enumerate(matches.by[index]):
        x0, y0, x1, y1 = (float(value) for value in matches.reference.boxes[place])
        hit = by >= 0
        rows.append(
            FractureRow(
                int(matches.reference.film[place]),
                (x0, y0, x1, y1),
                float(sides[place].max()),
                bool(hit),
                float(matches.predicted.scores[by]) if hit else None,
                float(matches.iou[index][by]) if hit else None,
                int(matches.rank[by]) if hit else None,
            )
        )
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class SizeRow(Record):
    """Sensitivity for fractures of one range of sizes.

    Attributes:
        low: Smallest longest side in the range, pixels.
        high: Largest, pixels.
        sensitivity: Share hit by a prediction with at least the threshold's score, Wilson's interval.
    """

    low: float
    high: float
    sensitivity: Estimate


def by_size(
    matches: Matches,
    index: int = 0,
    *,
    threshold: float | None = None,
    edges: Sequence[float] | None = None,
    level: float = 0.95,
) -> tuple[SizeRow, ...]:
    """Sensitivity by the longest side of the fracture's box.

    Args:
        matches: The matching.
        index: Which of its criteria.
        threshold: Only predictions with at least this score count; ``None``: all.
        edges: Inner edges in pixels, rising; ``None``: terciles of the reference fractures (our choice).
        level: Confidence level.

    Raises:
        EvaluationError: Edges that do not rise.
    """
    reference = matches.reference
    if not len(reference):
        return ()
    side = (reference.boxes[:, 2:] - reference.boxes[:, :2]).max(axis=1)
    inner = np.quantile(side, (1 / 3, 2 / 3)) if edges is None else np.asarray(edges, dtype=np.float64)
    if np.any(np.diff(inner) < 0):
        raise EvaluationError("size edges must rise", got=inner.tolist())
    which: IntArray = np.searchsorted(np.unique(inner), side, side="left")
    by = matches.by[index]
    hit: BoolArray = by >= 0
    if threshold is not None and len(matches.predicted):
        hit &= matches.predicted.scores[np.maximum(by, 0)] >= threshold
    rows = []
    for part in np.unique(which):
        inside = which == part
        estimate = proportion(int(hit[inside].sum()), int(inside.sum()), level, of="fractures")
        rows.append(SizeRow(float(side[inside].min()), float(side[inside].max()), estimate))
    return tuple(rows)
