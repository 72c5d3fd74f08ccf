"""``train``: all networks from annotated films to a card, and here the finder and the placer.

Strong geometric and gray changes stand in for films that we do not have: turned, mirrored, stretched, larger and
smaller, coarser, lighter and darker. All magnitudes are ours.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fracture.data.masking import cut_film, share_seen
from fracture.data.merged import is_further, with_further
from fracture.data.records import AnnotatedSet, Film
from fracture.errors import ConfigurationError
from fracture.joints.card import STORE
from fracture.joints.frames import fit_frame, rows_of, template_of
from fracture.joints.layout import BEYOND, DIGITS, FAMILIES, MIDDLE, POINTS, Kind
from fracture.joints.networks import (
    CHANNELS,
    FIND_SIZE,
    GUESSES,
    KINDS,
    OFFSET_UNIT,
    PLACE_SIZE,
    POINT_COUNT,
    ROUGH_COUNT,
    Finder,
    Placer,
)
from fracture.joints.reader import JointsReader
from fracture.joints.records import limbs_of
from fracture.joints.score_training import OPTIMIZER, ScoreConfig, build_score_stage
from fracture.joints.scoring import points_of
from fracture.models.heatmaps import center_loss, center_map, point_losses
from fracture.preprocess.similarity import letterbox_matrix, through, varied_affine, warp
from fracture.simulate.casts import some_in_casts
from fracture.training.config import OptimizerConfig, SplitConfig, StageConfig, StageLoop
from fracture.training.driver import Running, run_stage, running
from fracture.training.heads import HeadStage, Kept, Made, TrunkPictures, changed_grays, on_trunk
from fracture.training.stage import Stage

POINT_STAGES: Final = {"finder": 0.4, "placer": 0.15}  # with the share of limbs in casts, which the finder tells
STAGES: Final = (*POINT_STAGES, *FAMILIES)
Plane = NDArray[np.float32]
_SPREAD = 1.2  # cells, standard deviation of a center's peak (ours)


class JointsConfig(StageConfig):
    """Settings of one stage; ``split.folds`` without a tuning fold for cross-validation, ``shares`` else."""

    stage: Literal["finder", "placer"] = "placer"
    copies: int = 20
    """Variants of each annotated hand or forefoot; of a film without any two."""
    further_copies: int = 3
    """Variants of each hand or forefoot of further films; of a film without any two."""
    cut: float = 0.3
    """Share of pictures in which the film ends within the hand or forefoot."""
    cast: float = 0.15
    """Share of hands and forefeet in a painted cast."""
    split: SplitConfig = SplitConfig(shares={"train": 1.0}, tune_fold=False)
    optimizer: OptimizerConfig = OPTIMIZER.model_copy(update={"ema": 0.98, "clip_norm": 5.0})
    loop: StageLoop = StageLoop(epochs=6, workers=0, patience=None, batch=8)


class _Films(TrunkPictures):
    """As many variants of a film as ``copies`` for each of its hands and forefeet."""

    def variants(self, film: Film) -> int:
        """Two of a film without any."""
        copies = self.config.further_copies if is_further(film) else self.config.copies
        return copies * len(limbs_of(film)) or 2

    def taken(self, film: Film, rng: np.random.Generator) -> tuple[Plane, float, list[bool]]:
        """The film, its scale, and which of its limbs are in a painted cast."""
        pixels, scale = self.pixels(film)
        limbs = [[rows_of(limb.points, n[limb.kind]) * scale for n in (MIDDLE, BEYOND)] for limb in limbs_of(film)]
        pixels, casts = some_in_casts(pixels, limbs, self.config.cast, rng)
        return pixels, scale, casts


class PlacerPictures(_Films):
    """Crops around one hand or forefoot of a film, and where the points lie in them; NaN where unknown."""

    template: NDArray[np.float64]

    def drawn(self, film: Film, index: int, rng: np.random.Generator) -> tuple[Plane, Any]:
        """One crop of a hand or forefoot, changed."""
        pixels, scale, _ = self.taken(film, rng)
        limbs = limbs_of(film)
        limb = limbs[index % len(limbs)]
        place, _ = fit_frame(limb.points, limb.kind, self.template)
        matrix = varied_affine(place.matrix, PLACE_SIZE / 2, rng, angle=rng.normal(0, 0.21), flip=False,
                         zoom=(0.78, 1.25), shift=20.0)  # fmt: skip
        plane, mask = warp(pixels, matrix / (scale, scale, 1), (PLACE_SIZE, PLACE_SIZE))
        truth = np.full((POINT_COUNT, 2), np.nan, np.float32)
        truth[CHANNELS[limb.kind]] = through(matrix, rows_of(limb.points, POINTS[limb.kind]))
        truth[~((truth > 1) & (truth < PLACE_SIZE - 1)).all(-1)] = np.nan
        if rng.random() < self.config.cut and not np.isnan(truth).all():
            mask = cut_film(mask, truth, rng)
        return changed_grays(plane, mask, rng), truth


class FinderPictures(_Films):
    """Whole films in any position, now and then two on one picture; and each limb's center with its rough points."""

    def drawn(self, film: Film, index: int, rng: np.random.Generator) -> tuple[Plane, Any]:
        """One picture of 256 x 256, and its limbs: kind, rough points and whether in a cast."""
        del index
        if rng.random() >= 0.3:
            return self._view(film, rng, FIND_SIZE, FIND_SIZE)
        beside = self.part[int(rng.integers(len(self.part)))]
        half = FIND_SIZE // 2
        shape = (FIND_SIZE, half) if rng.random() < 0.5 else (half, FIND_SIZE)
        (one, first), (two, second) = (self._view(each, rng, *shape) for each in (film, beside))
        step = np.array([half, 0] if shape[1] == half else [0, half], np.float32)
        first += [(kind, points + step, cast) for kind, points, cast in second]
        return np.concatenate([one, two], 1 if shape[1] == half else 0), first

    def _view(self, film: Film, rng: np.random.Generator, height: int, width: int) -> tuple[Plane, list[Any]]:
        pixels, scale, casts = self.taken(film, rng)
        side = max(height, width)
        upright = rng.random() < 0.7  # or upside down
        angle = rng.normal(0, 0.5) + math.pi * (rng.random() < 0.5) if upright else rng.uniform(0, 2 * math.pi)
        first = letterbox_matrix(pixels.shape[1], pixels.shape[0], side)
        matrix = varied_affine(first, side / 2, rng, angle=angle, flip=rng.random() < 0.5, zoom=(0.7, 1.45),
                         shift=0.12 * side)  # fmt: skip
        if (height, width) != (side, side):  # the narrower half is laid on the first limb, or the film's middle
            matrix = np.diag([0.75, 0.75]) @ matrix
            limbs = limbs_of(film)
            at = np.mean(list(limbs[0].points.values()), 0) * scale if limbs else np.array(pixels.shape[::-1]) / 2
            matrix[:, 2] += np.array([width / 2, height / 2]) - through(matrix, at) + rng.normal(0, 8, 2)
        plane, mask = warp(pixels, matrix, (width, height))
        found = []
        for limb, cast in zip(limbs_of(film), casts, strict=True):
            rough = np.full((ROUGH_COUNT, 2), np.nan, np.float32)
            rough[GUESSES[limb.kind]] = through(matrix, rows_of(limb.points, DIGITS[limb.kind]) * scale)
            x, y = center_of(limb.kind, rough)
            if 0 <= x < width and 0 <= y < height:
                found.append((KINDS.index(limb.kind), rough, cast))
        if found and rng.random() < self.config.cut:
            mask = cut_film(mask, found[0][1], rng)
            found = [one for one in found if share_seen(mask, one[1]) > 0.3]
        return changed_grays(plane, mask, rng), found


