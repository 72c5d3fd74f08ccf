"""Targets: exact coverage on the grid, through any letterbox."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from fracture.data.records import Film
from fracture.data.targets import draw_target, fracture_outlines, fracture_rings
from fracture.errors import ConfigurationError
from fracture.preprocess import Geometry

SIZE = (96, 64)


def rasterize(
    film: Film, geometry: Geometry, *, mode: str = "coverage", shape: str = "box", matrix: Any = None
) -> NDArray[np.float32]:
    """A film's target map, through the letterbox and an augmentation, as training draws it."""
    rings = fracture_rings(film, geometry, shape=shape)  # type: ignore[arg-type]
    if matrix is not None:
        rings = [ring @ matrix[:, :2].T + matrix[:, 2] for ring in rings]
    return draw_target(rings, geometry.network_size, mode=mode)  # type: ignore[arg-type]


def geometry() -> Geometry:
    """Source 200 x 150; crop starts at (20, 10); half scale; padded to 96 x 64."""
    return Geometry((200, 150), (20, 10, 200, 130), (90, 60), SIZE)


@settings(deadline=None)
@given(
    st.integers(0, 95), st.integers(0, 63), st.integers(1, 96), st.integers(1, 64), st.sampled_from([1, 2, 4, 8, 16])
)
def test_boxes_on_whole_pixels_are_covered_exactly(x: int, y: int, w: int, h: int, stride: int) -> None:
    box = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
    target = draw_target([box], SIZE, stride=stride)
    whole = np.zeros((64, 96), np.float32)
    whole[y : y + h, x : x + w] = 1
    expected = whole.reshape(64 // stride, stride, 96 // stride, stride).mean(axis=(1, 3))
    assert target == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(draw_target([box], SIZE, stride=stride, mode="max") > 0, expected > 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(1, 95), st.floats(1, 63)), min_size=3, max_size=9))
def test_even_odd_rule_against_a_second_implementation(points: list[tuple[float, float]]) -> None:
    # Centers that lie within a hair of an edge may fall on either side.
    ring = np.array(points)
    ours = draw_target([ring], SIZE, stride=1) > 0
    y, x = np.mgrid[:64, :96] + 0.5
    crossings = np.zeros((64, 96), int)
    near = np.zeros((64, 96), bool)
    for (ax, ay), (bx, by) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        upward = (ay <= y) != (by <= y)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = ax + (y - ay) / (by - ay) * (bx - ax)
        crossings += upward & (at < x)
        near |= upward & (np.abs(at - x) < 1e-9)
    assert np.array_equal(ours[~near], crossings[~near] % 2 == 1)


def test_shapes_and_modes() -> None:
    film = Film(
        "a",
        200,
        150,
        1,
        boxes=((20, 10, 52, 42), (100, 60, 132, 92)),
        polygons=(((((20.0, 10.0), (52.0, 10.0), (20.0, 42.0)),)), ()),
    )
    assert [len(r) for r in fracture_rings(film)] == [4, 4]
    assert [len(r) for r in fracture_rings(film, shape="polygon")] == [3, 4]
    box = rasterize(film, geometry())
    assert box.shape == (8, 12)
    assert box.dtype == np.float32
    # The first box is network (0, 0) .. (16, 16): two by two cells; the second (40, 25) .. (56, 41).
    assert (box[:2, :2] == 1).all()
    assert box.sum() * 64 == 256 * 2
    triangle = rasterize(film, geometry(), shape="polygon")
    assert triangle[:2, :2].sum() == pytest.approx(2.0, abs=0.2)
    assert triangle[3:, 5:].sum() == box[3:, 5:].sum()
    ellipse = rasterize(film, geometry(), shape="ellipse")
    assert ellipse.sum() == pytest.approx(box.sum() * np.pi / 4, rel=0.05)
    assert (rasterize(film, geometry(), mode="max") == (box > 0)).all()


def test_smaller_than_a_pixel() -> None:
    speck = [[33.1, 17.1], [33.3, 17.1], [33.3, 17.3], [33.1, 17.3]]
    assert draw_target([speck], SIZE).sum() == 0
    marked = draw_target([speck], SIZE, mode="max")
    assert marked.sum() == 1
    assert marked[2, 4] == 1
    outside = [[-40.0, -30.0], [-20.0, -30.0], [-20.0, -20.0]]
    assert draw_target([outside], SIZE, mode="max").sum() == 0


def test_target_follows_an_augmentation() -> None:
    film = Film("a", 200, 150, 1, boxes=((20, 10, 52, 42),))
    mirrored = np.array([[-1.0, 0.0, 96.0], [0.0, 1.0, 0.0]])
    assert np.array_equal(rasterize(film, geometry(), matrix=mirrored), rasterize(film, geometry())[:, ::-1])


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="stride"):
        draw_target([], (90, 64))
    with pytest.raises(ConfigurationError, match="mode"):
        draw_target([], SIZE, mode="mean")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="shape"):
        fracture_rings(Film("a", 1, 1, 0), shape="circle")  # type: ignore[arg-type]


def test_outlines_are_polygons_where_there_are_any() -> None:
    part, other = ((1.0, 2.0), (5.0, 2.0), (5.0, 6.0)), ((8.0, 8.0), (9.0, 8.0), (9.0, 9.0))
    film = Film(
        source="a.png",
        width=20,
        height=20,
        fractured=1,
        boxes=((1, 2, 9, 9), (3, 3, 4, 4)),
        polygons=((part, other), ()),
    )
    outlined, boxed = fracture_outlines(film)
    np.testing.assert_allclose(outlined, [*part, *other])
    assert boxed.min(axis=0).tolist() == [3, 3]
    assert boxed.max(axis=0).tolist() == [4, 4]
