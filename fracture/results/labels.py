"""Parts of the body on the frames of a series, as a wing hands them over for a segmentation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fracture.results.header import HeaderSource


class LabelFrame(NamedTuple):
    """A frame of a file that labels lie on.

    Attributes:
        source: The file.
        number: Which frame of it, from 0.
        position: Center of the first pixel, (x, y, z) in millimeters of the patient.
        orientation: Direction cosines of the rows and of the columns.
        spacing: Millimeters from row to row, and from column to column.
    """

    source: HeaderSource
    number: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]


class LabelMap(NamedTuple):
    """Parts of the body on the frames of a series, for a segmentation.

    Attributes:
        names: Of labels 1, 2, ...: vertebrae as :data:`fracture.results.codes.VERTEBRAE` knows them.
        thickness: Millimeters from slice to slice.
        frames: Of the series, those that have labels.
        voxels: uint8 (frames, rows, columns), 0 where nothing is.
        how: How the labels were made, in words.
    """

    names: tuple[str, ...]
    thickness: float
    frames: tuple[LabelFrame, ...]
    voxels: NDArray[np.uint8]
    how: str
