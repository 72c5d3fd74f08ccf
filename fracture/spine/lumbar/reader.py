"""From a study to named discs: the series that is taken and why, its middle slices, the finder, the best of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.errors import PixelValueError
from fracture.io.ahead import source_name
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.images import sniff
from fracture.simulate.lumbar import LEVELS
from fracture.spine.card import ScoreTest
from fracture.spine.centers import SIDE, build_network
from fracture.spine.kinds import SAGITTAL_T1, SAGITTAL_T2
from fracture.spine.lumbar.card import STORE
from fracture.spine.lumbar.finding import Disc, Discs, discs_from
from fracture.spine.lumbar.grading import KINDS, Views, grade, views_of
from fracture.spine.lumbar.result import LumbarSpine
from fracture.spine.picture import fit, read_picture, stretched
from fracture.spine.reader import SeriesReader, SpineSeries, Wanted
from fracture.spine.slices import build_slices
from fracture.wing.reader import Taken
from fracture.wing.result import GridToSource
from fracture.wing.volume import Volume

_SLICES = 7  # around the middle that are looked at (ours: some 28 mm)
_UNSAID = "no series says that it is sagittal T2, STIR or T1"
Planes = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sagittal(SpineSeries):
    """Sagittal slices of one spine, the front to the left and the head up.

    Attributes:
        views: What grades are read from; empty without a grader, or where no series says what it is.
        grid: How the network's pixels lie on the slices; set when they are prepared.
    """

    views: Views = field(default_factory=dict)
    grid: list[GridToSource] = field(default_factory=list)

    @property
    def first(self) -> int:
        """Number of the first slice that is looked at."""
        return max(0, (len(self.volume.voxels) - _SLICES) // 2)

    @property
    def slices(self) -> Planes:
        """Those that are looked at, float32 (n, rows, columns)."""
        return self.volume.voxels[self.first : self.first + _SLICES]

    @property
    def spacing(self) -> tuple[float, float]:
        """From row to row and column to column; millimeters where it lies in the patient."""
        return self.volume.spacing[1:]


class LumbarReader(SeriesReader[Sagittal, Planes, LumbarSpine]):
    """Reads studies (folders), series, NIfTI files, volumes, and pictures of a sagittal slice; the grader may be
    missing."""

    record, store, purpose = Sagittal, STORE, "Research on MR of the lumbar spine; not a medical device."
    networks: ClassVar = {"finder": ("discs", build_network), "grader": ("grades", build_slices)}
    wanted = Wanted(
        "MR",
        "sagittal",
        (
            (lambda kind: kind.rsna == SAGITTAL_T2, f"it is the {SAGITTAL_T2} series"),
            (
                lambda kind: kind.rsna == SAGITTAL_T1,
                f"no sagittal T2 or STIR is there; it is the {SAGITTAL_T1} series",
            ),
            (lambda kind: kind.plane == "sagittal", f"{_UNSAID}; it is the sagittal one"),
        ),
        f"{_UNSAID}; it is a NIfTI file",
        "give the sagittal T2 series of the lumbar spine",
    )

    def take(  # type: ignore[override]  # its options
        self, source: Any, *, number: int | None = None, kinds: Mapping[str, str] | None = None
    ) -> Sagittal:
        """One spine: what :meth:`taken` reads, or a picture (PNG, JPEG) of a sagittal slice with the head up, which has
        no millimeters."""
        if isinstance(source, bytes | str | os.PathLike) and (picture := _picture(source)) is not None:
            flat, name = Volume(picture[None], np.eye(4)), source_name(source)
            return Sagittal(source=name, volume=flat, series="a picture", reason="it was given", placed=False)
        taken, found = self.taken(source, number, kinds)
        return taken if self.judge is None or found is None else replace(taken, views=views_of(found))

    def prepare(self, record: Sagittal, /) -> Planes:
        """(n, 1, SIDE, SIDE)."""
        planes = np.zeros((len(record.slices), 1, SIDE, SIDE), np.float32)
        empty: PixelValueError | None = None
        for k, pixels in enumerate(record.slices):
            try:
                planes[k], grid = fit(pixels, record.spacing)
                record.grid[:] = [grid]
            except PixelValueError as error:  # a slice beside the patient; the others may show the spine
                empty = error
        if not record.grid and empty is not None:
            raise empty
        return planes

    def examine(self, taken: Sequence[Taken[Sagittal, Planes]], /) -> list[LumbarSpine]:
        """The finder on the slices of all; of each the slice whose chain has the highest total score."""
        maps = self.finder.run({"x": np.concatenate([one.inputs for one in taken])})["output"].float().cpu().numpy()
        places = np.cumsum([len(one.inputs) for one in taken])[:-1]
        return [self._judged(one, part) for one, part in zip(taken, np.split(maps, places), strict=True)]

    def _judged(self, one: Taken[Sagittal, Planes], maps: NDArray[np.float32]) -> LumbarSpine:
        record = one.record
        found = [discs_from(part, record.grid[0], record.slices.shape[1]) for part in maps]
        best = max(range(len(found)), key=lambda k: (_total(found[k]), -abs(k - (len(found) - 1) / 2)))
        discs, number = found[best], record.first + best
        placed = discs.discs if not record.placed else self._placed(record, discs, number)
        shown = np.rint(stretched(record.slices[best]) * 255).astype(np.uint8)
        graded, remark = self._graded(record, discs)
        return LumbarSpine(
            **self.stated(record, number, shown, one.warnings),
            discs=placed,
            naming=discs.naming,
            remarks=(*discs.remarks, *remark),
            aspect=record.spacing[0] / record.spacing[1],
            **graded,
        )

    @staticmethod
    def _placed(record: Sagittal, discs: Discs, number: float) -> tuple[Disc, ...]:
        """Discs with their places in the patient, on that slice."""
        place = record.volume.place
        return tuple(replace(disc, place=place((number, disc.y - 0.5, disc.x - 0.5))) for disc in discs.discs)

    def _graded(self, record: Sagittal, discs: Discs) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The result's fields of grades, and why there are none or fewer. Discs lie in the middle of the series."""
        if self.judge is None:
            return {}, ()
        missing = [kind for kind in KINDS if kind not in record.views]
        middle = self._placed(record, discs, (len(record.volume.voxels) - 1) / 2) if record.placed else ()
        places = {disc.level: disc.place for disc in middle if disc.level in LEVELS and disc.place is not None}
        if not places or not record.views or (found := grade(self.judge, record.views, places)) is None:
            return {}, ("nothing is graded without named discs on series that say what they are",)
        axial = {level: (one.volume, one.slice, round(one.distance, 2)) for level, one in found.axial.items()}
        kinds = tuple(kind for kind in KINDS if kind in record.views)
        fields = {"chances": found.chances, "graded_on": kinds, "axial": axial, "sheet": found.sheet}
        return fields, (f"graded without {' and '.join(missing)}",) if missing else ()

    def self_test(self) -> ScoreTest:
        """The best score of a disc, of L5/S1, and the mean of the map of discs on a picture; then, with a grader, the
        probability of severe of each condition on a level."""
        y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
        axis = 120 + 18 * np.cos((y - 150) / 60)
        body = 0.45 * (np.abs(x - axis) < 17)
        disc = 0.5 * np.exp(-(((y % 34) - 17) ** 2) / 18) * (np.abs(x - axis) < 15)
        picture = (body - disc + 0.9 * (np.abs(x - axis - 26) < 7)).astype(np.float32)
        planes, _ = fit(picture)
        maps: Any = self.finder.run({"x": planes[None]})["output"].float().sigmoid()[0, :2]
        scores = [float(maps[0].max()), float(maps[1].max()), float(maps[0].mean())]
        if self.judge is not None:
            level = np.broadcast_to(cv2.resize(picture, (64, 64)).clip(0, 1), (1, 3, 3, 64, 64))
            where = np.concatenate([np.eye(3), np.zeros((3, 1))], 1, dtype=np.float32)[None]
            found = self.judge.run({"x": np.ascontiguousarray(level), "where": where})["logits"]
            scores += found.float().softmax(-1)[0, :, 2].tolist()
        return ScoreTest(scores=tuple(scores))


def _picture(source: Any) -> Planes | None:
    if isinstance(source, str | os.PathLike) and os.path.isdir(source):  # noqa: PTH112
        return None
    data = open_bytes(source, MAX_BYTES, formats=("dicom", "NIfTI", "png", "jpeg"))[0]
    return read_picture(data) if sniff(data) in ("png", "jpeg") else None


def _total(found: Discs) -> float:
    named = {"clear": 1.0, "doubtful": 0.5, "none": 0.0}[found.naming]
    return sum(disc.score for disc in found.discs) + named
