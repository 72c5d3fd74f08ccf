"""A wing without networks: what it says stands in the film. Installed for the processes of a node under test."""

from __future__ import annotations

import copy
import hashlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from fracture.errors import UnreadableFileError
from fracture.wing.card import BaseCard
from fracture.wing.contract import Wing
from fracture.wing.result import Failure
from fracture.wing.store import Store, Weights


class Card(BaseCard):
    FILE: ClassVar[str] = "fake_card.json"
    format: Literal["fake/1"] = "fake/1"

    @property
    def files(self) -> Sequence[Any]:
        return ()


@dataclass
class Result:
    source: str
    film: Dataset
    card: Card
    ok: bool = True
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        score = float(self.film.ImageComments.split()[0])
        return {
            "source": self.source,
            "width": self.film.Columns,
            "height": self.film.Rows,
            "probability": score,
            "threshold": 0.5,
            "fractured": score >= 0.5,
            "model": self.card.name,
            "error": None,
        }

    def to_dicom(self, objects: Sequence[str]) -> list[Dataset]:
        """One small picture for each kind; its UID depends on film, kind and weights."""
        made = []
        for kind in objects:
            one = Dataset()
            one.update({element.tag: element for element in self.film})
            text = f"{self.film.SOPInstanceUID}/{kind}/{self.card.label}"
            digest = hashlib.sha256(text.encode()).hexdigest()
            one.SOPInstanceUID = UID(f"2.25.{int(digest[:30], 16)}")
            one.SeriesInstanceUID = UID(f"{self.film.SeriesInstanceUID}.1")
            one.SOPClassUID, one.Modality = SecondaryCaptureImageStorage, "OT"
            one.Manufacturer = "fracture (open source)"
            one.file_meta = copy.deepcopy(self.film.file_meta)
            one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
            one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
            made.append(one)
        return made


@dataclass
class FakeReader:
    card: Card

    def predict_many(self, sources: Iterable[Path], *, workers: int = 0, keep: bool = False) -> Iterator[Any]:
        for source in sources:
            film = dcmread(source)
            what = str(film.ImageComments)
            if "poison" in what:
                os.kill(os.getpid(), signal.SIGKILL)
            if "slow" in what:
                time.sleep(float(what.split()[-1]))
            if "unreadable" in what:
                yield Failure.of(str(source), UnreadableFileError("the film cannot be read"))
            else:
                yield Result(str(source), film, self.card)


def reader(weights: Weights[Card], **_: Any) -> FakeReader:
    return FakeReader(weights.card)


WING = Wing[Card]("fake", Store(Card, "fake", "fake weights", "nothing"), reader, lambda weights: iter(()))
