"""From a CT volume to C1 to C7: what the network is given, centers on a chain, their names, and every level's mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fracture.models.heatmaps import peaks, refined
from fracture.spine.cervical.metric import LEVELS
from fracture.spine.cervical.result import Vertebra
from fracture.spine.cervical.spec import GRID, HU
from fracture.spine.resample import body_mask, resampled
from fracture.wing.runner import Runner
from fracture.wing.volume import Volume

_LEAST = 0.3  # of a center that counts by itself (ours)
_FAINT = 0.1  # of a center that counts where the chain and its level speak for it (ours; set on a second simulator)
_TOLD = 0.3  # of the chain's levels on average, below which its vertebrae are not named (ours)
_STEPS = {1: (8.0, 30.0), 2: (26.0, 60.0)}  # mm to the next center, and over one that is passed (ours; 15 to 24 each)
_OBLIQUE = 0.5  # of a step: it may go to a side by that share, 30 degrees (ours; in simulated necks at most 0.27)
_REACH, _ASIDE, _LEAN = 7.0, 0.25, 0.35  # of a center's share in bone: see _shared (ours)
_MULTIPLE = 16
_OTHER = len(LEVELS)
Grid = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """What was found on one volume.

    Attributes:
        found: From the head.
        shares: float32 (7, slices, rows, columns) in [0, 1]: probability that a voxel is bone, divided among C1 to C7;
            0 of a level that was not found.
        grid: The volume that they lie on, of equal spacing.
        remarks: What a user should know, such as levels that are not seen.
    """

    found: tuple[Vertebra, ...]
    shares: Grid
    grid: Volume
    remarks: tuple[str, ...]

    @property
    def places(self) -> dict[str, tuple[float, float, float]]:
        """Level to place."""
        return {one.level: one.place for one in self.found}

    @property
    def labels(self) -> NDArray[np.uint8]:
        """1 to 7 where a voxel is more likely bone of C1 to C7 than not; else 0."""
        most = self.shares.argmax(axis=0)
        return np.where(self.shares.sum(axis=0) > 0.5, most + 1, 0).astype(np.uint8)


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
    bone, centers = (out[key].float().sigmoid()[0, 0].cpu().numpy() for key in ("bone", "centers"))
    levels = out["levels"].float().softmax(1)[0].cpu().numpy()
    links = chain(centers, levels, grid)
    depth, height, width = grid.voxels.shape
    shares = _shared(np.ascontiguousarray(bone[:depth, :height, :width]), levels, links, grid)
    named = tuple(one for one in links if one.level in LEVELS)
    return Levels(named, shares, replace(grid, voxels=np.zeros_like(grid.voxels)), _remarks(named))


def chain(centers: Grid, levels: Grid, grid: Volume) -> tuple[Vertebra, ...]:
    """The best chain of centers from the head to the feet whose levels rise one by one; all of it is named together.

    A center may be passed over: then the level rises by two over about twice the way. Nothing is put where no center
    was found. A step that goes to a side by more than 30 degrees is none: it leads to a center beside the spine.

    Args:
        centers: (D/2, H/2, W/2) in [0, 1].
        levels: (8, D/2, H/2, W/2), see :data:`fracture.spine.cervical.networks.CLASSES`; their sum is 1.
        grid: Their place; the axes are the patient's.

    Returns:
        From the head; vertebrae below C7 are called ``"T"``.
    """
    cells, scores = _peaks(centers)
    # A cell of the coarse map covers two of the grid.
    places = np.array([grid.place((k, i, j)) for k, i, j in (cells * 2 + 0.5).tolist()]).reshape(-1, 3)
    order = np.argsort(-places[:, 2], kind="stable") if len(places) else np.zeros(0, int)
    places, scores, cells = places[order], scores[order], cells[order]
    votes = np.array([_votes(levels, cell) for cell in cells]).reshape(-1, _OTHER + 1)
    value = scores[:, None] * (votes + _LEAST) - _LEAST**2
    best, before = value.copy(), np.full((*value.shape, 2), -1)
    for n in range(len(places)):
        steps = places[:n] - places[n]
        far = np.linalg.norm(steps, axis=1)
        for level, step in ((level, step) for level in range(_OTHER + 1) for step in (1, 2)):
            # Below C7 all are others.
            sources = {level - step} if level < _OTHER else {_OTHER - step, _OTHER}
            fits = (far > _STEPS[step][0]) & (far < _STEPS[step][1]) & (np.abs(steps[:, 0]) < _OBLIQUE * far)
            for m, source in ((m, s) for m in np.flatnonzero(fits).tolist() for s in sources if s >= 0):
                total = best[m, source] + value[n, level] - 0.1 * (step - 1)
                if total > best[n, level]:
                    best[n, level], before[n, level] = total, (m, source)
    if not len(places):
        return ()
    links: list[tuple[int, int]] = []
    at = np.unravel_index(int(best.argmax()), best.shape)
    while at[0] >= 0:
        links.append((int(at[0]), int(at[1])))
        at = tuple(before[links[-1]])
    if np.mean([votes[link] for link in links]) < _TOLD:
        return ()
    names = (*LEVELS, "T")
    return tuple(
        Vertebra(names[level], tuple(places[n].tolist()), round(float(scores[n]), 4)) for n, level in reversed(links)
    )


def _peaks(centers: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cells (n, 3) of local maxima, refined by their neighbors, and their values."""
    cells = peaks(centers, _FAINT)
    return refined(centers, cells), centers[tuple(cells.T)].astype(np.float64)


def _votes(levels: Grid, cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean share of each level in the cells around a center."""
    low = np.maximum(np.rint(cell).astype(int) - 1, 0)
    high = low + 3
    around = levels[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    return np.asarray(around.reshape(len(levels), -1).mean(axis=1), np.float64)


def _shared(bone: Grid, levels: Grid, links: Sequence[Vertebra], grid: Volume) -> Grid:
    """Bone divided among the links by the way along the spine to their centers and by what the network calls it.

    What lies behind a body belongs to it further down: arches and processes lean to the feet.
    """
    shares = np.zeros((len(LEVELS), *bone.shape), np.float32)
    voxels = np.argwhere(bone > 0.05)
    if not links or not len(voxels):
        return shares
    places = voxels[:, ::-1] * np.diag(grid.affine)[:3] + grid.affine[:3, 3]
    centers = np.array([one.place for one in links])
    along = -np.gradient(centers, axis=0) if len(links) > 1 else np.array([[0.0, 0.0, 1.0]])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    called = levels[:, voxels[:, 0] // 2, voxels[:, 1] // 2, voxels[:, 2] // 2] + 0.05
    # What lies 20 mm further up or down than any center is of none.
    weights = [np.full(len(voxels), 0.5 * np.exp(-((20 / _REACH) ** 2) / 2))]
    for one, center, axis in zip(links, centers, along, strict=True):
        away = places - center
        up = away @ axis
        aside = away - up[:, None] * axis
        way = (up + _LEAN * aside[:, 1]) ** 2 + (aside**2).sum(axis=1) * _ASIDE**2
        level = LEVELS.index(one.level) if one.level in LEVELS else _OTHER
        weights.append(np.exp(-way / (2 * _REACH**2)) * called[level])
    parts = np.stack(weights) / np.sum(weights, axis=0) * bone[tuple(voxels.T)]
    for one, part in zip(links, parts[1:], strict=True):
        if one.level in LEVELS:
            shares[(LEVELS.index(one.level), *voxels.T)] = part
    return shares


def _remarks(found: tuple[Vertebra, ...]) -> tuple[str, ...]:
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
