"""Flaws of known size: outlines, edges found on a film, pieces eaten out, gaps closed, and what is no flaw."""

from __future__ import annotations

import numpy as np
import pytest

from fracture.simulate import flaws
from fracture.simulate.joints import ERODED, NARROWED, Joint, Lesion, paint_joints

SHAPE, MIDDLE, HALF = (140, 150), (70.0, 66.0), 24.0


def disk() -> np.ndarray:
    """A bright disk of radius 24 on a dark ground."""
    return np.where(np.hypot(*flaws.places(SHAPE, *MIDDLE)) < HALF, 0.6, 0.25).astype(np.float32)


def test_outlines_have_the_area_that_is_asked_for() -> None:
    place = flaws.places(SHAPE, *MIDDLE)
    for seed in range(20):
        inside = float((flaws.blob(*place, 900.0, np.random.default_rng(seed)) > 0).sum())
        assert inside == pytest.approx(900, rel=0.12)


def test_edges_and_lines_are_found_on_the_film() -> None:
    plane = disk()
    for angle in np.linspace(0, 6, 9):
        assert flaws.ray_edge(plane, *MIDDLE, float(angle), HALF) == pytest.approx(HALF, abs=2.5)
    right, down = flaws.places(SHAPE, *MIDDLE)
    for angle in (0.3, 1.2, 2.5):
        line = np.exp(-((right * np.cos(angle) + down * np.sin(angle)) ** 2) / 8).astype(np.float32)
        x, y = flaws.line_normal(1 - line, right, down, 8.0)
        assert abs(x * np.cos(angle) + y * np.sin(angle)) > 0.99


def test_pieces_are_eaten_out_around_the_margin() -> None:
    plane, angles = disk(), []
    right, down = flaws.places(SHAPE, *MIDDLE)
    for seed in range(60):
        after, gone = flaws.eaten(plane, complex(*MIDDLE), HALF, 500.0, 1, np.random.default_rng(seed))
        darker = plane - after > 0.05
        assert darker.any()
        assert (gone[darker] > 0).mean() > 0.9
        assert (gone > 0.5).sum() == pytest.approx(500, rel=0.25)
        weight = np.where(darker, 1.0, 0.0)
        angles.append(np.arctan2((down * weight).sum(), (right * weight).sum()))
    assert {int(angle // (np.pi / 2)) for angle in angles} == {-2, -1, 0, 1}  # all around


def test_gaps_close_by_as_much_as_they_are_pulled() -> None:
    right, down = flaws.places(SHAPE, *MIDDLE)
    plane = np.where(np.abs(right) < 5, 0.2, 0.6).astype(np.float32)
    for pull in (0.0, 4.0, 8.0):
        widths = []
        for seed in range(8):
            pulls = np.full(SHAPE, pull, np.float32)
            after, line = flaws.closed(
                plane, right, down, (1.0, 0.0), 10.0, pulls, 0.0, HALF, np.random.default_rng(seed)
            )
            widths.append((after[60:72] < 0.4).sum(axis=1).mean())
            assert line[66, 60:80].max() > 0.9
            assert line[66, :30].max() < 0.01
        assert np.mean(widths) == pytest.approx(10 - pull, abs=0.8)
    veiled, _ = flaws.closed(
        plane, right, down, (1.0, 0.0), 10.0, np.full(SHAPE, 9.0, np.float32), 1.0, HALF, np.random.default_rng(0)
    )
    assert veiled[66, 40:100].min() > 0.35


@pytest.mark.parametrize("fused", [False, True])
def test_an_end_is_drawn_in_whole_and_fuses_where_asked(fused: bool) -> None:
    right, down = flaws.places(SHAPE, *MIDDLE)
    plane = np.where(np.abs(right) < 5, 0.2, 0.6).astype(np.float32)
    pull = np.full(SHAPE, 6.0, np.float32)
    after = flaws.drawn_in(plane, right, down, (1.0, 0.0), 10.0, pull, fused, HALF, np.random.default_rng(0))
    row = after[66]
    if fused:
        assert row[40:100].min() > 0.35
    else:
        assert (row[60:85] < 0.4).sum() == pytest.approx(4, abs=1)
        assert row[:60] == pytest.approx(plane[66, :60], abs=0.02)  # the nearer side stays where it was
    np.testing.assert_allclose(after[:10], plane[:10], atol=1e-6)  # far beside the thing


def test_bites_come_out_of_the_corners_beyond_the_gap() -> None:
    right, down = flaws.places(SHAPE, *MIDDLE)
    plane = np.where((np.abs(down) < HALF) & (np.abs(right) > 3), 0.6, 0.2).astype(np.float32)
    sides = set()
    for seed in range(30):
        after = flaws.bitten(plane, right, down, 6.0, HALF, 150.0, np.random.default_rng(seed))
        darker = plane - after > 0.05
        assert 20 < darker.sum() < 300
        assert (right[darker] > 0).mean() > 0.9
        assert right[darker].max() < 1.6 * HALF
        sides |= set(np.sign(down[darker & (np.abs(down) > HALF / 2)]).tolist())
    assert sides == {-1.0, 1.0}


def test_what_is_no_flaw_stays_faint_near_the_middle() -> None:
    plane = disk()
    for seed in range(20):
        after = flaws.distracted(plane, *MIDDLE, HALF, np.random.default_rng(seed))
        near = np.hypot(*flaws.places(SHAPE, *MIDDLE)) < HALF / 2
        assert np.abs(after - plane)[near].max() < 0.16


def test_wrists_are_painted_all_around_and_tell_where() -> None:
    plane = np.pad(disk(), 60, mode="edge")
    lunate = Joint("lunate", (MIDDLE[0] + 60, MIDDLE[1] + 60), (0.0, -1.0), HALF / 0.09)
    for grade in (0, 1, 3, 5):
        traces = np.zeros((2, *plane.shape), np.float32)
        after = paint_joints(plane, [lunate], {"lunate": Lesion(0, grade)}, 4, traces)
        share = float(traces[1].sum()) / (2 * HALF) ** 2
        low, high = ERODED[grade]
        assert 1.2 * low <= share <= 1.8 * high
        np.testing.assert_array_equal(after, paint_joints(plane, [lunate], {"lunate": Lesion(0, grade)}, 4))
    for grade, (low, high) in enumerate(NARROWED):
        traces = np.zeros((2, *plane.shape), np.float32)
        paint_joints(plane, [lunate], {"lunate": Lesion(grade)}, 5, traces)
        assert low - 0.1 <= traces[0].max() <= high + 0.01
