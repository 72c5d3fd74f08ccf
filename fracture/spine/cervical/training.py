"""Training both networks of the neck: levels first, then fractures on the masks that the first one gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional as F

from fracture.data.records import AnnotatedSet, Film
from fracture.data.seeds import derive_seed, generator
from fracture.models.heatmaps import center_loss, center_map
from fracture.models.persistence import load_state
from fracture.models.starting_points import read_tensors
from fracture.spine.cervical.crops import cropped, masks_of, window_of
from fracture.spine.cervical.levels import find_levels, grid_of
from fracture.spine.cervical.metric import LEVELS
from fracture.spine.cervical.networks import CLASSES, LevelEnsemble, build_fractures, build_levels
from fracture.spine.cervical.records import labels_of, points_of, read_neck, truth_of
from fracture.spine.cervical.spec import CROP, GRID, SLICES, FractureSpec, LevelSpec
from fracture.spine.resample import sampled
from fracture.spine.training import SpineConfig, SpineStage, begin, train_stages
from fracture.spine.variation import SeededPictures
from fracture.training.config import Section
from fracture.training.driver import Running
from fracture.training.stage import Stage
from fracture.wing.runner import Runner, TorchRunner
from fracture.wing.volume import Volume

_MARGIN = (2, 4, 4)  # planes, rows, columns by which a crop may be shifted: the finder's error


class AugmentConfig(Section):
    """How necks vary; all ours."""

    mirror: float = Field(default=0.5, ge=0, le=1, description="share of necks with left and right exchanged")
    brightness: float = Field(default=0.08, ge=0, lt=1, description="added to the window's 0 to 1, to either side")
    contrast: float = Field(default=0.25, ge=0, lt=1, description="factor between 1 - c and 1 + c")
    noise: float = Field(default=0.03, ge=0, le=1, description="standard deviation at most")
    turn: float = Field(default=5.0, ge=0, lt=45, description="degrees about each axis (standard deviation); levels")
    scale: float = Field(default=0.12, ge=0, lt=1, description="logarithm of the size at most; levels")
    blur: float = Field(default=0.3, ge=0, le=1, description="share blurred along z; levels")
    cut: float = Field(default=0.3, ge=0, le=1, description="share whose upper or lower part is left out; levels")
    bend: float = Field(
        default=0.0, ge=0, le=6, description="mm by which bone is bent smoothly (standard dev.); levels"
    )


class LevelConfig(SpineConfig):
    """Settings of the finder's training."""

    WING, STAGE, BATCH = "cervical", "levels", 4

    model: LevelSpec = LevelSpec()
    augment: AugmentConfig = AugmentConfig()
    window: tuple[int, int, int] = (80, 64, 48)
    real: int = Field(default=12, ge=1, description="times an epoch that a volume with masks alone is presented")


class FractureConfig(SpineConfig):
    """Settings of the judge's training."""

    WING, STAGE, BATCH = "cervical", "fractures", 8

    model: FractureSpec = FractureSpec()
    augment: AugmentConfig = AugmentConfig()
    map_weight: float = Field(default=1.0, ge=0, description="of the map's loss beside the challenge's (ours)")
    levels: int = Field(default=3, ge=1, le=7, description="vertebrae of a neck that are presented at first")
    whole: int = Field(default=2, ge=0, description="last epochs, in which all are presented")


class _Necks:
    """Necks as both stages take them, read once and kept."""

    def __init__(self, annotated: AnnotatedSet) -> None:
        self.set, self._kept = annotated, dict[str, tuple[Any, ...]]()

    def __call__(self, film: Film) -> tuple[Any, ...]:
        """The grid's place (its voxels are empty); the finder's input times 255 and the classes of its voxels, uint8
        (D, H, W); crops with a margin times 255, uint8 (7, ...), and where a fracture is on them."""
        if film.source not in self._kept:
            volume, truth, points = read_neck(self.set, film), truth_of(self.set, film), points_of(film)
            even, inputs = grid_of(volume)
            labels = sampled(truth, even.affine, even.voxels.shape, fill=0, order=0)
            classes = np.minimum(labels % 100, CLASSES).astype(np.uint8)
            pads = [(0, a - b) for a, b in zip(inputs.shape, classes.shape, strict=True)]
            broken = cropped(truth, points, _MARGIN, fill=0, order=0) == np.arange(101, 108)[:, None, None, None]
            place = Volume(np.zeros((1, 1, 1), np.float32), even.affine)
            crops = window_of(volume, points, _MARGIN), broken
            self._kept[film.source] = place, np.rint(inputs * 255).astype(np.uint8), np.pad(classes, pads), *crops
        return self._kept[film.source]


