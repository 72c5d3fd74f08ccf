"""From a film to the points of its hands and forefeet, in three steps.

1. The finder looks at the whole film, letterboxed: centers, and roughly the points of each.
2. The placer looks at a crop that is turned the usual way by these points, and at its mirror image; the surer one is
   cut again by the points so found, a little turned and scaled, and what the crops say is averaged.
3. Points whose map is flat are put where the other points say that they lie.

All thresholds are ours, chosen on the annotated films.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np
import torch

from fracture.digits import Point, Points
from fracture.joints.frames import UNIT, fit_frame
from fracture.joints.layout import DIGITS, MIDDLE, POINTS, Kind
from fracture.joints.networks import CHANNELS, FIND_SIZE, GUESSES, KINDS, OFFSET_UNIT, FinderOutput
from fracture.models.hand_trunk import tone
from fracture.models.heatmaps import decode_heat, peaks
from fracture.preprocess.similarity import Similarity, crop_at, letterbox_matrix, warp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.wing.runner import Runner

_MOST: Final = 4  # hands and forefeet on one film
_CENTER: Final = 0.15  # least chance of a center; the best one may have less
_LEAST: Final = 0.02  # below it a film shows neither hand nor foot
_LEAST_SCORE: Final = (0.5, 0.72)  # of a limb whose center is seen and whose points fit, and of another; docs/joints.md
_SEEN: Final = 0.65  # chance of a center that is believed although the points are less sure, as in a cast
_FITTING: Final = 0.25  # and whose points lie as those of a hand or foot do: most of Found.shape there
_BESIDE: Final = 0.75  # likewise of a further limb, as a share of the surest one's
_SURE: Final = 0.82  # mean certainty below which other turns and sizes are tried
_SHARES: Final = ((0.17, 0.25), (0.11, 0.38))  # unit length by the film's longer side: tried then, in this order
_WORTH: Final = 0.3  # least chance of a center that is searched around
_FLAT: Final = 0.08  # a map with less of its softmax around the peak says nothing
_Rough: TypeAlias = tuple[Kind, float, dict[str, Point], Point, float]  # chance, rough points, center, chance of a cast
_LOOKS: Final = ((0.0, 1.0), (-7.0, 1.04), (7.0, 0.96))  # turns in degrees and scales of the last crops


@dataclass(frozen=True, slots=True)
class Found:
    """A hand or forefoot.

    Attributes:
        kind: Which.
        points: All its points by name, in pixels of the film.
        certainty: For each point the share of its map that lies around the peak, in [0, 1]; 0 beyond the film.
        center: The finder's chance of it, in [0, 1].
        mirrored: Whether the thumb or big toe lies to the left when the tips point up.
        shape: What is left of the points' spread when the average hand or forefoot is laid on them.
        cast: The finder's chance that it lies in a cast, in [0, 1].
    """

    kind: Kind
    points: Points
    certainty: Mapping[str, float]
    center: float
    mirrored: bool
    shape: float
    cast: float

    @property
    def score(self) -> float:
        """Mean certainty of its points on the film, of half of all at least."""
        return _level(np.array(list(self.certainty.values())))

    @property
    def believed(self) -> bool:
        """Whether it is taken for a hand or forefoot: half of its middle row lies on the film, so that a wrist alone is
        none, and its points are sure enough, which is less where its center is seen and they fit."""
        row = [self.certainty[name] > 0 for name in MIDDLE[self.kind]]
        fits = self.center >= _SEEN and self.shape <= _FITTING
        return self.score >= _LEAST_SCORE[0 if fits else 1] and sum(row) >= len(row) / 2


def find(
    pixels: NDArray[np.float32], finder: Runner, placer: Runner, template: NDArray[np.float64]
) -> tuple[Found, ...]:
    """The hands and forefeet of a film, left to right in the picture; ``()`` where there is none.

    Args:
        pixels: float32, (height, width), in [0, 1], bright = dense, square pixels.
        finder, placer: The networks.
        template: The placer's.
    """
    found: list[Found] = []
    for zoom in (1.0, 0.55):  # a hand that fills the film is seen better from farther away
        for kind, chance, rough, center, cast in rough_limbs(pixels, finder, zoom):
            one = replace(_Placing(pixels, kind, placer, template).place(rough, center, chance), cast=cast)
            same = [other for other in found if not _apart(one, other)]
            if all(one.score > other.score for other in same):
                found = [other for other in found if other not in same] + [one]
        if any(one.score >= _SURE for one in found):
            break
    best = max((one.score for one in found), default=0.0)
    found = [one for one in found if one.believed and one.score >= _BESIDE * best]
    return tuple(sorted(found, key=lambda one: float(np.mean([x for x, _ in one.points.values()]))))


def _level(sure: NDArray[np.float64]) -> float:
    return float(sure.sum() / max(np.count_nonzero(sure), len(sure) / 2))


def _apart(one: Found, other: Found) -> bool:
    """Whether two finds are two limbs: their middles lie farther apart than 0.4 of what the smaller spans."""
    boxes = [np.array(list(each.points.values())) for each in (one, other)]
    span = min(float(np.hypot(*(box.max(0) - box.min(0)))) for box in boxes)
    return float(np.hypot(*(boxes[0].mean(0) - boxes[1].mean(0)))) > 0.4 * span


def rough_limbs(pixels: NDArray[np.float32], finder: Runner, zoom: float) -> list[_Rough]:
    """In pixels of the film, the likeliest first; ``zoom`` as of a letterbox."""
    height, width = pixels.shape
    matrix = letterbox_matrix(width, height, FIND_SIZE, zoom)
    plane, mask = warp(pixels, matrix, (FIND_SIZE, FIND_SIZE))
    output = FinderOutput(**finder.run({"x": tone(plane, mask)[None, None]}))
    chances = torch.sigmoid(output.centers[0].float())
    shown = chances.cpu().numpy()
    middles = torch.arange(len(shown[0]), device=chances.device).float() * 8 + 4
    cells = torch.stack(torch.meshgrid(middles, middles, indexing="xy"))
    likely = sorted(peaks(shown, _LEAST, (1, 3, 3)).tolist(), key=lambda cell: -shown[tuple(cell)])[:_MOST]
    found: list[_Rough] = []
    for number, row, column in likely:
        kind, value = KINDS[number], float(shown[number, row, column])
        if found and value < _CENTER:
            break
        # The mean of what the cells around the peak say of the same points.
        rows, columns = (slice(max(0, k - 1), k + 2) for k in (row, column))
        offsets = output.offsets[0, GUESSES[kind], :, rows, columns].float() * OFFSET_UNIT
        weights = chances[number, rows, columns]
        weights = weights / weights.sum()
        means = [((offsets[:, k] + cells[k, rows, columns]) * weights).sum((1, 2)).cpu().numpy() for k in (0, 1)]
        places = np.concatenate([np.stack(means, -1), [[column * 8 + 4, row * 8 + 4]]])
        *points, (x, y) = ((places - matrix[:, 2]) / matrix[0, 0]).tolist()
        named = {n: (p[0], p[1]) for n, p in zip(DIGITS[kind], points, strict=True)}
        cast = torch.sigmoid(output.casts[0, rows, columns].float())
        found.append((kind, value, named, (x, y), float((cast * weights).sum())))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Placing:
    """The placer on one film, for one kind."""

    pixels: NDArray[np.float32]
    kind: Kind
    placer: Runner
    template: NDArray[np.float64]

    def place(self, rough: Points, center: Point, chance: float) -> Found:
        """All points of a limb from rough ones, at least two, and from its center, which is one with that chance."""
        longest, kind = max(self.pixels.shape), self.kind
        frame = fit_frame(rough, kind, self.template)[0]
        frames = [replace(frame, mirrored=flip) for flip in (False, True)]
        best = self.surest(frames)
        # Lying another way, or of another size, than the finder guessed?
        if chance >= _WORTH and _level(best.sure) < _SURE:
            for shares in _SHARES:
                upright = [replace(each, center=center, up=(0.0, -1.0)) for each in frames]
                others = [
                    each.turned(turn, UNIT[kind] / (share * longest) / each.scale)
                    for each in upright
                    for turn in range(0, 360, 45)
                    for share in shares
                ]
                best = max(best, self.surest(others), key=lambda one: _level(one.sure))
                if _level(best.sure) >= _SURE:
                    break
        for _ in range(2):
            frame, _left = self.fitted(best)
            looks = self.looked([frame.turned(angle, scale) for angle, scale in _LOOKS])
            weights = np.stack([each.sure for each in looks])[..., None] + 1e-6
            points = (np.stack([each.points for each in looks]) * weights).sum(0) / weights.sum(0)
            best = _Look(frame, points, np.mean([each.sure for each in looks], 0))
        frame, left = self.fitted(best)
        expected = frame.to_source(self.template[CHANNELS[kind]])
        points = np.where((best.sure < _FLAT)[:, None], expected, best.points)
        names = POINTS[kind]
        return Found(
            kind=kind,
            points={name: (x, y) for name, (x, y) in zip(names, points.tolist(), strict=True)},
            certainty=dict(zip(names, best.sure.tolist(), strict=True)),
            center=chance,
            mirrored=best.frame.mirrored,
            shape=left,
            cast=0.0,
        )

    def surest(self, frames: Sequence[Similarity]) -> _Look:
        """The surest crop, where the surer ones are cut again by their own points."""
        looks = sorted(self.looked(frames), key=lambda one: -_level(one.sure))[:3]
        again = self.looked([self.fitted(one)[0] for one in looks])
        return max([*looks, *again], key=lambda one: _level(one.sure))

    def fitted(self, look: _Look) -> tuple[Similarity, float]:
        """The crop by the surer half of the points."""
        sure = look.sure
        limit = min(float(np.median(sure[sure > 0])), 0.5) if np.count_nonzero(sure) >= len(sure) / 2 else 0.0
        named = zip(POINTS[self.kind], look.points.tolist(), sure, strict=True)
        kept = {name: tuple(p) for name, p, s in named if s >= limit}
        return fit_frame(kept, self.kind, self.template, mirrored=look.frame.mirrored)

    def looked(self, frames: Sequence[Similarity]) -> list[_Look]:
        """What the placer sees in each crop."""
        crops = [crop_at(self.pixels, frame) for frame in frames]
        planes = [tone(crop.pixels, crop.mask) for crop in crops]
        points, sure = decode_heat(self.placer.run({"x": np.stack(planes)[:, None]})["output"][:, CHANNELS[self.kind]])
        looks, size = [], self.pixels.shape[::-1]
        for frame, seen, mass in zip(frames, points.double().cpu().numpy(), sure.double().cpu().numpy(), strict=True):
            places = frame.to_source(seen)
            looks.append(_Look(frame, places, mass * ((places >= 0) & (places <= size)).all(-1)))
        return looks


class _Look(NamedTuple):
    """A crop, the points (n, 2) seen in it, in pixels of the film, and their certainty (n,)."""

    frame: Similarity
    points: NDArray[np.float64]
    sure: NDArray[np.float64]
