"""Augmentation: everything follows the film, and one seed makes one film."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from fracture.data.augment import Augmented, AugmentSpec, augment, augmented_sheet
from fracture.data.coco import read_coco
from fracture.data.targets import draw_target, fracture_rings
from fracture.errors import ConfigurationError, PixelValueError
from fracture.io.reading import read
from fracture.preprocess import PreprocessSpec, letterbox

STILL = AugmentSpec.none()
EVERYTHING = AugmentSpec(rotation=30, translation=0.1, zoom=1.4, geometry=1.0, intensity=1.0)
GEOMETRY = replace(EVERYTHING, intensity=0.0)


def smooth(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """A film whose interpolation error is small: low waves between 0.2 and 0.8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = sum(np.sin(x * rng.uniform(0.02, 0.08) + y * rng.uniform(0.02, 0.08) + rng.uniform(0, 6)) for _ in range(4))
    return (0.5 + 0.075 * waves).astype(np.float32)


def boxed(height: int, width: int, valid: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    mask = np.zeros((height, width), np.bool_)
    mask[: valid[1], : valid[0]] = True
    return smooth(height, width) * mask, mask


seeds = st.integers(0, 2**63)


@settings(deadline=None)
@given(seeds)
def test_zero_magnitude_is_the_identity(seed: int) -> None:
    pixels, mask = boxed(96, 64, (50, 90))
    made = augment(pixels, mask, STILL, seed=seed)
    assert np.array_equal(made.pixels, pixels)
    assert np.array_equal(made.mask, mask)
    assert np.array_equal(made.matrix, np.eye(2, 3))


@pytest.mark.parametrize("flips", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("valid", [(50, 90), (49, 89), (64, 96)])
def test_flips_are_exact_and_undo_themselves(flips: tuple[float, float], valid: tuple[int, int]) -> None:
    pixels, mask = boxed(96, 64, valid)
    spec = replace(STILL, horizontal_flip=flips[0], vertical_flip=flips[1])
    once = augment(pixels, mask, spec, seed=1)
    inner = pixels[: valid[1], : valid[0]]
    inner = inner[:, ::-1] if flips[0] else inner
    inner = inner[::-1] if flips[1] else inner
    assert np.array_equal(once.pixels[: valid[1], : valid[0]], inner)
    assert np.array_equal(once.mask, mask)  # the padding stays where inference has it
    twice = augment(once.pixels, once.mask, spec, seed=2)
    assert np.array_equal(twice.pixels, pixels)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, width=st.integers(40, 64), height=st.integers(60, 96), kernel=st.sampled_from(["cubic", "linear"]))
def test_valid_exactly_where_the_film_came_to_lie(seed: int, width: int, height: int, kernel: str) -> None:
    pixels, mask = boxed(96, 64, (width, height))
    made = augment(pixels, mask, replace(GEOMETRY, interpolation=kernel), seed=seed)  # type: ignore[arg-type]
    y, x = np.mgrid[:96, :64] + 0.5
    inverse = np.linalg.inv(np.vstack([made.matrix, [0, 0, 1]]))
    came_x, came_y = (inverse[i, 0] * x + inverse[i, 1] * y + inverse[i, 2] for i in (0, 1))
    # How far inside the film (in its pixels) the point is that a pixel's center came from.
    depth = np.minimum(np.minimum(came_x, width - came_x), np.minimum(came_y, height - came_y))
    assert made.mask[depth > 1 / 16].all()  # OpenCV rounds to 1/32 of a pixel
    assert not made.mask[depth < -1 / 16].any()
    assert not made.pixels[~made.mask].any()
    # No dark rim: valid pixels hold what was there, right up to the edge of the film.
    x_at, y_at = np.clip(came_x, 0.5, width - 0.5), np.clip(came_y, 0.5, height - 0.5)
    expected = sample(pixels, x_at, y_at)
    assert np.abs(made.pixels - expected)[made.mask].max() < 0.02


def sample(plane: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear values at points in edge coordinates, independently of OpenCV."""
    u, v = x - 0.5, y - 0.5
    i, j = (
        np.clip(np.floor(v).astype(int), 0, plane.shape[0] - 2),
        np.clip(np.floor(u).astype(int), 0, plane.shape[1] - 2),
    )
    a, b = v - i, u - j
    return (
        plane[i, j] * (1 - a) * (1 - b)
        + plane[i + 1, j] * a * (1 - b)
        + plane[i, j + 1] * (1 - a) * b
        + plane[i + 1, j + 1] * a * b
    )


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_a_painted_fracture_stays_under_its_target(seed: int) -> None:
    """The film is painted with its own target; after augmentation the two still agree."""
    mask = np.ones((128, 96), np.bool_)
    ring = np.array([[20.0, 30.0], [61.0, 34.0], [55.0, 80.0], [24.0, 71.0]])
    painted = draw_target([ring], (96, 128), stride=1)
    made = augment(painted, mask, replace(GEOMETRY, interpolation="linear"), seed=seed)
    target = draw_target([made.points(ring)], (96, 128), stride=1)
    # The rim is soft: half a pixel of the painting and one of the interpolation, zoomed, and half of the target.
    rim = np.ones((7, 7), np.uint8)
    assert (
        made.pixels[(cv2.erode(target, rim, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0) & made.mask] > 0.999
    ).all()
    assert (made.pixels[(cv2.dilate(target, rim) == 0) & made.mask] < 0.001).all()
    cells = draw_target([made.points(ring)], (96, 128), stride=8)
    softened = (made.pixels * made.mask).reshape(16, 8, 12, 8).mean(axis=(1, 3))
    wholly = made.mask.reshape(16, 8, 12, 8).all(axis=(1, 3))
    # The painting is up to half a pixel off along an edge, zoomed, and the target another half: one of a cell's 8.
    assert np.abs(cells - softened)[wholly].max() < 1 / 8
    assert np.abs(cells - softened)[wholly].mean() < 0.005
    assert made.plane(painted)[made.mask] == pytest.approx(made.pixels[made.mask], abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_redacted_rectangles_stay_invalid_and_bleed_nothing(seed: int) -> None:
    pixels, mask = boxed(96, 64, (60, 92))
    mask[20:40, 10:30] = False
    pixels[~mask] = 0.0
    made = augment(pixels, mask, GEOMETRY, seed=seed)
    middle = made.points([20.0, 30.0]).astype(int)
    if 0 <= middle[0] < 64 and 0 <= middle[1] < 96:
        assert not made.mask[middle[1], middle[0]]
    assert made.pixels[made.mask].min() > 0.15  # the film is 0.2 .. 0.8, the rectangle 0
    assert not made.pixels[~made.mask].any()


def test_boxes_are_exact_without_rotation_and_enclose_with_it() -> None:
    pixels, mask = boxed(96, 64, (64, 96))
    box = np.array([[10.0, 20.0, 30.0, 60.0]])
    spec = replace(STILL, zoom=1.3, translation=0.1, geometry=1.0, horizontal_flip=1.0)
    made = augment(pixels, mask, spec, seed=4)
    zoom, dx, dy = made.drawn["zoom"], made.drawn["shift_x"] * 64, made.drawn["shift_y"] * 96
    expected = [
        32 - zoom * (30 - 32) + dx,
        48 + zoom * (20 - 48) + dy,
        32 - zoom * (10 - 32) + dx,
        48 + zoom * (60 - 48) + dy,
    ]
    x0, x1 = sorted((expected[0], expected[2]))
    assert made.boxes(box)[0] == pytest.approx([x0, expected[1], x1, expected[3]])
    turned = augment(pixels, mask, replace(STILL, rotation=20.0, geometry=1.0), seed=4)
    corners = turned.points([[10, 20], [30, 20], [30, 60], [10, 60]])
    low, high = turned.boxes(box)[0, :2], turned.boxes(box)[0, 2:]
    assert (corners >= low - 1e-9).all()
    assert (corners <= high + 1e-9).all()


def test_same_seed_same_film_whatever_else_is_drawn() -> None:
    pixels, mask = boxed(96, 64, (60, 90))
    first = augment(pixels, mask, EVERYTHING, seed=11)
    np.random.seed(3)  # noqa: NPY002 - the point is that the global generator does not matter
    random.seed(4)
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr] # noqa: NPY002
    again = augment(pixels, mask, EVERYTHING, seed=11)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.mask, again.mask)
    assert np.array_equal(np.random.get_state()[1], before)  # type: ignore[index] # noqa: NPY002
    assert not np.array_equal(augment(pixels, mask, EVERYTHING, seed=12).pixels, first.pixels)


def test_one_magnitude_does_not_change_another_draw() -> None:
    pixels, mask = boxed(96, 64, (60, 90))
    all_of_it = augment(pixels, mask, EVERYTHING, seed=9).drawn
    no_contrast = augment(pixels, mask, replace(EVERYTHING, contrast=1.0, rotation=0.0), seed=9).drawn
    for name in ("zoom", "shift_x", "shift_y", "gamma", "horizontal_flip", "vertical_flip"):
        assert all_of_it[name] == no_contrast[name]


def test_draws_stay_within_their_magnitudes() -> None:
    pixels, mask = boxed(32, 32, (32, 32))
    drawn = [augment(pixels, mask, AugmentSpec(), seed=seed).drawn for seed in range(600)]
    bounds = {"rotation": (-15, 15), "zoom": (1 / 1.15, 1.15), "gamma": (0.8, 1.25), "contrast": (0.8, 1.25)}
    for name, (low, high) in {**bounds, "shift_x": (-0.05, 0.05), "shift_y": (-0.05, 0.05)}.items():
        values = np.array([d[name] for d in drawn])
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high
    assert np.mean([d["horizontal_flip"] for d in drawn]) == pytest.approx(0.5, abs=0.07)
    untouched = np.mean([d["rotation"] == 0.0 for d in drawn])
    assert untouched == pytest.approx(0.2, abs=0.06)


def test_gamma_and_contrast_do_what_they_say() -> None:
    pixels, mask = boxed(64, 64, (50, 50))
    made = augment(pixels, mask, replace(STILL, gamma=2.0, intensity=1.0), seed=1)
    assert made.pixels[mask] == pytest.approx(pixels[mask] ** made.drawn["gamma"], abs=1e-5)
    assert made.drawn["gamma"] != 1.0
    made = augment(pixels, mask, replace(STILL, contrast=1.5, intensity=1.0), seed=1)
    mean = pixels[mask].mean()
    expected = np.clip((pixels[mask] - mean) * made.drawn["contrast"] + mean, 0, 1)
    assert made.pixels[mask] == pytest.approx(expected, abs=1e-5)
    assert not made.pixels[~mask].any()


def test_film_without_valid_pixels_is_left_alone() -> None:
    made = augment(np.zeros((32, 32), np.float32), np.zeros((32, 32), np.bool_), EVERYTHING, seed=0)
    assert not made.mask.any()


def test_wrong_input_is_refused() -> None:
    with pytest.raises(PixelValueError, match="augment takes"):
        augment(np.zeros((8, 8)), np.ones((8, 8), np.bool_), STILL, seed=0)  # type: ignore[arg-type]
    for change in (
        {"zoom": 0.5},
        {"rotation": 181},
        {"translation": 0.6},
        {"geometry": 2},
        {"interpolation": "nearest"},
    ):
        with pytest.raises(ConfigurationError, match=next(iter(change))):
            AugmentSpec(**change)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="hue"):
        AugmentSpec.from_dict({"hue": 0.1})
    assert AugmentSpec.from_dict(EVERYTHING.to_dict()) == EVERYTHING


def test_real_films_keep_their_fractures_under_their_boxes(shared_data: Path, tmp_path: Path) -> None:
    """On real films: what lies inside the moved outline is what lay inside the outline (flips and moves)."""
    films = read_coco(shared_data / "fracatlas")
    spec = PreprocessSpec(size=480, shape="stride", enlarge=False)
    pairs = [(f, letterbox(read(films.image_path(f)), spec)) for f in [f for f in films if f.boxes][::95]]
    compared = 0
    for film, box in pairs:
        rings = fracture_rings(film, box.geometry)
        size = box.geometry.network_size
        inside = draw_target(rings, size, stride=1) > 0
        for seed in range(3):
            made: Augmented = augment(box.pixels, box.mask, replace(GEOMETRY, rotation=10.0, zoom=1.05), seed=seed)
            moved = (draw_target([made.points(r) for r in rings], size, stride=1) > 0) & made.mask
            if moved.sum() > 0.95 * inside.sum() * made.drawn["zoom"] ** 2:
                assert made.pixels[moved].mean() == pytest.approx(box.pixels[inside].mean(), abs=0.01)
                assert made.pixels[moved].std() == pytest.approx(box.pixels[inside].std(), abs=0.02)
                compared += 1
    assert compared >= 10
    sheet = tmp_path / "sheet.png"
    augmented_sheet(pairs[:2], sheet, copies=3, tile=120)
    shown = _open(sheet)
    assert shown.shape == (2 * 120, 4 * 120, 3)
    yellow = (shown[..., 0] > 200) & (shown[..., 1] > 180) & (shown[..., 2] < 90)
    assert yellow.reshape(2, 120, 4, 120).any(axis=(1, 3)).all()  # an outline on every tile
    with pytest.raises(ConfigurationError, match="needs films"):
        augmented_sheet([], sheet)


def _open(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)
