"""Boxes that cells tell: suppressed per network, joined over networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from torchvision.ops import box_iou, nms

from fracture.iou import iou
from fracture.limb.cell_boxes import CellBoxes, fuse, suppress
from fracture.wing.result import Box


def boxes(*rows: tuple[float, ...]) -> NDArray[np.float64]:
    return np.array(rows, np.float64).reshape(-1, 4)


SOME = st.lists(
    st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(1, 60), st.floats(1, 60), st.floats(0.01, 1)),
    min_size=1,
    max_size=12,
)


def drawn(rows: list[tuple[float, float, float, float, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return boxes(*((x, y, x + w, y + h) for x, y, w, h, _ in rows)), np.array([q for *_, q in rows])


@settings(max_examples=100, deadline=None)
@given(SOME, SOME)
def test_overlaps_are_those_of_torchvision(one: list[tuple[float, ...]], other: list[tuple[float, ...]]) -> None:
    (a, _), (b, _) = drawn(one), drawn(other)  # type: ignore[arg-type]
    expected = box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    found = iou(a[:, None], b[None])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert Box(*a[0].tolist(), score=1.0).iou(Box(*b[0].tolist(), score=1.0)) == found[0, 0] == iou(a[0], b[0])


def test_the_overlap_of_nothing_is_nothing() -> None:
    empty, whole = boxes((5, 5, 5, 5)), boxes((0, 0, 10, 10))
    assert iou(empty, empty) == iou(empty, whole) == iou(whole, boxes((10, 0, 20, 10))) == 0
    assert iou(whole, boxes()[:, None]).shape == (0, 1)


@settings(max_examples=100, deadline=None)
@given(SOME, st.floats(0, 1))
def test_no_two_kept_boxes_overlap_too_much_and_each_dropped_one_has_a_better(
    rows: list[tuple[float, float, float, float, float]], limit: float
) -> None:
    found, quality = drawn(rows)
    kept = suppress(found, quality, limit, most=100)
    assert (np.diff(kept.quality) <= 0).all()
    between = iou(kept.boxes[:, None], kept.boxes[None])
    assert (between[~np.eye(len(kept), dtype=bool)] <= limit).all()
    for box, q in zip(found, quality, strict=True):
        if not (kept.boxes == box).all(axis=1).any():
            index = np.flatnonzero(kept.quality >= q)
            better = CellBoxes(kept.boxes[index], kept.quality[index])
            assert (iou(box, better.boxes) > limit).any()
    assert len(suppress(found, quality, limit, most=2)) <= 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 150), st.floats(0.1, 0.9))
def test_many_boxes_are_suppressed_as_torchvision_does(seed: int, count: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 100, (count, 2))
    found = np.concatenate([corners, corners + rng.uniform(5, 60, (count, 2))], axis=1)
    quality = rng.permutation(count) / max(count, 1)  # no two alike
    expected = found[nms(torch.from_numpy(found), torch.from_numpy(quality), limit).numpy()]
    for most in (3, 1000):
        kept = suppress(found, quality, limit, most=most)
        np.testing.assert_array_equal(kept.boxes, expected[:most])


@settings(max_examples=60, deadline=None)
@given(st.lists(SOME, min_size=2, max_size=3), st.floats(0, 1))
def test_clusters_good_enough_to_be_shown_do_not_depend_on_those_that_are_not(
    networks: list[list[tuple[float, float, float, float, float]]], least: float
) -> None:
    found = [suppress(*drawn(rows), 0.4, most=100) for rows in networks]
    whole, short = fuse(found, 0.55), fuse(found, 0.55, least=least)
    shown = max(1, int((whole.quality >= least).sum()))
    assert len(short) <= len(whole)
    np.testing.assert_array_equal(short.boxes[:shown], whole.boxes[:shown])
    np.testing.assert_array_equal(short.quality[:shown], whole.quality[:shown])


def test_one_network_s_boxes_stay_as_they_are() -> None:
    alone = CellBoxes(boxes((0, 0, 10, 10), (20, 20, 30, 30)), np.array([0.8, 0.3]))
    assert fuse([alone], 0.5) is alone


def test_boxes_of_two_networks_are_averaged_by_quality() -> None:
    a = CellBoxes(boxes((0, 0, 10, 10)), np.array([0.6]))
    b = CellBoxes(boxes((2, 0, 12, 10), (50, 50, 60, 60)), np.array([0.2, 0.1]))
    joined = fuse([a, b], 0.5)
    np.testing.assert_allclose(joined.boxes, [(0.5, 0, 10.5, 10), (50, 50, 60, 60)])
    np.testing.assert_allclose(joined.quality, [0.4, 0.05])  # a box that one of two networks sees counts half


def test_a_network_gives_one_box_to_a_cluster() -> None:
    a = CellBoxes(boxes((0, 0, 10, 10)), np.array([0.9]))
    b = CellBoxes(boxes((0, 0, 10, 9), (0, 1, 10, 10)), np.array([0.5, 0.4]))
    joined = fuse([a, b], 0.5)
    assert len(joined) == 2
    np.testing.assert_allclose(joined.quality, [0.7, 0.2])


@settings(max_examples=60, deadline=None)
@given(st.lists(SOME, min_size=2, max_size=3))
def test_quality_is_neither_made_nor_lost(
    networks: list[list[tuple[float, float, float, float, float]]],
) -> None:
    found = [suppress(*drawn(rows), 0.4, most=100) for rows in networks]
    joined = fuse(found, 0.55)
    assert joined.quality.sum() == pytest.approx(sum(f.quality.sum() for f in found) / len(found))
    assert (np.diff(joined.quality) <= 1e-12).all()
    everything = np.concatenate([f.boxes for f in found])
    assert (joined.boxes[:, :2] >= everything[:, :2].min(axis=0) - 1e-9).all()
    assert (joined.boxes[:, 2:] <= everything[:, 2:].max(axis=0) + 1e-9).all()


def test_no_boxes_at_all() -> None:
    none = CellBoxes(boxes(), np.zeros(0))
    assert len(fuse([none, none], 0.5)) == 0
    assert len(suppress(boxes(), np.zeros(0), 0.4, most=5)) == 0
