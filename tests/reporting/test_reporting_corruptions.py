"""Corruptions are what they say, leave their input alone, and draw the same for the same film."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from studies.corruptions import CORRUPTIONS, NOISE, Corruption, gray_levels, remaining_center

import fracture
from fracture.errors import PixelValueError

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}


@pytest.fixture
def film() -> NDArray[np.uint8]:
    """A smooth film with texture: 120 rows, 90 columns, dark corners."""
    y, x = np.mgrid[0:120, 0:90]
    smooth = 120 + 60 * np.sin(x / 9.0) * np.cos(y / 13.0) - 0.01 * ((x - 45) ** 2 + (y - 60) ** 2)
    return np.clip(smooth + np.random.default_rng(0).normal(0, 6, smooth.shape), 1, 254).astype(np.uint8)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
def test_pure_and_deterministic(corruption: Corruption, film: NDArray[np.uint8]) -> None:
    kept = film.copy()
    film.flags.writeable = False
    first, second = corruption(film, "a.png", seed=3), corruption(film, "a.png", seed=3)
    assert np.array_equal(film, kept)
    assert np.array_equal(first, second)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert first.shape != film.shape or not np.array_equal(first, film)
    assert fracture.read(first).pixels.shape == first.shape


def test_draws_belong_to_the_film_and_the_seed(film: NDArray[np.uint8]) -> None:
    noise = BY_NAME["noise"]
    drawn = [noise(film, name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("a", 1))]
    assert not any(np.array_equal(drawn[0], other) for other in drawn[1:])
    marks = {BY_NAME["letter"](film, f"{k}").tobytes() for k in range(40)}
    assert len(marks) == 8  # two letters in four corners


def test_gray_levels_are_exact(film: NDArray[np.uint8]) -> None:
    assert np.array_equal(gray_levels(fracture.read(film).pixels), film)
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(gray_levels(fracture.read(every).pixels), every)


def test_what_each_does(film: NDArray[np.uint8]) -> None:
    assert np.array_equal(BY_NAME["inverted"](film, ""), 255 - film)
    assert np.array_equal(
        BY_NAME["turned_90"](film, "")[0, :], film[::-1, 0]
    )  # clockwise: the left edge becomes the top
    assert BY_NAME["half_size"](film, "").shape == (60, 45)
    assert abs(float(BY_NAME["half_size"](film, "").mean()) - float(film.mean())) < 1
    assert np.array_equal(BY_NAME["cropped"](film, ""), film[12:-12, 9:-9])
    bright, dark = (BY_NAME[name](film, "").astype(int) for name in ("gamma_0.5", "gamma_2"))
    assert (bright >= film).all()
    assert (dark <= film).all()
    assert np.abs(bright**2 / 255.0 - film).max() < 2.1  # squaring undoes the root, up to rounding
    jpeg = BY_NAME["jpeg_30"](film, "").astype(int) - film
    assert 1.0 < np.sqrt(np.mean(jpeg.astype(float) ** 2)) < 12.0
    spread = (BY_NAME["noise"](np.full_like(film, 128), "").astype(float) - 128).std()
    assert spread == pytest.approx(255 * NOISE, rel=0.05)


def test_the_letter_is_small_white_and_leaves_the_rest(film: NDArray[np.uint8]) -> None:
    for size in ((120, 90), (16, 12), (400, 30)):
        plain = np.full(size, 60, np.uint8)
        marked = BY_NAME["letter"](plain, "x")
        changed = marked != plain
        assert marked.max() == 255
        assert 0 < changed.mean() < (0.05 if min(size) > 50 else 0.6)


def test_smallest_films() -> None:
    for corruption in CORRUPTIONS:
        assert corruption(np.full((2, 3), 9, np.uint8), "tiny").size >= 1


def test_what_is_no_plane_of_bytes_is_refused(film: NDArray[np.uint8]) -> None:
    for wrong in (film.astype(np.float32), film[None], film[:0]):
        with pytest.raises(PixelValueError, match="stored gray levels"):
            BY_NAME["noise"](wrong, "x")


def test_fractures_that_the_crop_takes() -> None:
    assert remaining_center((40, 50, 50, 60), 90, 120)
    assert not remaining_center((0, 50, 12, 60), 90, 120)
    assert remaining_center((8, 11, 12, 15), 90, 120)
    assert not remaining_center((80, 112, 90, 120), 90, 120)
