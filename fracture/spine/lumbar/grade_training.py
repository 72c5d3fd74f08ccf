"""Training the grader: studies of the challenge's layout, its weighted loss with the any-severe term."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fracture.data.records import AnnotatedSet, Film
from fracture.data.seeds import generator
from fracture.simulate.lumbar import LEVELS
from fracture.spine.crops import places_of
from fracture.spine.lumbar.grading import behind, mirrored, stack, views_of
from fracture.spine.lumbar.metric import CONDITIONS, row_of, score, write_submission
from fracture.spine.lumbar.studies import truth_of
from fracture.spine.series import find_series
from fracture.spine.slices import SliceNetwork, build_slices
from fracture.spine.specs import SliceSpec
from fracture.spine.training import SpineConfig, SpineStage, begin, train_stages
from fracture.spine.variation import SeededPictures, StackVariation, varied_stacks
from fracture.training.driver import Running
from fracture.training.stage import Stage, Tuned

_OTHER_SIDE = (0, 2, 1, 4, 3)  # of the five conditions
Array = NDArray[np.float32]


class GradeConfig(SpineConfig):
    """Settings of the grader's training."""

    WING, STAGE, BATCH = "lumbar", "grades", 8

    model: SliceSpec = SliceSpec()
    vary: StackVariation = StackVariation()


class _Studies(SeededPictures):
    def read(self, film: Film) -> tuple[NDArray[np.uint8], Array, Array]:
        """Stacks (5, TOKENS, 3, side, side), where they are from, and the one-hot labels (5, 5, 3), 0 without one."""
        folder, extra = self.part.image_path(film), cast("Any", film.extra)
        views = views_of(find_series(folder).of_kinds(extra["series"]))
        places = places_of(folder, extra["points"])
        targets = behind(places)
        labels = np.zeros((len(LEVELS), len(CONDITIONS), 3), np.float32)
        shown: list[Any] = []
        for k, level in enumerate(LEVELS):
            here, target = (found.get(level, (0.0, 0.0, 0.0)) for found in (places, targets))
            planes, where, _ = stack(views if level in places else {}, here, target)
            if where.any():
                grades = [extra["grades"][c * len(LEVELS) + k] for c in range(len(CONDITIONS))]
                labels[k] = [(0, 0, 0) if grade is None else grade[:3] for grade in grades]
            else:
                where[0, 0] = 1.0  # an empty picture, of which nothing is learned
            shown.append((np.rint(planes * 255).astype(np.uint8), where))
        return np.stack([one for one, _ in shown]), np.stack([one for _, one in shown]), labels

    def make(self, picture: tuple[Film, int]) -> tuple[Array, Array, Array]:
        """As :meth:`plain`, varied, in [0, 1]."""
        film, seed = picture
        (bytes_, where, labels), draw, how = self.plain(film), generator(seed), self.config.vary
        planes: Array = bytes_.astype(np.float32) / np.float32(255)
        if draw.random() < how.mirror:
            planes, where = mirrored(planes, where)
            labels = labels[:, _OTHER_SIDE, :]
        return (*varied_stacks(planes, where, how, seed), labels)


def grade_loss(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The challenge's score as a loss: weighted log loss of three groups and of a severe canal anywhere, their mean.

    Args:
        logits: (B, 5 levels, 5 conditions, 3).
        labels: The same shape: one-hot, or 0 where there is no label.
    """
    log_p = logits.float().log_softmax(-1)
    weights = (labels * labels.new_tensor([1.0, 2.0, 4.0])).sum(-1)
    loss = -(labels * log_p).sum(-1) * weights
    groups = [loss[:, :, part].sum() / weights[:, :, part].sum().clamp(min=1e-6) for part in ([0], [1, 2], [3, 4])]
    known = labels[:, :, 0].sum((1, 2)) > 0
    severe = labels[:, :, 0, 2].amax(1)
    chance = log_p[:, :, 0, 2].exp().amax(1).clamp(1e-6, 1 - 1e-6)
    weight = weights[:, :, 0].amax(1) * known
    misses = F.binary_cross_entropy(chance, severe, reduction="none")
    any_severe = (misses * weight).sum() / weight.sum().clamp(min=1e-6)
    total: Tensor = (sum(groups) + any_severe) / 4
    return {"loss": total, "any_severe": any_severe}


class GradeStage(SpineStage):
    """The grader in training."""

    format = "fracture-lumbar-grades/1"
    terms = ("loss", "any_severe")

    def terms_of(self, *batch: Tensor) -> Mapping[str, Tensor]:
        """See :func:`grade_loss`."""
        planes, where, labels = batch
        return grade_loss(self._logits(planes, where), labels)

    def _logits(self, planes: Tensor, where: Tensor) -> Tensor:
        found = self.model(planes.flatten(0, 1), where.flatten(0, 1)).logits
        return found.view(len(planes), len(LEVELS), len(CONDITIONS), 3)  # type: ignore[no-any-return]

    def tune(self) -> Tuned:
        """The challenge's score on the tuning part, at the marked places; lower is better there, higher here."""
        part = self.parts.get("tune")
        if part is None:
            return Tuned(None)
        return Tuned(-score(truth_of(part), self._predicted(part)).score)

    def judge(self, folder: Path) -> dict[str, Any]:
        """``submission.csv`` for the studies that were not trained on, at their marked places."""
        part = self.parts.get("validation")
        if part is None:
            return {}
        predicted = self._predicted(part)
        if self.world.leads:
            write_submission(folder / "submission.csv", predicted)
        return {"score": score(truth_of(part), predicted).to_dict()}

    @torch.inference_mode()
    def _predicted(self, part: AnnotatedSet) -> dict[str, tuple[float, ...]]:
        self.model.eval()  # until the next epoch: statistics of the batches that were trained on
        studies, rows = _Studies(part, self.config), {}
        for film in part:
            bytes_, where, _ = studies.plain(film)
            planes = torch.from_numpy(bytes_[None]).to(self.device) / 255
            chances = self._logits(planes, torch.from_numpy(where[None]).to(self.device))[0].softmax(-1).cpu().numpy()
            for k, level in enumerate(LEVELS):
                for c, condition in enumerate(CONDITIONS):
                    rows[f"{film.group}_{row_of(condition, level)}"] = tuple(chances[k, c].tolist())
        return rows


def train_grades(config: GradeConfig, studies: AnnotatedSet, **options: Any) -> dict[str, Any]:
    """Train the grader: ``grades``.

    Args:
        config: Settings.
        studies: Of :func:`fracture.spine.lumbar.studies.read_studies`.
        options: ``out`` (that of the finder too), ``device`` and ``progress``, as for
            :func:`fracture.spine.training.train_stages`.

    Returns, Raises:
        As there.
    """

    def build(parts: Mapping[str, AnnotatedSet], run: Running) -> Stage:
        model: SliceNetwork = build_slices(config.model, seed=config.seed)
        start, pictures = begin(model, config), _Studies(parts["train"], config)
        return GradeStage(model, config, pictures, parts, run.device, world=run.world, start=start)

    return train_stages([(config, build)], studies, **options)
