"""Geometry and crops: exact coordinates, film edges, mirrored left hips, native resolution."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fracture.errors import ConfigurationError, PixelValueError
from fracture.hip.crops import CropGeometry, CropSpec, crop_box, crop_hip, touched_edges, window_of
from fracture.iou import clip_box, grow, iou
from fracture.preprocess.rgb import rgb_input

rng = np.random.default_rng(5)
FILM = rng.random((200, 300)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(-50, 250), st.integers(-50, 250), st.integers(3, 300), st.integers(3, 300)),
    st.sampled_from((64, 224, 512)),
    st.booleans(),
)
def test_points_come_back(window: tuple[int, int, int, int], size: int, flipped: bool) -> None:
    x, y, wide, high = window
    geometry = CropGeometry((x, y, x + wide, y + high), size, flipped)
    points = rng.uniform(-100, 400, (7, 2))
    np.testing.assert_allclose(geometry.to_source(geometry.to_crop(points)), points, atol=1e-9)
    corner = geometry.to_crop([x, y])
    np.testing.assert_allclose(corner, [size if flipped else 0, 0], atol=1e-9)


def test_a_crop_of_whole_pixels_is_the_film_itself() -> None:
    spec = CropSpec(size=64, margin=1.0, fit="stretch")
    right = crop_hip(FILM, (20, 30, 84, 94), "right", spec)
    np.testing.assert_array_equal(right.pixels, FILM[30:94, 20:84])
    assert right.mask.all()
    left = crop_hip(FILM, (20, 30, 84, 94), "left", spec)
    np.testing.assert_array_equal(left.pixels, FILM[30:94, 20:84][:, ::-1])
    assert left.place.flipped
    assert not right.place.flipped


def test_a_mirrored_film_gives_the_same_crop_for_the_other_side() -> None:
    spec = CropSpec(size=96, fit="square")
    box = (50.0, 40.0, 120.0, 160.0)
    turned = np.ascontiguousarray(FILM[:, ::-1])
    other = (300 - box[2], box[1], 300 - box[0], box[3])
    a, b = crop_hip(FILM, box, "left", spec), crop_hip(turned, other, "right", spec)
    np.testing.assert_allclose(a.pixels, b.pixels, atol=1e-6)


def test_native_crops_are_not_resampled() -> None:
    spec = CropSpec(size=128, margin=1.1, fit="native")
    crop = crop_hip(FILM, (100, 60, 160, 140), "right", spec)
    x0, y0, x1, y1 = crop.place.window
    assert (x1 - x0, y1 - y0) == (128, 128)
    np.testing.assert_array_equal(crop.pixels, FILM[y0:y1, x0:x1])


def test_square_crops_keep_the_aspect_and_stretched_ones_do_not() -> None:
    tall = (100.0, 20.0, 140.0, 180.0)
    square = window_of(tall, CropSpec(size=64, margin=1.0, fit="square"))
    assert square[2] - square[0] == square[3] - square[1] == 160
    stretched = window_of(tall, CropSpec(size=64, margin=1.0, fit="stretch"))
    assert stretched == (100, 20, 140, 180)


@pytest.mark.parametrize("fit", ["stretch", "square", "native", "top"])
@pytest.mark.parametrize("axis", [0, 1])
def test_pixels_that_are_not_square_show_the_same_part_of_the_patient(fit: Any, axis: int) -> None:
    """Every second row or column of the film is left out, and its aspect says so: as fault 30, at the hips."""
    spec = CropSpec(size=64, margin=1.0, fit=fit)
    box = (80.0, 40.0, 144.0, 136.0)
    whole = window_of(box, spec)
    per = np.array([2, 1] * 2 if axis else [1, 2] * 2)
    thinned = tuple(np.array(box) / per)
    window = window_of(thinned, spec, 0.5 if axis else 2.0)
    np.testing.assert_allclose(np.array(window) * per, whole, atol=2)
    whole_film = cv2.GaussianBlur(FILM, (0, 0), 4)
    film = whole_film[:, ::2] if axis else whole_film[::2]
    one = crop_hip(whole_film, box, "left", spec)
    other = crop_hip(np.ascontiguousarray(film), thinned, "left", spec, 0.5 if axis else 2.0)
    assert np.corrcoef(one.pixels.ravel(), other.pixels.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("fit", ["stretch", "square", "top"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("inside", [True, False])
def test_each_axis_of_pixels_that_are_not_square_has_its_own_interpolation(fit: Any, axis: int, inside: bool) -> None:
    """A film that is fine along one axis alone: fine lines are averaged away, as on a film of square pixels; the
    bicubic interpolation that the coarse axis needs would leave them."""
    coarse = 0.2 + 0.6 * cv2.GaussianBlur(FILM[:120, :120], (0, 0), 4)
    lines = np.where(np.arange(960) % 2, 0.15, -0.15).astype(np.float32)
    fine = np.repeat(coarse, 8, axis=axis) + (lines[None, :] if axis else lines[:, None])
    box = np.array((10.0, 12.0, 74.0, 90.0)) + (0 if inside else 55)
    per = np.array([8, 1] * 2 if axis else [1, 8] * 2)
    spec = CropSpec(size=96, margin=1.0, fit=fit)
    crop = crop_hip(fine, tuple(box * per), "left", spec, 8.0 if axis else 0.125)
    plain = crop_hip(coarse, tuple(box), "left", spec)
    both = crop.mask & plain.mask
    assert both.mean() > (0.99 if inside else 0.3)
    assert np.abs(crop.pixels - plain.pixels)[both].max() < 0.06


def test_square_pixels_are_read_as_the_networks_that_ship_were_trained() -> None:
    """To the last bit: one interpolation for both axes, by area where both shrink."""
    for box, method in (((10, 10, 50, 150), cv2.INTER_CUBIC), ((10, 10, 150, 180), cv2.INTER_AREA)):
        crop = crop_hip(FILM, box, "right", CropSpec(size=96, margin=1.0))
        x0, y0, x1, y1 = crop.place.window
        expected = np.clip(cv2.resize(FILM[y0:y1, x0:x1], (96, 96), interpolation=method), 0, 1)
        np.testing.assert_array_equal(crop.pixels, expected)


def test_a_stretched_film_gives_the_same_stretched_crop() -> None:
    wide = np.repeat(FILM, 2, axis=1)
    spec = CropSpec(size=32, margin=1.0, fit="stretch")
    a = crop_hip(FILM, (50, 50, 178, 178), "right", spec)
    b = crop_hip(wide, (100, 50, 356, 178), "right", spec)
    np.testing.assert_allclose(a.pixels, b.pixels, atol=1e-5)


def test_where_a_box_ends_on_the_shaft_does_not_matter_to_top() -> None:
    spec = CropSpec(size=64, margin=1.0, fit="top", ratio=1.5)
    assert window_of((20.0, 30.0, 60.0, 70.0), spec) == window_of((20.0, 30.0, 60.0, 110.0), spec) == (20, 30, 60, 90)
    assert crop_box((20.0, 30.0, 60.0, 70.0), CropSpec()) == (20.0, 30.0, 60.0, 70.0)
    with pytest.raises(ConfigurationError, match="ratio"):
        CropSpec(ratio=0.1)


@pytest.mark.parametrize("fit", ["stretch", "square", "native", "top"])
def test_beyond_the_film_pixels_are_invalid_and_no_rim_is_dark(fit: str) -> None:
    bright = np.full((200, 300), 0.8, np.float32)
    crop = crop_hip(bright, (-30.0, 120.0, 70.0, 230.0), "right", CropSpec(size=96, fit=fit))  # type: ignore[arg-type]
    assert 0.2 < crop.mask.mean() < 0.95
    assert (crop.pixels[~crop.mask] == 0).all()
    np.testing.assert_allclose(crop.pixels[crop.mask], 0.8, atol=1e-3)
    inside = crop.place.to_source(np.argwhere(crop.mask)[:, ::-1] + 0.5)
    assert (inside[:, 0] > -1).all()
    assert (inside[:, 1] < 201).all()


def test_the_input_is_zero_outside_and_normalized_inside() -> None:
    crop = crop_hip(FILM, (-40, 10, 60, 110), "right", CropSpec(size=64))
    planes = rgb_input(crop.pixels, crop.mask)
    assert planes.shape == (3, 64, 64)
    assert planes.dtype == np.float32
    assert (planes[:, ~crop.mask] == 0).all()
    expected = (crop.pixels[crop.mask] - 0.485) / 0.229
    np.testing.assert_allclose(planes[0][crop.mask], expected, atol=1e-5)


def test_what_cannot_be_cropped() -> None:
    with pytest.raises(PixelValueError, match="outside its film"):
        crop_hip(FILM, (400, 10, 500, 60), "right", CropSpec(size=64))
    with pytest.raises(ConfigurationError, match="side"):
        crop_hip(FILM, (10, 10, 50, 60), "middle", CropSpec(size=64))
    with pytest.raises(ConfigurationError, match="size"):
        CropSpec(size=100)
    with pytest.raises(ConfigurationError, match="sizes: unknown key"):
        CropSpec.from_dict({"sizes": 224})
    assert CropSpec.from_dict(CropSpec(size=448, fit="native").to_dict()) == CropSpec(size=448, fit="native")


def test_boxes() -> None:
    assert grow((10, 10, 30, 50), 2.0) == (0, -10, 40, 70)
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert clip_box((-5, 2, 5, 400), (300, 200)) == (0, 2, 5, 200)
    assert clip_box((-5, 2, -1, 4), (300, 200)) is None
    assert touched_edges((0, 50, 80, 199.8), (300, 200)) == ("left", "bottom")
    assert touched_edges((10, 50, 80, 150), (300, 200)) == ()


def test_a_crop_of_its_own_tone_forgets_the_films() -> None:
    spec = CropSpec(size=64, tone="crop")
    dark = (0.1 + 0.2 * FILM).astype(np.float32)
    a, b = (crop_hip(film, (-20, 30, 90, 150), "right", spec) for film in (FILM, dark))
    np.testing.assert_allclose(a.pixels, b.pixels, atol=1e-4)
    assert a.pixels[a.mask].max() == 1.0
    assert (a.pixels[~a.mask] == 0).all()
    flat = crop_hip(np.full((200, 300), 0.4, np.float32), (20, 30, 90, 150), "right", spec)
    np.testing.assert_allclose(flat.pixels, 0.4, atol=1e-6)
