"""Augmentation of both stages. Everything is drawn from seeds; the same seed gives the same picture.

Krogue et al. 2020, Model Training: every training hip appears twice, with differing box sizes, and "three types of
contrast changing, cutout, Gaussian-mixture masking, and bounding box wiggling" make six additional images of each: 14
per hip. The recipes of contrast, masking and wiggling are not published (nor are the two box sizes); those below are
our interpretations, chosen so that a reader would still name the class. For the localizer the paper crops at random;
rotation, stretching, gamma and the mirror image that swaps the sides are ours.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fracture.data.augment import AugmentSpec, Factor, augment, extent_of
from fracture.data.masking import contrast_curve, cutout, gaussian_mask
from fracture.data.records import Box
from fracture.errors import ConfigurationError
from fracture.hip.crops import CropSpec, HipCrop, crop_hip
from fracture.preprocess.similarity import Crop
from fracture.schema import Record, Share

VARIANTS: Final = ("plain", "gamma", "contrast", "equalized", "cutout", "mixture", "wiggle")
"""The hip as it is and the six additional images; with two box sizes they make the 14."""


_Edge = Annotated[float, Field(ge=0, lt=0.5)]


@dataclass(frozen=True, slots=True)
class HipAugmentation(Record):
    """Magnitudes for crops of hips.

    Attributes:
        margins: The two box sizes, as factors on the sides of the box. Ours.
        gamma: Largest exponent of the first contrast change; log-uniform in [1/gamma, gamma]. Ours.
        contrast: Largest factor about the mean of the second; log-uniform likewise. Ours.
        clip: Clip limit of the third, contrast-limited adaptive equalization on an 8 x 8 grid. Ours.
        cutout: Side of the square that cutout (DeVries and Taylor 2017) fills, over the side of the crop. A quarter
            as in their CIFAR-100 experiments (8 of 32 pixels there); its middle is anywhere, so it may cross the
            border.
        gaussians: Most Gaussians of a mixture mask, at least 1. Ours, as is the whole recipe: the picture moves
            towards its mean by max_k a_k exp(-d_k^2 / 2) with amplitudes of 0.5 to 1 and axes of 5 to 20 % of the side.
        wiggle: How far each edge of the box moves at most, as a share of the box's side; uniform. Ours.
        jitter: How far each edge of the box moves at most on top of every variant, as ``wiggle``: the localizer's boxes
            are never the labeled ones. Ours, 0 in the paper.
        rotation: Degrees, uniform; on top of every variant. Ours, 0 in the paper.
        zoom: Largest factor, log-uniform, on top of every variant. Ours, 1 in the paper.
        shift: Largest translation over the side of the crop, on top of every variant. Ours, 0 in the paper.
    """

    margins: Annotated[tuple[Annotated[float, Field(ge=0.5, le=4)], ...], Field(min_length=1, max_length=16)] = (
        1.1,
        1.35,
    )
    gamma: Factor = 1.5
    contrast: Factor = 1.5
    clip: Annotated[float, Field(gt=0, le=1000)] = 3.0
    cutout: Share = 0.25
    gaussians: Annotated[int, Field(ge=1, le=1000)] = 4
    wiggle: _Edge = 0.1
    jitter: _Edge = 0.0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    zoom: Factor = 1.0
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    @property
    def reach(self) -> float:
        """How far beyond the box any crop looks, as a factor on the box's sides; what a cache must keep."""
        return max(self.margins) * (1 + 2 * self.wiggle) * (1 + 2 * self.jitter)


