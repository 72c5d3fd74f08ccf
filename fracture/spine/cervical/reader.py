"""From a CT series to C1 to C7 and their fractures: the even grid, levels, crops, the judge, and where it looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from fracture.errors import NotARadiographError, SeriesError
from fracture.io.ahead import source_name
from fracture.models.devices import Precision, resolve_device
from fracture.models.persistence import load_state
from fracture.spine.cervical.card import CervicalCard, NeckTest, Scaling
from fracture.spine.cervical.crops import Crops, crop_affine, crops_of
from fracture.spine.cervical.levels import Levels, find_levels, grid_of, scaled
from fracture.spine.cervical.metric import LEVELS
from fracture.spine.cervical.networks import build_fractures, build_levels
from fracture.spine.cervical.result import CervicalSpine, Vertebra
from fracture.spine.cervical.spec import CROP, SLICES
from fracture.spine.crops import voxel_of
from fracture.spine.frame import frame_of
from fracture.spine.planes import oriented
from fracture.spine.series import Found, Stack, find_series
from fracture.wing.engine_choice import Engine
from fracture.wing.engines import make_runner, resolve_engine
from fracture.wing.reader import ReaderBase, Taken
from fracture.wing.runner import Runner
from fracture.wing.store import Weights
from fracture.wing.volume import Volume

_EDGE = 0.5  # share of the map's peak at which evidence ends (ours)
Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Neck:
    """One CT series.

    Attributes:
        source: What results call it.
        volume: Hounsfield units, axial slices where the series is axial.
        series, reason: What was taken, and why.
        stack: What it was read from; None of a volume that was given.
        warnings: What a user should see.
    """

    source: str
    volume: Volume
    series: str
    reason: str
    stack: Stack | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What the finder takes, and its place."""

    grid: Volume
    values: Map

    @property
    def shape_key(self) -> object:
        """Volumes of one shape."""
        return self.values.shape


def choose(found: Found) -> tuple[Stack, str]:
    """The axial CT series of most slices, else the CT series of most slices, else a NIfTI file; and why.

    Raises:
        SeriesError: There is none.
    """
    axial = [
        one for one in found.series if one.kind is not None and (one.kind.modality, one.kind.plane) == ("CT", "axial")
    ]
    if axial:
        more = f", the one of most slices of {len(axial)}" if len(axial) > 1 else ""
        return axial[0], f"it is the axial CT series{more}"
    if other := [one for one in found.series if one.kind is not None and one.kind.modality == "CT"]:
        return other[0], "no CT series is axial; it is the CT series of most slices"
    if nifti := [one for one in found.series if one.kind is None]:
        return nifti[0], "it is a NIfTI file, which does not say what it is"
    listed = "; ".join(map(str, found.series))
    raise SeriesError("no CT series", got=listed, hint="give the axial CT series of the neck")


