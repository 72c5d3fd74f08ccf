"""Small annotated sets made on the fly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fracture.data.records import AnnotatedSet, Film


@pytest.fixture
def film_pixels() -> Callable[[int], NDArray[np.uint8]]:
    """Films that differ from one another at every scale, as uint8 (height, width)."""

    def make(seed: int, height: int = 200, width: int = 160) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        plane = np.zeros((height, width), np.float32)
        for sigma in (2, 6, 18):
            noise = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), sigma)
            plane += noise / noise.std()
        plane = (plane - plane.min()) / (plane.max() - plane.min())
        return (20 + plane * 200).astype(np.uint8)

    return make


@pytest.fixture
def small_set(tmp_path: Path, film_pixels: Callable[[int], NDArray[np.uint8]]) -> AnnotatedSet:
    """Twelve clean films of two regions in six groups, half of them fractured, on disk as PNG."""
    (tmp_path / "images").mkdir()
    films = []
    for i in range(12):
        source = f"images/{i:02d}.png"
        cv2.imwrite(str(tmp_path / source), film_pixels(i))
        fractured = int(i % 4 < 2)
        films.append(
            Film(
                source=source,
                width=160,
                height=200,
                fractured=fractured,
                regions=("wrist" if i % 4 in (0, 2) else "ankle",),
                views=("frontal",),
                boxes=((20.0, 30.0, 60.0, 80.0),) if fractured else (),
                group=str(i // 4 * 2 + i % 2),
            )
        )
    return AnnotatedSet(tuple(films), "small", tmp_path)