@dataclass(frozen=True, slots=True)
class FilmAugmentation(Record):
    """Magnitudes for whole films, which train the localizer. All but the cropping are ours.

    Attributes:
        crop: Probability of a random crop (the paper's augmentation).
        least: Least share of each side that a crop keeps.
        flip: Probability of the mirror image, with the sides swapped.
        rotation: Degrees, uniform.
        stretch: Largest factor of width over height, log-uniform: films reach us stretched.
        zoom: Least factor of shrinking, log-uniform up to 1: small pelves on large films.
        gamma: Largest exponent, log-uniform.
        contrast: Largest factor about the mean, log-uniform.
        invert: Probability of a film with inverted grays, which a mislabeled MONOCHROME1 gives.
    """

    crop: Share = 0.5
    least: Annotated[float, Field(ge=0.2, le=1)] = 0.55
    flip: Share = 0.5
    rotation: Annotated[float, Field(ge=0, le=90)] = 15.0
    stretch: Factor = 1.3
    zoom: Annotated[float, Field(ge=0.2, le=1)] = 0.7
    gamma: Factor = 1.4
    contrast: Factor = 1.4
    invert: Share = 0.0


def wiggle(box: Box, share: float, rng: np.random.Generator) -> Box:
    """Each edge of the box moved on its own by up to ``share`` of the box's side (our interpretation)."""
    dx0, dy0, dx1, dy1 = rng.uniform(-share, share, 4)
    wide, high = box[2] - box[0], box[3] - box[1]
    return box[0] + dx0 * wide, box[1] + dy0 * high, box[2] + dx1 * wide, box[3] + dy1 * high


def augment_hip(
    pixels: NDArray[np.float32],
    box: Box,
    side: str,
    spec: CropSpec,
    magnitudes: HipAugmentation,
    *,
    variant: str,
    size: int,
    seed: int,
) -> HipCrop:
    """One of a hip's 14 training images.

    Args:
        pixels: The film, float32 (height, width) in [0, 1].
        box: Around the proximal femur.
        side: The patient's.
        spec: Of the crop; its margin gives way to ``magnitudes.margins[size]``.
        magnitudes: Of the augmentation.
        variant: One of :data:`VARIANTS`.
        size: Which box size, a place in ``magnitudes.margins``.
        seed: Of all draws.

    Raises:
        ConfigurationError: An unknown variant or box size.
    """
    if variant not in VARIANTS:
        raise ConfigurationError("unknown variant of a hip", got=variant, allowed=VARIANTS)
    if not 0 <= size < len(magnitudes.margins):
        raise ConfigurationError("which box size", got=size, allowed=f"0 to {len(magnitudes.margins) - 1}")
    rng = np.random.default_rng(seed)
    if magnitudes.jitter:
        box = wiggle(box, magnitudes.jitter, rng)
    if variant == "wiggle":
        box = wiggle(box, magnitudes.wiggle, rng)
    crop = crop_hip(pixels, box, side, dataclasses.replace(spec, margin=magnitudes.margins[size]))
    changed, mask = crop.pixels, crop.mask
    if variant in ("gamma", "contrast", "equalized"):
        most = {"gamma": magnitudes.gamma, "contrast": magnitudes.contrast, "equalized": magnitudes.clip}[variant]
        changed = contrast_curve(changed, variant, most, rng)
    elif variant == "cutout":
        changed = cutout(changed, magnitudes.cutout, rng)
    elif variant == "mixture":
        changed = gaussian_mask(changed, magnitudes.gaussians, rng)
    changed = np.where(mask, changed, np.float32(0))
    if magnitudes.rotation or magnitudes.zoom > 1 or magnitudes.shift:
        moved = augment(
            changed,
            mask,
            AugmentSpec(
                horizontal_flip=0.0,
                vertical_flip=0.0,
                rotation=magnitudes.rotation,
                translation=magnitudes.shift,
                zoom=magnitudes.zoom,
                gamma=1.0,
                contrast=1.0,
            ),
            seed=int(rng.integers(2**63)),
        )
        changed, mask = moved.pixels, moved.mask
    return Crop(changed, mask, crop.place)


