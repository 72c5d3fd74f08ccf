"""Boxes: the matcher and AP against pycocotools, FROC against brute force, tables, weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fracture.errors import EvaluationError
from fracture.evaluation import Bootstrap
from fracture.evaluation.detection import (
    AP_CRITERIA,
    COCO_IOUS,
    FROC_RATES,
    BoxAveragePrecision,
    FrocSensitivity,
    average_precision_boxes,
    box_level,
    by_size,
    fracture_table,
    froc,
)
from fracture.evaluation.matching import BoxTable, Criterion, box_table, match, pair_boxes, select_films
from fracture.evaluation.stats.resampling import Resampler
from tests.evaluation.coco import Boxes, coco_average_precision, coco_evaluate, coco_objects, random_boxes


def tables(sample: Boxes) -> tuple[BoxTable, BoxTable]:
    predicted = box_table(sample.film, sample.boxes, sample.scores, films=sample.films)
    return predicted, box_table(sample.reference_film, sample.reference, films=sample.films)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("per_film", "decimals", "most"), [(7, 1, 100), (7, 6, 100), (6, 2, 3), (1, 2, 100)])
def test_average_precision_is_pycocotools(seed: int, per_film: int, decimals: int, most: int) -> None:
    sample = random_boxes(seed, 40, per_film, decimals=decimals)
    ious = [criterion.threshold for criterion in AP_CRITERIA]
    ours = average_precision_boxes(*tables(sample), max_per_film=most)
    assert np.array(ours, dtype=float) == pytest.approx(coco_average_precision(sample, ious, most), abs=1e-6)


def test_box_level_reports_these_numbers() -> None:
    sample = random_boxes(3, 60, 5)
    level = box_level(*tables(sample), bootstrap=Bootstrap(resamples=100))
    coco = coco_average_precision(sample, [0.1, 0.3, *COCO_IOUS])
    found = level.average_precision
    assert float(found["0.1"]) == pytest.approx(coco[0], abs=1e-6)
    assert float(found["0.3"]) == pytest.approx(coco[1], abs=1e-6)
    assert float(found["0.5"]) == pytest.approx(coco[2], abs=1e-6)
    assert float(found["0.5:0.95"]) == pytest.approx(coco[2:].mean(), abs=1e-6)
    assert found["0.5"].has_interval
    met = 0
    for film, box in zip(sample.reference_film, sample.reference, strict=True):
        mine = np.flatnonzero(sample.film == film)
        highest = mine[np.argsort(-sample.scores[mine], kind="stable")][:3]
        met += any(iou(sample.boxes[p], box) >= 0.5 for p in highest)
    assert float(level.three_highest) == pytest.approx(met / sample.reference_film.size)
    assert level.three_highest.has_interval
    # The hit criterion's own AP: by default that at IoU 0.3, and more where a center inside is a hit too.
    assert level.hit_average_precision == level.average_precision["0.3"]
    loose = box_level(
        *tables(sample), Criterion("iou_or_center", 0.3), bootstrap=Bootstrap(resamples=10)
    ).hit_average_precision
    assert float(loose) > float(level.average_precision["0.3"])
    assert level.to_dict()["fractures"] == sample.reference_film.size


def iou(a: np.ndarray, b: np.ndarray) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def covered(a: np.ndarray, b: np.ndarray) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(w, 0) * max(h, 0) / ((b[2] - b[0]) * (b[3] - b[1]))


def inside(a: np.ndarray, b: np.ndarray) -> bool:
    x, y = (a[0] + a[2]) / 2, (a[1] + a[3]) / 2
    return bool(b[0] <= x <= b[2] and b[1] <= y <= b[3])


def plain_match(sample: Boxes, criterion: Criterion) -> tuple[np.ndarray, np.ndarray]:
    """Film by film in plain loops: scores of hits by fracture (nan: miss), and scores of false positives."""
    hits, false = np.full(sample.reference_film.size, np.nan), []
    for film in range(sample.films):
        mine = np.flatnonzero(sample.film == film)
        mine = mine[np.argsort(-sample.scores[mine], kind="stable")]
        theirs = np.flatnonzero(sample.reference_film == film)
        taken: set[int] = set()
        for p in mine:
            best, chosen = -1.0, -1
            for r in theirs:
                a, b = sample.boxes[p], sample.reference[r]
                if criterion.name == "overlap":
                    fits, quality = covered(a, b) >= criterion.threshold, covered(a, b)
                elif criterion.name == "center":
                    fits, quality = inside(a, b), iou(a, b)
                elif criterion.name == "iou":
                    fits, quality = iou(a, b) >= criterion.threshold, iou(a, b)
                else:
                    fits, quality = iou(a, b) >= criterion.threshold or inside(a, b), iou(a, b)
                if r not in taken and fits and quality >= best:
                    best, chosen = quality, int(r)
            if chosen < 0:
                false.append(sample.scores[p])
            else:
                taken.add(chosen)
                hits[chosen] = sample.scores[p]
    return hits, np.array(false)


CRITERIA = (Criterion("iou", 0.3), Criterion("center"), Criterion("overlap", 0.5), Criterion("iou_or_center", 0.3))


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.name)
@pytest.mark.parametrize("seed", range(6))
def test_every_criterion_and_froc_by_brute_force(seed: int, criterion: Criterion) -> None:
    sample = random_boxes(seed, 30, 6, decimals=1)
    predicted, reference = tables(sample)
    matches = match(predicted, reference, criterion)
    hits, false = plain_match(sample, criterion)
    ours = np.array([row.score if row.hit else np.nan for row in fracture_table(matches)], dtype=float)
    assert ours == pytest.approx(hits, nan_ok=True)
    assert np.sort(matches.predicted.scores[matches.hit[0] < 0]) == pytest.approx(np.sort(false))
    curve = froc(predicted, reference, criterion, bootstrap=Bootstrap(resamples=100))
    for rate, estimate in zip(FROC_RATES, curve.sensitivities, strict=True):
        best = 0.0
        for threshold in np.unique(sample.scores):
            if (false >= threshold).sum() <= rate * sample.films:
                best = max(best, float((hits >= threshold).mean()))
        assert float(estimate) == pytest.approx(best), rate
    assert float(curve.mean) == pytest.approx(np.mean([float(e) for e in curve.sensitivities]))
    assert curve.at(1.0) == curve.sensitivities[3]


def test_false_positives_on_normal_films_only() -> None:
    sample = random_boxes(1, 50, 4)
    normal = np.bincount(sample.reference_film, minlength=50) == 0
    curve = froc(*tables(sample), films="normal", bootstrap=Bootstrap(resamples=50))
    hits, _ = plain_match(sample, Criterion())
    on_normal = sample.scores[normal[sample.film]]
    for rate, estimate in zip(FROC_RATES, curve.sensitivities, strict=True):
        allowed = [t for t in np.unique(sample.scores) if (on_normal >= t).sum() <= rate * normal.sum()]
        best = max([float((hits >= t).mean()) for t in allowed], default=0.0)
        assert float(estimate) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(4))
def test_a_weight_is_a_repeated_film(seed: int) -> None:
    """Average precision and FROC of a resample are those of the films written out as often as drawn."""
    sample = random_boxes(seed, 25, 4, decimals=6)
    predicted, reference = tables(sample)
    drawn = np.random.default_rng(seed).integers(0, 25, 25)
    weights = np.bincount(drawn, minlength=25)[None].astype(float)
    order = np.sort(drawn)
    again = Boxes(
        25,
        np.concatenate([np.full((sample.reference_film == f).sum(), i) for i, f in enumerate(order)]),
        np.concatenate([sample.reference[sample.reference_film == f] for f in order]),
        np.concatenate([np.full((sample.film == f).sum(), i) for i, f in enumerate(order)]),
        np.concatenate([sample.boxes[sample.film == f] for f in order]),
        np.concatenate([sample.scores[sample.film == f] for f in order]),
    )
    matches, repeated = match(predicted, reference, AP_CRITERIA), match(*tables(again), AP_CRITERIA)
    one = np.ones((1, 25))
    for index in range(len(AP_CRITERIA)):
        expected = BoxAveragePrecision(repeated, index)(one)
        assert BoxAveragePrecision(matches, index)(weights) == pytest.approx(expected, abs=1e-12)
        expected = FrocSensitivity(repeated, index).at(FROC_RATES, one)
        assert FrocSensitivity(matches, index).at(FROC_RATES, weights) == pytest.approx(expected, abs=1e-12)


def test_intervals_are_percentiles_of_resamples_by_group() -> None:
    sample = random_boxes(8, 60, 4)
    predicted, reference = tables(sample)
    groups = np.repeat(np.arange(20), 3)
    level = box_level(predicted, reference, bootstrap=Bootstrap(groups=groups, resamples=150, seed=9))
    weights = np.concatenate(list(Resampler.over(60, groups, resamples=150, seed=9).blocks()))
    values = BoxAveragePrecision(match(predicted, reference, Criterion("iou", 0.5)))(weights)
    found = level.average_precision["0.5"]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))))
    assert found.method == "bootstrap by group, m = 150"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_properties(seed: int, per_film: int) -> None:
    sample = random_boxes(seed, 12, per_film, decimals=6)
    predicted, reference = tables(sample)
    if not len(reference):
        return
    base = average_precision_boxes(predicted, reference)
    assert all(value is not None and 0.0 <= value <= 1.0 for value in base)
    assert list(base) == sorted(base, reverse=True)  # a stricter IoU never helps
    squeezed = box_table(sample.film, sample.boxes, sample.scores**3 / 7, films=12)
    assert average_precision_boxes(squeezed, reference) == pytest.approx(base)
    shuffled = np.random.default_rng(0).permutation(sample.film.size)
    mixed = box_table(sample.film[shuffled], sample.boxes[shuffled], sample.scores[shuffled], films=12)
    assert average_precision_boxes(mixed, reference) == pytest.approx(base)
    moved = box_table(sample.film, sample.boxes + 1000, sample.scores, films=12)
    there = box_table(sample.reference_film, sample.reference + 1000, films=12)
    assert average_precision_boxes(moved, there) == pytest.approx(base)
    perfect = box_table(reference.film, reference.boxes, np.linspace(0.1, 0.9, len(reference)), films=12)
    assert average_precision_boxes(perfect, reference, Criterion("iou", 1.0)) == pytest.approx((1.0,))


def test_pairs_of_a_known_case() -> None:
    predicted = box_table([0, 0], [[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.8], films=1)
    reference = box_table([0], [[5, 0, 15, 10]], films=1)
    pairs = pair_boxes(predicted, reference)
    assert pairs.iou.tolist() == [pytest.approx(50 / 150)]
    assert pairs.covered.tolist() == [0.5]
    assert pairs.inside.tolist() == [True]  # the center lies on the border
    assert pairs.prediction.tolist() == [0]


def test_nothing_predicted_is_zero_and_nothing_to_find_is_not_defined() -> None:
    empty = box_table([], np.zeros((0, 4)), [], films=10)
    one = box_table([3], [[0, 0, 5, 5]], films=10)
    missed = box_level(empty, one, bootstrap=Bootstrap(resamples=100))
    assert missed.average_precision["0.5"].value == 0.0
    assert missed.froc.mean.value == 0.0
    assert not fracture_table(missed.matches)[0].hit
    nothing = box_level(box_table([1], [[0, 0, 5, 5]], [0.7], films=10), empty, bootstrap=Bootstrap(resamples=100))
    assert nothing.average_precision["0.5"].value is None
    assert nothing.froc.mean.reason == "there is no fracture to find"
    assert nothing.froc.at(0.125).reason == "there is no fracture to find"
    assert by_size(nothing.matches) == ()
    assert average_precision_boxes(empty, empty)[0] is None
    crowded = froc(
        empty, box_table(range(10), [[0, 0, 5, 5]] * 10, films=10), films="normal", bootstrap=Bootstrap(resamples=100)
    )
    assert crowded.mean.reason == "there is no film without a fracture"


def test_by_size_counts_every_fracture_once() -> None:
    sample = random_boxes(5, 80, 5)
    predicted, reference = tables(sample)
    matches = match(predicted, reference, Criterion())
    side = (sample.reference[:, 2:] - sample.reference[:, :2]).max(axis=1)
    rows = by_size(matches, edges=(20, 40), threshold=0.5)
    assert [row.sensitivity.n for row in rows] == [
        (side <= 20).sum(),
        ((side > 20) & (side <= 40)).sum(),
        (side > 40).sum(),
    ]
    table = fracture_table(matches)
    hits = sum(row.hit and (row.score or 0) >= 0.5 for row in table)
    assert sum(row.sensitivity.count or 0 for row in rows) == hits
    assert sum(row.sensitivity.n for row in by_size(matches)) == len(reference)
    assert rows[0].to_dict()["low"] == side.min()


def test_threshold_at_a_rate() -> None:
    sample = random_boxes(6, 60, 5)
    matches = match(*tables(sample), Criterion())
    curve = FrocSensitivity(matches)
    threshold = curve.threshold_at(0.5)
    assert threshold is not None
    shown = matches.predicted.scores >= threshold
    assert (shown & (matches.hit[0] < 0)).sum() <= 0.5 * 60
    expected = curve.at([0.5], np.ones((1, 60)))[0, 0]
    assert (shown & (matches.hit[0] >= 0)).sum() / len(matches.reference) == pytest.approx(expected)


def test_select_films_renumbers() -> None:
    table = box_table([0, 2, 2, 3], [[0, 0, 1, 1]] * 4, [0.1, 0.2, 0.3, 0.4], films=4)
    part = select_films(table, np.array([False, True, True, True]))
    assert part.film.tolist() == [1, 1, 2]
    assert part.films == 3
    with pytest.raises(EvaluationError, match="one entry per film"):
        select_films(table, np.array([True]))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: box_table([0], [[0, 0, 0, 5]], films=1), "positive width"),
        (lambda: box_table([0], [[0, 0, float("nan"), 5]], films=1), "NaN"),
        (lambda: box_table([1], [[0, 0, 1, 5]], films=1), "does not exist"),
        (lambda: box_table([0, 0], [[0, 0, 1, 5]], films=1), "score each"),
        (lambda: Criterion("dice"), "name: must be"),  # type: ignore[arg-type]
        (lambda: Criterion("iou", 0.0), "threshold: must be greater than 0"),
    ],
)
def test_bad_boxes_are_refused(call: Callable[[], object], text: str) -> None:
    with pytest.raises(EvaluationError, match=text):
        call()


def test_bad_questions_are_refused() -> None:
    a, b = box_table([], [], films=2), box_table([], [], films=3)
    with pytest.raises(EvaluationError, match="same films"):
        match(a, b, Criterion())
    with pytest.raises(EvaluationError, match="at least one"):
        match(a, a, ())
    with pytest.raises(EvaluationError, match="positive"):
        froc(a, a, rates=(0.0,))
    with pytest.raises(EvaluationError, match="unknown films"):
        froc(a, a, films="some")  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="not evaluated"):
        froc(a, a, bootstrap=Bootstrap(resamples=10)).at(3.0)
    sample = random_boxes(0, 5, 2)
    with pytest.raises(EvaluationError, match="rise"):
        by_size(match(*tables(sample), Criterion()), edges=(4, 2))


@pytest.mark.parametrize("seed", range(6))
def test_crowd_regions_are_those_of_pycocotools(seed: int) -> None:
    """Predictions in a crowd region are neither right nor wrong; it is no fracture to find, and takes any number."""
    sample = random_boxes(seed, 40, 6)
    crowd = np.random.default_rng(seed).random(len(sample.reference)) < 0.4
    truth, results = coco_objects(sample)
    for annotation, flag in zip(truth.dataset["annotations"], crowd, strict=True):
        annotation["iscrowd"] = int(flag)
    ious = [0.1, 0.3, 0.5, 0.75]
    precision = coco_evaluate(truth, results, ious).eval["precision"][:, :, 0, 0, 0].mean(axis=1)
    predicted = box_table(sample.film, sample.boxes, sample.scores, films=sample.films)
    reference = box_table(sample.reference_film, sample.reference, films=sample.films, crowd=crowd)
    criteria = tuple(Criterion("iou", iou) for iou in ious)
    assert average_precision_boxes(predicted, reference, criteria) == pytest.approx(precision, abs=1e-6)
    matches = match(predicted, reference, criteria)
    assert len(matches.reference) == int((~crowd).sum())
    assert matches.ignored.any()
    normal = box_level(predicted, reference, films="normal", bootstrap=Bootstrap(resamples=100))
    assert normal.fractures == int((~crowd).sum())
    assert not matches.normal[sample.reference_film].any()
