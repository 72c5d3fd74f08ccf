"""Phantoms of the cervical spine on CT: C1 to C7 as solids in a neck, in Hounsfield units, with known fractures.

    made = simulate.neck(7)
    made.voxels, made.affine, made.truth, made.points["C2"], made.fractures
    made.write("neck.nii.gz")

Skull base, jaw, ribs, airway, skin, and a table are there so that a network learns to leave them out. They are no
patients: what is learned or measured on them alone says nothing about sensitivity in patients.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fracture.errors import ConfigurationError
from fracture.io.nifti import write_nifti
from fracture.simulate.cervical_fractures import FRACTURES, Break, break_of
from fracture.simulate.cervical_shapes import BONES, Bone, vertebra
from fracture.simulate.solids import Array, Field, bar, ellipsoid, enlarged, union

_ZONE = 100
"""Added to a vertebra's number in the truth where a fracture is."""

_RATES = {"C1": 0.09, "C2": 0.16, "C3": 0.07, "C4": 0.08, "C5": 0.12, "C6": 0.18, "C7": 0.2}
"""Share of levels that are fractured in a fractured neck, as odds: the paper's Table 1, rare ones lifted."""

Place = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class NeckFracture:
    """A fracture that was drawn and lies in the volume.

    Attributes:
        level: ``"C1"`` to ``"C7"``.
        kind: Of :data:`fracture.simulate.cervical_fractures.FRACTURES`.
        displacement: Millimeters.
        low, high: Corners of the box around it, (x, y, z) in millimeters of the patient.
    """

    level: str
    kind: str
    displacement: float
    low: Place
    high: Place


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedNeck:
    """A phantom.

    Attributes:
        voxels: float32 (slices, rows, columns), Hounsfield units, from the feet to the head.
        affine: float64 (4, 4): (column, row, slice, 1) to millimeters as DICOM counts them: x to the left, y to the
            back, z to the head.
        truth: uint8 of the same shape: 0, 1 to 7 for C1 to C7, 8 and 9 for T1 and T2, and 100 more where a fracture is.
        points: Level to (x, y, z) of the patient, within the volume: centers of the bodies, of C1 its anterior arch.
        fractures: From the head.
        seed: It was drawn by.
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    truth: NDArray[np.uint8]
    points: dict[str, Place]
    fractures: tuple[NeckFracture, ...]
    seed: int

    def write(self, path: str | os.PathLike[str], *, truth: bool = False) -> None:
        """Write the volume, or its truth, as NIfTI, with the extra ``spine``.

        Args:
            path: File to write, ``.nii.gz`` or ``.nii``.
            truth: Write the labels instead.

        Raises:
            MissingDependencyError: nibabel is not installed.
            OutputError: It cannot be written.
        """
        write_nifti(path, self.truth if truth else self.voxels.astype(np.int16), self.affine)


def neck(
    seed: int,
    *,
    spacing: tuple[float, float] | None = None,
    fracture_rate: float = 0.5,
    partial: float = 0.25,
) -> SimulatedNeck:
    """Draw a phantom; equal arguments give equal voxels.

    Args:
        seed: Of everything that is not set.
        spacing: Millimeters between slices and between pixels; None draws slices of 1 (three of four) or 3 mm, and
            pixels of 0.8 to 1.2 mm.
        fracture_rate: Share of phantoms with a fracture, of one to three levels.
        partial: Share of phantoms that begin or end within C1 to C7.

    Raises:
        ConfigurationError: Another spacing or share.
    """
    wide = spacing is not None and not all(0.4 <= one <= 6 for one in spacing)
    if wide or not (0 <= fracture_rate <= 1 and 0 <= partial <= 1):
        raise ConfigurationError(
            "a neck that cannot be drawn",
            got=f"spacing {spacing}, fracture_rate {fracture_rate}, partial {partial}",
            allowed="0.4 to 6 mm, shares from 0 to 1",
        )
    draw = np.random.default_rng(seed)
    if spacing is None:
        spacing = (1.0 if draw.random() < 0.75 else 3.0), float(draw.uniform(0.8, 1.2))
    spine = _Spine(draw, fracture_rate)
    scan = _Scan(spine, spacing, partial, draw)
    for k, placed in enumerate(spine.placed):
        scan.bone(k + 1, placed)
    scan.around(spine)
    voxels, truth, affine = scan.finished()
    seen = {p.bone.name: p.origin for p in spine.placed if p.bone.name[0] == "C" and _within(p.origin, affine, voxels)}
    points = {level: (float(x), float(y), float(z)) for level, (x, y, z) in seen.items()}
    found = [f for k, p in enumerate(spine.placed) if (f := _fracture(k + 1, p, truth, affine)) is not None]
    return SimulatedNeck(voxels, affine, truth, points, tuple(found), int(seed))


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    bone: Bone
    origin: NDArray[np.float64]
    turn: NDArray[np.float64]  # columns are the bone's axes in the patient
    broken: Break | None
    disc: float


class _Spine:
    """Vertebrae on a curve: C2 somewhere, the others below it, C1 above."""

    def __init__(self, draw: np.random.Generator, fracture_rate: float) -> None:
        self.size = float(draw.uniform(0.86, 1.14))
        self.worn = float(draw.choice((0.0, draw.uniform(0.1, 1.0)), p=(0.4, 0.6)))
        first, last = float(draw.uniform(-12, 14)), float(draw.uniform(14, 40))
        bow = float(draw.uniform(-8, 10))  # lordosis, or its loss
        share = np.linspace(0, 1, 8)
        angles = first + (last - first) * share**1.3 - bow * np.sin(np.pi * share)
        yaw = draw.normal(0, 2.0, 9) + float(draw.normal(0, 4))
        broken = self._broken(draw, fracture_rate)
        self.placed: list[_Placed] = []
        at, before = np.round(draw.normal(0, 60, 3), 1), 0.0
        for k, name in enumerate(BONES[1:]):
            worn = self.worn * float(draw.uniform(0.2, 1)) if name[0] == "C" else 0.0
            bone = vertebra(name, self.size, draw, worn=worn)
            disc = float(draw.uniform(4.5, 6.0)) * self.size * (1 - 0.45 * worn) if name[0] == "C" else 4.5
            turn = _turn(float(angles[k]) + float(draw.normal(0, 2)), float(yaw[k]), float(draw.normal(0, 2)))
            if k:
                at = at - turn[:, 2] * (before / 2 + self.placed[-1].disc + bone.height / 2)
                at = at + turn[:, 1] * float(draw.normal(0, 0.5 + worn))
            self.placed.append(_Placed(bone, at, turn, break_of(bone, draw) if name in broken else None, disc))
            before = bone.height
        axis = self.placed[0]
        atlas = vertebra("C1", self.size, draw)
        turn = _turn(float(angles[0]) + float(draw.normal(0, 4)), float(yaw[8]) + float(draw.normal(0, 6)), 0.0)
        up = axis.bone.height / 2 + float(draw.uniform(7, 10)) * self.size
        at = axis.origin + axis.turn @ (0.0, -1.3, up) - turn @ (0.0, 10.3 * self.size, 0.0)
        self.placed.insert(0, _Placed(atlas, at, turn, break_of(atlas, draw) if "C1" in broken else None, 0.0))

    @staticmethod
    def _broken(draw: np.random.Generator, rate: float) -> set[str]:
        if draw.random() >= rate:
            return set()
        odds = np.array([_RATES[level] for level in FRACTURES])
        count = int(draw.choice((1, 2, 3), p=(0.6, 0.28, 0.12)))
        return set(draw.choice(list(FRACTURES), count, replace=False, p=odds / odds.sum()).tolist())


def _turn(lean: float, yaw: float, roll: float) -> NDArray[np.float64]:
    """Degrees: the upper end to the front, to the side, about the bone's own axis."""
    a, b, c = np.radians((lean, roll, yaw))
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(x @ y @ z, np.float64)


