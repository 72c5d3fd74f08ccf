"""What is burnt into pixels: black boxes, and black around the exposed field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError, PixelValueError
from fracture.io.dicom.decode import decode_frame
from fracture.io.dicom.grayscale import black_value, gray_from_color, render
from fracture.io.dicom.header import Attributes, Layout
from fracture.preprocess.crop import find_field

PixelBox = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Redacted:
    """Pixels, decoded and with what was burnt in gone.

    Attributes:
        pixels: (frames, rows, columns) or (frames, rows, columns, 3), as wide as Bits Allocated.
        photometric: Their Photometric Interpretation.
        fill: The stored value of black, for gray.
    """

    pixels: NDArray[Any]
    photometric: str
    fill: int


def checked_boxes(boxes: Sequence[Sequence[float]] | None) -> tuple[PixelBox, ...]:
    """Boxes as four finite numbers each.

    Raises:
        ConfigurationError: No boxes in a list, or no box.
    """
    if boxes is None:
        return ()
    made = []
    for box in boxes:
        try:
            x0, y0, x1, y1 = map(float, box)
        except (TypeError, ValueError):
            x0 = y0 = x1 = y1 = math.nan
        if not (x0 < x1 and y0 < y1 and math.isfinite(x0 + y0 + x1 + y1)):
            raise ConfigurationError(
                "a black box is (x0, y0, x1, y1) in pixels, x to the right and y down",
                got=box,
                allowed="x0 < x1, y0 < y1",
            )
        made.append((x0, y0, x1, y1))
    if not made:
        raise ConfigurationError("boxes is empty", hint="leave it out, or give the places of burnt-in text")
    return tuple(made)


def redact(
    dataset: Attributes, form: Layout, name: str, *, boxes: tuple[PixelBox, ...], outside_field: bool
) -> Redacted:
    """Decode all frames, and make black what is asked for.

    Raises:
        InputError: Pixels that cannot be decoded; a box beside the film; no field that stands out.
    """
    frames, photometric = [], form.photometric
    fill = black_value(dataset, form)
    for index in range(form.frames):
        frame, photometric = decode_frame(dataset, form, name, index)
        if photometric == "YBR_FULL_422":
            photometric = "YBR_FULL"
        gray = photometric.startswith("MONOCHROME")
        if boxes or outside_field:
            black = [0, 128, 128] if photometric == "YBR_FULL" else fill if gray else 0
            hidden = np.zeros(frame.shape[:2], np.bool_)
            for box in boxes:
                hidden[_slices(box, form, name)] = True
            if outside_field:
                hidden |= ~_field(frame, photometric, dataset, form, name)
            frame = frame.copy()
            frame[hidden] = black
        frames.append(frame)
    return Redacted(np.stack(frames), photometric, fill)


def _slices(box: PixelBox, form: Layout, name: str) -> tuple[slice, slice]:
    """The pixels that a box touches."""
    x0, y0, x1, y1 = box
    if x0 >= form.columns or y0 >= form.rows or x1 <= 0 or y1 <= 0:
        raise PixelValueError(
            f"{name}: a black box lies outside the film",
            got=box,
            allowed=f"within {form.columns} x {form.rows} pixels",
            hint="give the places of this film",
        )
    return slice(max(0, math.floor(y0)), math.ceil(y1)), slice(max(0, math.floor(x0)), math.ceil(x1))


def _field(frame: NDArray[Any], photometric: str, dataset: Attributes, form: Layout, name: str) -> NDArray[np.bool_]:
    if not photometric.startswith("MONOCHROME"):
        frame = gray_from_color(frame, photometric, dataset, form, name)
        form = replace(form, samples=1, signed=False, photometric="MONOCHROME2")
    field = find_field(render(frame, dataset, form, name, "auto")[0], source=name)
    if field.all():
        raise PixelValueError(
            f"{name}: no exposed field stands out from a dark surrounding, so there is nothing to make black",
            hint="look at the film, and give the places of burnt-in text as boxes",
        )
    return field
