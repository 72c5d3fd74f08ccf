"""From a CT series to C1 to C7 and their fractures: the even grid, levels, crops, the judge, and where it looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from fracture.spine.card import ScoreTest
from fracture.spine.cervical.card import STORE, Scaling
from fracture.spine.cervical.crops import Crops, crop_affine, masks_of, window_of
from fracture.spine.cervical.levels import find_levels, grid_of, scaled
from fracture.spine.cervical.metric import LEVELS
from fracture.spine.cervical.networks import build_fractures, build_levels
from fracture.spine.cervical.result import CervicalSpine, Vertebra
from fracture.spine.cervical.spec import CROP, SLICES
from fracture.spine.crops import voxel_of
from fracture.spine.planes import oriented
from fracture.spine.reader import SeriesReader, SpineSeries, Wanted
from fracture.wing.reader import Taken
from fracture.wing.runner import Runner
from fracture.wing.volume import Volume

_EDGE = 0.5  # share of the map's peak at which evidence ends (ours)
Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What the finder takes, and its place."""

    grid: Volume
    values: Map

    @property
    def shape_key(self) -> object:
        """Volumes of one shape."""
        return self.values.shape


class CervicalReader(SeriesReader[SpineSeries, Prepared, CervicalSpine]):
    """Reads studies (folders), CT series, NIfTI files, and volumes in Hounsfield units."""

    store, purpose = STORE, "Research on CT of the cervical spine; not a medical device."
    networks: ClassVar = {"finder": ("levels", build_levels), "judge": ("fractures", build_fractures)}
    wanted = Wanted(
        "CT",
        "axial",
        (
            (lambda kind: (kind.modality, kind.plane) == ("CT", "axial"), "it is the axial CT series"),
            (lambda kind: kind.modality == "CT", "no CT series is axial; it is another one"),
        ),
        "it is a NIfTI file, which does not say what it is",
        "give the axial CT series of the neck",
        turned=False,
    )

    def take(self, source: Any, *, number: int | None = None) -> SpineSeries:  # type: ignore[override]  # its options
        """One neck, see :meth:`taken`."""
        return self.taken(source, number)[0]

    def prepare(self, record: SpineSeries, /) -> Prepared:
        """The even grid."""
        return Prepared(*grid_of(record.volume))

    def check(self, record: SpineSeries, inputs: Prepared, /) -> tuple[str, ...]:
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

    def examine(self, taken: Sequence[Taken[SpineSeries, Prepared]], /) -> list[CervicalSpine]:
        """One after the other: a volume is a batch of its own."""
        return [self._examined_one(one.record, one.inputs, one.warnings) for one in taken]

    def _examined_one(self, record: SpineSeries, inputs: Prepared, warnings: tuple[str, ...]) -> CervicalSpine:
        levels = find_levels(self.finder, inputs.grid, inputs.values)
        patient: float | None = None
        rows: list[Vertebra] = []
        if levels.found:
            places, seen = levels.places, np.array([level in levels.places for level in LEVELS])
            crops = Crops(window_of(record.volume, places), masks_of(levels.shares, levels.grid, places), seen)
            chances, patient, maps = judge(self.judge, crops, self.card.scaling)
            rows = [self._vertebra(record.volume, one, chances, maps) for one in levels.found]
        shown = self._shown(record.volume, rows)
        rows = [replace(one, box=one.evidence if one.slice == shown else None) for one in rows]
        sagittal, rows = _sagittal(record.volume, rows)
        limit = self.card.thresholds
        masks = replace(levels.grid, voxels=levels.labels.astype(np.float32))
        return CervicalSpine(
            **self.stated(record, shown, _gray(record.volume.voxels[shown]), warnings),
            vertebrae=tuple(rows),
            probability=patient,
            fractured=any(one.fractured for one in rows) or (patient or 0.0) >= limit.patient,
            threshold=limit.patient,
            level_threshold=limit.level,
            remarks=levels.remarks,
            sagittal=sagittal,
            masks=masks,
            stack=record.stack if record.stack is not None and record.stack.frames else None,
        )

    def _vertebra(self, volume: Volume, found: Vertebra, chances: NDArray[np.float64], maps: Map) -> Vertebra:
        k, limit = LEVELS.index(found.level), self.card.thresholds.level
        one = replace(found, probability=float(chances[k]), fractured=bool(chances[k] >= limit), threshold=limit)
        return replace(one, **_evidence(volume, crop_affine(one.level, one.place), maps[k])) if one.fractured else one

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

    def self_test(self) -> ScoreTest:
        """The best center and the share of bone of a volume, and the patient's probability of its crops."""
        k, i, j = np.indices((64, 48, 48)).astype(np.float32)
        column = np.exp(-(((i - 24) / 4) ** 2 + ((j - 24) / 5) ** 2)) * (0.6 + 0.4 * np.cos(k * 2 * np.pi / 9))
        values = np.clip(0.3 + 0.5 * column, 0, 1).astype(np.float32)
        out = self.finder.run({"x": values[None, None]})
        bone = out["bone"].float().sigmoid().mean()
        z, y, x = np.indices(CROP).astype(np.float32)
        ring = np.exp(-((np.hypot((x - 32) / 1.2, y - 30) - 12) ** 2) / 8) * (np.abs(y - 30 - 0.3 * z) > 2)
        crop = np.rint(np.clip(0.3 + 0.5 * ring, 0, 1) * 255).astype(np.uint8)
        crops = Crops(np.stack([crop] * 7), np.stack([(255 * (ring > 0.3)).astype(np.uint8)] * 7), np.ones(7, bool))
        broken = judge(self.judge, crops, self.card.scaling)[1]
        return ScoreTest(scores=(float(out["centers"].float().sigmoid().max()), float(bone), broken))


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
