"""Films with the points of their hands and forefeet, from a COCO keypoint file."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from fracture.data.keypoints import Marked, marked, read_keypoints
from fracture.data.records import AnnotatedSet, Film
from fracture.joints.layout import POINTS, Kind

Limb: TypeAlias = Marked[Kind]
"""One annotated hand or forefoot."""


def limbs_of(film: Film) -> tuple[Limb, ...]:
    """The hands and forefeet that are annotated on a film; () where it shows none."""
    return marked(film)


def read_landmarks(path: str | Path, images: str | Path | None = None) -> AnnotatedSet:
    """COCO keypoints of hands (26 points) and forefeet (6), as films that :func:`limbs_of` looks into.

    Args:
        path: The JSON file; categories ``hand`` and ``forefoot`` with the names of :mod:`fracture.joints.layout`.
        images: Folder of the films; see :func:`fracture.data.keypoints.read_keypoints`.

    Raises:
        DataError: As there.
    """
    regions: dict[Kind, str] = {"hand": "hand", "forefoot": "foot"}
    return read_keypoints(path, images, POINTS, regions)
