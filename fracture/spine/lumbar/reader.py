"""From a study to named discs: the series that is taken and why, its middle slices, the finder, the best of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fracture.errors import NotARadiographError, PixelValueError, SeriesError
from fracture.io.ahead import source_name
from fracture.io.files import MAX_BYTES, open_bytes
from fracture.io.images import sniff
from fracture.models.devices import Precision, resolve_device
from fracture.models.persistence import load_state
from fracture.simulate.lumbar import LEVELS
from fracture.spine.centers import SIDE, build_network
from fracture.spine.frame import frame_of
from fracture.spine.kinds import SAGITTAL_T1, SAGITTAL_T2
from fracture.spine.lumbar.card import DiscTest, LumbarCard
from fracture.spine.lumbar.finding import Discs, discs_from
from fracture.spine.lumbar.grading import KINDS, Views, grade, views_of
from fracture.spine.lumbar.result import LumbarSpine
from fracture.spine.picture import fit, read_picture
from fracture.spine.planes import oriented
from fracture.spine.series import Found, Stack, find_series
from fracture.spine.slices import build_slices
from fracture.wing.engine_choice import Engine
from fracture.wing.engines import make_runner, resolve_engine
from fracture.wing.reader import ReaderBase, Taken
from fracture.wing.result import GridToSource
from fracture.wing.runner import TorchRunner
from fracture.wing.store import Weights
from fracture.wing.volume import Volume

_SLICES = 7  # around the middle that are looked at (ours: some 28 mm)
Planes = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Sagittal:
    """Sagittal slices of one spine.

    Attributes:
        source: What results call it.
        slices: float32 (n, rows, columns), the front to the left and the head up.
        spacing: From row to row and column to column; millimeters where ``volume`` is there.
        first: Number of the first of them in the volume.
        series, reason: What was taken, and why.
        volume: Where they come from; None for a picture.
        stack: What the volume was read from; None of one that was given.
        views: What grades are read from; empty without a grader, or where no series says what it is.
        grid: How the network's pixels lie on the slices; set when they are prepared.
        warnings: What a user should see.
    """

    source: str
    slices: Planes
    spacing: tuple[float, float]
    first: int
    series: str
    reason: str
    volume: Volume | None = None
    stack: Stack | None = None
    warnings: tuple[str, ...] = ()
    views: Views = field(default_factory=dict)
    grid: list[GridToSource] = field(default_factory=list)


def choose(found: Found) -> tuple[Stack, str]:
    """The series that discs are sought on, and why: sagittal T2 or STIR, else sagittal T1, else any other sagittal one.

    Among several of a kind that of most slices is taken.

    Raises:
        SeriesError: None is sagittal.
    """
    listed = "; ".join(map(str, found.series))
    sagittal = [stack for stack in found.series if stack.kind is None or stack.kind.plane == "sagittal"]
    for kind in (SAGITTAL_T2, SAGITTAL_T1):
        if fitting := [stack for stack in sagittal if stack.kind is not None and stack.kind.rsna == kind]:
            more = f", the one of most slices of {len(fitting)}" if len(fitting) > 1 else ""
            told = fitting[0].kind
            how = f" (told by its {told.told_by})" if told is not None and told.told_by else ""
            first = "no sagittal T2 or STIR is there; " if kind == SAGITTAL_T1 else ""
            return fitting[0], f"{first}it is the {kind} series{more}{how}"
    if sagittal:
        return sagittal[0], "no series says that it is sagittal T2, STIR or T1; it is the sagittal one of most slices"
    raise SeriesError("no sagittal series", got=listed, hint="give the sagittal T2 series of the lumbar spine")


class LumbarReader(ReaderBase[Sagittal, Planes, LumbarSpine]):
    """Reads studies (folders), series, NIfTI files, volumes, and pictures of a sagittal slice.

    Args:
        card: Of the weights.
        network: The finder.
        grader: If there is one.
        device: Where they run.
        dtype: Their precision.
        engine: What runs the finder; see :mod:`fracture.wing.engines`. The grader is small and runs in torch.
    """

    single_dims = 2

    def __init__(
        self,
        card: LumbarCard,
        network: Any,
        grader: Any = None,
        *,
        device: torch.device,
        dtype: torch.dtype,
        engine: Engine = "torch",
    ) -> None:
        self.card, self.device, self.dtype = card, device, dtype
        ready, name = network.eval().to(device, dtype), Path(card.finder.file).stem
        self.runner = make_runner(ready, device=device, dtype=dtype, engine=engine, name=name)
        self.grader = None
        if grader is not None:
            name = "" if card.grader is None else Path(card.grader.file).stem
            self.grader = TorchRunner(grader.eval().to(device, dtype), device=device, dtype=dtype, name=name)

    def take(  # type: ignore[override]  # its options
        self, source: Any, *, number: int | None = None, kinds: Mapping[str, str] | None = None
    ) -> Sagittal:
        """One spine.

        Args:
            source: A folder with the series of a study, one file or several files of a series, a ``Volume``, or a
                picture (PNG, JPEG) of a sagittal slice with the head up, which has no millimeters.
            number: Which series, as ``fracture.spine.find_series`` counts them; None chooses, see :func:`choose`.
            kinds: What series are, by the names of their folders, where the files do not say.

        Raises:
            SeriesError: No sagittal series, or a broken one.
            InputError: It cannot be read.
        """
        if isinstance(source, Volume):
            return _middle(oriented(source, "sagittal"), source.source, "the volume that was given", "it was given")
        if isinstance(source, bytes | str | os.PathLike) and (picture := _picture(source)) is not None:
            return Sagittal(source_name(source), picture[None], (1.0, 1.0), 0, "a picture", "it was given")
        found = find_series(source).of_kinds(kinds or {})
        if number is None:
            stack, reason = choose(found)
        else:
            stack, reason = found.one(source_name(source), number=number), "it was asked for"
        series = stack.read()
        volume = oriented(series.volume, "sagittal")
        taken = _middle(volume, source_name(source), str(series.kind), reason)
        if series.kind.modality == "CT":
            raise NotARadiographError(f"{taken.source}: a CT series", allowed="MR", hint="this wing reads MR")
        warnings = (*found.warnings, *volume.warnings)
        views = {} if self.grader is None else views_of(found)
        return replace(taken, stack=stack, warnings=warnings, views=views)

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
        maps = self.runner.run({"x": np.concatenate([one.inputs for one in taken])})["output"].float().cpu().numpy()
        places = np.cumsum([len(one.inputs) for one in taken])[:-1]
        return [self._judged(one, part) for one, part in zip(taken, np.split(maps, places), strict=True)]

    def _judged(self, one: Taken[Sagittal, Planes], maps: NDArray[np.float32]) -> LumbarSpine:
        record = one.record
        found = [discs_from(part, record.grid[0], record.slices.shape[1]) for part in maps]
        best = max(range(len(found)), key=lambda k: (_total(found[k]), -abs(k - (len(found) - 1) / 2)))
        discs, volume, number = found[best], record.volume, record.first + best
        placed = [
            disc if volume is None else replace(disc, place=volume.place((number, disc.y - 0.5, disc.x - 0.5)))
            for disc in discs.discs
        ]
        pixels = record.slices[best]
        low, high = np.percentile(pixels, (1, 99.5))
        shown = np.clip((pixels - low) / max(float(high - low), 1e-9) * 255, 0, 255)
        graded, remark = self._graded(record, discs)
        return LumbarSpine(
            source=record.source,
            width=pixels.shape[1],
            height=pixels.shape[0],
            series=record.series,
            reason=record.reason,
            slice=(number, 1 if volume is None else volume.voxels.shape[0]),
            discs=tuple(placed),
            naming=discs.naming,
            remarks=(*discs.remarks, *remark),
            model=self.card.name,
            model_version=self.card.version,
            weights_checksum=self.card.checksum,
            warnings=(*record.warnings, *one.warnings),
            pixels=np.rint(shown).astype(np.uint8),
            aspect=record.spacing[0] / record.spacing[1],
            frame=None if record.stack is None or volume is None else frame_of(record.stack, volume, number),
            **graded,
        )

    def _graded(self, record: Sagittal, discs: Discs) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The result's fields of grades, and why there are none or fewer. Discs lie in the middle of the series."""
        if self.grader is None:
            return {}, ()
        volume, missing = record.volume, [kind for kind in KINDS if kind not in record.views]
        middle = 0 if volume is None else (len(volume.voxels) - 1) / 2
        places = {
            disc.level: volume.place((middle, disc.y - 0.5, disc.x - 0.5))
            for disc in discs.discs
            if volume is not None and disc.level in LEVELS
        }
        if not places or not record.views or (found := grade(self.grader, record.views, places)) is None:
            return {}, ("nothing is graded without named discs on series that say what they are",)
        axial = {level: (one.volume, one.slice, round(one.distance, 2)) for level, one in found.axial.items()}
        kinds = tuple(kind for kind in KINDS if kind in record.views)
        fields = {"chances": found.chances, "graded_on": kinds, "axial": axial, "sheet": found.sheet}
        return fields, (f"graded without {' and '.join(missing)}",) if missing else ()


