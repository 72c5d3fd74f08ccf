"""The joint loss (Jones et al. 2020, Methods): where, whether, and (ours) which boxes and which part of the body.

For one optimizer step over a set of films, however it is divided into micro-batches and processes::

    L = w_loc L_loc + w_cls L_cls + w_reg L_reg + w_box (L_box + L_quality / 2)

    L_loc  mean over the films with a localized fracture of [mean over valid cells of BCE(map, boxes)]
    L_cls  mean over the films of known label of BCE(score, fractured)
    L_reg  mean over the films of known region of [mean over regions of BCE(region logit, shown)]
    L_box, L_quality  of a pyramid's cells, see :mod:`fracture.training.cell_loss`, over the weight of the micro-batch's
           answering cells

The denominators are counts over the whole step, so that accumulating gradients over micro-batches or processes gives
what one large batch would give (apart from batch statistics). The paper's ratio w_loc : w_cls is 3 : 1, and 10 : 1 for
models with an attention layer; it states no common factor, and ours makes the two sum to one. A model without a map
has w_cls = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fracture.models import ModelOutput, ModelSpec
from fracture.training.cell_loss import BoxTargets, cell_loss
from fracture.training.config import LossConfig

_SMOOTH = 1.0  # cells added to both sides of the Dice quotient (our choice): tiny boxes give no wild gradients


class Targets(NamedTuple):
    """What a micro-batch of B films should give.

    Attributes:
        fractured: float32 (B,), 0 or 1.
        map: float32 (B, 1, h, w) at stride 8, share of each cell inside a box, in [0, 1].
        valid: float32 (B, 1, h, w), 1 where the cell is image, 0 in padding.
        localized: float32 (B,), 1 for fractured films whose boxes are known.
        regions: float32 (B, R), 1 for regions that are shown.
        known: float32 (B,), 1 where the regions are known.
        judged: float32 (B,), 1 where ``fractured`` is known of what the planes show; 0 for a window at whose rim the
            greater part of a fracture was cut away.
        cells: Boxes for a pyramid's cells; None for other models.
    """

    fractured: Tensor
    map: Tensor
    valid: Tensor
    localized: Tensor
    regions: Tensor
    known: Tensor
    judged: Tensor
    cells: BoxTargets | None = None

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in self._fields if name != "cells"}
        return Targets(**moved, cells=None if self.cells is None else self.cells.to(device))


class Counts(NamedTuple):
    """Films of a whole optimizer step, over all its micro-batches and processes."""

    films: float
    localized: float
    normal: float
    known: float

    @classmethod
    def of(cls, targets: Sequence[Targets]) -> Counts:
        """The counts of some micro-batches."""
        return cls(
            float(sum(t.judged.sum().item() for t in targets)),
            float(sum(t.localized.sum().item() for t in targets)),
            float(sum((1 - t.fractured).sum().item() for t in targets)),
            float(sum(t.known.sum().item() for t in targets)),
        )


class LossTerms(NamedTuple):
    """A micro-batch's share of the step's loss; shares add up over micro-batches and processes.

    Attributes:
        total: Scalar with a gradient.
        localization: Detached share of L_loc before weighting; the same for the others.
        classification: Detached share of L_cls.
        region: Detached share of L_reg.
        box: Detached L_box.
        quality: Detached L_quality.
    """

    total: Tensor
    localization: Tensor
    classification: Tensor
    region: Tensor
    box: Tensor
    quality: Tensor


@dataclass(frozen=True)
class JointLoss:
    """The loss of one model; call it with a micro-batch's outputs, targets and the step's counts.

    Attributes:
        config: The loss's settings.
        localization: Weight of L_loc.
        classification: Weight of L_cls.
    """

    config: LossConfig
    localization: float
    classification: float

    @classmethod
    def for_model(cls, spec: ModelSpec, config: LossConfig) -> JointLoss:
        """The paper's weights for this model, 3 : 1 or with attention 10 : 1, unless the settings say otherwise."""
        ratio = 10.0 if spec.pooling == "attention" else 3.0
        localization = ratio if config.localization is None else config.localization
        classification = 1.0 if config.classification is None else config.classification
        if not spec.map:
            localization = 0.0
        total = localization + classification
        if total <= 0:
            return cls(config, 0.0, 0.0)
        return cls(config, localization / total, classification / total)

    def __call__(self, output: ModelOutput, targets: Targets, counts: Counts) -> LossTerms:
        """The micro-batch's share of the step's loss, in float32."""
        zero = output.score_logit.float().sum() * 0.0
        score = self._classification(output.score_logit.float(), targets) / max(counts.films, 1.0)
        where = which = box = quality = zero
        if output.map_logits is not None and self.localization > 0:
            where = self._localization(output.map_logits.float(), targets, counts)
        if output.region_logits is not None:
            per_film = F.binary_cross_entropy_with_logits(
                output.region_logits.float(), targets.regions, reduction="none"
            ).mean(dim=1)
            which = (per_film * targets.known).sum() / max(counts.known, 1.0)
        total = self.localization * where + self.classification * score + self.config.region * which
        if output.cells is not None and targets.cells is not None and self.config.box > 0:
            found = cell_loss(output.cells, targets.cells)
            weight = found.weight.clamp_min(1.0)
            box, quality = found.box / weight, found.quality / weight
            total = total + self.config.box * (box + 0.5 * quality)
        return LossTerms(total, *(t.detach() for t in (where, score, which, box, quality)))

    def _classification(self, logits: Tensor, targets: Targets) -> Tensor:
        smooth = self.config.label_smoothing
        target = targets.fractured * (1 - smooth) + 0.5 * smooth
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (each * targets.judged).sum()

    def _localization(self, logits: Tensor, targets: Targets, counts: Counts) -> Tensor:
        weight = targets.localized
        denominator = counts.localized
        if self.config.map_negatives > 0:
            weight = weight + self.config.map_negatives * (1 - targets.fractured)
            denominator = denominator + self.config.map_negatives * counts.normal
        return (self._per_film(logits, targets) * weight).sum() / max(denominator, 1e-6)

    def _per_film(self, logits: Tensor, targets: Targets) -> Tensor:
        """(B,): the map loss of each film over its valid cells."""
        valid, target = targets.valid, targets.map
        kind = self.config.map_loss
        film = torch.zeros_like(targets.fractured)
        if kind in ("bce", "bce_dice", "focal"):
            strength = torch.tensor(self.config.map_positive_weight, device=logits.device)
            cells = F.binary_cross_entropy_with_logits(logits, target, pos_weight=strength, reduction="none")
            if kind == "focal":
                probability = torch.sigmoid(logits)
                cells = cells * (target - probability).abs() ** self.config.focal_gamma
            film = (cells * valid).sum(dim=(1, 2, 3)) / valid.sum(dim=(1, 2, 3)).clamp_min(1.0)
        if kind in ("dice", "bce_dice"):
            probability = torch.sigmoid(logits) * valid
            overlap = (probability * target).sum(dim=(1, 2, 3))
            extent = probability.sum(dim=(1, 2, 3)) + (target * valid).sum(dim=(1, 2, 3))
            film = film + 1 - (2 * overlap + _SMOOTH) / (extent + _SMOOTH)
        return film
