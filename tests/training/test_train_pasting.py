"""Fractures pasted into windows of other films: pixels, box and outline move together, and all else stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fracture.training.config import MemberConfig
from fracture.training.dataset import Films
from fracture.training.pasting import paste_fracture
from fracture.training.windows import FilmWindow
from tests.training.test_train_region_head import PYRAMID

SIDE = 128


def window(seed: int, *boxes: tuple[float, float, float, float]) -> FilmWindow:
    """Grays that rise from left to right with some noise, and a white square in each box."""
    noise = np.random.default_rng(seed).normal(0, 0.004, (SIDE, SIDE))
    pixels = np.asarray(np.linspace(0.3, 0.7, SIDE) + noise, np.float32)
    for x0, y0, x1, y1 in boxes:
        pixels[int(y0) : int(y1), int(x0) : int(x1)] = 0.95
    drawn = np.array(boxes, np.float32).reshape(-1, 4)
    return FilmWindow(pixels, np.ones((SIDE, SIDE), np.bool_), np.eye(2, 3), drawn, np.zeros((0, 4), np.float32))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    x=st.integers(20, 70),
    y=st.integers(20, 70),
    w=st.integers(8, 24),
    h=st.integers(8, 24),
)
def test_the_box_is_where_the_pixels_are(seed: int, x: int, y: int, w: int, h: int) -> None:
    normal, donor = window(seed), window(seed + 1, (x, y, x + w, y + h))
    before = normal.pixels.copy()
    pasted = paste_fracture(normal, donor, 0, np.random.default_rng(seed))
    assert pasted is not None
    np.testing.assert_array_equal(normal.pixels, before)  # no input is overwritten
    (box,) = pasted.window.boxes
    np.testing.assert_array_equal(box, donor.boxes[0] + np.tile(pasted.shift, 2))
    x0, y0, x1, y1 = box.astype(int)
    assert pasted.window.pixels[y0:y1, x0:x1].min() > before[y0:y1, x0:x1].max()
    changed = np.argwhere(pasted.window.pixels != before)
    rim = max(8, max(w, h) / 2) + 1
    assert changed.min(axis=0)[0] >= y0 - rim
    assert changed.min(axis=0)[1] >= x0 - rim
    assert changed.max(axis=0)[0] < y1 + rim
    assert changed.max(axis=0)[1] < x1 + rim


def test_grays_become_those_of_the_place() -> None:
    normal, donor = window(0), window(1, (40, 40, 60, 60))
    dark = replace(normal, pixels=np.asarray(normal.pixels - 0.3, np.float32))
    pasted = paste_fracture(dark, donor, 0, np.random.default_rng(0))
    assert pasted is not None
    x0, y0, x1, y1 = pasted.window.boxes[0].astype(int)
    there, was = dark.pixels[y0:y1, x0:x1].mean(), normal.pixels[40:60, 40:60].mean()
    assert pasted.window.pixels[y0:y1, x0:x1].mean() - there == pytest.approx(0.95 - was, abs=0.05)
    around = np.s_[y0 - 8 : y0 - 4, x0:x1]
    assert pasted.window.pixels[around].mean() == pytest.approx(dark.pixels[around].mean(), abs=0.03)


def test_what_has_no_place_is_not_pasted() -> None:
    rng = np.random.default_rng(0)
    assert paste_fracture(window(0), window(1, (2, 40, 20, 60)), 0, rng) is None  # its rim is cut off
    normal = window(0)
    narrow = normal.mask.copy()
    narrow[:, 30:] = False
    assert paste_fracture(replace(normal, mask=narrow), window(1, (40, 40, 60, 60)), 0, rng) is None
    falling = replace(normal, pixels=np.ascontiguousarray(normal.pixels[:, ::-1]))
    assert paste_fracture(falling, window(1, (40, 40, 60, 60)), 0, rng) is None  # nothing looks like its surroundings


def test_windows_of_normal_films_get_a_fracture_of_their_region(
    films_of: Callable[..., Films], small: Callable[..., MemberConfig]
) -> None:
    config = small(**PYRAMID).replace({"windows": {"size": 96, "long_side": [96, 96], "pasted": 1.0, "looks": False}})
    films = films_of(config)
    without = films_of(config.replace({"windows": {"pasted": 0.0}}))
    normal = [index for index, film in enumerate(films.part) if not film.fractured]
    fractured = 0
    for index in normal:
        example, plain = (one.augmented(index, epoch=0, place=index) for one in (films, without))
        assert example.film.regions == films.part[index].regions
        if not example.film.fractured:
            np.testing.assert_array_equal(example.planes, plain.planes)
            continue
        fractured += 1
        ((x0, y0, x1, y1),) = example.boxes[0]
        where = np.argwhere(example.target > 0)
        assert len(where)
        (low, left), (high, right) = where.min(axis=0) * 8, (where.max(axis=0) + 1) * 8
        assert left <= x0 + 8
        assert right >= x1 - 8
        assert low <= y0 + 8
        assert high >= y1 - 8
        assert not np.array_equal(example.planes, plain.planes)
    assert fractured >= len(normal) // 4
