"""From a CT volume to C1 to C7: what the network is given, centers on a chain, their names, and every level's mask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fracture.spine.cervical.metric import LEVELS
from fracture.spine.cervical.spec import GRID, HU
from fracture.spine.resample import body_mask, resampled
from fracture.wing.runner import Runner
from fracture.wing.volume import Volume

__all__ = ["FoundLevel", "Levels", "chain", "find_levels", "grid_of", "scaled"]

_LEAST = 0.15  # of a center that is looked at (ours)
_SURE = 0.3  # of center and level together below which no level is named (ours)
_STEP = (9.0, 30.0)  # mm from one center to the next (ours; about 15 to 22 in adults)
_BALL = 5.0  # mm around a center within which its level is asked
_MULTIPLE = 16
Grid = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FoundLevel:
    """A level in the patient.

    Attributes:
        level: ``"C1"`` to ``"C7"``.
        place: (x, y, z) in millimeters: the center of the body, of C1 of its anterior arch.
        score: Of center and level, in [0, 1]; no probability.
    """

    level: str
    place: tuple[float, float, float]
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """What was found on one volume.

    Attributes:
        found: From the head.
        shares: float32 (7, slices, rows, columns) in [0, 1]: probability that a voxel is of C1 to C7; 0 of a level that
            was not found.
        grid: The volume that they lie on, of equal spacing.
        remarks: What a user should know, such as levels that are not seen.
    """

    found: tuple[FoundLevel, ...]
    shares: Grid
    grid: Volume
    remarks: tuple[str, ...]

    @property
    def places(self) -> dict[str, tuple[float, float, float]]:
        """Level to place."""
        return {one.level: one.place for one in self.found}

    @property
    def labels(self) -> NDArray[np.uint8]:
        """1 to 7 where a voxel is most likely of C1 to C7, and more likely than not; else 0."""
        most = self.shares.argmax(axis=0)
        return np.where(self.shares.max(axis=0) > 0.5, most + 1, 0).astype(np.uint8)


def scaled(hu: NDArray[np.float32]) -> Grid:
    """Hounsfield units to [0, 1] by the bone window."""
    low, high = HU
    return np.asarray(np.clip((hu - low) / (high - low), 0, 1), np.float32)


def grid_of(volume: Volume) -> tuple[Volume, Grid]:
    """The even grid of a volume, and the network's input on it: (D, H, W) in [0, 1], table and air 0, padded at the
    far ends to multiples of 16."""
    even = resampled(volume, GRID)
    values = scaled(even.voxels) * body_mask(even)
    pads = [(0, -n % _MULTIPLE) for n in values.shape]
    return even, np.pad(values, pads).astype(np.float32)


def find_levels(runner: Runner, grid: Volume, inputs: Grid) -> Levels:
    """The finder on one volume.

    Args:
        runner: Of :class:`fracture.spine.cervical.networks.LevelNetwork`.
        grid, inputs: Of :func:`grid_of`.
    """
    out = runner.run({"x": inputs[None, None]})
    shares = out["labels"].float().softmax(1)[0].cpu().numpy()
    centers = out["centers"].float().sigmoid()[0, 0].cpu().numpy()
    named = chain(centers, shares, grid)
    depth, height, width = grid.voxels.shape
    own = np.ascontiguousarray(shares[1:8, :depth, :height, :width])
    for k, level in enumerate(LEVELS):
        if level not in {one.level for one in named}:
            own[k] = 0
    return Levels(named, own, replace(grid, voxels=np.zeros_like(grid.voxels)), _remarks(named))


def chain(centers: Grid, shares: Grid, grid: Volume) -> tuple[FoundLevel, ...]:
    """The best chain of centers from the head to the feet whose levels rise one by one.

    A center may be passed over: then the level rises by two over about twice the way. Nothing is put where no center
    was found.

    Args:
        centers: (D/2, H/2, W/2) in [0, 1].
        shares: (9, D, H, W), see :data:`fracture.spine.cervical.networks.CLASSES`.
        grid: Their place; the axes are the patient's.
    """
    cells, scores = _peaks(centers)
    # A cell of the coarse map covers two of the grid.
    voxels = cells * 2 + 0.5
    places = np.array([grid.place((k, i, j)) for k, i, j in voxels.tolist()]).reshape(-1, 3)
    order = np.argsort(-places[:, 2], kind="stable") if len(places) else np.zeros(0, int)
    places, scores, voxels = places[order], scores[order], voxels[order]
    votes = np.array([_votes(shares, voxel, grid) for voxel in voxels]).reshape(-1, 8)
    value = scores[:, None] * votes - 0.5 * _SURE
    best, before = value.copy(), np.full((*value.shape, 2), -1)
    for n in range(len(places)):
        far = np.linalg.norm(places[:n] - places[n], axis=1)
        for level in range(8):
            for step in (1, 2):
                fits = (far > step * _STEP[0] * 0.9) & (far < step * _STEP[1] * 0.9) if step <= level else far < 0
                for m in np.flatnonzero(fits).tolist():
                    total = best[m, level - step] + value[n, level] - 0.1 * (step - 1)
                    if total > best[n, level]:
                        best[n, level], before[n, level] = total, (m, level - step)
    if not len(places) or best.max() <= 0:
        return ()
    first = np.unravel_index(int(best.argmax()), best.shape)
    found: list[FoundLevel] = []
    at = (int(first[0]), int(first[1]))
    while at[0] >= 0:
        score = float(scores[at[0]] * votes[at])
        if at[1] < 7 and score >= _SURE:
            x, y, z = places[at[0]].tolist()
            found.append(FoundLevel(LEVELS[at[1]], (x, y, z), round(score, 4)))
        at = (int(before[at][0]), int(before[at][1]))
    return tuple(reversed(found))


def _peaks(centers: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cells (n, 3) of local maxima, refined by their neighbors, and their values."""
    top = ndimage.maximum_filter(centers, 3, mode="constant")
    cells = np.argwhere((centers == top) & (centers >= _LEAST))
    padded = np.pad(centers.astype(np.float64), 1)
    steps = np.arange(-1, 2)
    refined = []
    for k, i, j in cells.tolist():
        around = padded[k : k + 3, i : i + 3, j : j + 3]
        mass = around / around.sum()
        moved = (mass.sum((1, 2)) @ steps, mass.sum((0, 2)) @ steps, mass.sum((0, 1)) @ steps)
        refined.append((k + moved[0], i + moved[1], j + moved[2]))
    return np.array(refined, np.float64).reshape(-1, 3), centers[tuple(cells.T)].astype(np.float64)


