"""Real films, odd ones made of them, and simulated ones: the shipped networks give sensible answers about hips.

The shipped networks were trained on these pelves, so that nothing here measures them: the card does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import fracture
from fracture.hip import HipReader, load
from fracture.hip.prediction import Hip
from fracture.hip.records import hips_of, read_hips
from fracture.iou import iou
from fracture.simulate import pelvis

Box = tuple[float, float, float, float]
FILMS = 8


class Pelvis(NamedTuple):
    """A film with both hips of it, away from its edges."""

    pixels: NDArray[np.float32]
    boxes: dict[str, Box]


@pytest.fixture(scope="module")
def reader() -> HipReader:
    return load(device="cpu", precision="float32")


@pytest.fixture(scope="module")
def pelves(shared_data: Path) -> list[Pelvis]:
    """Upright films of two normal hips, wholly on the film but for the shafts."""
    annotated = read_hips(shared_data / "hip")
    chosen = []
    for film in annotated:
        boxes = {hip.side: hip.box for hip in hips_of(film)}
        normal = len(boxes) == 2 and all(hip.hip_class == "normal" for hip in hips_of(film))
        inside = all(b[0] > 15 and b[2] < film.width - 15 for b in boxes.values())
        if normal and inside and abs(float(str(film.extra["axis_tilt_degrees"]))) < 4:
            chosen.append(Pelvis(fracture.read(annotated.image_path(film)).pixels, boxes))
    assert len(chosen) >= FILMS
    return [chosen[k] for k in np.linspace(0, len(chosen) - 1, FILMS).astype(int)]


def found(reader: HipReader, pixels: NDArray[np.float32]) -> dict[str, Hip]:
    return {hip.side: hip for hip in reader.predict(np.ascontiguousarray(pixels))}


def overlap(hips: dict[str, Hip], truth: dict[str, Box]) -> list[float]:
    """IoU with the true box for each side; 0 where the side was not found."""
    return [
        iou(box, (h.box.x0, h.box.y0, h.box.x1, h.box.y1)) if (h := hips.get(side)) else 0.0
        for side, box in truth.items()
    ]


def moved(box: Box, matrix: NDArray[np.float64]) -> Box:
    """The upright box around a box's four corners after an affine map."""
    x0, y0, x1, y1 = box
    corners = np.array([(x0, y0, 1), (x1, y0, 1), (x1, y1, 1), (x0, y1, 1)]) @ matrix.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def warped(film: Pelvis, matrix: NDArray[np.float64], size: tuple[int, int]) -> Pelvis:
    pixels = cv2.warpAffine(film.pixels, matrix, size, flags=cv2.INTER_AREA)
    return Pelvis(np.asarray(pixels, np.float32), {side: moved(box, matrix) for side, box in film.boxes.items()})


def most(values: Sequence[bool]) -> bool:
    """All but one at most."""
    return sum(values) >= len(values) - 1


def test_upright(reader: HipReader, pelves: list[Pelvis]) -> None:
    for film in pelves:
        hips = found(reader, film.pixels)
        assert set(hips) == {"left", "right"}
        assert min(overlap(hips, film.boxes)) >= 0.5
        assert hips["right"].box.center[0] < hips["left"].box.center[0]


@pytest.mark.parametrize("degrees", [-20, 20])
def test_rotated_by_20_degrees(reader: HipReader, pelves: list[Pelvis], degrees: int) -> None:
    size = pelves[0].pixels.shape[::-1]
    matrix = np.asarray(cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, 0.85), np.float64)
    turned = [warped(film, matrix, (size[0], size[1])) for film in pelves]
    # The upright box around a turned box is larger than one around the turned bone.
    assert most([min(overlap(found(reader, film.pixels), film.boxes)) >= 0.4 for film in turned])


def test_one_hip(reader: HipReader, pelves: list[Pelvis]) -> None:
    """Each half of a film holds the hip of its side, and no other."""
    right_ones, left_ones = [], []
    for film in pelves:
        middle = round((film.boxes["right"][2] + film.boxes["left"][0]) / 2)
        here, there = found(reader, film.pixels[:, :middle]), found(reader, film.pixels[:, middle:])
        x0, y0, x1, y1 = film.boxes["left"]
        right_ones.append(set(here) == {"right"} and overlap(here, {"right": film.boxes["right"]})[0] >= 0.5)
        left_ones.append(
            set(there) == {"left"} and overlap(there, {"left": (x0 - middle, y0, x1 - middle, y1)})[0] >= 0.5
        )
    assert most(right_ones)
    assert most(left_ones)


def test_none(reader: HipReader, shared_data: Path) -> None:
    """Hands have no hips."""
    folder = shared_data / "fracatlas"
    images = json.loads((folder / "annotations.json").read_text())["images"]
    hands = [image["file_name"] for image in images if image["regions"] == ["hand"]]
    answers = [reader.predict(folder / "images" / hands[k]) for k in np.linspace(0, len(hands) - 1, 12).astype(int)]
    assert most([answer == () for answer in answers])


def test_cut_off_at_the_edge(reader: HipReader, pelves: list[Pelvis]) -> None:
    """A third of the right hip is beyond the film: what is left of it is found, and said to be cut off."""
    told = []
    for film in pelves:
        x0, y0, x1, y1 = film.boxes["right"]
        start = round(x0 + (x1 - x0) / 3)
        truth = {"right": (0.0, y0, x1 - start, y1)}
        answer = reader.read_film(np.ascontiguousarray(film.pixels[:, start:]))
        hips = {hip.side: hip for hip in answer.hips}
        cut = "right" in hips and "left" in hips["right"].edges
        warned = any("the right hip reaches the film's edge" in warning for warning in answer.warnings)
        told.append(overlap(hips, truth)[0] >= 0.4 and "left" in hips and cut and warned)
    assert sum(told) >= FILMS - 2


def test_child_sized(reader: HipReader, pelves: list[Pelvis]) -> None:
    """A pelvis of half the size on a film that is dark around it, as of an infant on an adult's cassette.

    The size alone is an infant's: there is no film of one to try.
    """
    size = pelves[0].pixels.shape[::-1]
    matrix = np.array([(0.5, 0.0, 0.25 * size[0]), (0.0, 0.5, 0.2 * size[1])])
    small = [warped(film, matrix, (size[0], size[1])) for film in pelves]
    assert most([min(overlap(found(reader, film.pixels), film.boxes)) >= 0.5 for film in small])


def test_frog_leg(reader: HipReader) -> None:
    """Simulated: the thighs are flexed, abducted and turned outward."""
    answers = []
    for seed in (3, 8, 15):
        film = pelvis(seed, left="normal", right="normal", view="frog_leg", size=(480, 480))
        hips = {hip.side: hip for hip in reader.predict(film.to_radiograph())}
        answers.append(min(overlap(hips, {hip.side: hip.box for hip in film.hips})) >= 0.5)
    assert most(answers)
