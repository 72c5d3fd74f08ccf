"""Casts painted over limbs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st

from fracture.data.appearance import AppearanceSpec, change_appearance
from fracture.simulate.casts import over_limb, some_in_casts, somewhere

ROW = np.array([[60.0, 100], [80, 98], [100, 98], [120, 102]])
BEYOND = ROW + np.array([0, 40])  # the limb hangs down
FILM = np.tile(np.where(np.arange(180) % 12 < 6, 0.35, 0.55).astype(np.float32), (240, 1))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_cast_covers_what_lies_above_the_row_and_leaves_the_fingers(seed: int) -> None:
    film = FILM.copy()
    one, other = (over_limb(film, ROW, BEYOND, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(film, FILM)
    assert one.dtype == np.float32
    assert one.shape == film.shape
    assert 0 <= one.min() <= one.max() <= 1
    np.testing.assert_array_equal(one[150:], film[150:])  # half a row's width beyond the joints at most
    np.testing.assert_array_equal(one[:, 165:], film[:, 165:])
    assert np.abs(one[45:65, 75:105] - film[45:65, 75:105]).mean() > 0.01
    assert one[45:65, 75:105].std() < 1.05 * film[45:65, 75:105].std() + 0.05


def test_without_known_joints_there_is_no_cast() -> None:
    unknown, rng = np.full_like(ROW, np.nan), np.random.default_rng(0)
    assert over_limb(FILM, unknown, BEYOND, rng) is FILM
    assert over_limb(FILM, ROW, unknown, rng) is FILM
    some = ROW.copy()
    some[1:3] = np.nan
    assert (over_limb(FILM, some, BEYOND, rng) != FILM).any()


def test_a_share_of_limbs_is_in_casts() -> None:
    rng = np.random.default_rng(1)
    film, covered = some_in_casts(FILM, [(ROW, BEYOND)], 0.0, rng)
    assert film is FILM
    assert covered == [False]
    drawn = [some_in_casts(FILM, [(ROW, BEYOND)], 0.3, rng) for _ in range(100)]
    assert all((film is not FILM) == covered[0] for film, covered in drawn)
    painted = sum(covered[0] for _, covered in drawn)
    assert 15 <= painted <= 45


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), shape=st.sampled_from([FILM.shape, (64, 300), (448, 448)]))
def test_a_cast_can_lie_anywhere(seed: int, shape: tuple[int, int]) -> None:
    film = np.resize(FILM, shape)
    covered = somewhere(film, np.random.default_rng(seed))
    assert covered.shape == shape
    assert covered.dtype == np.float32
    assert 0 <= covered.min() <= covered.max() <= 1
    np.testing.assert_array_equal(covered, somewhere(film, np.random.default_rng(seed)))


def test_looks_have_casts_where_they_are_asked_for() -> None:
    shares = [name for name in AppearanceSpec.__dataclass_fields__ if name != "noise"]
    none = AppearanceSpec(**dict.fromkeys(shares, 0.0))
    always = AppearanceSpec(**{name: float(name == "cast") for name in shares})
    changed = [
        float(np.mean(change_appearance(FILM, always, np.random.default_rng(seed)) != FILM)) for seed in range(20)
    ]
    assert 0.05 < np.mean(changed) < 0.9
    np.testing.assert_array_equal(change_appearance(FILM, none, np.random.default_rng(0)), FILM)