class _Pictures(SeededPictures):
    """Every neck once an epoch, varied anew."""

    def __init__(self, part: AnnotatedSet, config: Any, necks: _Necks) -> None:
        super().__init__(part, config)
        self.necks = necks

    def tone(self, values: NDArray[Any], draw: np.random.Generator) -> NDArray[np.float32]:
        """0 to 255 to [0, 1], brighter or darker, noisier; what is 0 stays 0."""
        how = self.config.augment
        x = values.astype(np.float32) / 255
        y = (x - 0.4) * float(1 + draw.uniform(-how.contrast, how.contrast)) + 0.4
        y += float(draw.uniform(-how.brightness, how.brightness))
        y += draw.standard_normal(x.shape, dtype=np.float32) * float(draw.uniform(0, how.noise))
        return np.where(values > 0, np.clip(y, 0, 1), 0).astype(np.float32)


class _LevelPictures(_Pictures):
    def order(self, epoch: int, turn: int = 0) -> Any:
        """As before; volumes with masks alone, which are few and real, several times."""
        ordered = super().order(epoch, turn)
        again = [(film, seed + k) for film, seed in ordered if not points_of(film) for k in range(1, self.config.real)]
        mixed = ordered + again
        places = generator(derive_seed(self.seed, epoch, turn, stream="mixed")).permutation(len(mixed))
        return [mixed[k] for k in places.tolist()]

    def make(self, picture: tuple[Film, int]) -> tuple[NDArray[Any], ...]:
        """A window of the grid, turned and scaled, its classes, and the map of centers at half its size."""
        film, draw = picture[0], generator(picture[1])
        place, values, classes, *_ = self.necks(film)
        how, window = self.config.augment, np.array(self.config.window)
        middle = np.argwhere(classes).mean(axis=0) if classes.any() else np.array(classes.shape) / 2
        middle += draw.normal(0, 5, 3)
        slack = max(0.0, (values.shape[0] - window[0]) / 2) + 4
        middle[0] = values.shape[0] / 2 + draw.uniform(-slack, slack)
        matrix = Rotation.from_euler("xyz", draw.normal(0, how.turn, 3), degrees=True).as_matrix()
        matrix = matrix * float(np.exp(draw.uniform(-how.scale, how.scale)))
        offset = middle - matrix @ ((window - 1) / 2)
        shape = self.config.window
        bent = bends(shape, how.bend / GRID, draw)
        cells = np.tensordot(matrix, np.indices(shape, np.float32) + bent, 1) + offset[:, None, None, None]
        x = ndimage.map_coordinates(values, cells, np.float32, order=1)
        y = ndimage.map_coordinates(classes, cells, order=0)
        if draw.random() < how.blur:  # as of thick slices
            x = ndimage.gaussian_filter1d(x, float(draw.uniform(0.3, 1.2)), axis=0)
        places = [np.subtract(point, place.affine[:3, 3])[::-1] / GRID for point in points_of(film).values()]
        points = [unbent(np.linalg.solve(matrix, at - offset), bent) for at in places]
        if draw.random() < how.cut:
            first = int(draw.integers(0, shape[0] // 2)) if draw.random() < 0.5 else 0
            last = shape[0] if first else int(draw.integers(shape[0] // 2, shape[0]))
            x[:first], y[:first], x[last:], y[last:] = 0, 0, 0, 0
            points = [point for point in points if first <= point[0] < last]
        heat = center_map([n // 2 for n in shape], [(point - 0.5) / 2 for point in points], 1.0)
        if draw.random() < how.mirror:
            x, y, heat = x[..., ::-1], y[..., ::-1], heat[..., ::-1]
        return self.tone(x, draw)[None], np.ascontiguousarray(y), np.ascontiguousarray(heat)


def bends(shape: tuple[int, int, int], size: float, draw: np.random.Generator) -> NDArray[np.float32]:
    """Smooth random shifts (3, D, H, W) in voxels, drawn about every 8 voxels with a standard deviation of ``size``.

    Bones of one simulator differ by size alone; bent ones differ in the shape of their arches and bodies too (ours)."""
    if not size:  # nothing is drawn, so that a recipe without it sees the pictures that it saw before
        return np.zeros((3, *shape), np.float32)
    coarse = torch.from_numpy(draw.normal(0, size, (1, 3, *(n // 8 + 2 for n in shape))).astype(np.float32))
    fine: NDArray[np.float32] = F.interpolate(coarse, shape, mode="trilinear", align_corners=True)[0].numpy()
    return fine


def unbent(point: NDArray[np.float64], bent: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where in the bent picture a point lies that the straight one has at ``point`` (cells)."""
    found = point
    for _ in range(6):
        found = point - np.array(
            [ndimage.map_coordinates(one, found[:, None], order=1, mode="nearest")[0] for one in bent]
        )
    return found


class _FracturePictures(_Pictures):
    finder: Runner

    def read(self, film: Film) -> NDArray[np.uint8]:
        """What the finder says of each vertebra's voxels, on the crops with their margin."""
        place, inputs, *_ = self.necks(film)
        grid = replace(place, voxels=np.zeros(inputs.shape, np.float32))
        shares = find_levels(self.finder, grid, np.asarray(inputs / np.float32(255), np.float32)).shares
        return masks_of(shares, grid, points_of(film), _MARGIN)

    def order(self, epoch: int, turn: int = 0) -> Any:
        """As before, and whether all levels are presented: in the last epochs, where the shares are true."""
        whole = epoch >= self.config.loop.epochs - self.config.whole
        return [(film, seed, whole) for film, seed in super().order(epoch, turn)]

    def make(self, picture: tuple[Film, int, bool]) -> tuple[NDArray[Any], ...]:
        """Crops and masks shifted alike, where fractures are on the map's cells, labels, and levels that are shown."""
        film, draw, whole = picture[0], generator(picture[1]), picture[2]
        *_, values, broken = self.necks(film)
        masks, labels = self.plain(film), labels_of(film)
        seen = np.array([level in points_of(film) for level in LEVELS])
        if not whole:
            ranks = np.where(seen, draw.random(len(LEVELS)), 2) - 0.5 * labels  # fractures rather than others
            seen &= ranks <= np.sort(ranks)[self.config.levels - 1]
        shifts = [[int(draw.integers(0, 2 * m + 1)) for m in _MARGIN] for _ in LEVELS]
        x, m, t = (_shifted(one, shifts) for one in (values, masks, broken))
        cells = t[:, 1 : 1 + 2 * SLICES + 1]
        cells = np.stack([cells[:, 2 * k : 2 * k + 3].any(1) for k in range(SLICES)], 1)
        where = cells.reshape(7, SLICES, CROP[1] // 4, 4, CROP[2] // 4, 4).sum((3, 5)) >= 2
        if draw.random() < self.config.augment.mirror:
            x, m, where = x[..., ::-1], m[..., ::-1], where[..., ::-1]
        return self.tone(x, draw), m.astype(np.float32) / 255, where.astype(np.float32), labels & seen, seen


def _shifted(values: NDArray[Any], shifts: Sequence[Sequence[int]]) -> NDArray[Any]:
    depth, height, width = CROP
    return np.stack(
        [v[a : a + depth, b : b + height, c : c + width] for v, (a, b, c) in zip(values, shifts, strict=True)]
    )


class LevelStage(SpineStage):
    """The finder in training."""

    format = "fracture-cervical-stage/1"
    terms = ("loss", "bone", "levels", "centers")

    def terms_of(self, *batch: Tensor) -> Mapping[str, Tensor]:
        """Cross entropy and Dice of bone, cross entropy of the levels of bone, and the focal loss of centers (Zhou et
        al. 2019); centers of other vertebrae than C1 to C7 are not marked and count nothing.

        Each copy of an ensemble learns for itself: the terms are means of theirs."""
        x, y, heat = batch
        copies = self.model.copies if isinstance(self.model, LevelEnsemble) else [self.model]
        terms = [self._terms_of(network(x), y, heat) for network in copies]
        return {name: torch.stack([one[name] for one in terms]).mean() for name in self.terms}

    @staticmethod
    def _terms_of(out: Mapping[str, Tensor], y: Tensor, heat: Tensor) -> dict[str, Tensor]:
        logits, solid = out["bone"][:, 0].float(), (y > 0).float()
        bone = logits.sigmoid()
        overlap = (2 * (bone * solid).sum() + 1) / (bone.sum() + solid.sum() + 1)
        bones = F.binary_cross_entropy_with_logits(logits, solid) + 1 - overlap
        level = F.max_pool3d(y[:, None].float(), 2)[:, 0].long() - 1
        named = F.cross_entropy(out["levels"].float(), level, ignore_index=-1, reduction="sum")
        named = named / (level >= 0).sum().clamp(min=1)
        counts = ((level < CLASSES - 1) | (heat >= 1)).float()
        centers = center_loss(out["centers"][:, 0], heat, counts) / (heat >= 1).sum().clamp(min=1)
        return {"loss": bones + named + 0.5 * centers, "bone": bones, "levels": named, "centers": centers}


def challenge_loss(levels: Tensor, patient: Tensor, truth: Tensor, seen: Tensor) -> Tensor:
    """The weighted loss of RSNA 2022 from logits, normalized per examination, levels that are not seen left out.

    Args:
        levels: (B, 7) logits.
        patient: (B,) logits.
        truth, seen: bool (B, 7).
    """
    truth = truth & seen
    whole = truth.any(1, keepdim=True).float()
    weights = torch.cat([(1 + truth.float()) * seen, 7 * (1 + whole)], 1)
    both = torch.cat([truth.float(), whole], 1)
    loss = F.binary_cross_entropy_with_logits(torch.cat([levels, patient[:, None]], 1).float(), both, reduction="none")
    return ((loss * weights).sum(1) / weights.sum(1)).mean()


class FractureStage(SpineStage):
    """The judge in training."""

    format = "fracture-cervical-stage/1"
    terms = ("loss", "challenge", "levels", "map")

    def terms_of(self, *batch: Tensor) -> Mapping[str, Tensor]:
        """See :func:`challenge_loss`; the levels' part of it once more, since the patient drowns it; and the map's
        cross entropy, where a fracture's cells count four times."""
        x, mask, where, truth, seen = batch
        out = self.model(x, mask, seen)
        score = challenge_loss(out["levels"], out["patient"], truth, seen)
        weight = (1 + truth.float()) * seen
        levels = F.binary_cross_entropy_with_logits(out["levels"].float(), truth.float(), weight, reduction="sum")
        levels = levels / weight.sum()
        each = F.binary_cross_entropy_with_logits(out["map"].float(), where, reduction="none")
        each = each * (1 + 3 * where) * seen[:, :, None, None, None]
        cells = each.sum() / (where.sum().clamp(min=50) * 8)
        total = score + levels + self.config.map_weight * cells
        return {"loss": total, "challenge": score, "levels": levels, "map": cells}


def train(recipe: tuple[LevelConfig, FractureConfig], annotated: AnnotatedSet, **options: Any) -> dict[str, Any]:
    """Train both networks: ``levels``, then ``fractures``.

    Args:
        recipe: Settings of each.
        annotated: Of :func:`fracture.spine.cervical.records.read_necks`.
        options: ``out``, ``device`` and ``progress``, as for :func:`fracture.spine.training.train_stages`.

    Returns, Raises:
        As there.
    """
    necks, (first, second) = _Necks(annotated), recipe

    def levels(parts: Mapping[str, AnnotatedSet], run: Running) -> Stage:
        model, pictures = build_levels(first.model, seed=first.seed), _LevelPictures(parts["train"], first, necks)
        start = begin(model, first)
        stage = LevelStage(model.to(run.device), first, pictures, parts, run.device, world=run.world, start=start)
        stage.layout = torch.channels_last_3d  # a fifth quicker on a CPU
        return stage

    def fractures(parts: Mapping[str, AnnotatedSet], run: Running) -> Stage:
        finder = build_levels(first.model)
        load_state(finder, read_tensors(run.folder / "levels.safetensors"))
        named = parts["train"].subset([film.source for film in parts["train"] if points_of(film)])
        pictures = _FracturePictures(named, second, necks)
        pictures.finder = TorchRunner(finder.eval().to(run.device), device=run.device, dtype=torch.float32)
        model = build_fractures(second.model, seed=second.seed)
        start = begin(model, second)
        return FractureStage(model.to(run.device), second, pictures, parts, run.device, world=run.world, start=start)

    return train_stages([(first, levels), (second, fractures)], annotated, **options)
