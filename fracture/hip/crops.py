"""From a film and a box to the classifier's input: one way for training and for use.

Krogue et al. 2020, Model Training: boxes are cut out, resized to 224 x 224, replicated to three channels, and left
hips are flipped to look right. The paper states neither margin nor whether the aspect ratio is kept: both are ours,
and :class:`CropSpec` says which were used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fracture.data.records import Box
from fracture.errors import ConfigurationError, PixelValueError
from fracture.hip.classes import SIDES
from fracture.iou import grow
from fracture.preprocess.pipeline import resize_by_axis, square_scale
from fracture.preprocess.similarity import Crop
from fracture.schema import Record
from fracture.wing.result import GridToSource

CROP_VERSION: Final = 1
Fit = Literal["stretch", "square", "native", "top"]
Tone = Literal["film", "crop"]
_PERCENTILES: Final = (0.5, 99.5)


@dataclass(frozen=True, slots=True)
class CropSpec(Record):
    """How a hip is cut out of its film.

    Attributes:
        size: Side of the square crop in pixels. 224 in the paper, where 500 and 1000 did not converge; 448 and 512
            are for its authors' wish for more resolution.
        margin: Length of the window's sides over those of the box (for ``"native"`` the least length). Ours: 1.1.
        fit: ``"stretch"`` resizes the box's own window to the square, so that a film stretched along one axis gives
            the same crop (ours); ``"square"`` takes a square window around the box's middle, its side the longer one,
            and keeps the aspect; ``"native"`` takes a square window of ``size`` source pixels, without any
            resampling, and a larger one only where the box would not fit; ``"top"`` takes the box's top and width
            alone, and ``ratio`` times the width for the height, and resizes that to the square (ours: where a box
            ends on the shaft is the annotator's taste, and in the public hip set it tells the fractured hips from
            the others).
        tone: ``"film"`` leaves the grays as the film was read (the paper says nothing of them); ``"crop"`` maps the
            crop's own 0.5th and 99.5th percentiles to 0 and 1 (ours), since films reach us dark, flat, and with bright
            letters.
        ratio: Height over width of the window of ``"top"``, before the margin. Ours: 1.45 reaches about 4 cm below the
            lesser trochanter.

    Raises:
        ConfigurationError: A value outside its limits.
    """

    VERSION: ClassVar[int | None] = CROP_VERSION

    size: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 224
    margin: Annotated[float, Field(ge=0.5, le=4)] = 1.1
    fit: Fit = "stretch"
    tone: Tone = "film"
    ratio: Annotated[float, Field(ge=0.5, le=4)] = 1.45


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """Where a crop's pixels lie on the film: a window of whole source pixels, resized, perhaps mirrored.

    Attributes:
        window: (x0, y0, x1, y1) in whole source pixels; it may reach beyond the film.
        size: Side of the crop in pixels.
        flipped: Whether the crop is mirrored left to right.
    """

    window: tuple[int, int, int, int]
    size: int
    flipped: bool

    @property
    def scale(self) -> tuple[float, float]:
        """Crop pixels per source pixel, (x, y)."""
        x0, y0, x1, y1 = self.window
        return self.size / (x1 - x0), self.size / (y1 - y0)

    def to_crop(self, points: Any) -> NDArray[np.float64]:
        """Source coordinates (..., 2), order (x, y), to crop coordinates."""
        mapped = (np.asarray(points, np.float64) - self.window[:2]) * self.scale
        if self.flipped:
            mapped[..., 0] = self.size - mapped[..., 0]
        return mapped

    def to_source(self, points: Any) -> NDArray[np.float64]:
        """Crop coordinates to source coordinates; the inverse of :meth:`to_crop`."""
        mapped = np.array(points, np.float64)
        if self.flipped:
            mapped[..., 0] = self.size - mapped[..., 0]
        return np.asarray(mapped / self.scale + self.window[:2], np.float64)

    def grid_to_source(self, cells: int) -> GridToSource:
        """Where the cells of a ``cells`` x ``cells`` map of the crop lie, once the map is mirrored back."""
        x0, y0, x1, y1 = self.window
        return GridToSource((x1 - x0) / cells, (y1 - y0) / cells, float(x0), float(y0))


HipCrop: TypeAlias = Crop[CropGeometry]
"""A hip, cut out and looking right."""


def crop_box(box: Box, spec: CropSpec, aspect: float = 1.0) -> Box:
    """The box before its margin: for ``"top"`` its own lower edge is ignored, else the box stays as it is.

    Args:
        box: In source pixels.
        spec: What is cut out.
        aspect: Height of a pixel by its width (:attr:`fracture.Radiograph.aspect`).
    """
    if spec.fit != "top":
        return box
    return box[0], box[1], box[2], box[1] + spec.ratio * (box[2] - box[0]) / aspect


def window_of(box: Box, spec: CropSpec, aspect: float = 1.0) -> tuple[int, int, int, int]:
    """The window of whole source pixels that is cut out for a box; it may reach beyond the film.

    What is said of lengths in :class:`CropSpec` holds for square pixels: where the film's are not (``aspect``: their
    height by their width), a square window is one on the patient, counted in pixels of the finer axis.
    """
    x0, y0, x1, y1 = grow(crop_box(box, spec, aspect), spec.margin)
    if spec.fit in ("stretch", "top"):
        left, top = math.floor(x0 + 0.5), math.floor(y0 + 0.5)
        return left, top, max(left + 2, math.floor(x1 + 0.5)), max(top + 2, math.floor(y1 + 0.5))
    per_x, per_y = square_scale(aspect)
    side = max(2, math.ceil(max((x1 - x0) * per_x, (y1 - y0) * per_y) - 1e-6))
    if spec.fit == "native":
        side = max(side, spec.size)
    width, height = max(2, round(side / per_x)), max(2, round(side / per_y))
    left = math.floor((x0 + x1) / 2 - width / 2 + 0.5)
    top = math.floor((y0 + y1) / 2 - height / 2 + 0.5)
    return left, top, left + width, top + height


def crop_hip(pixels: NDArray[np.float32], box: Box, side: str, spec: CropSpec, aspect: float = 1.0) -> HipCrop:
    """Cut a hip out of its film; a left hip is mirrored to look right.

    Area interpolation where the window shrinks along both axes, else bicubic. Where the film's pixels are not square,
    a window may shrink along one axis and grow along the other: each axis then has its own interpolation, so that the
    finer one is averaged as it is on films of square pixels. Beyond the film pixels are invalid and 0.

    Args:
        pixels: float32, shape (height, width), in [0, 1], bright = dense; a :class:`~fracture.Radiograph`'s.
        box: Around the proximal femur, in pixels of ``pixels``.
        side: ``"left"`` or ``"right"``, the patient's, as the localizer says.
        spec: Size, margin and fit.
        aspect: Height of a pixel by its width, as for :func:`window_of`.

    Raises:
        ConfigurationError: An unknown side.
        PixelValueError: The window does not meet the film.
    """
    if side not in SIDES:
        raise ConfigurationError("the side of a hip", got=side, allowed=SIDES)
    x0, y0, x1, y1 = window = window_of(box, spec, aspect)
    height, width = pixels.shape
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise PixelValueError("the box of a hip lies outside its film", got=box, allowed=f"within {width} x {height}")
    size = spec.size
    inside = (slice(max(0, y0), min(height, y1)), slice(max(0, x0), min(width, x1)))
    part = pixels[inside]
    valid = None
    if part.shape != (y1 - y0, x1 - x0):
        at = (slice(inside[0].start - y0, inside[0].stop - y0), slice(inside[1].start - x0, inside[1].stop - x0))
        canvas, valid = np.zeros((y1 - y0, x1 - x0), np.float32), np.zeros((y1 - y0, x1 - x0), np.float32)
        canvas[at], valid[at] = part, 1.0
        part = canvas
    grows = cv2.INTER_CUBIC if valid is None else cv2.INTER_LINEAR
    resized = _resized(part, size, grows, aspect)
    if valid is None:
        mask = np.ones((size, size), np.bool_)
    else:
        share = _resized(valid, size, grows, aspect)
        mask = np.asarray(share >= 0.5)
        # A pixel across the film's edge takes its value from the film alone, so that no dark rim appears.
        resized = np.where(mask, np.clip(resized / np.maximum(share, 0.5), 0, 1), 0).astype(np.float32)
    if spec.tone == "crop":
        resized = _stretched(resized, mask)
    flipped = side == "left"
    if flipped:
        resized, mask = resized[:, ::-1], mask[:, ::-1]
    return Crop(np.ascontiguousarray(resized), np.ascontiguousarray(mask), CropGeometry(window, size, flipped))


def _resized(part: NDArray[np.float32], size: int, grows: int, aspect: float) -> NDArray[np.float32]:
    """To a square. In version 1 of :class:`CropSpec` both axes of square pixels are bicubic as soon as one grows."""
    if aspect == 1.0 and min(part.shape) < size:
        resized = np.asarray(cv2.resize(part, (size, size), interpolation=grows), np.float32)
        return np.clip(resized, 0.0, 1.0, out=resized)
    return resize_by_axis(part, (size, size), grows)


def _stretched(pixels: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Percentiles of every other valid pixel to 0 and 1; a crop without contrast stays as it is."""
    some = pixels[::2, ::2][mask[::2, ::2]]
    if not some.size:
        return pixels
    low, high = (np.float32(value) for value in np.percentile(some, _PERCENTILES))
    if high - low < 1e-3:
        return pixels
    return np.where(mask, np.clip((pixels - low) / (high - low), 0, 1), 0).astype(np.float32)


def touched_edges(box: Box, size: tuple[int, int]) -> tuple[str, ...]:
    """The film's edges that a box reaches to within 0.5 % of the film's side: the hip may go on beyond.

    The bottom edge means nothing on an AP pelvis, where the femoral shafts always leave the film.
    """
    width, height = size
    within = 0.005
    reached = {
        "left": box[0] <= within * width,
        "top": box[1] <= within * height,
        "right": box[2] >= (1 - within) * width,
        "bottom": box[3] >= (1 - within) * height,
    }
    return tuple(edge for edge, touches in reached.items() if touches)
