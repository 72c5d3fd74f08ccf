"""The crop removes padding and never anatomy."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from fracture.errors import PixelValueError
from fracture.preprocess import find_crop


def limb(
    height: int = 500, width: int = 400, *, dark: float = 0.05, noise: float = 0.01, seed: int = 0
) -> tuple[NDArray[np.float32], tuple[int, int, int, int]]:
    """A soft-tissue tube with a bone in it, and the rectangle it fills."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width), dark, np.float32)
    x0, y0, x1, y1 = width // 4, height // 5, 3 * width // 4, 4 * height // 5
    pixels[y0:y1, x0:x1] = dark + 0.15
    quarter = (x1 - x0) // 4
    pixels[y0:y1, x0 + quarter : x1 - quarter] = dark + 0.5
    pixels += rng.normal(0, noise, pixels.shape).astype(np.float32)
    return np.clip(pixels, 0, 1), (x0, y0, x1, y1)


def assert_tight(crop: tuple[int, int, int, int], truth: tuple[int, int, int, int], slack: int = 24) -> None:
    assert crop[0] <= truth[0]
    assert crop[1] <= truth[1]
    assert crop[2] >= truth[2]
    assert crop[3] >= truth[3]
    assert max(abs(a - b) for a, b in zip(crop, truth, strict=True)) <= slack


@settings(max_examples=25, deadline=None)
@given(st.integers(200, 1500), st.integers(200, 1500), st.floats(0, 0.2), st.floats(0, 0.03), st.integers(0, 9))
def test_keeps_the_limb_and_drops_the_dark(height: int, width: int, dark: float, noise: float, seed: int) -> None:
    pixels, truth = limb(height, width, dark=dark, noise=noise, seed=seed)
    assert_tight(find_crop(pixels), truth, slack=8 + round(0.065 * max(height, width)))


def test_a_bright_collimation_edge_does_not_stop_it() -> None:
    pixels, truth = limb()
    pixels[:10] = 0.95
    pixels[:, -8:] = 0.9
    assert_tight(find_crop(pixels), truth)


def test_a_letter_in_the_corner_does_not_stop_it() -> None:
    pixels, truth = limb()
    letter = cv2.putText(np.zeros(pixels.shape, np.uint8), "L", (340, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 4)
    pixels[letter > 0] = 1.0
    assert_tight(find_crop(pixels), truth)


def test_black_redaction_rectangles_do_not_move_it() -> None:
    pixels, truth = limb(dark=0.12)
    pixels[5:40, 5:160] = 0.0
    pixels[460:495, 200:390] = 0.0
    assert_tight(find_crop(pixels), truth)


def test_a_faint_separate_finger_is_kept() -> None:
    pixels, truth = limb()
    pixels[30:80, 180:200] = 0.17  # small, alone, but as dim as soft tissue: no letter
    crop = find_crop(pixels)
    assert crop[1] <= 30
    assert crop[0] <= truth[0]


def test_a_film_that_is_image_to_the_rim_is_not_cropped() -> None:
    rng = np.random.default_rng(0)
    pixels = (0.5 + 0.2 * cv2.GaussianBlur(rng.random((300, 260)).astype(np.float32), (0, 0), 5)).astype(np.float32)
    assert find_crop(pixels) == (0, 0, 260, 300)


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_all_padding_is_an_error(level: float) -> None:
    with pytest.raises(PixelValueError, match="all padding"):
        find_crop(np.full((200, 200), level, np.float32))


def test_no_annotated_fracture_is_cut_on_real_films(shared_data: Path) -> None:
    folder = shared_data / "fracatlas"
    document = json.loads((folder / "annotations.json").read_text())
    boxes: dict[int, list[list[float]]] = {}
    for annotation in document["annotations"]:
        boxes.setdefault(annotation["image_id"], []).append(annotation["bbox"])
    kept = []
    for image in document["images"]:
        if image["id"] not in boxes:
            continue
        pixels = cv2.imread(str(folder / "images" / image["file_name"]), cv2.IMREAD_GRAYSCALE)
        x0, y0, x1, y1 = find_crop(pixels.astype(np.float32) / 255)
        kept.append((x1 - x0) * (y1 - y0) / pixels.size)
        for x, y, w, h in boxes[image["id"]]:
            # Polygons were drawn by hand, a pixel over the film's edge now and then.
            assert x0 <= x + 1, image["file_name"]
            assert y0 <= y + 1, image["file_name"]
            assert x1 >= x + w - 1, image["file_name"]
            assert y1 >= y + h - 1, image["file_name"]
    assert np.mean(kept) < 0.95  # it does remove something
