"""Learning from other networks beside the labels: what they say of the same pictures is what a network should say.

After Hinton et al. 2015 (distillation), for each part of the output: the teachers' mean probability is the target of
the film's score, of every cell of the map and of the quality of every cell of a pyramid; and where the teachers see a
fracture, their box is the target of the cell's. Weights of the parts are those of the joint loss. All else is ours. A
network without a starting point of its own (a DenseNet, say) learns more from them than from 444 fractured films.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fracture.errors import ConfigurationError, FractureError, WeightsIntegrityError
from fracture.models import FractureModel, ModelOutput, ModelSpec, build_model
from fracture.models.persistence import filled
from fracture.models.starting_points import read_tensors
from fracture.regular import sha256_of
from fracture.training.cell_loss import generalized_iou
from fracture.training.lineage import description_of
from fracture.training.loss import Counts, JointLoss, Targets

_SEEN: Final = 0.1  # least mean quality of a cell whose box is learned (ours)


class Told(NamedTuple):
    """What teachers say of a micro-batch of B pictures: means over them, without gradients.

    Attributes:
        score: float32 (B,), in [0, 1].
        map: float32 (B, 1, h, w), in [0, 1]; None where none of them has a map.
        quality: float32 (B, N), in [0, 1], of the pyramid's cells; None where none of them has a pyramid.
        boxes: float32 (B, N, 4), network pixels, each teacher's weighted by its quality; None with ``quality``.
    """

    score: Tensor
    map: Tensor | None
    quality: Tensor | None
    boxes: Tensor | None


@dataclass(frozen=True)
class Teachers:
    """Networks that teach another one.

    Attributes:
        models: In evaluation mode, on the device of the one that learns.
        planes: For each of them, which of the learner's planes it sees.
        files: Name and SHA-256 of the file of each.
    """

    models: tuple[FractureModel, ...]
    planes: tuple[tuple[int, ...], ...]
    files: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, files: Sequence[str], learner: ModelSpec, device: torch.device) -> Teachers:
        """Networks from safetensors files, each described by its run's ``<name>.json`` or by a ``card.json`` beside it.

        Args:
            files: Their paths, at least one.
            learner: What is taught.
            device: Where they run.

        Raises:
            ConfigurationError: A file without a description, or a network that sees planes that the learner does not.
            WeightsError: A file that is missing, damaged, or not the one that its description names.
            ModelError: A description that no network has.
        """
        models, planes, read = [], [], []
        for file in map(Path, files):
            facts = _description(file)
            tensors = read_tensors(file)
            read.append((file.name, sha256_of(file)))
            if read[-1][1] != facts.get("sha256"):
                raise WeightsIntegrityError(f"{file} is not the file that its description names")
            spec = ModelSpec.from_dict(facts["model"])
            if not set(spec.inputs) <= set(learner.inputs):
                raise ConfigurationError(
                    f"{file} cannot teach: it sees planes that the learner does not",
                    got=spec.inputs,
                    allowed=learner.inputs,
                )
            planes.append(tuple(learner.inputs.index(name) for name in spec.inputs))
            model = filled(lambda spec=spec: build_model(spec), tensors, source=str(file))  # type: ignore[misc]
            models.append(model.to(device).eval().requires_grad_(False))
        return cls(tuple(models), tuple(planes), tuple(read))

    @torch.no_grad()
    def __call__(self, planes: Tensor, mask: Tensor) -> Told:
        """What they say of a micro-batch.

        Args:
            planes, mask: As the :class:`fracture.models.FractureModel` that learns takes them.
        """
        outputs: list[ModelOutput] = [
            model(planes[:, list(own)], mask) for model, own in zip(self.models, self.planes, strict=True)
        ]
        maps = [o.map_logits.float().sigmoid() for o in outputs if o.map_logits is not None]
        cells = [(o.cells.quality.float().sigmoid(), o.cells.boxes.float()) for o in outputs if o.cells is not None]
        quality = torch.stack([q for q, _ in cells]) if cells else None
        boxes = None
        if quality is not None:
            share = quality / quality.sum(dim=0, keepdim=True).clamp_min(1e-6)
            boxes = (torch.stack([b for _, b in cells]) * share[..., None]).sum(dim=0)
        return Told(
            torch.stack([o.score_logit.float().sigmoid() for o in outputs]).mean(dim=0),
            torch.stack(maps).mean(dim=0) if maps else None,
            None if quality is None else quality.mean(dim=0),
            boxes,
        )


def teacher_loss(loss: JointLoss, output: ModelOutput, told: Told, targets: Targets, counts: Counts) -> Tensor:
    """A micro-batch's share of the step's loss against what teachers say, float32.

    Args:
        loss: Whose weights the parts have.
        output: Of the network that learns.
        told: Of its teachers, for the same pictures.
        targets: Their cells that are image, and which of them count for the score.
        counts: Of the whole step.
    """
    films = max(counts.films, 1.0)
    score = F.binary_cross_entropy_with_logits(output.score_logit.float(), told.score, reduction="none")
    total = loss.classification * (score * targets.judged).sum() / films
    if output.map_logits is not None and told.map is not None:
        cells = F.binary_cross_entropy_with_logits(output.map_logits.float(), told.map, reduction="none")
        each = (cells * targets.valid).sum(dim=(1, 2, 3)) / targets.valid.sum(dim=(1, 2, 3)).clamp_min(1.0)
        total = total + loss.localization * (each * targets.judged).sum() / films
    if output.cells is not None and told.quality is not None and told.boxes is not None:
        wanted, logits = told.quality, output.cells.quality.float()
        weight = (wanted * (wanted > _SEEN)).sum().clamp_min(1.0)
        plain = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        quality = (plain * (wanted - logits.sigmoid()).square()).sum() / weight
        seen = wanted > _SEEN
        _, giou = generalized_iou(output.cells.boxes[seen].float(), told.boxes[seen])
        box = ((1 - giou) * wanted[seen]).sum() / weight
        total = total + loss.config.box * (box + 0.5 * quality)
    return total


def _description(file: Path) -> dict[str, Any]:
    """The record of a network's run, or its entry in a card."""
    try:
        found = description_of(file)
    except FractureError as error:
        raise ConfigurationError(f"{file} cannot teach: its description cannot be read", got=error) from error
    if found is None:
        raise ConfigurationError(
            f"{file} cannot teach: nothing says what network it is",
            allowed=f"{file.stem}.json of its run, or a card.json that names it, in the same folder",
        )
    return found
