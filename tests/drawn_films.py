"""Drawn films with annotations, for tests of calibration and of the input check."""

from __future__ import annotations

from pathlib import Path

import cv2

from fracture.data.records import AnnotatedSet, Film
from tests.test_detector import film

__all__ = ["annotated_films"]


def annotated_films(root: Path, count: int, *, first: int = 0) -> AnnotatedSet:
    """Drawn films in groups of three, two regions; every third is called fractured and has a dark gap."""
    films = []
    for k in range(first, first + count):
        pixels = film(k, (128, 96))
        fractured = int(k % 3 == 0)
        if fractured:
            pixels[60:66, 30:66] = 20
        cv2.imwrite(str(root / f"{k:03d}.png"), pixels)
        films.append(
            Film(
                source=f"{k:03d}.png",
                width=96,
                height=128,
                fractured=fractured,
                regions=("fracatlas_hand",) if k % 2 else ("fracatlas_leg",),
                boxes=((30.0, 56.0, 66.0, 70.0),) if fractured else (),
                group=str(k // 3),
            )
        )
    return AnnotatedSet(tuple(films), "drawn", root)
