"""What a simulated pelvis gives: the film, and both hips with side, class and box."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fracture.radiograph import Radiograph
from fracture.simulate.record import SimulatedFilm, SimulatedFracture

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SimulatedHip", "SimulatedPelvis"]

_FINDINGS = {
    "normal": ("normal",),
    "displaced_neck": ("neck",),
    "nondisplaced_neck": ("neck",),
    "intertrochanteric": ("intertrochanteric",),
    "internal_fixation": ("internal-fixation",),
    "arthroplasty": ("arthroplasty",),
}


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
class SimulatedPelvis:
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

    pixels: NDArray[np.uint16] = field(repr=False)
    seed: int
    hips: tuple[SimulatedHip, ...]
    view: str
    spacing: tuple[float, float]
    sex: str
    age: int
    tilt: float

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
        """The hips' boxes, float64 (hips, 4)."""
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
        return Radiograph(
            pixels=self.pixels.astype(np.float32) / np.float32(4095.0),
            source=f"<simulated pelvis {self.seed}>",
            regions=("pelvis",),
            region_source="caller",
            view="frontal",
            spacing=self.spacing,
            spacing_source="simulated",
            bits=12,
        )