def _votes(shares: Grid, voxel: NDArray[np.float64], grid: Volume) -> NDArray[np.float64]:
    """The share of each class from C1 to thoracic among all bone around a center."""
    steps = round(_BALL / grid.spacing[0])
    low = np.maximum(np.rint(voxel).astype(int) - steps, 0)
    high = np.maximum(low + 1, np.rint(voxel).astype(int) + steps + 1)
    around = shares[1:, low[0] : high[0], low[1] : high[1], low[2] : high[2]].sum(axis=(1, 2, 3)).astype(np.float64)
    total = float(around.sum())
    return around / total if total > 1 else np.zeros(8)


def _remarks(found: tuple[FoundLevel, ...]) -> tuple[str, ...]:
    names = [one.level for one in found]
    if not names:
        return ("no cervical vertebra was found",)
    missing = [level for level in LEVELS if level not in names]
    if not missing:
        return ()
    first, last = LEVELS.index(names[0]), LEVELS.index(names[-1])
    within = [level for level in missing if first < LEVELS.index(level) < last]
    lines = [f"{len(names)} of 7 levels were found; not found: {', '.join(missing)}"]
    if within:
        lines.append(f"{', '.join(within)}: not found between their neighbors; the names of all levels are doubtful")
    return tuple(lines)
