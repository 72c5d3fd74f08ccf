"""Films that are only just films, and a task that looks at them without networks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fracture.cli.run import Task
from fracture.errors import FractureError, InputError
from fracture.io.marks import subject_of
from fracture.io.reading import read
from fracture.wing.overlay import write_picture
from fracture.wing.scene import Page, Scene, SceneBox, as_gray


def write_film(path: Path | str, level: int = 0) -> None:
    """A gray PNG under any name."""
    _, data = cv2.imencode(".png", np.full((16, 16), level % 256, np.uint8))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(bytes(data))


def dicom_film(**changes: Any) -> bytes:
    """A small DICOM radiograph, or what ``changes`` make of it."""
    from io import BytesIO

    from pydicom.dataset import FileDataset, FileMetaDataset

    uid = changes.pop("sop", "1.2.840.10008.5.1.4.1.1.1.1")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = uid, "1.2.3"
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = uid, "1.2.3", "DX"
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = bytes(range(256))
    dataset["PixelData"].VR = "OB"
    for name, value in changes.items():
        setattr(dataset, name, value)
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


@dataclass
class Looked:
    """What the fake says of a film."""

    source: str
    error: FractureError | None = None

    @property
    def ok(self) -> bool:
        return self.error is None

    def scene(self) -> Scene:
        """The film, with a box over its upper left quarter."""
        pixels = as_gray(read(self.source).pixels)
        height, width = pixels.shape
        box = SceneBox(0.0, 0.0, width / 2, height / 2, "sure", "1")
        return Scene((Page(pixels, "Something is <there>", ("A & B",), alarm=True, boxes=(box,)),))


@dataclass
class Looker:
    """Counts what it looks at; a film is fractured if its checksum is even."""

    request: dict[str, Any] = field(default_factory=lambda: {"weights": "w", "frame": None})
    seen: list[str] = field(default_factory=list)
    stop_after: int | None = None

    def task(self) -> Task:
        return Task(request=self.request, results=self._results, draw=self._draw, line=self._line)

    def _results(self, films: Iterable[str]) -> Iterator[Looked]:
        for film in films:
            if len(self.seen) == self.stop_after:
                raise KeyboardInterrupt
            self.seen.append(film)
            try:
                read(film)
            except InputError as error:
                yield Looked(film, error)
            else:
                yield Looked(film)

    def _draw(self, result: Looked, path: str) -> None:
        write_picture(np.zeros((4, 4, 3), np.uint8), path, subject_of("film", result.source))

    def _line(self, result: Looked) -> dict[str, Any]:
        line = {"source": result.source, "fractured": None, "seconds": 0.0, "error": None}
        if result.error is not None:
            return {**line, "error": {"type": type(result.error).__name__, "message": str(result.error)}}
        return {**line, "fractured": hashlib.sha256(Path(result.source).read_bytes()).digest()[0] % 2 == 0}