class _Scan:
    """The volume on a grid; slices thicker than 1.6 mm are drawn twice or thrice as thin and averaged."""

    def __init__(self, spine: _Spine, spacing: tuple[float, float], partial: float, draw: np.random.Generator) -> None:
        self.rng, self.pixel = draw, spacing[1]
        self.fold = max(1, round(spacing[0] / 1.5))
        step = spacing[0] / self.fold
        zs = [float(p.origin[2]) for p in spine.placed]
        top, bottom = zs[0] + float(draw.uniform(12, 45)), zs[6] - float(draw.uniform(10, 40))
        if draw.random() < partial:
            cut = float(draw.uniform(0.15, 0.6)) * (zs[0] - zs[6])
            top, bottom = (zs[0] - cut, bottom) if draw.random() < 0.5 else (top, zs[6] + cut)
        side = float(draw.uniform(125, 190))
        rows, columns = int(side / self.pixel), int(side / self.pixel)
        self.shape = (int((top - bottom) / spacing[0]) * self.fold, rows, columns)
        middle = np.mean([p.origin for p in spine.placed[:7]], axis=0)
        shear = float(np.tan(np.radians(draw.choice((0.0, draw.uniform(-15, 15)), p=(0.85, 0.15)))))
        self.affine = np.diag([self.pixel, self.pixel, step, 1.0])
        self.affine[1, 2] = shear * step
        corner = middle + np.array([draw.normal(0, 6), 12.0 + draw.normal(0, 5), 0.0])
        self.affine[:2, 3] = corner[:2] - side / 2
        self.affine[1, 3] -= shear * (top - bottom) / 2
        self.affine[2, 3] = bottom
        self.truth = np.zeros(self.shape, np.uint8)
        self.bright = float(draw.uniform(0.8, 1.15)) * (1 - 0.2 * spine.worn)
        self.hu = self._tissue(spine)

    def bone(self, number: int, placed: _Placed) -> None:
        """One vertebra with its fracture, and the disc below it."""
        bone, rng = placed.bone, self.rng
        if placed.disc:
            low = -bone.height / 2 - placed.disc / 2
            disc = ellipsoid((0, 0.5, low), (bone.width * 1.05, bone.depth * 0.55, placed.disc * 0.85))
            self._soft(disc, placed, (-15, -12, low - 5), (15, 13, low + 5), float(rng.uniform(70, 110)))
        where, (x, y, z) = self._local(placed.origin, placed.turn, bone.low, bone.high)
        if not x.size:
            return
        zone, dense = np.zeros(x.shape, bool), np.zeros(1, np.float32)
        if placed.broken is None:
            distance = old = bone.distance(x, y, z)
        else:
            distance, old, zone, dense = placed.broken.applied(bone, x, y, z)
        marrow = np.where(y < bone.depth / 2 + 1, rng.uniform(230, 420), rng.uniform(380, 620)) * self.bright
        marrow = marrow * (1 + 0.25 * self._grain(x.shape)) + 260.0 * dense
        vein = (np.abs(x) < 1.3) & (np.abs(z) < 1.6) & (y > 0) & (y < bone.depth / 2)  # the basivertebral vein
        marrow[vein & (placed.bone.name != "C1")] -= 150
        self._solid(where, distance, old, marrow, bone.cortex, float(rng.uniform(750, 1150)) * self.bright)
        inside = distance < 0
        self.truth[where][inside] = number
        if placed.bone.name[0] == "C":
            self.truth[where][zone & (self.truth[where] == number)] += _ZONE

    def around(self, spine: _Spine) -> None:
        """Bones that are no vertebrae: skull base, jaw and teeth, hyoid, clavicles."""
        atlas, rng = spine.placed[0], self.rng
        size = spine.size
        skull: list[Field] = [ellipsoid((s * 17 * size, 12, 16), (6.5, 10, 7)) for s in (-1.0, 1.0)]
        lift = float(rng.uniform(14, 20))
        skull += [bar((s * 15.0, 24, 15.0), (s * 22.0, 48, lift), 4.0, 4.0) for s in (-1.0, 1.0)]
        skull += [bar((0, 45, lift), (s * 40.0, 52, lift + 8), 4.5, 4.5, 2.2) for s in (-1.0, 1.0)]
        skull += [bar((0.0, 44, lift), (0.0, 80, lift + 16), 4.0, 5.0), bar((0, 0, 18), (0, -14, 34), 5.0, 6.0)]
        skull += [bar((s * 38.0, 14, 15), (s * 40.0, 16, 34), 7.0, 10.0) for s in (-1.0, 1.0)]
        jaw = [bar((s * 46.0, -14, 30), (s * 44.0, -20, -14), 4.5, 5.5) for s in (-1.0, 1.0)]
        jaw += [bar((s * 44.0, -20, -14), (s * 12.0, -75, -24), 5.5, 6.0, 1.8) for s in (-1.0, 1.0)]
        for k in range(int(rng.integers(0, 8))):
            jaw.append(ellipsoid((float(rng.uniform(-28, 28)), -62.0 + abs(k - 4), -8.0), (3.5, 3.5, 7.0)))
        self._bone(union(skull), atlas, (-56, -26, 4), (56, 92, 54))
        self._bone(union(jaw), atlas, (-56, -90, -40), (56, -4, 42))
        hyoid = spine.placed[2]
        self._bone(
            union([bar((s * 18.0, -24, 4), (s * 3.0, -42, 0), 2.0, 3.0) for s in (-1.0, 1.0)]),
            hyoid,
            *((-25, -50, -8), (25, -18, 10)),
        )
        low = spine.placed[7]
        self._bone(
            union([bar((s * 16.0, -48, -20), (s * 80.0, -12, 12), 6.0, 5.5) for s in (-1.0, 1.0)]),
            low,
            *((-92, -60, -32), (92, -2, 24)),
        )

    def finished(self) -> tuple[Array, NDArray[np.uint8], NDArray[np.float64]]:
        """Blurred, noisy, at its slices, as whole Hounsfield units."""
        rng, pixel = self.rng, self.pixel
        blur = float(rng.uniform(0.35, 0.9)) / pixel
        hu = ndimage.gaussian_filter(self.hu, (0, blur, blur))
        affine, truth = self.affine.copy(), self.truth
        if self.fold > 1:
            hu = hu.reshape(-1, self.fold, *hu.shape[1:]).mean(axis=1)
            truth = truth[self.fold // 2 :: self.fold]
            affine[:3, 3] += affine[:3, 2] * ((self.fold - 1) / 2)
            affine[:3, 2] *= self.fold
        sigma = float(np.exp(rng.uniform(np.log(8), np.log(45))))
        noise = rng.standard_normal(hu.shape, dtype=np.float32)
        noise = ndimage.gaussian_filter(noise, (0, blur * 0.8, blur * 0.8))
        noise *= sigma / max(float(noise.std()), 1e-6)
        height = np.linspace(1, 0, hu.shape[0], dtype=np.float32)[:, None, None]
        streaks = ndimage.uniform_filter1d(rng.standard_normal(hu.shape[:2], dtype=np.float32), 2, axis=1)[:, :, None]
        hu += noise * (1 + 1.5 * height**2) + streaks * height**3 * float(rng.uniform(0, 40))
        return np.clip(np.rint(hu), -1024, 3071).astype(np.float32), np.ascontiguousarray(truth), affine

    def _tissue(self, spine: _Spine) -> Array:
        """Skin, fat, muscle, airway, canal and vessels at 3 mm, enlarged; a table below."""
        rng, coarse = self.rng, 3.0
        factor = np.maximum(1, np.rint(coarse / np.array([self.affine[2, 2], self.pixel, self.pixel]))).astype(int)
        shape = tuple(int(-(-n // f)) + 1 for n, f in zip(self.shape, factor, strict=True))
        k, i, j = (np.arange(n, dtype=np.float32) * np.float32(f) for n, f in zip(shape, factor, strict=True))
        x = (j * self.pixel + self.affine[0, 3])[None, None, :]
        z = (k * self.affine[2, 2] + self.affine[2, 3])[:, None, None]
        y = (i * self.pixel + self.affine[1, 3])[None, :, None] + (k * self.affine[1, 2])[:, None, None]
        chain = sorted((p.origin[2], p.origin[0], p.origin[1]) for p in spine.placed)
        zs, xs, ys = (np.array(one) for one in zip(*chain, strict=True))
        cx, cy = (np.interp(z, zs, one).astype(np.float32) for one in (xs, ys))
        height = (z - zs[2]) / 100  # 0 at C7, about 1.3 at C1
        wide = float(rng.uniform(55, 72)) + 70 * np.clip(0.12 - height, 0, 1) + 14 * np.clip(height - 0.7, 0, 1)
        deep = float(rng.uniform(54, 68)) + 18 * np.clip(height - 0.6, 0, 1)
        skin = (np.sqrt(((x - cx) / wide) ** 2 + ((y - cy - 4) / deep) ** 2) - 1) * deep
        grain = self._grain((shape[0], shape[1], shape[2]), 2)
        fat = float(rng.uniform(4, 16))
        muscle = float(rng.uniform(45, 70)) + 14 * grain
        hu = np.where(skin < -fat, np.where(grain > 1.1, -70.0, muscle), -95 + 8 * grain)
        back = cy + float(rng.uniform(17, 19))
        canal = ((x - cx) / 11) ** 2 + ((y - back) / 7.5) ** 2
        hu = np.where(canal < 1, np.where(canal < 0.35, 38.0, 12.0), hu)
        vessels = float(rng.choice((45.0, rng.uniform(150, 380))))
        for side in (-1.0, 1.0):
            for dx, dy, r in ((27, -14, 3.2), (33, -9, 5.0)):
                hu = np.where((x - cx - side * dx) ** 2 + (y - cy - dy) ** 2 < r * r, vessels, hu)
        airway = ((x - cx) / float(rng.uniform(7, 12))) ** 2 + ((y - cy + float(rng.uniform(24, 30))) / 7) ** 2
        hu = np.where(airway < 1, -1000.0, hu)
        if rng.random() < 0.6:
            bed = cy + deep + 4 + float(rng.uniform(2, 10)) + ((x - cx) / 60) ** 2 * -8
            hu = np.where(
                (np.abs(y - bed) < 2.0) & (skin > 0), float(rng.uniform(-200, 300)), np.where(skin > 0, -1000, hu)
            )
        else:
            hu = np.where(skin > 0, -1000.0, hu)
        return enlarged(np.asarray(hu, np.float32), self.shape, factor)

    def _grain(self, shape: tuple[int, ...], cell: int = 3) -> Array:
        """Noise of unit variance whose grains are some voxels wide."""
        n = tuple(-(-one // cell) + 2 for one in shape)
        small = self.rng.standard_normal(n, dtype=np.float32)
        return enlarged(small, (shape[0], shape[1], shape[2]), np.full(3, cell)) * 1.6

    def _local(
        self, origin: NDArray[np.float64], turn: NDArray[np.float64], low: Any, high: Any
    ) -> tuple[tuple[slice, slice, slice], tuple[Array, Array, Array]]:
        """The part of the grid around a box of a bone, and its points in the bone's coordinates."""
        corners = np.array([(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        back = np.linalg.inv(self.affine[:3, :3])
        cells = (corners @ turn.T + origin - self.affine[:3, 3]) @ back.T
        first = np.maximum(np.floor(cells.min(axis=0)), 0).astype(int)
        last = np.minimum(np.ceil(cells.max(axis=0)) + 1, self.shape[::-1]).astype(int)
        last = np.maximum(last, first)
        matrix = (turn.T @ self.affine[:3, :3]).astype(np.float32)
        offset = (turn.T @ (self.affine[:3, 3] - origin)).astype(np.float32)
        j, i, k = (np.arange(a, b, dtype=np.float32) for a, b in zip(first, last, strict=True))
        x, y, z = (
            (matrix[axis, 2] * k + offset[axis])[:, None, None]
            + (matrix[axis, 1] * i)[None, :, None]
            + (matrix[axis, 0] * j)[None, None, :]
            for axis in range(3)
        )
        where = tuple(slice(int(a), int(b)) for a, b in zip(first[::-1], last[::-1], strict=True))
        return (where[0], where[1], where[2]), (x, y, z)

    def _solid(self, where: Any, distance: Array, old: Array, marrow: Any, cortex: float, hard: float) -> None:
        """Cortex and marrow over what is there, edges as wide as a voxel."""
        outer = np.clip(0.5 - distance / self.pixel, 0, 1)
        inner = np.clip(0.5 - (old + cortex) / self.pixel, 0, 1) * outer
        hu = self.hu[where]
        hu += (hard - hu) * outer
        hu += (marrow - hard) * inner

    def _soft(self, shape: Field, placed: _Placed, low: Any, high: Any, value: float) -> None:
        where, (x, y, z) = self._local(placed.origin, placed.turn, low, high)
        hu = self.hu[where]
        hu += (value - hu) * np.clip(0.5 - shape(x, y, z) / self.pixel, 0, 1)

    def _bone(self, shape: Field, placed: _Placed, low: Any, high: Any) -> None:
        where, (x, y, z) = self._local(placed.origin, placed.turn, low, high)
        if x.size:
            free = np.where(self.truth[where] > 0, 10.0, shape(x, y, z)).astype(np.float32)
            self._solid(where, free, free, 450.0 * self.bright, 1.6, 1150.0 * self.bright)


def _within(place: NDArray[np.float64], affine: NDArray[np.float64], voxels: Array) -> bool:
    cell = np.linalg.solve(affine[:3, :3], place - affine[:3, 3])
    return bool((cell >= -0.5).all() and (cell <= np.array(voxels.shape[::-1]) - 0.5).all())


def _fracture(
    number: int, placed: _Placed, truth: NDArray[np.uint8], affine: NDArray[np.float64]
) -> NeckFracture | None:
    """What of a fracture lies in the volume: at least 12 voxels, else it is not there."""
    if placed.broken is None or np.count_nonzero(zone := truth == number + _ZONE) < 12:
        return None
    k, i, j = np.nonzero(zone)
    places = np.stack([j, i, k], 1) @ affine[:3, :3].T + affine[:3, 3]
    low, high = (tuple(float(round(v, 2)) for v in edge) for edge in (places.min(axis=0), places.max(axis=0)))
    return NeckFracture(placed.bone.name, placed.broken.kind, placed.broken.displacement, low, high)  # type: ignore[arg-type]
