"""What both spine wings say of a series: the slice that is shown, where it comes from, what lies on it, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError
from fracture.spine.frame import SliceFrame, SliceResult
from fracture.wing.result import known_fields


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpineResult(SliceResult):
    """A spine; a wing adds its findings, records of numbers and tuples in a field of their own.

    Attributes:
        source: What was read.
        width, height: Of the slice, in pixels.
        series: The series, in words.
        reason: Why that one.
        slice: Which of its slices is shown, from 0; of how many.
        remarks: What stands behind the findings.
        model, model_version, weights_checksum: Of the weights.
        seconds: Wall time.
        warnings: What a user should see.
        pixels: The slice as it is shown, uint8; None once dropped.
        frame: The frame of a file that the slice is; None of a picture, a NIfTI file, or a volume.
        _rows: The field of the findings, and what they are.
    """

    _rows: ClassVar[tuple[str, type]]

    source: str
    width: int
    height: int
    series: str
    reason: str
    slice: tuple[int, int]
    remarks: tuple[str, ...]
    model: str
    weights_checksum: str
    model_version: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    pixels: NDArray[np.uint8] | None = None
    frame: SliceFrame | None = None

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> dict[str, Any]:
        """The findings, and the frame; a wing adds what else is not as the line has it."""
        name, kind = cls._rows
        frame = None if line.get("frame") is None else SliceFrame.from_dict(line["frame"])
        return {name: tuple(kind(**known_fields(kind, one)) for one in line[name]), "frame": frame}

    def moved(self, frame: SliceFrame, pixels: NDArray[np.uint8], **changed: Any) -> Self:
        """On a frame, which ``pixels`` shows, uint8 (rows, columns), with the wing's findings there."""
        itself = replace(frame, across=(0.0, 1.0, 0.0), down=(0.0, 0.0, 1.0))
        return replace(self, frame=itself, pixels=pixels, width=frame.width, height=frame.height, **changed)

    @property
    def where(self) -> str:
        """The slice, its series, and why that one, for people."""
        return f"Slice {self.slice[0] + 1} of {self.slice[1]} of {self.series}: {self.reason}."

    def shown(self) -> NDArray[np.uint8]:
        """The pixels.

        Raises:
            ConfigurationError: They were dropped.
        """
        if self.pixels is None:
            raise ConfigurationError(f"{self.source}: this result does not hold its slices", hint="use keep=True")
        return self.pixels
