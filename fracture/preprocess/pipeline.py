"""From a radiograph to a network's input: crop and letterbox (cacheable), then normalization (always last)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fracture.errors import PixelValueError
from fracture.preprocess.crop import find_crop
from fracture.preprocess.geometry import Geometry
from fracture.preprocess.lcn import local_contrast_normalization
from fracture.preprocess.spec import PreprocessSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.io.radiograph import Radiograph

_REDACTION_AREA = 0.003  # a rectangle of exact zeros at least this part of the film is redaction, not image


@dataclass(frozen=True, slots=True, eq=False)
class Letterboxed:
    """A cropped, resized and padded film: what may be cached and augmented.

    Attributes:
        pixels: float32, shape (height, width) of the network's input, in [0, 1]; 0 in the padding.
        mask: bool, the same shape; True where the pixel is image (not padding, not redacted).
        geometry: The map between source and network pixels.
    """

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    geometry: Geometry


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A network's input.

    Attributes:
        planes: float32, shape (channels, height, width), in [-1, 1]; 0 outside the mask.
        mask: bool, shape (height, width); True where the pixel is image.
        geometry: The map between source and network pixels.
    """

    planes: NDArray[np.float32]
    mask: NDArray[np.bool_]
    geometry: Geometry


def prepare(radiograph: Radiograph, spec: PreprocessSpec) -> Prepared:
    """Crop, letterbox and normalize one radiograph: the only way into a network.

    Args:
        radiograph: Pixels float32 (height, width) in [0, 1], bright bone.
        spec: The network's, from its card.

    Returns:
        Planes float32 (planes, size, size), the mask of the film in the frame, and the way back to source pixels.

    Raises:
        PixelValueError: The film is all padding.
    """
    boxed = letterbox(radiograph, spec)
    return Prepared(normalize(boxed.pixels, boxed.mask, spec), boxed.mask, boxed.geometry)


def prepare_all(radiograph: Radiograph, specs: Sequence[PreprocessSpec]) -> tuple[Prepared, ...]:
    """:func:`prepare` for several specifications of one film, doing shared work once.

    Specifications that differ only in their planes share one letterbox, and each distinct plane is made once.

    Args:
        radiograph: As for :func:`prepare`.
        specs: One for each network.

    Raises:
        PixelValueError: The film is all padding.
    """
    boxes: dict[tuple[object, ...], Letterboxed] = {}
    planes: dict[tuple[object, ...], NDArray[np.float32]] = {}
    prepared = []
    for spec in specs:
        key = spec.letterbox_key
        if key not in boxes:
            boxes[key] = letterbox(radiograph, spec)
        boxed = boxes[key]
        own = []
        for channel in spec.channels:
            plane_key = (key, channel) if channel == "raw" else (key, channel, *spec.lcn_key)
            if plane_key not in planes:
                single = spec if spec.channels == (channel,) else replace(spec, channels=(channel,))
                planes[plane_key] = normalize(boxed.pixels, boxed.mask, single)[0]
            own.append(planes[plane_key])
        prepared.append(Prepared(stacked(own), boxed.mask, boxed.geometry))
    return tuple(prepared)


def letterbox(radiograph: Radiograph, spec: PreprocessSpec) -> Letterboxed:
    """Crop dark padding, resize with the aspect ratio preserved, pad right and below.

    Area interpolation along an axis that shrinks, bicubic along one that grows (our choice; the paper names none).

    Args:
        radiograph: Pixels float32 (height, width) in [0, 1], bright bone.
        spec: The size of the frame, and what counts as padding.

    Raises:
        PixelValueError: The film is all padding.
    """
    pixels = radiograph.pixels
    height, width = pixels.shape
    crop = find_crop(pixels, source=radiograph.source) if spec.crop else (0, 0, width, height)
    x0, y0, x1, y1 = crop
    scaled = _scaled_size(x1 - x0, y1 - y0, radiograph.spacing, radiograph.aspect, spec)
    if spec.shape == "square":
        size = (spec.size, spec.size)
    else:
        size = (_next_multiple(scaled[0], spec.stride), _next_multiple(scaled[1], spec.stride))
    canvas = np.zeros((size[1], size[0]), np.float32)
    part = resize_by_axis(np.ascontiguousarray(pixels[y0:y1, x0:x1]), scaled, out=canvas[: scaled[1], : scaled[0]])
    mask = np.zeros(canvas.shape, np.bool_)
    mask[: scaled[1], : scaled[0]] = True if (redacted := _redacted(part)) is None else ~redacted
    return Letterboxed(canvas, mask, Geometry((width, height), crop, scaled, size))


