"""One radiograph, ready for preprocessing: what every reader returns and every later step takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fracture.errors import PixelValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Radiograph"]


@dataclass(frozen=True, slots=True, eq=False)
class Radiograph:
    """A single-frame radiograph at its native resolution.

    Attributes:
        pixels: float32, shape (height, width), in [0, 1], bright = dense (bone bright, air dark), read-only.
        source: What the caller gave: a path as typed, or ``"<array>"``, ``"<image>"``, ``"<dataset>"``.
        regions: Anatomical regions by name (see ``fracture.regions``); empty where unknown.
        region_source: ``"caller"``, ``"dicom"`` or ``None`` where ``regions`` is empty.
        view: ``"frontal"``, ``"lateral"``, ``"oblique"`` or ``None``.
        laterality: ``"left"``, ``"right"``, ``"bilateral"`` or ``None``.
        spacing: Millimeters per pixel at the object, (row, column), or ``None`` where unknown.
        spacing_source: Which attribute ``spacing`` comes from, ``None`` where unknown.
        bits: Significant bits of the stored pixels.
        warnings: Findings of the reader that a user should see (an illegal window, a spacing of zero, ...).

    Raises:
        PixelValueError: ``pixels`` is not a finite float32 plane in [0, 1].
    """

    pixels: NDArray[np.float32]
    source: str = "<array>"
    regions: tuple[str, ...] = ()
    region_source: str | None = None
    view: str | None = None
    laterality: str | None = None
    spacing: tuple[float, float] | None = None
    spacing_source: str | None = None
    bits: int = 8
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.dtype != np.float32 or pixels.ndim != 2 or pixels.size == 0:
            raise PixelValueError(
                f"{self.source}: a Radiograph holds one plane",
                got=f"{pixels.dtype} {pixels.shape}",
                allowed="float32 (height, width)",
                hint="use fracture.read() to convert files and arrays",
            )
        low, high = float(pixels.min()), float(pixels.max())  # NaN propagates through both
        if not (low >= 0.0 and high <= 1.0):
            raise PixelValueError(
                f"{self.source}: pixels must be finite and in [0, 1]",
                got=f"{low} .. {high}",
                allowed="[0, 1]",
                hint="use fracture.read() to scale an array",
            )
        pixels.flags.writeable = False

    @property
    def height(self) -> int:
        """Rows of the source image."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of the source image."""
        return int(self.pixels.shape[1])