def load_reader(
    weights: Weights[LumbarCard], *, device: str = "auto", precision: Precision = "auto", engine: Engine = "auto"
) -> LumbarReader:
    """A reader from opened weights; options as for :func:`fracture.load`.

    Raises:
        WeightsError: They cannot be used.
        ConfigurationError: No such device, precision or engine.
    """
    where = resolve_device(device)
    card, grader = weights.card, None
    engine, dtype = resolve_engine(engine, checksum=card.checksum, device=where, precision=precision)
    network = build_network(card.finder.model)
    load_state(network, weights.tensors(card.finder), source=card.finder.file)
    if card.grader is not None:
        grader = build_slices(card.grader.model)
        load_state(grader, weights.tensors(card.grader), source=card.grader.file)
    return LumbarReader(card, network, grader, device=where, dtype=dtype, engine=engine)


def self_test(reader: LumbarReader) -> DiscTest:
    """What the finder says of a picture made of formulas, which never changes."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    axis = 120 + 18 * np.cos((y - 150) / 60)
    body = 0.45 * (np.abs(x - axis) < 17)
    disc = 0.5 * np.exp(-(((y % 34) - 17) ** 2) / 18) * (np.abs(x - axis) < 15)
    picture = (body - disc + 0.9 * (np.abs(x - axis - 26) < 7)).astype(np.float32)
    planes, _ = fit(picture)
    maps = reader.runner.run({"x": planes[None]})["output"].float().sigmoid()[0, :2]
    scores = [float(maps[0].max()), float(maps[1].max()), float(maps[0].mean())]
    if reader.grader is not None:
        level = np.broadcast_to(cv2.resize(picture, (64, 64)).clip(0, 1), (1, 3, 3, 64, 64))
        where = np.concatenate([np.eye(3), np.zeros((3, 1))], 1, dtype=np.float32)[None]
        found = reader.grader.run({"x": np.ascontiguousarray(level), "where": where})["logits"]
        scores += found.float().softmax(-1)[0, :, 2].tolist()
    return DiscTest(scores=tuple(scores))


def _picture(source: Any) -> Planes | None:
    if isinstance(source, str | os.PathLike) and os.path.isdir(source):  # noqa: PTH112
        return None
    data = open_bytes(source, MAX_BYTES, formats=("dicom", "NIfTI", "png", "jpeg"))[0]
    return read_picture(data) if sniff(data) in ("png", "jpeg") else None


def _middle(volume: Volume, source: str, series: str, reason: str) -> Sagittal:
    count = volume.voxels.shape[0]
    first = max(0, (count - _SLICES) // 2)
    slices = volume.voxels[first : first + _SLICES]
    return Sagittal(source, slices, volume.spacing[1:], first, series, reason, volume, warnings=volume.warnings)


def _total(found: Discs) -> float:
    named = {"clear": 1.0, "doubtful": 0.5, "none": 0.0}[found.naming]
    return sum(disc.score for disc in found.discs) + named


def verified(weights: Weights[LumbarCard]) -> Iterator[str]:
    """For ``fracture verify``."""
    from fracture.wing.verification import compare

    reader = load_reader(weights, device="cpu", precision="float32", engine="torch")
    yield "finder built and filled"
    found, expected = self_test(reader), weights.card.self_test
    if expected is None:
        yield "self-test: the card states none"
        return
    yield compare("self-test", found.numbers(), expected.numbers(), expected.tolerance)
