"""Augmentation of letterboxed films: geometry and contrast, from one integer seed, with everything following.

The paper's list (Jones et al. 2020, Methods, "Training"): random rotation, vertical or horizontal flip, gamma
correction, contrast adjustment, vertical or horizontal translation, zoom in or out. It states no magnitude: every
number here is our choice. Nothing else is done to a film: no hue, no mosaic, no cut-outs, no elastic warp.

Pixel work is albumentations' functional layer (its ``Compose`` mixes torch's worker seed into its draws, so
that the same film would look different with another number of workers). No other module imports it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from fracture.data.seeds import derive_seed, generator
from fracture.errors import ConfigurationError, PixelValueError
from fracture.io.marks import png_mark
from fracture.schema import Record, Share

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fracture.data.records import Film
    from fracture.preprocess import Letterboxed

_DRAWS = 12  # numbers drawn per film, always all of them: one magnitude never changes another's draw
Factor = Annotated[float, Field(ge=1, le=4)]


@dataclass(frozen=True, slots=True)
class AugmentSpec(Record):
    """Magnitudes of the augmentation; all are our choice, since the paper states none.

    Attributes:
        horizontal_flip: Probability of a mirror image. 0.5: left and right limbs are equally good.
        vertical_flip: Probability of a film upside down. 0.5: hands and feet are exposed either way up.
        rotation: Degrees, uniform in [-rotation, rotation]. 15: how far limbs lie askew on the plate.
        translation: Fraction of the film's sides, uniform in [-t, t] along each. 0.05.
        zoom: Largest factor; log-uniform in [1/zoom, zoom]. 1.15: distance to the tube and small or large bones.
        geometry: Probability that rotation, translation and zoom are applied at all. 0.8: one film in five
            keeps pixels that were never interpolated, as every film has them in use.
        gamma: Largest exponent; log-uniform in [1/gamma, gamma]. 1.25.
        contrast: Largest factor about the film's mean; log-uniform in [1/contrast, contrast]. 1.25.
        intensity: Probability that gamma and contrast are applied at all. 0.8.
        interpolation: ``"cubic"`` keeps thin fracture lines sharper, ``"linear"`` is faster.
    """

    horizontal_flip: Share = 0.5
    vertical_flip: Share = 0.5
    rotation: Annotated[float, Field(ge=0, le=180)] = 15.0
    translation: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    zoom: Factor = 1.15
    geometry: Share = 0.8
    gamma: Factor = 1.25
    contrast: Factor = 1.25
    intensity: Share = 0.8
    interpolation: Literal["cubic", "linear"] = "cubic"

    @classmethod
    def none(cls) -> AugmentSpec:
        """The specification that changes nothing."""
        return cls(0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Augmented:
    """An augmented film.

    Attributes:
        pixels: float32, shape (height, width), in [0, 1]; 0 outside the mask.
        mask: bool, the same shape; True where the pixel's center lies on valid image.
        matrix: float64, shape (2, 3): letterboxed network pixels to augmented ones, in edge coordinates.
        drawn: What was drawn, by name (for contact sheets and tests).
    """

    pixels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    matrix: NDArray[np.float64]
    drawn: Mapping[str, float]

    def points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Where points of the letterboxed film have gone, numbers (..., 2) as (x, y) in network pixels; float64."""
        return np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def boxes(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """The upright boxes around where boxes have gone: exact but for rotations, which widen them.

        Numbers (n, 4) as (x0, y0, x1, y1) in network pixels of the letterboxed film; float64 of the augmented one.

        Targets are drawn from the turned outlines, not from these (``fracture.data.targets.draw_target``).
        """
        array = np.asarray(boxes, np.float64).reshape(-1, 4)
        corners = self.points(array[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)

    def plane(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Another plane of the film, float32 (height, width), moved with it (linear; 0 where nothing was)."""
        import cv2

        return _warp(plane, self.matrix, plane.shape, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)


def augment(pixels: NDArray[np.float32], mask: NDArray[np.bool_], spec: AugmentSpec, *, seed: int) -> Augmented:
    """Augment one letterboxed film; the same seed gives the same film, whatever else was drawn before.

    Flips, rotation and zoom are about the middle of the film's valid part (so that a flip leaves the padding
    where inference has it), then the film is moved. Pixels that come from outside the film, from padding or
    from a redacted rectangle are invalid and 0; valid pixels are interpolated from valid pixels alone, so that
    no dark rim appears. Gamma, then contrast about the mean of the valid pixels, clipped to [0, 1].

    Args:
        pixels: float32, shape (height, width), in [0, 1], of ``fracture.preprocess.letterbox``.
        mask: bool, the same shape.
        spec: The magnitudes.
        seed: See ``fracture.data.seeds.derive_seed``.

    Raises:
        PixelValueError: Shapes or dtypes differ from the above.
    """
    if pixels.dtype != np.float32 or pixels.ndim != 2 or mask.shape != pixels.shape or mask.dtype != np.bool_:
        raise PixelValueError(
            "augment takes one plane and its mask",
            got=f"{pixels.dtype} {pixels.shape} and {mask.dtype} {mask.shape}",
            allowed="float32 (height, width) and bool of the same shape",
        )
    drawn = _draw(spec, generator(seed))
    extent = extent_of(mask)
    if extent is None:
        return Augmented(pixels, mask, np.eye(2, 3), drawn)
    matrix = _matrix(drawn, extent)
    moved, valid = _move(pixels, mask, matrix, extent, spec.interpolation)
    if drawn["gamma"] != 1.0 or drawn["contrast"] != 1.0:
        moved = _intensity(moved, valid, drawn["gamma"], drawn["contrast"])
    return Augmented(moved, valid, matrix, drawn)


def _draw(spec: AugmentSpec, rng: np.random.Generator) -> dict[str, float]:
    u = rng.random(_DRAWS)
    moved, toned = bool(u[0] < spec.geometry), bool(u[1] < spec.intensity)
    signed = 2.0 * u - 1.0
    return {
        "horizontal_flip": float(u[2] < spec.horizontal_flip),
        "vertical_flip": float(u[3] < spec.vertical_flip),
        "rotation": moved * spec.rotation * signed[4],
        "zoom": math.exp(moved * math.log(spec.zoom) * signed[5]),
        "shift_x": moved * spec.translation * signed[6],
        "shift_y": moved * spec.translation * signed[7],
        "gamma": math.exp(toned * math.log(spec.gamma) * signed[8]),
        "contrast": math.exp(toned * math.log(spec.contrast) * signed[9]),
    }


def extent_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1) around the valid pixels, or None if there are none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _matrix(drawn: Mapping[str, float], extent: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """(2, 3) in edge coordinates."""
    x0, y0, x1, y1 = extent
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    flip_x, flip_y = 1.0 - 2.0 * drawn["horizontal_flip"], 1.0 - 2.0 * drawn["vertical_flip"]
    matrix = albumentations_layer().create_affine_transformation_matrix(
        translate={"x": drawn["shift_x"] * (x1 - x0), "y": drawn["shift_y"] * (y1 - y0)},
        shear={"x": 0.0, "y": 0.0},
        scale={"x": drawn["zoom"] * flip_x, "y": drawn["zoom"] * flip_y},
        rotate=drawn["rotation"],
        shift=middle,
    )
    return np.asarray(matrix[:2], np.float64)


def _move(
    pixels: NDArray[np.float32],
    mask: NDArray[np.bool_],
    matrix: NDArray[np.float64],
    extent: tuple[int, int, int, int],
    interpolation: str,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    import cv2

    if np.array_equal(matrix, np.eye(2, 3)):
        return np.where(mask, pixels, np.float32(0)), mask.copy()
    kernel = cv2.INTER_CUBIC if interpolation == "cubic" else cv2.INTER_LINEAR
    x0, y0, x1, y1 = extent
    part, part_mask = pixels[y0:y1, x0:x1], mask[y0:y1, x0:x1]
    if np.array_equal(np.abs(matrix[:, :2]), np.eye(2)) and _stays(matrix, extent):
        steps = (int(matrix[1, 1]), int(matrix[0, 0]))  # flips alone: no interpolation
        flipped, valid = np.zeros_like(pixels), np.zeros_like(mask)
        valid[y0:y1, x0:x1] = part_mask[:: steps[0], :: steps[1]]
        flipped[y0:y1, x0:x1] = (part * part_mask)[:: steps[0], :: steps[1]]
        return flipped, valid
    from_part = matrix @ np.array([[1.0, 0.0, x0], [0.0, 1.0, y0], [0.0, 0.0, 1.0]])
    shape = pixels.shape
    valid = _warp(part_mask.astype(np.uint8), from_part, shape, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT).astype(np.bool_)
    if part_mask.all():
        moved = _warp(part, from_part, shape, kernel, cv2.BORDER_REPLICATE)
    else:  # normalized interpolation: what is invalid takes no part
        weight = part_mask.astype(np.float32)
        above = _warp(part * weight, from_part, shape, kernel, cv2.BORDER_CONSTANT)
        below = _warp(weight, from_part, shape, kernel, cv2.BORDER_CONSTANT)
        moved = np.divide(above, below, out=np.zeros_like(above), where=below > 0.1)
    if kernel == cv2.INTER_CUBIC:
        np.clip(moved, 0.0, 1.0, out=moved)  # cubic interpolation overshoots
    moved *= valid
    return moved, valid


def _stays(matrix: NDArray[np.float64], extent: tuple[int, int, int, int]) -> bool:
    """Whether the film's rectangle is mapped onto itself."""
    corners = np.array([extent[:2], extent[2:]], np.float64)
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    return bool(np.array_equal(np.sort(moved, axis=0), corners))


def _warp(
    plane: NDArray[Any],
    matrix: NDArray[np.float64],
    shape: tuple[int, ...],
    kernel: int,
    border: int,
) -> NDArray[Any]:
    """Warp a plane by a matrix in edge coordinates; OpenCV counts from pixel centers, half a pixel further."""
    centered = np.vstack([matrix, [0.0, 0.0, 1.0]])
    centered[:2, 2] += 0.5 * matrix[:, :2].sum(axis=1) - 0.5
    if np.array_equal(centered, np.eye(3)):  # albumentations would return the plane itself, in its own shape
        still = np.zeros(shape, plane.dtype)
        still[: plane.shape[0], : plane.shape[1]] = plane
        return still
    warped = albumentations_layer().warp_affine(
        np.ascontiguousarray(plane),
        matrix=centered,
        interpolation=kernel,
        fill=0,
        border_mode=border,
        output_shape=shape,
    )
    return np.asarray(warped)


def _intensity(
    pixels: NDArray[np.float32], valid: NDArray[np.bool_], gamma: float, contrast: float
) -> NDArray[np.float32]:
    toned = pixels if gamma == 1.0 else albumentations_layer().gamma_transform(pixels, gamma=gamma)
    if contrast != 1.0:
        mean = float(toned.sum(dtype=np.float64)) / max(1, int(valid.sum()))  # invalid pixels are 0
        toned = toned * np.float32(contrast) + np.float32(mean * (1.0 - contrast))
        np.clip(toned, 0.0, 1.0, out=toned)
        toned *= valid
    return np.asarray(toned, np.float32)


def augmented_sheet(
    films: Iterable[tuple[Film, Letterboxed]],
    path: str | Path,
    spec: AugmentSpec | None = None,
    *,
    seed: int = 0,
    copies: int = 5,
    tile: int = 300,
) -> None:
    """Write a contact sheet to look at: one row per film, first as it is, then ``copies`` augmented versions.

    Fractures are outlined in yellow by the very rings that targets are drawn from, the upright boxes around
    them in red where they differ, and invalid pixels are blue.

    Args:
        films: Films with their letterboxed pixels.
        path: The PNG or JPEG to write.
        spec: The magnitudes; default :class:`AugmentSpec`.
        seed: Of the run; copy k shows what epoch k would show.
        copies: Augmented versions per film.
        tile: Side of a tile in pixels.

    Raises:
        ConfigurationError: No films.
    """
    from PIL import Image

    from fracture.data.targets import fracture_rings

    spec = spec or AugmentSpec()
    rows = []
    for index, (film, boxed) in enumerate(films):
        rings = fracture_rings(film, boxed.geometry)
        still = Augmented(boxed.pixels, boxed.mask, np.eye(2, 3), {})
        versions = [
            augment(boxed.pixels, boxed.mask, spec, seed=derive_seed(seed, epoch, index)) for epoch in range(copies)
        ]
        rows.append(np.hstack([_tile(version, rings, tile) for version in (still, *versions)]))
    if not rows:
        raise ConfigurationError("a sheet of augmented films needs films", got="none")
    Image.fromarray(np.vstack(rows)).save(path, pnginfo=png_mark())


def _tile(version: Augmented, rings: Sequence[NDArray[np.float64]], side: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    height, width = version.mask.shape
    scale = (side - 4) / max(height, width)
    gray = np.repeat((version.pixels * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    gray[~version.mask] = (20, 30, 90)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (side, side))
    canvas.paste(Image.fromarray(gray).resize(size, Image.Resampling.BILINEAR), (2, 2))
    draw = ImageDraw.Draw(canvas)
    for ring in rings:
        moved = version.points(ring)
        low, high = moved.min(axis=0) * scale + 2, moved.max(axis=0) * scale + 2
        draw.rectangle([*low, *high], outline=(200, 40, 40))
        draw.polygon([(float(x), float(y)) for x, y in moved * scale + 2], outline=(255, 220, 0))
    text = " ".join(
        f"{name.replace('_flip', '')[:5]} {value:.2f}"
        for name, value in version.drawn.items()
        if value not in (0.0, 1.0) or (name.endswith("flip") and value)
    )
    draw.text((4, side - 12), text[: side // 5], fill=(120, 255, 120))
    return np.asarray(canvas)


@cache
def albumentations_layer() -> SimpleNamespace:
    """The functions that are used of albumentations, imported once and without its question to the net."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    from albumentations.augmentations.geometric import functional as geometric
    from albumentations.augmentations.pixel import functional as pixel

    return SimpleNamespace(
        create_affine_transformation_matrix=geometric.create_affine_transformation_matrix,
        warp_affine=geometric.warp_affine,
        gamma_transform=pixel.gamma_transform,
        unsharp_mask=pixel.unsharp_mask,
        add_noise=pixel.add_noise,
        image_compression=pixel.image_compression,
    )
