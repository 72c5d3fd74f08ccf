"""How pictures and stacks of slices vary in training; all magnitudes are ours."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fracture.data.records import AnnotatedSet, Film
from fracture.data.seeds import derive_seed, generator
from fracture.spine.centers import SIDE
from fracture.training.config import Section
from fracture.training.stage import PlainPictures

Maps = NDArray[np.float32]


class PictureVariation(Section):
    """How pictures vary; all ours."""

    turn: float = Field(default=15.0, ge=0, le=90, description="degrees to either side")
    scale: float = Field(default=0.25, ge=0, lt=0.9, description="larger or smaller by up to this share")
    shift: float = Field(default=0.08, ge=0, lt=0.5, description="share of the side")
    mirror: float = Field(default=0.25, ge=0, le=1, description="share of pictures with the front to the right")
    gamma: float = Field(default=0.35, ge=0, lt=1, description="exponent between 1/(1 + g) and 1 + g")
    noise: float = Field(default=0.04, ge=0, le=1, description="standard deviation at most")


class StackVariation(Section):
    """How stacks vary; all ours."""

    shift: float = Field(default=3.0, ge=0, le=16, description="pixels of 0.75 mm, for all slices of a level alike")
    mirror: float = Field(default=0.5, ge=0, le=1, description="share of studies seen in a mirror, sides exchanged")
    gamma: float = Field(default=0.4, ge=0, lt=2, description="exponent between 1/(1 + g) and 1 + g, by series")
    noise: float = Field(default=0.04, ge=0, le=1, description="standard deviation at most")
    missing: float = Field(default=0.15, ge=0, lt=1, description="share of series that are left out, never all")


class SeededPictures(PlainPictures):
    """Every film once an epoch, each with the seed of its variation; what :meth:`read` gives of it stays in memory."""

    def __init__(self, part: AnnotatedSet, config: Any) -> None:
        super().__init__(part, config.seed)
        self.config, self._kept = config, dict[str, Any]()

    def order(self, epoch: int, turn: int = 0) -> Any:
        """Pairs of a film and a seed."""
        films = super().order(epoch, turn)
        stream = f"augment {turn}"
        return [(film, derive_seed(self.seed, epoch, k, stream=stream)) for k, film in enumerate(films)]

    def source(self, picture: Any) -> str:
        """The film's name."""
        return str(picture[0].source)

    def plain(self, film: Film) -> Any:
        """What :meth:`read` gives, read once."""
        if film.source not in self._kept:
            self._kept[film.source] = self.read(film)
        return self._kept[film.source]

    def read(self, film: Film) -> Any:
        """A film before it is varied, one byte for each pixel."""
        raise NotImplementedError


def varied(
    plane: NDArray[np.uint8], how: PictureVariation, draw: np.random.Generator
) -> tuple[Maps, NDArray[np.float64]]:
    """The picture (1, SIDE, SIDE) in [0, 1] after turn, scale, shift, mirror and tone; and its affine (2, 3)."""
    turn, scale = draw.uniform(-how.turn, how.turn), 1 + draw.uniform(-how.scale, how.scale)
    matrix = np.asarray(cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn, scale), np.float64)
    matrix[:, 2] += draw.uniform(-how.shift, how.shift, 2) * SIDE
    if draw.random() < how.mirror:
        matrix[0] = (0, 0, SIDE) - matrix[0]
    # The matrix moves pixel edges; OpenCV takes pixel centers.
    centers = matrix.copy()
    centers[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    moved = cv2.warpAffine(plane, centers, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    image = (moved.astype(np.float32) / 255) ** ((1 + how.gamma) ** draw.uniform(-1, 1))
    image = image + draw.normal(0, draw.uniform(0, how.noise), image.shape)
    return np.clip(image, 0, 1)[None].astype(np.float32), matrix


def varied_stacks(planes: Maps, where: Maps, how: StackVariation, seed: int) -> tuple[Maps, Maps]:
    """Stacks of several levels after a change of tone, a shift and noise, some series left out.

    Args:
        planes: (levels, T, neighbors, side, side) in [0, 1]; changed in place.
        where: (levels, T, facts); the first numbers but the last say which series a picture is of.
        how: Magnitudes; mirrors are not made here, since they exchange sides.
        seed: Of all draws.
    """
    draw, where = generator(seed), where.copy()
    there = [k for k in range(where.shape[-1] - 1) if where[..., k].any()]
    gone = [k for k in there if draw.random() < how.missing]
    for k in there:
        of = where[..., k] > 0
        planes[of] **= (1 + how.gamma) ** draw.uniform(-1, 1)
    for k in gone[: len(there) - 1]:
        where[where[..., k] > 0] = 0
    for stack in planes:
        _shift(stack, draw.uniform(-how.shift, how.shift, 2))
    planes += draw.standard_normal(planes.shape, np.float32) * draw.uniform(0, how.noise)
    return np.clip(planes, 0, 1), where


def _shift(planes: Maps, step: NDArray[np.float64]) -> None:
    """Move pictures (..., side, side) by so many pixels to the right and down, in place."""
    matrix = np.array([[1, 0, step[0]], [0, 1, step[1]]], np.float32)
    for k in np.ndindex(planes.shape[:-2]):
        planes[k] = cv2.warpAffine(planes[k], matrix, planes.shape[:-3:-1])
