"""From named discs to 25 grades: crops of three series around each disc, and a 2.5D network with attention over them.

Canals are judged on sagittal T2, foramina on sagittal T1, recesses on axial T2 by those who read; the network gets all
three for each and learns where to look. What is missing is left out of its list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.simulate.lumbar import LEVELS
from fracture.spine.crops import Match, Place, crop, match
from fracture.spine.kinds import AXIAL_T2, SAGITTAL_T1, SAGITTAL_T2
from fracture.spine.lumbar.metric import CONDITIONS, ROWS, row_of
from fracture.spine.picture import stretched
from fracture.spine.planes import oriented
from fracture.spine.series import Found
from fracture.wing.runner import Runner
from fracture.wing.volume import Volume

KINDS = (SAGITTAL_T2, SAGITTAL_T1, AXIAL_T2)
Views = Mapping[str, Sequence[Volume]]
"""Volumes by kind of series: one of each sagittal kind, and every block of the axial one."""

_SIDE, _PIXEL = 64, 0.75  # of a crop, pixels and millimeters
_BACK = 20.0  # mm behind a disc's center, across the spine, where a crop's center lies: the canal's front
_ASIDE = tuple(range(-3, 4))  # slices of a sagittal series, 7 mm apart: from foramen to foramen
_SPACED, _FARTHEST = 7.0, 6.0  # mm; an axial slice farther from a disc than the second is not of it
TOKENS = 2 * len(_ASIDE) + 3
_SHOWN = [3, 8, 12, 15]  # pictures for people: T2 in the middle, T1 two steps to either side, the axial slice
Planes = NDArray[np.float32]


def views_of(found: Found) -> dict[str, list[Volume]]:
    """The volumes that grades are read from, values from 0 to 1 between the 1st and the 99.5th percentile.

    Raises:
        SeriesError: A broken series.
    """
    views: dict[str, list[Volume]] = {}
    for one in found.series:
        kind = None if one.kind is None else one.kind.rsna
        if kind == AXIAL_T2 or (kind in KINDS and kind not in views):  # those of most slices come first
            volume = oriented(one.read().volume, "axial" if kind == AXIAL_T2 else "sagittal")
            views.setdefault(str(kind), []).append(replace(volume, voxels=stretched(volume.voxels)))
    return views


def behind(places: Mapping[str, Place]) -> dict[str, Place]:
    """Where crops have their centers: behind each disc, across the line of its neighbors."""
    there = [level for level in LEVELS if level in places]
    found: dict[str, Place] = {}
    for k, level in enumerate(there):
        above, below = places[there[max(k - 1, 0)]], places[there[min(k + 1, len(there) - 1)]]
        up = np.array([above[1] - below[1], above[2] - below[2]]) if len(there) > 1 else np.array([0.0, 1.0])
        y, z = np.array([up[1], -up[0]]) / np.linalg.norm(up) * _BACK
        x0, y0, z0 = places[level]
        found[level] = (x0, y0 + float(y), z0 + float(z))
    return found


def stack(views: Views, place: Place, target: Place) -> tuple[Planes, Planes, dict[str, Match]]:
    """What the network is shown of one level.

    Args:
        views: Of :func:`views_of`.
        place: Center of the disc.
        target: Of :func:`behind`.

    Returns:
        float32 (TOKENS, 3, side, side), slices with their neighbors; (TOKENS, 4): the series, as 1 of the first three,
        and the place from right to left, or along the spine, from -1 to 1; and which slice passes the disc.
    """
    planes = np.zeros((TOKENS, 3, _SIDE, _SIDE), np.float32)
    where, matched, token = np.zeros((TOKENS, 4), np.float32), dict[str, Match](), 0
    for number, kind in enumerate(KINDS):
        axial = kind == AXIAL_T2
        steps = (-1, 0, 1) if axial else _ASIDE
        volumes = views.get(kind, ())
        near = match(volumes, {"": place}).get("")
        if near is not None and near.distance <= (_FARTHEST if axial else np.inf):
            volume, matched[kind] = volumes[near.volume], near
            stride = 1 if axial else max(1, round(_SPACED / volume.spacing[0]))
            for k, step in enumerate(steps):
                at = near.slice + step * stride
                if 0 <= at < len(volume.voxels):
                    planes[token + k] = crop(volume, target, range(at - 1, at + 2), side=_SIDE, spacing=_PIXEL)
                    where[token + k, number] = 1
                    far = step * stride * volume.spacing[0]
                    where[token + k, 3] = step if axial else far / (_SPACED * len(_ASIDE) / 2)
        token += len(steps)
    return planes, where, matched


class Graded(NamedTuple):
    """What is said of a spine.

    Attributes:
        chances: Three probabilities for each row of the levels of which a series shows something.
        axial: The axial slice of a level.
        sheet: uint8 (levels * 128, 512): of each of these levels, from above, the middle T2 slice, T1 through the right
            and the left foramen, and the axial slice.
    """

    chances: dict[str, tuple[float, ...]]
    axial: dict[str, Match]
    sheet: NDArray[np.uint8]


def grade(runner: Runner, views: Views, places: Mapping[str, Place]) -> Graded | None:
    """The grades of the levels whose places are known; None where no series shows any of them."""
    shown = {level: stack(views, places[level], target) for level, target in behind(places).items()}
    shown = {level: one for level, one in shown.items() if one[1].any()}
    if not shown:
        return None
    planes, where = np.stack([one[0] for one in shown.values()]), np.stack([one[1] for one in shown.values()])
    logits: Any = runner.run({"x": planes, "where": where})["logits"]
    chances = logits.float().softmax(-1).cpu().numpy()
    found = {
        row_of(condition, level): tuple(float(p) for p in chances[k, c])
        for k, level in enumerate(shown)
        for c, condition in enumerate(CONDITIONS)
    }
    axial = {level: one[2][AXIAL_T2] for level, one in shown.items() if AXIAL_T2 in one[2]}
    small = np.concatenate([np.concatenate(list(one[0][_SHOWN, 1]), axis=1) for one in shown.values()])
    sheet = cv2.resize(np.rint(small * 255).astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    return Graded({row: found[row] for row in ROWS if row in found}, axial, np.asarray(sheet, np.uint8))


def mirrored(planes: Planes, where: Planes) -> tuple[Planes, Planes]:
    """Stacks (..., TOKENS, 3, side, side) as of the patient in a mirror; left and right grades then change places."""
    planes, where = planes.copy(), where.copy()
    axial = slice(2 * len(_ASIDE), None)
    planes[..., axial, :, :, :] = planes[..., axial, :, :, ::-1]
    planes[..., : axial.start, :, :, :] = planes[..., : axial.start, ::-1, :, :]
    where[..., : axial.start, 3] *= -1
    return planes, where
