"""The windows of the first epochs: on the grid, around fractures, or away from all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fracture.errors import ConfigurationError
from fracture.models.spec import MAP_STRIDE
from fracture.training.config import CropsConfig, MemberConfig
from fracture.training.crops import choose_window
from fracture.training.dataset import Films


@pytest.fixture
def small(small: Callable[..., MemberConfig]) -> Callable[..., MemberConfig]:
    """At the films' own size."""
    return partial(small, preprocess={"size": 96})


def ring(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(3, 16).map(lambda n: 32 * n),
    width=st.integers(3, 16).map(lambda n: 32 * n),
    size=st.sampled_from((64, 96, 224)),
    place=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)),
    extent=st.floats(4, 80),
    elsewhere=st.sampled_from((0.0, 0.5, 1.0)),
)
def test_windows_lie_on_the_film_and_keep_their_word(
    seed: int, height: int, width: int, size: int, place: tuple[float, float], extent: float, elsewhere: float
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((height, width), np.float32)
    mask = np.ones((height, width), bool)
    x0, y0 = place[0] * width, place[1] * height
    outline = ring(x0, y0, min(width, x0 + extent), min(height, y0 + extent))
    window = choose_window([outline], pixels, mask, CropsConfig(size=size, elsewhere=elsewhere), rng)
    assert (window.width, window.height) == (min(size, width), min(size, height))
    assert window.x % MAP_STRIDE == window.y % MAP_STRIDE == 0
    assert 0 <= window.x <= width - window.width
    assert 0 <= window.y <= height - window.height
    (a, b), (c, d) = outline.min(axis=0), outline.max(axis=0)
    meets = a < window.x + window.width and c > window.x and b < window.y + window.height and d > window.y
    if not window.shows_fracture:
        assert not meets
        assert elsewhere > 0
    if elsewhere == 0:
        assert window.shows_fracture


def test_a_window_around_a_fracture_holds_part_of_it_wherever_it_lies() -> None:
    pixels, mask = np.zeros((480, 384), np.float32), np.ones((480, 384), bool)
    outline = ring(200, 240, 230, 270)
    places = []
    for seed in range(300):
        window = choose_window(
            [outline], pixels, mask, CropsConfig(size=224, elsewhere=0.0), np.random.default_rng(seed)
        )
        low, high = (window.x, window.y), (window.x + 224, window.y + 224)
        inside = np.ptp(np.clip(outline, low, high), axis=0)
        assert (inside > 0).all()
        places.append((215 - window.x, 255 - window.y))
    spread = np.array(places)
    # Its place in the window says nothing: it is found in all four quarters.
    assert {tuple(quarter) for quarter in (spread > 112).tolist()} == {(a, b) for a in (0, 1) for b in (0, 1)}


def test_a_fracture_that_was_turned_out_of_the_film_is_no_fracture() -> None:
    pixels, mask = np.zeros((256, 256), np.float32), np.ones((256, 256), bool)
    gone = ring(-90, 100, -10, 160)
    mostly = ring(-60, 100, 20, 160)
    for seed in range(20):
        for outline in (gone, mostly):
            window = choose_window([outline], pixels, mask, CropsConfig(size=96), np.random.default_rng(seed))
            assert not window.shows_fracture


def test_normal_films_give_windows_around_what_is_bright() -> None:
    pixels, mask = np.zeros((480, 480), np.float32), np.ones((480, 480), bool)
    pixels[:, 300:440] = 1.0  # 31 % of what is valid
    mask[:, 450:] = False
    for seed in range(30):
        window = choose_window([], pixels, mask, CropsConfig(size=96), np.random.default_rng(seed))
        assert not window.shows_fracture
        assert window.x <= 440
        assert window.x + window.width > 300


def test_a_film_without_a_valid_pixel_gives_a_window_all_the_same() -> None:
    window = choose_window(
        [], np.zeros((96, 96), np.float32), np.zeros((96, 96), bool), CropsConfig(size=64), np.random.default_rng(0)
    )
    assert window.width == window.height == 64


def test_crops_come_first_and_are_cut_from_what_the_film_would_have_been(
    small: Callable[..., MemberConfig], films_of: Callable[..., Films]
) -> None:
    whole = films_of(small())
    cut = films_of(small(crops={"epochs": 2, "size": 64, "elsewhere": 0.0}))
    for index in range(len(whole)):
        before, after = (films.augmented(index, epoch=1, place=index) for films in (whole, cut))
        height, width = after.mask.shape
        assert (height, width) == (64, 64)
        assert after.target.shape == (8, 8)
        # The crop is somewhere in the whole film, value for value.
        found = [
            (y, x)
            for y in range(0, before.mask.shape[0] - 63, 8)
            for x in range(0, before.mask.shape[1] - 63, 8)
            if np.array_equal(before.planes[:, y : y + 64, x : x + 64], after.planes)
            and np.array_equal(before.target[y // 8 : y // 8 + 8, x // 8 : x // 8 + 8], after.target)
        ]
        assert found
        later = cut.augmented(index, epoch=2, place=index)
        np.testing.assert_array_equal(later.planes, whole.augmented(index, epoch=2, place=index).planes)


def test_a_crop_elsewhere_is_a_normal_film(small: Callable[..., MemberConfig], films_of: Callable[..., Films]) -> None:
    films = films_of(small(crops={"epochs": 1, "size": 64, "elsewhere": 1.0}, augmentation={"enabled": False}))
    labels = []
    for index in range(len(films)):
        example = films.augmented(index, epoch=0, place=index)
        labels.append((films.part[index].fractured, example.film.fractured))
        assert bool(example.target.any()) == bool(example.film.fractured)
    # These films are hardly longer than the window, so that not all have such a place.
    assert (1, 0) in labels
    assert (0, 1) not in labels


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigurationError, match=r"crops\.size"):
        MemberConfig.from_dict({"crops": {"size": 100}})
