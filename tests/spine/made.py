"""Small DICOM series for the tests: every voxel's value says where it lies in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from tests.dicom.builder import dataset, file_bytes

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
STORAGE = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}


def value_at(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """A whole number for each place (..., 3) in millimeters, different at all places of a small series."""
    found: NDArray[np.int64] = np.rint(points @ (3.0, 17.0, 101.0)).astype(np.int64) + 1500
    return found


def places(
    position: Sequence[float], orientation: Sequence[float], spacing: Sequence[float], size: Sequence[int]
) -> Any:
    """Millimeters of each pixel, (rows, columns, 3)."""
    row, column = np.mgrid[: size[0], : size[1]]
    across, down = np.array(orientation[:3]) * spacing[1], np.array(orientation[3:]) * spacing[0]
    return np.array(position) + column[..., None] * across + row[..., None] * down


def slices(
    count: int = 5,
    *,
    orientation: Sequence[float] = SAGITTAL,
    step: Sequence[float] | float = 4.0,
    start: Sequence[float] = (-8.0, -10.0, 12.0),
    spacing: tuple[float, float] = (0.5, 0.75),
    size: tuple[int, int] = (9, 7),
    modality: str = "MR",
    slope: float = 1.0,
    intercept: float = 0.0,
    **attributes: Any,
) -> list[Dataset]:
    """Data sets of one series, in the order of their places; ``step`` along the normal, or a direction of its own."""
    normal = np.cross(orientation[:3], orientation[3:])
    way = normal * step if isinstance(step, float) else np.array(step)
    made = []
    for k in range(count):
        position = np.array(start) + k * way
        stored = (value_at(places(position, orientation, spacing, size)) - intercept) / slope
        values: dict[str, Any] = {
            "SOPClassUID": STORAGE[modality],
            "SOPInstanceUID": f"1.2.3.{k + 1}",
            "SeriesInstanceUID": "1.2.3.9",
            "Modality": modality,
            "SeriesDescription": "Sagittal T2",
            "ImagePositionPatient": [f"{one:.4f}" for one in position],
            "ImageOrientationPatient": list(orientation),
            "PixelSpacing": list(spacing),
            "SliceThickness": 4.0,
            "RescaleSlope": slope,
            "RescaleIntercept": intercept,
        }
        made.append(dataset(np.rint(stored).astype(np.int16), **{**values, **attributes}))
    return made


def write(made: Sequence[Dataset], folder: Path, *, name: str = "{}.dcm") -> Path:
    """The data sets as files, numbered from 0."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, one in enumerate(made):
        (folder / name.format(k)).write_bytes(file_bytes(one))
    return folder


def enhanced(made: Sequence[Dataset], order: Sequence[int], *, shared: bool = True) -> Dataset:
    """The slices as one Enhanced object, frames in some order; spacing and direction for all of them, or for each."""
    first = made[0]
    whole = dataset(
        np.stack([np.frombuffer(made[k].PixelData, np.int16).reshape(first.Rows, first.Columns) for k in order]),
        Rows=first.Rows,
        Columns=first.Columns,
        NumberOfFrames=len(order),
        SOPClassUID=ENHANCED[first.Modality],
        Modality=first.Modality,
        SeriesInstanceUID=first.SeriesInstanceUID,
        SeriesDescription=first.SeriesDescription,
    )
    common = [
        group("PlaneOrientationSequence", ImageOrientationPatient=first.ImageOrientationPatient),
        group("PixelMeasuresSequence", PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness),
    ]
    each = []
    for k in order:
        parts = [group("PlanePositionSequence", ImagePositionPatient=made[k].ImagePositionPatient)]
        words = {word: made[k].get(word) for word in ("RescaleSlope", "RescaleIntercept")}
        parts.append(group("PixelValueTransformationSequence", **words))
        each.append(merged([*parts, *([] if shared else common)]))
    whole.SharedFunctionalGroupsSequence = Items([merged(common if shared else [])])
    whole.PerFrameFunctionalGroupsSequence = Items(each)
    return whole


def group(keyword: str, **values: Any) -> Dataset:
    inside, outside = Dataset(), Dataset()
    for word, value in values.items():
        setattr(inside, word, value)
    setattr(outside, keyword, Items([inside]))
    return outside


def merged(parts: Sequence[Dataset]) -> Dataset:
    whole = Dataset()
    for part in parts:
        whole.update(part)
    return whole
