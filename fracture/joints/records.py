"""Films with the points of their hands and forefeet, from a COCO keypoint file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fracture.data.keypoints import read_keypoints
from fracture.data.records import AnnotatedSet, Film
from fracture.joints.layout import POINTS, Kind, Point


@dataclass(frozen=True, slots=True)
class Limb:
    """One annotated hand or forefoot.

    Attributes:
        kind: Which.
        points: The labeled points by name, in source pixels.
    """

    kind: Kind
    points: Mapping[str, Point]


def limbs_of(film: Film) -> tuple[Limb, ...]:
    """The hands and forefeet that are annotated on a film; () where it shows none."""
    found: Any = film.extra.get("limbs", ())
    return tuple(found)


def read_landmarks(path: str | Path, images: str | Path | None = None) -> AnnotatedSet:
    """COCO keypoints of hands (26 points) and forefeet (6), as films that hold :class:`Limb` in ``extra["limbs"]``.

    Args:
        path: The JSON file; categories ``hand`` and ``forefoot`` with the names of :mod:`fracture.joints.layout`.
        images: Folder of the films; see :func:`fracture.data.keypoints.read_keypoints`.

    Raises:
        DataError: As there.
    """

    def limb(kind: str, points: Mapping[str, Point]) -> Limb:
        return Limb("hand" if kind == "hand" else "forefoot", points)

    return read_keypoints(
        path,
        images,
        {str(kind): names for kind, names in POINTS.items()},
        limb,
        {"hand": "hand", "forefoot": "foot"},
        "limbs",
    )
