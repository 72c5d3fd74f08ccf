"""Local contrast normalization against a plain float64 implementation and by its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from fracture.errors import PixelValueError
from fracture.preprocess import local_contrast_normalization
from fracture.preprocess.lcn import gaussian_window


def reference(
    x: NDArray[np.float64], mask: NDArray[np.bool_], window: int = 9, sigma: float = 2.25
) -> NDArray[np.float64]:
    """The formula of the specification, with two-dimensional convolutions in float64."""
    line = np.exp(-0.5 * ((np.arange(window) - window // 2) / sigma) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    m = mask.astype(np.float64)

    def blur(f: NDArray[np.float64]) -> NDArray[np.float64]:
        weight = ndimage.convolve(m, kernel, mode="constant")
        return np.divide(
            ndimage.convolve(f * m, kernel, mode="constant"),
            weight,
            out=np.zeros_like(f),
            where=weight > 1e-12,
        )

    v = (x - blur(x)) * m
    deviation = np.sqrt(blur(v**2))
    c = deviation[mask].mean()
    y: NDArray[np.float64] = v / np.maximum(c, deviation) * m
    return y


def film(seed: int, shape: tuple[int, int] = (96, 80)) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(shape), 4)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return (0.8 * smooth + 0.2 * rng.random(shape)).astype(np.float32)


@pytest.mark.parametrize("masked", [False, True])
def test_agrees_with_the_formula(masked: bool) -> None:
    x = film(0)
    mask = np.ones(x.shape, bool)
    if masked:
        mask[70:] = False
        mask[:, 66:] = False
        mask[20:40, 10:30] = False
    y = local_contrast_normalization(x, mask, scaling=None)
    np.testing.assert_allclose(y, reference(x.astype(np.float64), mask), atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 20), st.floats(-0.5, 0.5))
def test_does_not_change_with_brightness_and_contrast(seed: int, gain: float, offset: float) -> None:
    x = film(seed, (40, 48))
    expected = local_contrast_normalization(x)
    np.testing.assert_allclose(
        local_contrast_normalization((gain * x + offset).astype(np.float32)), expected, atol=5e-4
    )


def test_dark_and_bright_details_are_treated_alike() -> None:
    """The copied numpy code takes max(v / c, v / sigma), which differs where v is negative."""
    x = film(3)
    np.testing.assert_allclose(local_contrast_normalization(1 - x), -local_contrast_normalization(x), atol=1e-5)


def test_values_outside_the_mask_change_nothing() -> None:
    x, mask = film(4), np.ones((96, 80), bool)
    mask[60:] = False
    other = x.copy()
    other[60:] = 7.0
    expected = local_contrast_normalization(x, mask)
    assert np.array_equal(local_contrast_normalization(other, mask), expected)
    assert not expected[60:].any()
    np.testing.assert_allclose(expected[:60], local_contrast_normalization(x[:60].copy()), atol=1e-5)


@pytest.mark.parametrize("scaling", ["maximum", "percentile"])
def test_range(scaling: str) -> None:
    y = local_contrast_normalization(film(5), scaling=scaling)
    assert float(np.abs(y).max()) == pytest.approx(1.0, abs=1e-6)
    if scaling == "percentile":
        assert 0.001 < (np.abs(y) >= 1).mean() < 0.01


def test_a_constant_film_becomes_zero() -> None:
    assert not local_contrast_normalization(np.full((32, 32), 0.7, np.float32)).any()


def test_an_empty_mask_gives_zero() -> None:
    assert not local_contrast_normalization(film(6), np.zeros((96, 80), bool)).any()


def test_the_window_sums_to_one() -> None:
    assert float(gaussian_window(9, 2.25).sum()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("bad", [np.zeros((3, 4, 4), np.float32), np.zeros((4, 4), np.uint8)])
def test_refuses_other_arrays(bad: NDArray[np.float32]) -> None:
    with pytest.raises(PixelValueError, match="float32"):
        local_contrast_normalization(bad)
