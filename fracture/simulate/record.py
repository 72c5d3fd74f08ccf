"""What a simulation gives: the film and the truth about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fracture.radiograph import Radiograph

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

__all__ = ["SimulatedFilm", "SimulatedFracture"]


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedFracture:
    """One visible fracture of a film.

    Attributes:
        box: (x0, y0, x1, y1) in pixels, pixel-edge convention, inside the film: the bounds of ``mask`` plus 1.5 mm,
            at least 2 pixels, on each side (our choice; FracAtlas' boxes are drawn about as close).
        mask: bool (height, width), read-only: the convex outline of all rays that meet a fracture surface, on the
            moved fragments where they have moved.
        polygon: The outline of ``mask`` as (x, y) points in the pixel-edge convention, float64 (points, 2).
        kind: One of ``fracture.simulate.KINDS``.
        displaced: Whether the fragments have moved.
        bone: Such as ``"radius"`` or ``"metacarpal_5"``.
    """

    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_] = field(repr=False)
    polygon: NDArray[np.float64] = field(repr=False)
    kind: str
    displaced: bool
    bone: str


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedFilm:
    """A simulated radiograph.

    Attributes:
        pixels: uint16 (height, width), 12 bits (0..4095), bright = dense, read-only.
        seed: What it was made from.
        region: By the names of ``fracture.regions``.
        view: ``"frontal"``, ``"lateral"`` or ``"oblique"``.
        laterality: ``"left"`` or ``"right"``; of a pelvis, the side that is named first.
        fractures: Empty for an unbroken limb.
        spacing: mm per pixel at the limb, both directions.
        orientation: Where rows and columns point in the patient, as DICOM's Patient Orientation: ``("L", "F")``.
    """

    pixels: NDArray[np.uint16] = field(repr=False)
    seed: int
    region: str
    view: str
    laterality: str
    fractures: tuple[SimulatedFracture, ...]
    spacing: float
    orientation: tuple[str, str] = ("L", "F")

    @property
    def fractured(self) -> bool:
        """Whether a fracture is on the film."""
        return bool(self.fractures)

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def boxes(self) -> NDArray[np.float64]:
        """All boxes, float64 (fractures, 4)."""
        return np.array([f.box for f in self.fractures], dtype=np.float64).reshape(-1, 4)

    def to_radiograph(self) -> Radiograph:
        """The film as every reader returns it: float32 in [0, 1], pixel value over 4095, with region and spacing."""
        return Radiograph(
            pixels=self.pixels.astype(np.float32) / np.float32(4095.0),
            source=f"<simulated {self.seed}>",
            regions=(self.region,),
            region_source="caller",
            view=self.view,
            laterality=self.laterality,
            spacing=(self.spacing, self.spacing),
            spacing_source="simulated",
            bits=12,
        )

    def to_dicom(self, *, inverted: bool | None = None) -> Dataset:
        """The film as a DICOM DX image for presentation, with File Meta Information, ready for ``save_as``.

        Args:
            inverted: MONOCHROME1 rather than MONOCHROME2; one film in four, by its seed, where not given.
        """
        from fracture.simulate.dicom import to_dataset

        return to_dataset(self, inverted=self.seed % 4 == 3 if inverted is None else inverted)
