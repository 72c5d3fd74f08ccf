"""The frame of a file that a slice of a volume is, and results that belong to one: their DICOM objects refer to it.

A slice is shown as people look at it (:data:`fracture.spine.planes.PLANES`), the file may hold it turned; both have the
same pixels, so a place goes from the one to the other through the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fracture.errors import ConfigurationError
from fracture.io.reading import read
from fracture.results.base import DicomResult, Filmed
from fracture.spine.resample import sampled
from fracture.spine.series import Stack
from fracture.wing.scene import as_gray
from fracture.wing.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.io.dicom.frames import Frame
    from fracture.results.header import HeaderSource


_OFF = 0.5  # pixels or slices that a corner may be off before a slice is no frame of the file (our choice)


@dataclass(frozen=True, slots=True)
class SliceFrame:
    """Where a slice comes from.

    Attributes:
        file: The file.
        index: Which frame of it, from 0.
        width, height: Of the frame in pixels.
        across, down: (a, b, c): a place (x, y) on the slice is at ``a + b * x + c * y`` in the frame, along its rows
            and along its columns; pixel edges on both sides.
    """

    file: str
    index: int
    width: int
    height: int
    across: tuple[float, float, float]
    down: tuple[float, float, float]

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A place on the slice to (x, y) in the frame."""
        (a, b, c), (d, e, f) = self.across, self.down
        return a + b * x + c * y, d + e * x + f * y

    def box(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) on the slice to the same in the frame."""
        xs, ys = zip(self.point(box[0], box[1]), self.point(box[2], box[3]), strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; see :meth:`from_dict`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, line: dict[str, Any]) -> SliceFrame:
        """The frame of a result's JSON line."""
        made: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in line.items()}
        return cls(**made)


def frame_of(stack: Stack, volume: Volume, number: int) -> SliceFrame | None:
    """The frame that a slice of a volume is.

    Args:
        stack: What the volume was read from.
        volume: Its axes in any order.
        number: The slice, from 0.

    Returns:
        None where no frame lies in the slice's plane, or where a file does not say (NIfTI).
    """
    rows, columns = volume.voxels.shape[1:]
    corners = [(-0.5, -0.5), (-0.5, columns - 0.5), (rows - 0.5, -0.5)]
    places = np.array([volume.place((number, row, column)) for row, column in corners])
    best: tuple[float, SliceFrame] | None = None
    for frame in stack.frames:
        ways = np.reshape(frame.orientation, (2, 3))
        away = np.abs((places - frame.position) @ np.cross(*ways)) / volume.spacing[0]
        if float(away.max()) < (_OFF if best is None else best[0]):
            x, y = ((places - frame.position) @ ways.T / (frame.spacing[1], frame.spacing[0]) + 0.5).T.tolist()
            found = SliceFrame(
                *(frame.source, frame.index, frame.columns, frame.rows),
                across=(x[0], (x[1] - x[0]) / columns, (x[2] - x[0]) / rows),
                down=(y[0], (y[1] - y[0]) / columns, (y[2] - y[0]) / rows),
            )
            x0, y0, x1, y1 = found.box((0, 0, columns, rows))
            if max(abs(x0), abs(y0), abs(x1 - frame.columns), abs(y1 - frame.rows)) < _OFF:
                best = float(away.max()), found
    return None if best is None else best[1]


def on_frames(labels: Volume, stack: Stack) -> tuple[list[tuple[Frame, NDArray[np.uint8]]], float]:
    """A volume of labels, of any grid, on the frames of a series: the nearest voxel of each pixel.

    Returns:
        The frames that show a label, uint8 (rows, columns) of each, and the usual millimeters from frame to frame.
    """
    shown, steps = [], []
    for one in {one.position: one for one in stack.frames}.values():  # a copy at its place counts once
        across, down = (np.multiply(one.orientation[k : k + 3], one.spacing[n]) for k, n in ((0, 1), (3, 0)))
        affine = np.eye(4)
        affine[:3, :4] = np.stack([across, down, np.cross(across, down) / np.prod(one.spacing), one.position], 1)
        steps.append(float(affine[:3, 2] @ one.position))
        found = sampled(labels, affine, (1, one.rows, one.columns), fill=0, order=0)[0].astype(np.uint8)
        if found.any():
            shown.append((one, found))
    return shown, float(np.median(np.diff(np.unique(np.round(steps, 3))))) if len(steps) > 1 else 1.0


class SliceResult(DicomResult):
    """A result of a series that shows one slice; a wing gives ``frame`` and :meth:`on_frame`."""

    __slots__ = ()
    frame: SliceFrame | None

    def on_frame(self, frame: SliceFrame, pixels: NDArray[np.uint8]) -> SliceResult:
        """The same with its places in pixels of the frame, which ``pixels`` shows, uint8 (rows, columns)."""
        raise NotImplementedError

    def filmed(self, source: HeaderSource | None, frame: int | None) -> Filmed:
        """The result on the frame of the file that the slice is from; see :class:`fracture.results.base.Filmed`.

        Raises:
            ConfigurationError: No file has this slice.
            FractureError: The file cannot be read any more.
        """
        if self.frame is None:
            raise ConfigurationError(
                f"{self.source}: DICOM objects belong to a slice of a DICOM series",
                got="a picture, a NIfTI file, or a volume that was turned into another plane",
                hint="predict on the DICOM files of the series",
            )
        file = self.frame.file if source is None else source
        index = self.frame.index if frame is None else frame
        film = read(self.frame.file if self._is_header(file) else file, frame=index, allow=("*",))
        return Filmed(self.on_frame(self.frame, as_gray(film.pixels)), film, file, index)

    @staticmethod
    def _is_header(source: Any) -> bool:
        """A data set without pixels: that of a de-identified copy."""
        return hasattr(source, "walk") and "PixelData" not in source