def center_of(kind: Kind, rough: NDArray[Any]) -> NDArray[np.float64]:
    """The mean of a hand's MCP joints 2 to 5, or of a forefoot's MTP joints, in rough points (20, 2)."""
    rows = [row for row, name in enumerate(DIGITS[kind], GUESSES[kind].start) if name in MIDDLE[kind]]
    return np.asarray(np.nanmean(rough[rows], 0), np.float64)


class PlacerStage(HeadStage):
    """Stage two."""

    terms = ("loss", "map", "distance")

    def losses(self, batch: Sequence[Made], totals: Sequence[float]) -> Mapping[str, Tensor]:
        """See :func:`fracture.models.heatmaps.point_losses`; a map's mean."""
        truth = torch.from_numpy(np.stack([points for _, points in batch])).to(self.device) / 4
        known = ~torch.isnan(truth).any(-1)
        logits = self.model.heads(self.maps(batch))[known]
        share = len(batch) / totals[0] / max(len(logits), 1)
        one, two = point_losses(logits, truth[known])
        terms = {"map": one * share, "distance": two * share}
        return {"loss": terms["map"] + terms["distance"], **terms}


class FinderStage(HeadStage):
    """Stage one."""

    terms = ("loss", "center", "offset", "cast")

    def losses(self, batch: Sequence[Made], totals: Sequence[float]) -> Mapping[str, Tensor]:
        """CenterNet's focal loss of the centers; around each, L1 of the offsets and cross-entropy of the cast."""
        found = self.model.heads(self.maps(batch))
        shape = found.centers.shape[-2:]
        heat = np.zeros((len(batch), 2, *shape), np.float32)
        offset, cast = torch.zeros(2, device=self.device)
        for index, (_, limbs) in enumerate(batch):
            for kind, rough, covered in limbs:
                bell = center_map(shape, [center_of(KINDS[kind], rough)[::-1] / 8 - 0.5], _SPREAD)
                heat[index, kind] = np.maximum(heat[index, kind], bell)
                rows, columns = np.nonzero(bell > 0.4)
                away = (rough[:, :, None] - 8 * np.stack([columns + 0.5, rows + 0.5])) / OFFSET_UNIT
                wanted = torch.from_numpy(away.astype(np.float32)).to(self.device)
                gap = found.offsets[index][:, :, rows, columns] - wanted
                offset = offset + gap[~wanted.isnan()].abs().mean()
                said = found.casts[index][rows, columns]
                cast = cast + functional.binary_cross_entropy_with_logits(said, torch.full_like(said, float(covered)))
        target = torch.from_numpy(heat).to(self.device)
        count = max(1, sum(len(limbs) for _, limbs in batch))
        share = len(batch) / totals[0] / count
        terms = {"center": center_loss(found.centers, target) * share, "offset": offset * share, "cast": cast * share}
        return {"loss": terms["center"] + 2 * terms["offset"] + terms["cast"], **terms}


