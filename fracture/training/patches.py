"""Native pixels around boxes on disk, for networks that are trained on crops."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fracture.atomic import sweep, write_atomic
from fracture.errors import DataError, UnreadableFileError
from fracture.io.reading import read
from fracture.iou import clip_box, grow
from fracture.preprocess.pipeline import square_pixels
from fracture.training.cache import content_checksum

Box = tuple[float, float, float, float]


def _same(box: Box) -> Box:
    return box


class PatchCache:
    """Native pixels around boxes on disk, uint16, so that a film is decoded once and not at every presentation.

    A crop of a patch equals the crop of its film to the rounding of 16 bits: patches begin at whole pixels and reach
    as far as any crop looks, or to the film's edge. Pixels that are not square are made square.

    Args:
        folder: Made if missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)

    def load(
        self, path: Path, box: Box, *, reach: float, least: int = 0, shape: Callable[[Box], Box] = _same
    ) -> tuple[NDArray[np.float32], Box]:
        """The surroundings of a box, and ``shape`` of the box among them.

        Args:
            path: The film's file.
            box: In source pixels.
            reach: Factor on the sides of ``shape(box)`` that crops look to.
            least: Least side of the surroundings in pixels, about the box's middle.
            shape: What of a box decides the crop, on square pixels.

        Raises:
            InputError: The film is not in the cache and cannot be read.
            DataError: The box lies off the film.
        """
        target = self.folder / f"{_key(path, shape(box), reach, least)}.safetensors"
        try:
            return _read_patch(target, box, shape)
        except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError):
            target.unlink(missing_ok=True)
        film = read(path)
        square = square_pixels(film)
        pixels, scale = square.pixels, square.scale
        window = _surroundings(_scaled(box, scale, shape), (pixels.shape[1], pixels.shape[0]), reach, least)
        if window is None:
            raise DataError(f"{path}: a box lies off its film", got=box, allowed=f"{film.width} x {film.height}")
        x0, y0, x1, y1 = window
        stored = np.rint(pixels[y0:y1, x0:x1] * 65535).astype(np.uint16)
        place = json.dumps([x0, y0, *scale])
        metadata = {"at": place, "crc32": content_checksum(place, stored)}
        write_atomic(target, lambda temporary: save_file({"pixels": stored}, str(temporary), metadata=metadata))
        return _read_patch(target, box, shape)


def _key(path: Path, box: Box, reach: float, least: int) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableFileError(f"{path}: the film cannot be read", got=error.strerror) from error
    parts = [str(path.resolve()), status.st_size, status.st_mtime_ns, box, reach, least, "square"]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _surroundings(box: Box, size: tuple[int, int], reach: float, least: int) -> tuple[int, int, int, int] | None:
    x0, y0, x1, y1 = grow(box, reach)
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = max(x1 - x0, y1 - y0, least) / 2  # a square crop looks as far to every side as the longer side asks
    found = clip_box((middle[0] - half - 2, middle[1] - half - 2, middle[0] + half + 2, middle[1] + half + 2), size)
    if found is None:
        return None
    return math.floor(found[0]), math.floor(found[1]), math.ceil(found[2]), math.ceil(found[3])


def _scaled(box: Box, scale: tuple[float, float], shape: Callable[[Box], Box]) -> Box:
    x, y = scale
    return shape((box[0] * x, box[1] * y, box[2] * x, box[3] * y))


def _read_patch(path: Path, box: Box, shape: Callable[[Box], Box]) -> tuple[NDArray[np.float32], Box]:
    with safetensors.safe_open(str(path), framework="numpy") as file:
        stated, stored = file.metadata(), file.get_tensor("pixels")
    if content_checksum(stated["at"], stored) != stated["crc32"]:
        raise ValueError(f"{path} is damaged")
    x, y, *scale = json.loads(stated["at"])
    x0, y0, x1, y1 = _scaled(box, (scale[0], scale[1]), shape)
    pixels = np.minimum(stored.astype(np.float32) * np.float32(1 / 65535), np.float32(1))
    return pixels, (x0 - x, y0 - y, x1 - x, y1 - y)
