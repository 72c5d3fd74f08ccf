"""What is said of one neck: levels with places, the probability of a fracture of each and of the patient, and where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError
from fracture.io.nifti import write_nifti
from fracture.spine.cervical.metric import LEVELS, PATIENT
from fracture.spine.frame import SliceFrame, SliceResult
from fracture.wing.result import known_fields, plain_number
from fracture.wing.scene import NOTE, Page, Scene, SceneBox, ScenePoint, digits
from fracture.wing.volume import Volume

__all__ = ["CervicalSpine", "Vertebra"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Vertebra:
    """A level that was found.

    Attributes:
        level: ``"C1"`` to ``"C7"``.
        place: (x, y, z) in millimeters of the patient: the center of the body, of C1 of its anterior arch.
        score: How sure the finder is, in [0, 1]; no probability.
        probability: Of a fracture.
        fractured: Whether it reaches the level's threshold.
        slice: Of the volume, from 0 at the feet, where the judge sees most of it; None where it is not fractured.
        evidence: (x0, y0, x1, y1) on that slice; None likewise.
        box: The same where that slice is the one that the result shows, else None.
        at: (x, y) of the place on the sagittal picture.
    """

    level: str
    place: tuple[float, float, float]
    score: float
    probability: float
    fractured: bool
    slice: int | None = None
    evidence: Box | None = None
    box: Box | None = None
    at: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CervicalSpine(SliceResult):
    """One neck.

    Attributes:
        source: What was read.
        width, height: Of an axial slice, in pixels.
        series: The series, in words.
        reason: Why that one.
        slice: The axial slice that is shown, from 0 at the feet; of how many.
        vertebrae: Levels that were found, from the head.
        probability: Of any fracture; None where no level was found.
        fractured: Whether that reaches the threshold, or a level its own.
        threshold, level_threshold: Of the patient and of a level.
        remarks: What stands behind the levels, such as those that are not seen.
        model, model_version, weights_checksum: Of the weights.
        seconds: Wall time.
        warnings: What a user should see.
        pixels: The axial slice in a bone window, uint8; None once dropped.
        sagittal: The sagittal slice through the levels, uint8, its pixels square; None likewise.
        masks: 1 to 7 where C1 to C7 are, at 2 mm along the patient's axes; None likewise.
        frame: The frame of a file that the axial slice is; None of a NIfTI file or a volume.
    """

    _shown = ("source", "fractured", "probability", "vertebrae")
    _pixels = ("pixels", "sagittal", "masks")
    _kind = "cervical"

    source: str
    width: int
    height: int
    series: str
    reason: str
    slice: tuple[int, int]
    vertebrae: tuple[Vertebra, ...]
    probability: float | None
    fractured: bool
    threshold: float
    level_threshold: float
    remarks: tuple[str, ...]
    model: str
    weights_checksum: str
    model_version: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    pixels: NDArray[np.uint8] | None = None
    sagittal: NDArray[np.uint8] | None = None
    masks: Volume | None = None
    frame: SliceFrame | None = None

    @property
    def probabilities(self) -> dict[str, float | None]:
        """The eight of RSNA 2022 by label; None of a level that was not found."""
        found = {one.level: one.probability for one in self.vertebrae}
        return {level: found.get(level) for level in LEVELS} | {PATIENT: self.probability}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; ``levels`` has the eight probabilities by label, null of a level that was not found."""
        base = super().to_dict()
        rows = [{key: _listed(value) for key, value in asdict(one).items()} for one in self.vertebrae]
        frame = None if self.frame is None else self.frame.to_dict()
        return base | {"vertebrae": rows, "levels": self.probabilities, "frame": frame}

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> CervicalSpine:
        """A neck from its JSON line; pixels are not in it.

        Raises:
            ConfigurationError: It is no line of a neck that was read.
        """
        try:
            rows = tuple(Vertebra(**known_fields(Vertebra, one)) for one in line["vertebrae"])
            frame = None if line.get("frame") is None else SliceFrame.from_dict(line["frame"])
            return cls(**{"probability": None} | known_fields(cls, line) | {"vertebrae": rows, "frame": frame})
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError("no line of fracture spine cervical predict", got=error) from error

    def on_frame(self, frame: SliceFrame, pixels: NDArray[np.uint8]) -> CervicalSpine:
        """The axial slice alone, boxes in pixels of the frame, which ``pixels`` shows, uint8 (rows, columns)."""
        rows = tuple(replace(one, box=None if one.box is None else frame.box(one.box)) for one in self.vertebrae)
        itself = replace(frame, across=(0.0, 1.0, 0.0), down=(0.0, 0.0, 1.0))
        moved = replace(self, vertebrae=rows, frame=itself, pixels=pixels, sagittal=None)
        return replace(moved, width=frame.width, height=frame.height)

    def save_masks(self, path: str | os.PathLike[str]) -> None:
        """Write the levels' masks as NIfTI (``.nii.gz``): 1 to 7 for C1 to C7, at 2 mm along the patient's axes.

        Raises:
            ConfigurationError: They were dropped.
            MissingDependencyError, OutputError: As for :func:`fracture.io.nifti.write_nifti`.
        """
        if self.masks is None:
            raise ConfigurationError(f"{self.source}: this result does not hold its masks", hint="use keep=True")
        write_nifti(path, self.masks.voxels.astype(np.uint8), self.masks.affine)

    def scene(self) -> Scene:
        """The axial slice with the box of a fracture on it, and the sagittal one with the levels.

        Raises:
            ConfigurationError: The pixels were dropped.
        """
        if self.pixels is None:
            raise ConfigurationError(f"{self.source}: this result does not hold its slices", hint="use keep=True")
        broken = [one for one in self.vertebrae if one.fractured]
        if self.probability is None:
            verdict = "No cervical vertebra found"
        elif self.fractured:
            verdict = "Fracture suspected" + (f": {', '.join(one.level for one in broken)}" if broken else "")
        else:
            verdict = f"No fracture suspected at {len(self.vertebrae)} of 7 levels"
        where = f"Slice {self.slice[0] + 1} of {self.slice[1]} of {self.series}: {self.reason}."
        chance = [] if self.probability is None else [f"Patient {digits(self.probability)}"]
        chance += [f"{one.level} {digits(one.probability)}" for one in self.vertebrae]
        trained = "Fractures are known to this model from simulation only."
        lines = tuple(line for line in ("; ".join(chance), *self.remarks, where, trained, NOTE) if line)
        boxes = tuple(SceneBox(*one.box, "sure", one.level) for one in broken if one.box is not None)
        alarm = None if self.probability is None else self.fractured
        pages = [Page(self.pixels, verdict, lines, alarm, boxes)]
        if self.sagittal is not None:
            points = tuple(
                ScenePoint(*one.at, "sure" if one.fractured else "calm", one.level) for one in self.vertebrae
            )
            pages.append(Page(self.sagittal, "Levels on the sagittal slice through them", (), None, (), points))
        return Scene(tuple(pages))


def _listed(value: Any) -> Any:
    if isinstance(value, tuple):
        return [plain_number(one) for one in value]
    return plain_number(value) if isinstance(value, float) else value
