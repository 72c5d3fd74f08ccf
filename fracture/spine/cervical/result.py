"""What is said of one neck: levels with places, the probability of a fracture of each and of the patient, and where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError
from fracture.io.nifti import write_nifti
from fracture.results.labels import LabelFrame, LabelMap
from fracture.spine.cervical.metric import LEVELS, PATIENT
from fracture.spine.frame import SliceFrame, on_frames
from fracture.spine.result import SpineResult
from fracture.spine.series import Stack
from fracture.wing.scene import Page, Scene, SceneBox, ScenePoint, digits
from fracture.wing.volume import Volume

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Vertebra:
    """A level that was found.

    Attributes:
        level: ``"C1"`` to ``"C7"``.
        place: (x, y, z) in millimeters of the patient: the center of the body, of C1 of its anterior arch.
        score: How sure the finder is of center and level, in [0, 1]; no probability.
        probability: Of a fracture; 0 until it was judged, as what follows.
        fractured: Whether it reaches the level's threshold.
        threshold: That one.
        slice: Of the volume, from 0 at the feet, where the judge sees most of it; None where it is not fractured.
        evidence: (x0, y0, x1, y1) on that slice; None likewise.
        box: The same where that slice is the one that the result shows, else None.
        at: (x, y) of the place on the sagittal picture.
    """

    level: str
    place: tuple[float, float, float]
    score: float
    probability: float = 0.0
    fractured: bool = False
    threshold: float = 0.5
    slice: int | None = None
    evidence: Box | None = None
    box: Box | None = None
    at: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CervicalSpine(SpineResult):
    """One neck, on the axial slice of the likeliest fracture, in a bone window; slices are counted from the feet.

    Attributes:
        vertebrae: Levels that were found, from the head; ``remarks`` say which are not seen.
        probability: Of any fracture; None where no level was found.
        fractured: Whether that reaches the threshold, or a level its own.
        threshold, level_threshold: Of the patient and of a level.
        sagittal: The sagittal slice through the levels, uint8, its pixels square; None once dropped.
        masks: 1 to 7 where C1 to C7 are, at 2 mm along the patient's axes; None likewise.
        stack: The files of the series; None of a NIfTI file or a volume, and once dropped.
    """

    _shown = ("source", "fractured", "probability", "vertebrae")
    _pixels = ("pixels", "sagittal", "masks", "stack")
    _kind, _command = "cervical", "spine cervical predict"
    _rows = "vertebrae", Vertebra

    vertebrae: tuple[Vertebra, ...]
    probability: float | None
    fractured: bool
    threshold: float
    level_threshold: float
    sagittal: NDArray[np.uint8] | None = None
    masks: Volume | None = None
    stack: Stack | None = None

    @property
    def probabilities(self) -> dict[str, float | None]:
        """The eight of RSNA 2022 by label; None of a level that was not found."""
        found = {one.level: one.probability for one in self.vertebrae}
        return {level: found.get(level) for level in LEVELS} | {PATIENT: self.probability}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; ``levels`` has the eight probabilities by label, null of a level that was not found."""
        return super().to_dict() | {"levels": self.probabilities}

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> dict[str, Any]:
        """A probability may be null."""
        return {**super().read(line), "probability": line.get("probability")}

    def on_frame(self, frame: SliceFrame, pixels: NDArray[np.uint8]) -> CervicalSpine:
        """The axial slice alone, boxes in pixels of the frame, which ``pixels`` shows, uint8 (rows, columns)."""
        rows = tuple(replace(one, box=None if one.box is None else frame.box(one.box)) for one in self.vertebrae)
        return self.moved(frame, pixels, vertebrae=rows, sagittal=None)

    @property
    def mapped(self) -> bool:
        """Whether it holds the masks and the files on whose frames ``"seg"`` puts them."""
        return self.masks is not None and self.stack is not None

    def label_map(self) -> LabelMap | None:
        """C1 to C7 on the frames of the series that show any; None where masks or files were dropped."""
        if self.masks is None or self.stack is None:
            return None
        shown, thickness = on_frames(self.masks, self.stack)
        frames = [
            LabelFrame(self.stack.files[one.source], one.index, one.position, one.orientation, one.spacing)
            for one, _ in shown
        ]
        voxels = np.stack([labels for _, labels in shown]) if shown else np.zeros((0, 1, 1), np.uint8)
        how = f"nearest voxel of {self.masks.spacing[0]:g} mm"
        return LabelMap(LEVELS, thickness, tuple(frames), voxels, how)

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
        broken = [one for one in self.vertebrae if one.fractured]
        if self.probability is None:
            verdict = "No cervical vertebra found"
        elif self.fractured:
            verdict = "Fracture suspected" + (f": {', '.join(one.level for one in broken)}" if broken else "")
        else:
            verdict = f"No fracture suspected at {len(self.vertebrae)} of 7 levels"
        chance = [] if self.probability is None else [f"Patient {digits(self.probability)}"]
        chance += [f"{one.level} {digits(one.probability)}" for one in self.vertebrae]
        trained = "Fractures are known to this model from simulation only."
        lines = tuple(line for line in ("; ".join(chance), *self.remarks, self.where, trained) if line)
        boxes = tuple(SceneBox(*one.box, "sure", one.level) for one in broken if one.box is not None)
        alarm = None if self.probability is None else self.fractured
        pages = [Page(self.shown(), verdict, lines, alarm, boxes)]
        if self.sagittal is not None:
            points = tuple(
                ScenePoint(*one.at, "sure" if one.fractured else "calm", one.level) for one in self.vertebrae
            )
            pages.append(Page(self.sagittal, "Levels on the sagittal slice through them", (), None, (), points))
        return Scene(tuple(pages))