def build_stage(
    config: JointsConfig, parts: Mapping[str, AnnotatedSet], run: Running, kept: Kept | None = None
) -> Stage:
    """A stage with a new network on the trunk that ``config.init`` names; a placer's films all show a limb."""
    train_part = parts["train"]
    model: Any = on_trunk(Finder if config.stage == "finder" else Placer, config.init, config.seed)
    if isinstance(model, Finder):
        return FinderStage(model, config, FinderPictures(train_part, config, model.trunk, kept), parts, run.device)
    pictures = PlacerPictures(train_part, config, model.trunk, kept)
    every = [film for part in parts.values() for film in part if not is_further(film)]
    pictures.template = template_of([(limb.kind, limb.points) for film in every for limb in limbs_of(film)])
    model.template.copy_(torch.from_numpy(pictures.template))
    return PlacerStage(model, config, pictures, parts, run.device)


def train(
    annotated: AnnotatedSet,
    out: str | Path,
    init: str | Path | None = None,
    *,
    train_only: Sequence[AnnotatedSet] = (),
    stages: Sequence[str] | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    facts: Mapping[str, Any] | None = None,
    kept: Kept | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """From annotated films to weights with a card: finder, placer, and a family's score networks after the other.

    A call on a folder with an unfinished run goes on. Score networks learn lesions that are painted into these films; a
    share of the films, by group, is held out and judged.

    Args:
        annotated: Of :func:`fracture.joints.records.read_landmarks`, with films that show neither hand nor foot.
        out: The run folder: ``<stage>.safetensors``, ``<stage>.json`` and a folder for each stage, and ``weights``.
        init: A safetensors file with the trunk, as any point stage's of earlier weights; that of ``joints-small`` where
            not given.
        train_only: Further sets, trained on whole (by finder and placer with fewer variants): pseudo-labels, simulated
            hands, films that show neither hand nor foot.
        stages: Which of ``STAGES``; all that the films have joints for where not given.
        changes: Settings of a stage that differ from the defaults, by stage.
        facts: Fields of the card, see :meth:`JointsReader.assemble`.
        kept: Where pictures are kept that several trainings share, as those of folds.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        progress: Whether a bar is shown on standard error.

    Returns:
        The folder ``weights``, for :func:`fracture.joints.load`; the run folder while finder or placer are missing.

    Raises:
        ConfigurationError: Unknown settings or stages, or a folder with another run.
        DataError: Faults of the set or of the split, or a family without a joint.
        TrainingError: Training cannot go on.
        Interrupted: A signal asked to stop; everything is saved.
    """
    if unknown := sorted({*(stages or ()), *(changes or {})} - set(STAGES)):
        raise ConfigurationError("stages of the joints' training", got=", ".join(unknown), allowed=STAGES)
    named = {name for film in annotated for limb in limbs_of(film) for name in limb.points}
    possible = [name for name in STAGES if name in POINT_STAGES or any(p in named for p in points_of(name))]
    every = with_further(annotated, train_only)
    limbs = every.select(lambda film: bool(limbs_of(film)))
    start = str(STORE.find() / STORE.open().card.finder.file if init is None else init)
    with running(out, device=device, progress=progress) as run:
        for stage in possible if stages is None else stages:
            more = (changes or {}).get(stage, {})
            if stage in POINT_STAGES:
                given = {"stage": stage, "init": start, "cast": POINT_STAGES[stage]}
                config = JointsConfig.from_dict(given).replace(more)
                build = functools.partial(build_stage, config, kept=kept)
                run_stage(stage, config, every if stage == "finder" else limbs, build, run)
            else:
                scores = ScoreConfig.from_dict({"model": {"family": stage, "located": stage == "wrist"}}).replace(more)
                run_stage(f"scores_{stage}", scores, limbs, functools.partial(build_score_stage, scores), run)
    weights = Path(out) / "weights"
    if not all((Path(out) / f"{stage}.json").exists() for stage in POINT_STAGES):
        return Path(out)
    JointsReader.assemble(out, weights, facts)
    return weights
