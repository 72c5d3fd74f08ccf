"""Augmentation: the fourteen images, and films whose boxes go where their pixels go."""

from __future__ import annotations

import numpy as np
import pytest

from fracture.data.masking import contrast_curve, cutout, gaussian_mask
from fracture.errors import ConfigurationError
from fracture.hip.augment import (
    VARIANTS,
    FilmAugmentation,
    HipAugmentation,
    augment_film,
    augment_hip,
    wiggle,
)
from fracture.hip.crops import CropSpec, crop_hip

FILM = np.random.default_rng(1).random((160, 200)).astype(np.float32)
BOX = (60.0, 40.0, 120.0, 120.0)
SPEC = CropSpec(size=64)


def test_fourteen_different_images_of_a_hip() -> None:
    magnitudes = HipAugmentation()
    made = [
        augment_hip(FILM, BOX, "left", SPEC, magnitudes, variant=variant, size=size, seed=7)
        for size in range(2)
        for variant in VARIANTS
    ]
    assert len(made) == 14
    flat = {crop.pixels.tobytes() for crop in made}
    assert len(flat) == 14
    for crop in made:
        assert crop.pixels.min() >= 0
        assert crop.pixels.max() <= 1


def test_plain_is_what_inference_sees() -> None:
    made = augment_hip(FILM, BOX, "left", SPEC, HipAugmentation(), variant="plain", size=0, seed=3)
    np.testing.assert_array_equal(made.pixels, crop_hip(FILM, BOX, "left", SPEC).pixels)


def test_jitter_moves_every_variants_box() -> None:
    moved = HipAugmentation(jitter=0.2)
    windows = {
        augment_hip(FILM, BOX, "left", SPEC, moved, variant=variant, size=0, seed=seed).place.window
        for variant in VARIANTS
        for seed in range(5)
    }
    assert len(windows) > 8
    assert moved.reach > HipAugmentation().reach
    with pytest.raises(ConfigurationError, match="jitter"):
        HipAugmentation(jitter=0.5)


def test_the_same_seed_gives_the_same_picture() -> None:
    magnitudes = HipAugmentation(rotation=10, zoom=1.1, shift=0.05)
    for variant in VARIANTS:
        pictures = [
            augment_hip(FILM, BOX, "right", SPEC, magnitudes, variant=variant, size=1, seed=seed).pixels
            for seed in (5, 5, 6)
        ]
        np.testing.assert_array_equal(pictures[0], pictures[1])
        assert not np.array_equal(pictures[0], pictures[2])


def test_cutout_may_cross_the_border_and_no_more_than_its_square_goes() -> None:
    ones = np.ones((64, 64), np.float32)
    areas = [int((cutout(ones, 0.25, np.random.default_rng(seed)) == 0).sum()) for seed in range(200)]
    assert max(areas) == 256
    assert min(areas) < 200
    assert min(areas) >= 64  # the square's middle is on the picture


def test_a_mixture_mask_moves_pixels_towards_the_mean() -> None:
    masked = gaussian_mask(FILM, 4, np.random.default_rng(0))
    mean = FILM.mean()
    assert (np.abs(masked - mean) <= np.abs(FILM - mean) + 1e-6).all()
    assert np.abs(masked - FILM).max() > 0.2


def test_wiggled_edges_stay_within_their_share() -> None:
    moved = np.array([wiggle(BOX, 0.1, np.random.default_rng(seed)) for seed in range(300)]) - BOX
    limit = np.array([6.0, 8.0, 6.0, 8.0])
    assert (np.abs(moved) <= limit).all()
    assert (np.abs(moved).max(axis=0) > 0.9 * limit).all()
    assert abs(np.corrcoef(moved[:, 0], moved[:, 2])[0, 1]) < 0.2


def test_unknown_settings() -> None:
    with pytest.raises(ConfigurationError, match="cut_out: unknown key"):
        HipAugmentation.from_dict({"cut_out": 0.2})
    with pytest.raises(ConfigurationError, match="wiggle"):
        HipAugmentation(wiggle=0.7)
    with pytest.raises(ConfigurationError, match="variant"):
        augment_hip(FILM, BOX, "left", SPEC, HipAugmentation(), variant="noise", size=0, seed=0)