class CervicalReader(ReaderBase[Neck, Prepared, CervicalSpine]):
    """Reads studies (folders), CT series, NIfTI files, and volumes in Hounsfield units.

    Args:
        card: Of the weights.
        finder, network: Of levels, and of fractures.
        device: Where they run.
        dtype: Their precision.
        engine: What runs them; see :mod:`fracture.wing.engines`.
    """

    single_dims = 2

    def __init__(
        self,
        card: CervicalCard,
        finder: Any,
        network: Any,
        *,
        device: torch.device,
        dtype: torch.dtype,
        engine: Engine = "torch",
    ) -> None:
        self.card, self.device, self.dtype = card, device, dtype
        ready, name = finder.eval().to(device, dtype), PurePath(card.finder.file).stem
        self.finder: Runner = make_runner(ready, device=device, dtype=dtype, engine=engine, name=name)
        ready, name = network.eval().to(device, dtype).packed, PurePath(card.judge.file).stem
        self.judge: Runner = make_runner(ready, device=device, dtype=dtype, engine=engine, name=name)

    def take(self, source: Any, *, number: int | None = None) -> Neck:  # type: ignore[override]  # its options
        """One neck.

        Args:
            source: A folder with the series of a study, one file or several files of a series, or a ``Volume``.
            number: Which series, as ``fracture.spine.find_series`` counts them; None chooses, see :func:`choose`.

        Raises:
            SeriesError: No CT series, or a broken one.
            NotARadiographError: The series is no CT.
            InputError: It cannot be read.
        """
        if isinstance(source, Volume):
            return Neck(source.source, oriented(source, "axial"), "the volume that was given", "it was given")
        found, name = find_series(source), source_name(source)
        if number is None:
            stack, reason = choose(found)
        else:
            stack, reason = found.one(name, number=number), "it was asked for"
        if stack.kind is not None and stack.kind.modality != "CT":
            raise NotARadiographError(f"{name}: no CT series", got=str(stack.kind), allowed="CT")
        series = stack.read()
        volume = series.volume if stack.frames else oriented(series.volume, "axial")  # NIfTI has no slices of its own
        volume = replace(volume, source=name)
        notes = (*found.warnings, *volume.warnings)
        if series.tilt:
            notes = (*notes, f"the gantry was tilted by {series.tilt:.1f} degrees; that is taken into account")
        described = "a NIfTI file" if stack.kind is None else str(series.kind)
        return Neck(name, volume, described, reason, stack if stack.frames else None, notes)

    def prepare(self, record: Neck, /) -> Prepared:
        """The even grid."""
        return Prepared(*grid_of(record.volume))

    def check(self, record: Neck, inputs: Prepared, /) -> tuple[str, ...]:
        """What speaks against Hounsfield units of a neck."""
        notes = []
        low, high = float(record.volume.voxels.min()), float(record.volume.voxels.max())
        if low > -300 or high < 300:
            notes.append(f"values from {low:g} to {high:g} are not the Hounsfield units of a neck")
        if (thick := record.volume.spacing[0]) > 3.5:
            notes.append(f"slices are {thick:.1f} mm apart; the networks know 1 to 3 mm")
        if not inputs.values.any():
            notes.append("nothing but air and a table was found")
        return tuple(notes)

    def examine(self, taken: Sequence[Taken[Neck, Prepared]], /) -> list[CervicalSpine]:
        """One after the other: a volume is a batch of its own."""
        return [self._examined_one(one.record, one.inputs, one.warnings) for one in taken]

    def _examined_one(self, record: Neck, inputs: Prepared, warnings: tuple[str, ...]) -> CervicalSpine:
        levels = find_levels(self.finder, inputs.grid, inputs.values)
        patient: float | None = None
        rows: list[Vertebra] = []
        if levels.found:
            crops = crops_of(record.volume, levels.places, levels.shares, levels.grid)
            chances, patient, maps = judge(self.judge, crops, self.card.scaling)
            rows = [self._vertebra(record.volume, levels, k, chances, maps) for k in range(len(levels.found))]
        shown = self._shown(record.volume, rows)
        rows = [replace(one, box=one.evidence if one.slice == shown else None) for one in rows]
        sagittal, rows = _sagittal(record.volume, rows)
        limit = self.card.thresholds
        count, height, width = record.volume.voxels.shape
        masks = replace(levels.grid, voxels=levels.labels.astype(np.float32))
        return CervicalSpine(
            source=record.source,
            width=width,
            height=height,
            series=record.series,
            reason=record.reason,
            slice=(shown, count),
            vertebrae=tuple(rows),
            probability=patient,
            fractured=any(one.fractured for one in rows) or (patient or 0.0) >= limit.patient,
            threshold=limit.patient,
            level_threshold=limit.level,
            remarks=levels.remarks,
            model=self.card.name,
            model_version=self.card.version,
            weights_checksum=self.card.checksum,
            warnings=(*record.warnings, *warnings),
            pixels=_gray(record.volume.voxels[shown]),
            sagittal=sagittal,
            masks=masks,
            stack=record.stack,
            frame=None if record.stack is None else frame_of(record.stack, record.volume, shown),
        )

    def _vertebra(
        self, volume: Volume, levels: Levels, number: int, chances: NDArray[np.float64], maps: Map
    ) -> Vertebra:
        found = levels.found[number]
        k = LEVELS.index(found.level)
        chance, limit = float(chances[k]), self.card.thresholds.level
        one = Vertebra(found.level, found.place, found.score, chance, chance >= limit, limit)
        if not one.fractured:
            return one
        return replace(one, **_evidence(volume, crop_affine(found.level, found.place), maps[k]))

    @staticmethod
    def _shown(volume: Volume, rows: Sequence[Vertebra]) -> int:
        """The slice of the likeliest fracture; without one, that through the middle level; else the middle one."""
        if broken := [one for one in rows if one.slice is not None]:
            best = max(broken, key=lambda one: one.probability).slice
            return 0 if best is None else best
        if rows:
            middle = round(voxel_of(volume, rows[len(rows) // 2].place)[0])
            return int(np.clip(middle, 0, len(volume.voxels) - 1))
        return int(volume.voxels.shape[0] // 2)


def judge(runner: Runner, crops: Crops, scaling: Scaling) -> tuple[NDArray[np.float64], float, Map]:
    """Probabilities of C1 to C7 (0 of one not seen) and of the patient, and the maps (7, 15, 16, 16) in [0, 1]."""
    seen, masks = (one[crops.seen].astype(np.float32) / 255 for one in (crops.values, crops.masks))
    slot = np.where(crops.seen, np.cumsum(crops.seen), 0)[None]
    out = runner.run({"x": seen, "mask": masks, "slot": slot})
    levels, patient, maps = (out[key].float().cpu()[0].double() for key in ("levels", "patient", "map"))
    (slope, shift), (own, highest, offset) = scaling.level, scaling.patient
    levels = slope * levels + shift
    whole = own * patient + highest * levels[torch.from_numpy(crops.seen)].max() + offset
    chances = np.where(crops.seen, levels.sigmoid().numpy(), 0.0)
    return chances, float(whole.sigmoid()), maps.float().sigmoid().numpy()


def _evidence(volume: Volume, affine: NDArray[np.float64], found: Map) -> dict[str, Any]:
    """Slice and box of the strongest connected cells of a map, as fields of :class:`Vertebra`."""
    pieces, _ = ndimage.label(found >= _EDGE * found.max())
    peak = np.unravel_index(int(found.argmax()), found.shape)
    cells = np.argwhere(pieces == pieces[peak])
    cells = cells[cells[:, 0] == peak[0]]  # on the strongest slice
    side = CROP[1] // found.shape[1]
    plane = 2 * int(peak[0]) + CROP[0] // 2 - (SLICES - 1)
    edges = [cells[:, 1:].min(0) * side - 0.5, (cells[:, 1:].max(0) + 1) * side - 0.5]
    ends = []
    for row, column in edges:
        x, y, z, _ = affine @ (column, row, plane, 1.0)
        k, i, j = voxel_of(volume, (x, y, z))
        ends.append((j + 0.5, i + 0.5, k))
    xs, ys = zip(*((x, y) for x, y, _ in ends), strict=True)
    count, height, width = volume.voxels.shape
    number = int(np.clip(round((ends[0][2] + ends[1][2]) / 2), 0, count - 1))
    x0, x1 = (float(np.clip(v, 0, width)) for v in (min(xs), max(xs)))
    y0, y1 = (float(np.clip(v, 0, height)) for v in (min(ys), max(ys)))
    return {"slice": number, "evidence": (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None}


def _gray(hu: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(scaled(hu) * 255).astype(np.uint8)


def _sagittal(volume: Volume, rows: Sequence[Vertebra]) -> tuple[NDArray[np.uint8], list[Vertebra]]:
    """The sagittal slice through the levels, its pixels square, and the levels with their places on it."""
    side = oriented(volume, "sagittal")
    places = [voxel_of(side, one.place) for one in rows]
    count = side.voxels.shape[0]
    number = int(np.clip(round(float(np.median([p[0] for p in places]))), 0, count - 1)) if rows else count // 2
    _, down, across = side.spacing
    pixel = min(1.0, down, across)
    high, wide = (
        max(1, round(n * step / pixel)) for n, step in zip(side.voxels.shape[1:], (down, across), strict=True)
    )
    shown = cv2.resize(_gray(side.voxels[number]), (wide, high), interpolation=cv2.INTER_LINEAR)
    fy, fx = high / side.voxels.shape[1], wide / side.voxels.shape[2]
    moved = [replace(one, at=((p[2] + 0.5) * fx, (p[1] + 0.5) * fy)) for one, p in zip(rows, places, strict=True)]
    return np.asarray(shown, np.uint8), moved


def load_reader(
    weights: Weights[CervicalCard], *, device: str = "auto", precision: Precision = "auto", engine: Engine = "auto"
) -> CervicalReader:
    """A reader from opened weights; options as for :func:`fracture.load`.

    Raises:
        WeightsError: They cannot be used.
        ConfigurationError: No such device, precision or engine.
    """
    where, card = resolve_device(device), weights.card
    engine, dtype = resolve_engine(engine, checksum=card.checksum, device=where, precision=precision)
    finder, network = build_levels(card.finder.model), build_fractures(card.judge.model)
    load_state(finder, weights.tensors(card.finder), source=card.finder.file)
    load_state(network, weights.tensors(card.judge), source=card.judge.file)
    return CervicalReader(card, finder, network, device=where, dtype=dtype, engine=engine)


def self_test(reader: CervicalReader) -> NeckTest:
    """What the networks say of a volume and of crops made of formulas, which never change."""
    k, i, j = np.indices((64, 48, 48)).astype(np.float32)
    column = np.exp(-(((i - 24) / 4) ** 2 + ((j - 24) / 5) ** 2)) * (0.6 + 0.4 * np.cos(k * 2 * np.pi / 9))
    values = np.clip(0.3 + 0.5 * column, 0, 1).astype(np.float32)
    out = reader.finder.run({"x": values[None, None]})
    bone = out["bone"].float().sigmoid().mean()
    z, y, x = np.indices(CROP).astype(np.float32)
    ring = np.exp(-((np.hypot((x - 32) / 1.2, y - 30) - 12) ** 2) / 8) * (np.abs(y - 30 - 0.3 * z) > 2)
    crop = np.rint(np.clip(0.3 + 0.5 * ring, 0, 1) * 255).astype(np.uint8)
    crops = Crops(np.stack([crop] * 7), np.stack([(255 * (ring > 0.3)).astype(np.uint8)] * 7), np.ones(7, bool))
    broken = judge(reader.judge, crops, reader.card.scaling)[1]
    return NeckTest(scores=(float(out["centers"].float().sigmoid().max()), float(bone), broken))


def verified(weights: Weights[CervicalCard]) -> Iterator[str]:
    """For ``fracture verify``."""
    from fracture.wing.verification import compare

    reader = load_reader(weights, device="cpu", precision="float32", engine="torch")
    yield "finder and judge built and filled"
    expected = weights.card.self_test
    if expected is None:
        yield "self-test: the card states none"
        return
    yield compare("self-test", list(self_test(reader).scores), list(expected.scores), expected.tolerance)