def augment_film(
    pixels: NDArray[np.float32],
    mask: NDArray[np.bool_],
    boxes: NDArray[np.float64],
    sides: NDArray[np.int64],
    magnitudes: FilmAugmentation,
    *,
    seed: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
    """A film as the localizer is trained on it: the size of the picture stays.

    One affine map holds mirror image, rotation, stretch, shrinking and crop. Boxes are the upright ones around an
    ellipse inscribed in the true box, which a turn widens less than the corners would (ours); they are cut at the
    film's new edges, and a hip with less than 40 % of it left is not a target.

    Args:
        pixels: float32 (height, width) in [0, 1], letterboxed.
        mask: bool, the same shape.
        boxes: (n, 4) in network pixels.
        sides: (n,) places in ``SIDES``.
        magnitudes: Of the augmentation.
        seed: Of all draws.

    Returns:
        Pixels, mask, boxes (m, 4) and sides (m,).
    """
    rng = np.random.default_rng(seed)
    u = rng.random(12)
    height, width = mask.shape
    extent = extent_of(mask) or (0, 0, mask.shape[1], mask.shape[0])
    flip = bool(u[0] < magnitudes.flip)
    angle = math.radians(magnitudes.rotation * (2 * u[1] - 1))
    stretch = math.exp(0.5 * math.log(magnitudes.stretch) * (2 * u[2] - 1))
    shrink = math.exp(math.log(magnitudes.zoom) * u[3])
    keep_x, keep_y = (1.0, 1.0) if u[4] >= magnitudes.crop else (magnitudes.least + (1 - magnitudes.least) * u[5:7])
    wide, high = extent[2] - extent[0], extent[3] - extent[1]
    # The part that is kept grows to the extent as far as its shape allows; it lies anywhere inside.
    scale = min(1 / keep_x, 1 / keep_y) * (shrink if u[4] >= magnitudes.crop else 1.0)
    middle = np.array([(extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2])
    target = middle + (u[7:9] - 0.5) * np.array([wide * (1 - keep_x), high * (1 - keep_y)])
    cos, sin = math.cos(angle), math.sin(angle)
    linear = scale * np.array([[cos * stretch, -sin / stretch], [sin * stretch, cos / stretch]])
    if flip:
        linear = linear @ np.diag([-1.0, 1.0])
    offset = middle - linear @ target
    centered = np.column_stack([linear, offset + 0.5 * linear.sum(axis=1) - 0.5])
    moved = np.asarray(cv2.warpAffine(pixels * mask, centered, (width, height), flags=cv2.INTER_LINEAR), np.float32)
    share = cv2.warpAffine(mask.astype(np.float32), centered, (width, height), flags=cv2.INTER_LINEAR)
    seen = np.asarray(share > 0.5)
    moved = np.where(seen, np.clip(moved / np.maximum(share, 0.5), 0, 1), 0).astype(np.float32)
    moved = np.power(moved, np.float32(math.exp(math.log(magnitudes.gamma) * (2 * u[9] - 1))))
    factor = np.float32(math.exp(math.log(magnitudes.contrast) * (2 * u[10] - 1)))
    mean = np.float32(moved.sum(dtype=np.float64) / max(1, int(seen.sum())))
    moved = np.where(seen, np.clip(mean + factor * (moved - mean), 0, 1), 0).astype(np.float32)
    if u[11] < magnitudes.invert:
        moved = np.where(seen, 1 - moved, 0).astype(np.float32)
    found = _moved_boxes(boxes, linear, offset)
    limits = extent_of(seen) or (0, 0, seen.shape[1], seen.shape[0])
    cut = np.clip(found, [limits[0], limits[1]] * 2, [limits[2], limits[3]] * 2)
    area = np.prod(cut[:, 2:] - cut[:, :2], axis=1)
    kept = area >= 0.4 * np.prod(found[:, 2:] - found[:, :2], axis=1)
    kept &= (cut[:, 2] - cut[:, 0] >= 2) & (cut[:, 3] - cut[:, 1] >= 2)
    return moved, seen, cut[kept], (1 - sides if flip else sides)[kept]


def _moved_boxes(
    boxes: NDArray[np.float64], linear: NDArray[np.float64], offset: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Upright boxes around the moved inscribed ellipses, (n, 4)."""
    if not len(boxes):
        return np.zeros((0, 4))
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 @ linear.T + offset
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    reach = np.sqrt((half**2) @ (linear.T**2))
    return np.concatenate([middle - reach, middle + reach], axis=1)
