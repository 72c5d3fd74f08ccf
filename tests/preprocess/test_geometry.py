"""Round trips between source and network pixels, for any size, aspect and crop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from fracture.io.radiograph import Radiograph
from fracture.preprocess import Geometry, PreprocessSpec, letterbox


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    width, height = draw(st.integers(1, 6000)), draw(st.integers(1, 6000))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    scaled = draw(st.integers(1, 1536)), draw(st.integers(1, 1536))
    padded = scaled[0] + draw(st.integers(0, 64)), scaled[1] + draw(st.integers(0, 64))
    return Geometry((width, height), (x0, y0, x1, y1), scaled, padded)


@given(geometries(), st.floats(0, 1), st.floats(0, 1))
def test_points_return_to_where_they_were(geometry: Geometry, u: float, v: float) -> None:
    point = np.array([u * geometry.source_size[0], v * geometry.source_size[1]])
    there = geometry.to_network(point)
    assert np.abs(geometry.to_source(there) - point).max() < 1e-6


@given(geometries())
def test_the_crop_becomes_the_scaled_rectangle(geometry: Geometry) -> None:
    box = geometry.boxes_to_network(geometry.crop)
    np.testing.assert_allclose(box, (0, 0, *geometry.scaled_size), atol=1e-6)
    np.testing.assert_allclose(geometry.boxes_to_source(box), geometry.crop, atol=1e-6)


@given(geometries(), st.integers(1, 32))
def test_grid_cells_and_points_agree(geometry: Geometry, stride: int) -> None:
    scale_x, scale_y, offset_x, offset_y = geometry.grid_to_source(stride)
    cells = np.array([[0.0, 0.0], [1.5, 2.25], [7.0, 3.0]])
    expected = geometry.to_source(cells * stride)
    np.testing.assert_allclose(cells * (scale_x, scale_y) + (offset_x, offset_y), expected, atol=1e-6)


@given(geometries())
def test_json_round_trip(geometry: Geometry) -> None:
    assert Geometry.from_dict(geometry.to_dict()) == geometry


@given(
    st.integers(20, 900),
    st.integers(20, 900),
    st.sampled_from(["square", "stride"]),
    st.booleans(),
    st.sampled_from([64, 256, 480]),
)
def test_letterbox_keeps_the_aspect_and_the_size_limits(
    width: int, height: int, shape: str, enlarge: bool, size: int
) -> None:
    spec = PreprocessSpec(size=size, shape=shape, enlarge=enlarge, crop=False)  # type: ignore[arg-type]
    boxed = letterbox(Radiograph(np.full((height, width), 0.5, np.float32)), spec)
    w, h = boxed.geometry.scaled_size
    assert max(w, h) == (size if enlarge else min(size, max(width, height)))
    # Rounding to whole pixels moves a side by at most half a pixel.
    assert abs(w / width - h / height) * max(width, height) <= 0.5 * (max(width, height) / min(width, height)) + 0.5
    assert boxed.pixels.shape == boxed.mask.shape == boxed.geometry.network_size[::-1]
    assert all(side % spec.stride == 0 for side in boxed.pixels.shape)
    if shape == "square":
        assert boxed.pixels.shape == (size, size)
    else:
        assert boxed.pixels.shape[0] - h < spec.stride
        assert boxed.pixels.shape[1] - w < spec.stride
    assert boxed.mask.sum() == w * h


def test_a_bright_dot_lands_where_the_geometry_says() -> None:
    pixels = np.full((400, 300), 0.3, np.float32)
    pixels[100:104, 200:204] = 1.0
    boxed = letterbox(Radiograph(pixels), PreprocessSpec(size=512, crop=False))
    rows, columns = np.nonzero(boxed.pixels > 0.65)
    center = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    np.testing.assert_allclose(boxed.geometry.to_source(center), (202, 102), atol=0.3)


def test_pixels_that_are_not_square_are_made_square() -> None:
    film = Radiograph(np.full((100, 200), 0.5, np.float32), spacing=(0.30, 0.15))
    boxed = letterbox(film, PreprocessSpec(size=256, crop=False))
    assert boxed.geometry.scaled_size == (256, 256)  # 30 mm x 30 mm


def test_millimeters_per_pixel_bounds_the_scale() -> None:
    film = Radiograph(np.full((400, 200), 0.5, np.float32), spacing=(0.1, 0.1))
    spec = PreprocessSpec(size=512, crop=False, millimeters_per_pixel=0.2)
    assert letterbox(film, spec).geometry.scaled_size == (100, 200)
    fine = PreprocessSpec(size=512, crop=False, millimeters_per_pixel=0.01)
    assert max(letterbox(film, fine).geometry.scaled_size) == 512
    unknown = Radiograph(np.full((400, 200), 0.5, np.float32))
    assert max(letterbox(unknown, spec).geometry.scaled_size) == pytest.approx(512)
