"""One radiograph, ready for preprocessing: what every reader returns and every later step takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError, InputError, PixelValueError

SPACING_LIMITS = (0.01, 10.0)
"""Plausible millimeters per pixel (our choice: from a tenth of the finest detectors to a thumbnail's)."""

ASPECT_LIMITS = (0.1, 10.0)
"""Plausible height of a pixel by its width (our choice)."""


Spacing: TypeAlias = float | tuple[float, float] | None
"""What a caller says of a film's pixels in millimeters: one number, (row, column), or nothing."""

_VIEWS = (None, "frontal", "lateral", "oblique")
_SIDES = (None, "left", "right", "bilateral")


def plausible_spacing(spacing: Sequence[Any]) -> bool:
    """Whether a (row, column) spacing is two numbers within ``SPACING_LIMITS`` that make plausible pixels."""
    low, high = SPACING_LIMITS
    numbers = len(spacing) == 2 and all(_number(one) and low <= one <= high for one in spacing)
    return numbers and plausible_aspect(spacing[0] / spacing[1])


def given_spacing(spacing: Spacing) -> tuple[float, float] | None:
    """(row, column) of what a caller says.

    Raises:
        ConfigurationError: No plausible spacing.
    """
    if spacing is None:
        return None
    pair = tuple(spacing) if isinstance(spacing, Sequence) else (spacing, spacing)
    if not plausible_spacing(pair):
        low, high = SPACING_LIMITS
        raise ConfigurationError("spacing", got=spacing, allowed=f"millimeters per pixel, {low:g} to {high:g}")
    return float(pair[0]), float(pair[1])


def plausible_aspect(aspect: object) -> bool:
    """Whether an aspect ratio lies within ``ASPECT_LIMITS``."""
    return _number(aspect) and ASPECT_LIMITS[0] <= float(aspect) <= ASPECT_LIMITS[1]  # type: ignore[arg-type]


def _number(one: object) -> bool:
    return isinstance(one, int | float | np.integer | np.floating) and math.isfinite(one)


def _texts(given: object, count: int | None) -> bool:
    many = isinstance(given, tuple | list) and all(isinstance(one, str) for one in given)
    return many and count in (None, len(given))  # type: ignore[arg-type]


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
        aspect: Height of a pixel divided by its width: that of ``spacing`` where it is known, else what the file says
            (PixelAspectRatio); 1 where it says nothing.
        orientation: Which way rows and columns run in the patient, as DICOM's PatientOrientation says: ``("L", "F")``
            is a frontal film as usual, its rows to the patient's left and its columns to the feet. ``None`` where
            unknown.
        bits: Significant bits of the stored pixels.
        frame: Which frame of a DICOM file of several, from 0; ``None`` where the file has one.
        warnings: Findings of the reader that a user should see (an illegal window, a spacing of zero, ...).

    Raises:
        PixelValueError: ``pixels`` is not a finite float32 plane in [0, 1], or ``spacing`` or ``aspect`` is
            implausible.
        InputError: A view or laterality that is none of the named, or regions or an orientation that are not text.
    """

    pixels: NDArray[np.float32]
    source: str = "<array>"
    regions: tuple[str, ...] = ()
    region_source: str | None = None
    view: str | None = None
    laterality: str | None = None
    spacing: tuple[float, float] | None = None
    spacing_source: str | None = None
    aspect: float = 1.0
    orientation: tuple[str, str] | None = None
    bits: int = 8
    frame: int | None = None
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        pixels = self.pixels
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.float32 or pixels.ndim != 2 or pixels.size == 0:
            raise PixelValueError(
                f"{self.source}: a Radiograph holds one plane",
                got=f"{getattr(pixels, 'dtype', type(pixels).__name__)} {getattr(pixels, 'shape', '')}".strip(),
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
        if self.spacing is not None:
            try:
                spacing = tuple(self.spacing)
            except TypeError:
                spacing = ()
            if not plausible_spacing(spacing):
                low, high = SPACING_LIMITS
                raise PixelValueError(
                    f"{self.source}: an implausible spacing",
                    got=self.spacing,
                    allowed=f"(row, column) in millimeters per pixel, each {low:g} to {high:g}, or None",
                    hint="leave it out where it is unknown",
                )
            object.__setattr__(self, "spacing", (float(spacing[0]), float(spacing[1])))
            object.__setattr__(self, "aspect", float(spacing[0]) / float(spacing[1]))
        if not plausible_aspect(self.aspect):
            raise PixelValueError(
                f"{self.source}: an implausible pixel aspect ratio",
                got=self.aspect,
                allowed=f"height by width, {ASPECT_LIMITS[0]:g} to {ASPECT_LIMITS[1]:g}",
            )
        for name, allowed in (("view", _VIEWS), ("laterality", _SIDES)):
            if (given := getattr(self, name)) not in allowed:
                raise InputError(f"{self.source}: an unknown {name}", got=repr(given), allowed=allowed)
        for name, count in (("regions", None), ("orientation", 2)):
            given = getattr(self, name)
            if given is not None and not _texts(given, count):
                raise InputError(f"{self.source}: {name} must be {count or 'a tuple of'} texts", got=repr(given))
        object.__setattr__(self, "regions", tuple(self.regions))
        pixels.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Radiograph):
            return NotImplemented
        words = (f.name for f in fields(self) if f.name != "pixels")
        return all(getattr(self, w) == getattr(other, w) for w in words) and np.array_equal(self.pixels, other.pixels)

    def __hash__(self) -> int:
        return hash((self.source, self.pixels.shape))

    def __repr__(self) -> str:
        return (
            f"Radiograph(source={self.source!r}, width={self.width}, height={self.height}, regions={self.regions}, "
            f"view={self.view!r}, spacing={self.spacing}, warnings={len(self.warnings)})"
        )

    @property
    def mirrored(self) -> bool:
        """Whether the film says that its rows run to the patient's right: the usual view in a mirror."""
        return self.orientation is not None and self.orientation[0].startswith("R")

    @property
    def height(self) -> int:
        """Rows of the source image."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of the source image."""
        return int(self.pixels.shape[1])
