"""Scenes: what a person reads, and the one overlay that draws them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from fracture.errors import ConfigurationError
from fracture.regions import DEFAULT_TREE, plain_name
from fracture.wing.axes import plot_page
from fracture.wing.overlay import BLUE, GREEN, ORANGE, draw_page, draw_scene
from fracture.wing.scene import Heat, Page, Scene, SceneBox, ScenePoint, as_gray, digits, grid_on, suspicion

FILM = np.full((80, 60), 64, np.uint8)
share = st.floats(0, 1)


def painted(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.asarray((picture == np.array(color, np.uint8)).all(axis=2))


@given(share, share, st.floats(0.001, 0.999))
def test_suspicion_keeps_the_order_and_has_the_threshold_in_its_middle(a: float, b: float, threshold: float) -> None:
    one, other = suspicion(a, threshold), suspicion(b, threshold)
    assert 0 <= one <= 1
    assert (one >= 0.5 - 1e-12) == (a >= threshold) or abs(a - threshold) < 1e-9
    if a < b:
        assert one <= other
    assert suspicion(threshold, threshold) == pytest.approx(0.5)


def test_ends_of_suspicion() -> None:
    assert (suspicion(0.0, 0.3), suspicion(1.0, 0.3)) == (0.0, 1.0)
    assert suspicion(0.0, 0.0) == suspicion(1.0, 1.0) == 0.5
    assert suspicion(0.05, 0.04) == pytest.approx(0.558, abs=1e-3)


def test_numbers_never_hide_that_they_are_not_the_ends() -> None:
    assert [digits(v) for v in (0.0, 0.0031, 0.5, 0.9999, 1.0)] == ["0.00", "0.0031", "0.50", "0.999", "1.00"]


def test_every_region_has_a_plain_name() -> None:
    for name in DEFAULT_TREE.names:
        plain = plain_name(name)
        assert "_" not in plain
        assert "fracatlas" not in plain


def test_points_and_boxes_are_drawn_where_they_are() -> None:
    page = Page(
        FILM,
        "Two joints",
        boxes=(SceneBox(10, 20, 30, 40, "calm"),),
        points=(ScenePoint(50, 60, "sure", "mcp2"),),
    )
    picture = draw_page(page)[:900]
    rows, columns = np.nonzero(painted(picture, BLUE))
    scale = 900 / 80
    assert abs(columns.min() - 10 * scale) < 8
    assert abs(rows.max() - 40 * scale) < 8
    rows, columns = np.nonzero(painted(picture[:, : round(50.7 * scale)], ORANGE))  # the ring, without its name
    assert abs(columns.mean() - 50 * scale) < 6
    assert abs(rows.mean() - 60 * scale) < 6


def test_long_lines_wrap_and_nothing_is_cut_off() -> None:
    words = "a nondisplaced fracture is not excluded; CT or MRI is advised " * 4
    short, long = (draw_page(Page(FILM, "No fracture found", (text,))) for text in ("x", words))
    assert long.shape[0] > short.shape[0] + 30
    margin = long[900:, -4:]
    assert (margin == margin[0, 0]).all()  # no letter reaches the right edge


@pytest.mark.parametrize(("alarm", "color"), [(True, ORANGE), (False, GREEN), (None, (24, 24, 27))])
def test_the_bar_says_the_decision(alarm: bool | None, color: tuple[int, int, int]) -> None:
    assert tuple(draw_page(Page(FILM, "v", alarm=alarm))[-1, 0]) == color


def test_several_pages_make_a_sheet() -> None:
    pages = tuple(Page(np.full((80, 60), 10 * k, np.uint8), f"slice {k}") for k in range(5))
    one, sheet = draw_scene(Scene(pages[:1])), draw_scene(Scene(pages))
    assert sheet.shape[1] == 3 * one.shape[1]
    assert sheet.shape[0] == 2 * one.shape[0]
    assert sheet[100, 100, 0] == 0
    assert sheet[100, one.shape[1] + 100, 0] == 10
    assert sheet[one.shape[0] + 100, 100, 0] == 30
    with pytest.raises(ConfigurationError, match="page"):
        Scene(())


def test_heat_lies_on_its_own_grid() -> None:
    heat = Heat(np.array([[0.0, 1.0]], np.float32), 10, 10, offset_x=20, offset_y=30)
    laid = grid_on(heat, (60, 80), (60, 80))
    assert laid[35, 38] > 0.9
    assert laid[:, :20].max() == laid[:30].max() == laid[40:].max() == 0
    assert draw_page(Page(FILM, "v", heats=(heat,)))[400, 430, 0] > 64


def test_pages_take_bytes_and_shares() -> None:
    np.testing.assert_array_equal(as_gray(np.array([[0.0, 0.5, 2.0, np.nan]])), [[0, 128, 255, 0]])
    assert as_gray(FILM) is not None
    with pytest.raises(ConfigurationError, match="another type"):
        as_gray(np.zeros((2, 2), np.int32))


def test_axes_show_the_same_in_the_page_s_pixels() -> None:
    from matplotlib import pyplot

    page = Page(FILM, "v", boxes=(SceneBox(1, 2, 5, 9, "doubt", "1"),), points=(ScenePoint(7, 8, label="p"),))
    ax = plot_page(page)
    (box,) = ax.patches
    assert box.get_bbox().bounds == (1, 2, 4, 7)
    assert box.get_linestyle() == ":"
    assert ax.lines[0].get_xydata().tolist() == [[7, 8]]
    assert ax.get_ylim() == (80, 0)
    pyplot.close("all")
