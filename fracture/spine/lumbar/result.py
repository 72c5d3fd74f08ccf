"""What is said of one lumbar spine: discs with names and places, which series they were found on, and how sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError
from fracture.simulate.lumbar import LEVELS
from fracture.spine.frame import SliceFrame, SliceResult
from fracture.spine.lumbar.finding import Disc, Naming
from fracture.wing.result import known_fields, plain_number
from fracture.wing.scene import NOTE, Page, Scene, SceneBox, ScenePoint

__all__ = ["FoundDisc", "LumbarSpine"]


@dataclass(frozen=True, slots=True)
class FoundDisc:
    """A disc in the patient.

    Attributes:
        level: ``"L5/S1"`` and so on; empty without a name.
        x, y: Center on the slice in pixels, edges as everywhere.
        box: (x0, y0, x1, y1) on the slice.
        place: (x, y, z) in millimeters of the patient; None for a picture, which has no place.
        score: Of the finder, in [0, 1]; no probability.
    """

    level: str
    x: float
    y: float
    box: tuple[float, float, float, float]
    place: tuple[float, float, float] | None
    score: float

    @classmethod
    def of(cls, disc: Disc, place: tuple[float, float, float] | None) -> FoundDisc:
        """A disc of the slice with its place in the patient."""
        return cls(disc.level, disc.x, disc.y, (disc.x0, disc.y0, disc.x1, disc.y1), place, disc.score)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LumbarSpine(SliceResult):
    """The discs of one spine.

    Attributes:
        source: What was read.
        width, height: Of the slice, in pixels.
        series: The series that the discs were found on, in words.
        reason: Why that one.
        slice: Its slice, from 0, from the patient's right; of how many.
        discs: On a chain, from the lowest upward.
        naming: ``"clear"``, ``"doubtful"`` (transitional anatomy looks so) or ``"none"``.
        remarks: What stands behind that.
        model, model_version, weights_checksum: Of the weights.
        seconds: Wall time.
        warnings: What a user should see.
        pixels: The slice as it is shown, uint8; None once dropped.
        aspect: Height of a pixel by its width.
        frame: The frame of a file that the slice is; None of a picture, a NIfTI file, or a volume.
    """

    _shown = ("source", "naming", "discs")
    _pixels = ("pixels",)
    _kind = "lumbar"

    source: str
    width: int
    height: int
    series: str
    reason: str
    slice: tuple[int, int]
    discs: tuple[FoundDisc, ...]
    naming: Naming
    remarks: tuple[str, ...]
    model: str
    weights_checksum: str
    model_version: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    pixels: NDArray[np.uint8] | None = None
    aspect: float = 1.0
    frame: SliceFrame | None = None

    def disc(self, level: str) -> FoundDisc | None:
        """The disc of a name, or None."""
        return next((disc for disc in self.discs if disc.level == level), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; ``levels`` has the five of RSNA 2024 by name, null where one was not found."""
        base = super().to_dict()
        discs = [{key: _listed(value) for key, value in asdict(disc).items()} for disc in self.discs]
        named = {disc["level"]: disc for disc in discs}
        frame = None if self.frame is None else self.frame.to_dict()
        return base | {"discs": discs, "levels": {level: named.get(level) for level in LEVELS}, "frame": frame}

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> LumbarSpine:
        """A spine from its JSON line; pixels are not in it.

        Raises:
            ConfigurationError: It is no line of a spine that was read.
        """
        try:
            discs = tuple(FoundDisc(**known_fields(FoundDisc, disc)) for disc in line["discs"])
            frame = None if line.get("frame") is None else SliceFrame.from_dict(line["frame"])
            return cls(**known_fields(cls, line) | {"discs": discs, "frame": frame})
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError("no line of fracture spine lumbar predict", got=error) from error

    def on_frame(self, frame: SliceFrame, pixels: NDArray[np.uint8]) -> LumbarSpine:
        """The same with the discs in pixels of the frame, which ``pixels`` shows, uint8 (rows, columns)."""
        discs = []
        for disc in self.discs:
            x, y = frame.point(disc.x, disc.y)
            discs.append(replace(disc, x=x, y=y, box=frame.box(disc.box)))
        itself = replace(frame, across=(0.0, 1.0, 0.0), down=(0.0, 0.0, 1.0))
        moved = replace(self, discs=tuple(discs), frame=itself, pixels=pixels)
        return replace(moved, width=frame.width, height=frame.height)

    def scene(self) -> Scene:
        """One page: the slice with every disc and its name.

        Raises:
            ConfigurationError: The pixels were dropped.
        """
        if self.pixels is None:
            raise ConfigurationError(f"{self.source}: this result does not hold its slice", hint="use keep=True")
        look: Any = "calm" if self.naming == "clear" else "doubt"
        boxes = tuple(SceneBox(*disc.box, look) for disc in self.discs)
        points = tuple(ScenePoint(disc.x, disc.y, look, disc.level) for disc in self.discs)
        names = [disc.level for disc in self.discs if disc.level in LEVELS]
        verdict = {
            "clear": f"{len(names)} of 5 lumbar discs found and named",
            "doubtful": "Discs found; their names are doubtful",
            "none": "Discs found, no names" if self.discs else "No disc found",
        }[self.naming]
        where = f"Slice {self.slice[0] + 1} of {self.slice[1]} of {self.series}: {self.reason}."
        return Scene((Page(self.pixels, verdict, (*self.remarks, where, NOTE), None, boxes, points),))


def _listed(value: Any) -> Any:
    if isinstance(value, tuple):
        return [plain_number(one) for one in value]
    return plain_number(value) if isinstance(value, float) else value