def normalize(pixels: NDArray[np.float32], mask: NDArray[np.bool_], spec: PreprocessSpec) -> NDArray[np.float32]:
    """Turn letterboxed (and perhaps augmented) pixels into the network's planes.

    Args:
        pixels: float32, shape (height, width), in [0, 1].
        mask: bool, the same shape; True where the pixel is image.
        spec: Which planes, and how they are normalized.

    Returns:
        float32, shape (channels, height, width), in [-1, 1]; 0 outside the mask.

    Raises:
        PixelValueError: Shapes or dtypes differ from the above.
    """
    if pixels.dtype != np.float32 or pixels.ndim != 2 or mask.shape != pixels.shape or mask.dtype != np.bool_:
        raise PixelValueError(
            "normalize takes one plane and its mask",
            got=f"{pixels.dtype} {pixels.shape} and {mask.dtype} {mask.shape}",
            allowed="float32 (height, width) and bool of the same shape",
        )
    planes = np.empty((len(spec.channels), *pixels.shape), np.float32)
    for plane, channel in zip(planes, spec.channels, strict=True):
        if channel == "raw":
            np.multiply(pixels, 2.0, out=plane)
            plane -= 1.0
            plane *= mask
        else:
            plane[:] = local_contrast_normalization(
                pixels, mask, window=spec.lcn_window, sigma=spec.lcn_sigma, scaling=spec.lcn_scaling
            )
    return planes


def square_scale(aspect: float) -> tuple[float, float]:
    """Factors (x, y), one of them 1, that make pixels of this height by width square, along the axis that loses
    nothing."""
    return max(1.0 / aspect, 1.0), max(aspect, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class SquareFilm:
    """A film with square pixels, float32 (height, width), and the factors (x, y) from the source's pixels to these."""

    pixels: NDArray[np.float32]
    scale: tuple[float, float]

    @property
    def crop(self) -> tuple[int, int, int, int]:
        """The whole film, in source pixels."""
        return 0, 0, round(self.pixels.shape[1] / self.scale[0]), round(self.pixels.shape[0] / self.scale[1])

    @property
    def shape_key(self) -> tuple[int, ...]:
        """Of the pixels."""
        return self.pixels.shape

    def to_square(self, points: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """Points by name, source pixels to square ones."""
        return {name: (float(x) * self.scale[0], float(y) * self.scale[1]) for name, (x, y) in points.items()}

    def to_source(self, points: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """The inverse of :meth:`to_square`."""
        return {name: (x / self.scale[0], y / self.scale[1]) for name, (x, y) in points.items()}


def square_pixels(radiograph: Radiograph) -> SquareFilm:
    """The film with its pixels made square."""
    height, width = radiograph.pixels.shape
    per_x, per_y = square_scale(radiograph.aspect)
    size = (max(1, round(width * per_x)), max(1, round(height * per_y)))
    return SquareFilm(resize_by_axis(radiograph.pixels, size), (size[0] / width, size[1] / height))


def resize_by_axis(
    part: NDArray[np.float32],
    size: tuple[int, int],
    grows: int = cv2.INTER_CUBIC,
    *,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Resize to (width, height): first, by area, the axes that shrink, then, by ``grows`` of OpenCV, those that grow.

    Values stay in [0, 1], which bicubic interpolation would leave. What has the size already is returned as it is. With
    ``out``, a float32 array of the size whose rows may lie apart, the result is written there and is that.
    """
    height, width = part.shape
    if size == (width, height):
        if out is not None:
            out[:] = part
        return part if out is None else out
    smaller = (min(size[0], width), min(size[1], height))
    if smaller != (width, height):
        target = out if smaller == size else None
        part = np.asarray(cv2.resize(part, smaller, dst=target, interpolation=cv2.INTER_AREA), np.float32)
    if smaller != size:
        part = np.asarray(cv2.resize(part, size, dst=out, interpolation=grows), np.float32)
    return np.clip(part, 0.0, 1.0, out=part)


def _scaled_size(
    width: int, height: int, spacing: tuple[float, float] | None, aspect: float, spec: PreprocessSpec
) -> tuple[int, int]:
    """Size after resizing: the longer side becomes ``spec.size``, or less where enlarging is not wanted."""
    x_stretch, y_stretch = square_scale(aspect)
    longest = max(width * x_stretch, height * y_stretch)
    scale = spec.size / longest
    if spec.millimeters_per_pixel is not None and spacing is not None:
        scale = min(scale, min(spacing) / spec.millimeters_per_pixel)
    elif not spec.enlarge:
        scale = min(scale, 1.0)
    return (
        min(spec.size, max(1, round(width * x_stretch * scale))),
        min(spec.size, max(1, round(height * y_stretch * scale))),
    )


def stacked(planes: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """``np.stack`` along a new first axis; of one plane without a copy."""
    return planes[0][None] if len(planes) == 1 else np.stack(planes)


def _redacted(part: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """True on large filled rectangles of exact zeros: boxes drawn over burnt-in names, which are not image; None where
    there are too few zeros for one."""
    zero = np.asarray(part == 0.0)
    if np.count_nonzero(zero) < _REDACTION_AREA * zero.size:
        return None
    redacted = np.zeros_like(zero)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(zero.astype(np.uint8), connectivity=4)
    for label in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[label])
        if area >= _REDACTION_AREA * zero.size and area >= 0.97 * w * h and min(w, h) >= 4:
            redacted[y : y + h, x : x + w] |= labels[y : y + h, x : x + w] == label
    return redacted & (not redacted.all())


def _next_multiple(length: int, stride: int) -> int:
    return -(-length // stride) * stride