def blobs() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A film with a bright ellipse for each hip, the right one brighter."""
    rows, columns = np.mgrid[0:160, 0:224] + 0.5
    boxes = np.array([[30.0, 50.0, 80.0, 130.0], [140.0, 50.0, 190.0, 130.0]])
    pixels = np.full((160, 224), 0.1, np.float32)
    for box, level in zip(boxes, (0.9, 0.5), strict=True):
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        inside = ((columns - x) / 25) ** 2 + ((rows - y) / 40) ** 2 <= 1
        pixels[inside] = level
    return pixels, np.ones(pixels.shape, bool), boxes, np.array([1, 0])


@pytest.mark.parametrize("seed", range(12))
def test_boxes_follow_their_hips(seed: int) -> None:
    pixels, mask, boxes, sides = blobs()
    still = FilmAugmentation(gamma=1.0, contrast=1.0)
    moved, seen, found, labels = augment_film(pixels, mask, boxes, sides, still, seed=seed)
    assert moved.shape == pixels.shape
    assert (moved[~seen] == 0).all()
    for box in found:
        x0, y0, x1, y1 = box
        part = moved[max(0, round(y0) - 1) : round(y1) + 1, max(0, round(x0) - 1) : round(x1) + 1]
        # The patient's right hip was the brighter one; a mirror image makes it a left one.
        level = float(np.median(part[part > 0.3]))
        assert np.isclose(level, 0.9, atol=0.08) or np.isclose(level, 0.5, atol=0.08)
        bright = np.argwhere(np.abs(moved - level) < 0.05)
        inside = (x0 - 2 <= bright[:, 1]) & (bright[:, 1] < x1 + 2) & (y0 - 2 <= bright[:, 0]) & (bright[:, 0] < y1 + 2)
        assert inside.mean() > 0.97
        extent = bright[inside]
        assert extent[:, 1].min() - x0 < 4
        assert x1 - extent[:, 1].max() < 5
    assert len(labels) == len(found)
    if len(found) == 2:
        right = found[list(labels).index(1)] if 1 in labels else None
        left = found[list(labels).index(0)] if 0 in labels else None
        assert right is not None
        assert left is not None
        assert right[0] < left[0]  # with the sides swapped, a mirror image is an AP film again


def test_nothing_changes_without_magnitudes() -> None:
    pixels, mask, boxes, sides = blobs()
    none = FilmAugmentation(crop=0, flip=0, rotation=0, stretch=1, zoom=1, gamma=1, contrast=1)
    moved, seen, found, labels = augment_film(pixels, mask, boxes, sides, none, seed=1)
    np.testing.assert_allclose(moved, pixels, atol=1e-6)
    assert seen.all()
    np.testing.assert_allclose(found, boxes)
    np.testing.assert_array_equal(labels, sides)


def test_a_film_without_hips() -> None:
    pixels, mask, *_ = blobs()
    _, _, found, labels = augment_film(
        pixels, mask, np.zeros((0, 4)), np.zeros(0, np.int64), FilmAugmentation(), seed=2
    )
    assert found.shape == (0, 4)
    assert labels.shape == (0,)


def test_the_three_contrast_changes_keep_the_picture() -> None:
    rows, columns = np.mgrid[0:128, 0:128].astype(np.float32) / 127
    hip = (0.2 + 0.4 * np.exp(-(((columns - 0.5) / 0.2) ** 2)) + 0.1 * rows).astype(np.float32)
    for kind in ("gamma", "contrast", "equalized"):
        for seed in range(10):
            toned = contrast_curve(hip, kind, 3.0 if kind == "equalized" else 1.5, np.random.default_rng(seed))
            assert np.corrcoef(toned.ravel(), hip.ravel())[0, 1] > 0.8
            assert toned.min() >= 0
            assert toned.max() <= 1
