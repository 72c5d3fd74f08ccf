"""What a simulation gives: the film and the truth about it; of a pelvis, both hips with side, class and box."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fracture.io.radiograph import Radiograph

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_FINDINGS = {
    "normal": ("normal",),
    "displaced_neck": ("neck",),
    "nondisplaced_neck": ("neck",),
    "intertrochanteric": ("intertrochanteric",),
    "internal_fixation": ("internal-fixation",),
    "arthroplasty": ("arthroplasty",),
}


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
class _Film:
    """What every simulated film has."""

    pixels: NDArray[np.uint16] = field(repr=False)
    seed: int

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    def _radiograph(self, what: str, **facts: Any) -> Radiograph:
        return Radiograph(
            pixels=self.pixels.astype(np.float32) / np.float32(4095.0),
            source=f"<simulated {what}{self.seed}>",
            region_source="caller",
            spacing_source="simulated",
            bits=12,
            **facts,
        )


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedFilm(_Film):
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
    def boxes(self) -> NDArray[np.float64]:
        """All boxes, float64 (fractures, 4): x0, y0, x1, y1 in pixels of the film, edges of pixels at whole numbers."""
        return np.array([f.box for f in self.fractures], dtype=np.float64).reshape(-1, 4)

    def to_radiograph(self) -> Radiograph:
        """The film as every reader returns it: float32 in [0, 1], pixel value over 4095, with region and spacing."""
        return self._radiograph(
            "",
            regions=(self.region,),
            view=self.view,
            laterality=self.laterality,
            spacing=(self.spacing, self.spacing),
        )

    def to_dicom(self, *, inverted: bool | None = None) -> Dataset:
        """The film as a DICOM DX image for presentation, with File Meta Information, ready for ``save_as``.

        Args:
            inverted: MONOCHROME1 rather than MONOCHROME2; one film in four, by its seed, where not given.
        """
        from fracture.simulate.dicom import to_dataset  # pydicom is loaded for those who write DICOM

        return to_dataset(self, inverted=self.seed % 4 == 3 if inverted is None else inverted)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedHip:
    """One hip of a film.

    Attributes:
        side: The patient's ``"left"`` or ``"right"``; the right hip is on the film's left.
        label: One of ``fracture.simulate.HIP_CLASSES``.
        variant: One of ``fracture.simulate.VARIANTS[label]``.
        box: (x0, y0, x1, y1) in pixels, pixel-edge convention, inside the film: the bounds of ``mask`` plus 1.5 mm
            on each side.
        mask: bool (height, width), read-only: all parts of the proximal femur and of its implants, from the head to
            62 mm (times the person's size) below the lesser trochanter, about where the boxes of the real set end.
        metal: bool (height, width), read-only: the implants, cup and distal parts included.
        visible: About what share of the box of the whole proximal femur lies on the film and within the collimated
            field, 0..1; what does not is in neither mask nor box.
        fracture: The fracture, where there is one and it lies on the film (also a line that a fixation left).
    """

    side: str
    label: str
    variant: str
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_] = field(repr=False)
    metal: NDArray[np.bool_] = field(repr=False)
    visible: float
    fracture: SimulatedFracture | None = None

    @property
    def findings(self) -> tuple[str, ...]:
        """The label in the words of the real set, with ``internal-fixation`` and ``arthroplasty`` for hardware."""
        found = _FINDINGS[self.label]
        return (*found, "lesser-trochanter") if self.variant == "lesser_trochanter_detached" else found


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedPelvis(_Film):
    """A simulated AP or frog-leg film of the pelvis.

    Attributes:
        pixels: uint16 (height, width), 12 bits (0..4095), bright = dense, read-only.
        seed: What it was made from.
        hips: The hips on the film, right before left; one is left out where less than a third of it is visible.
        view: ``"ap"`` or ``"frog_leg"``.
        spacing: mm per pixel of rows and of columns; they differ where the film was stretched.
        sex: ``"female"`` or ``"male"``.
        age: Years.
        tilt: Degrees by which the line from the image's left hip to its right one falls, as the real set counts it.
    """

    hips: tuple[SimulatedHip, ...]
    view: str
    spacing: tuple[float, float]
    sex: str
    age: int
    tilt: float

    @property
    def boxes(self) -> NDArray[np.float64]:
        """The hips' boxes, float64 (hips, 4): x0, y0, x1, y1 in pixels of the film, edges at whole numbers."""
        return np.array([h.box for h in self.hips], dtype=np.float64).reshape(-1, 4)

    def hip(self, side: str) -> SimulatedHip | None:
        """The hip of one side, or ``None`` where it is not on the film."""
        return next((h for h in self.hips if h.side == side), None)

    def to_film(self) -> SimulatedFilm:
        """The film as ``simulate.radiograph`` gives it, with the fractures that are not fixed; for ``to_dicom``."""
        fractures = tuple(h.fracture for h in self.hips if h.fracture is not None and h.label != "internal_fixation")
        return SimulatedFilm(
            pixels=self.pixels,
            seed=self.seed,
            region="pelvis",
            view="frontal",
            laterality="right",
            fractures=fractures,
            spacing=float(np.sqrt(self.spacing[0] * self.spacing[1])),
            orientation=("L", "F"),
        )

    def to_radiograph(self) -> Radiograph:
        """The film as every reader returns it: float32 in [0, 1], pixel value over 4095, with region and spacing."""
        return self._radiograph("pelvis ", regions=("pelvis",), view="frontal", spacing=self.spacing)
