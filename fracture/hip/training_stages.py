"""Both stages as the loop sees them: loss and tuning, and what each says about films it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fracture.hip.classes import CLASSES
from fracture.hip.classifier import ClassifierModel, allowed_mask, class_weights, hip_loss
from fracture.hip.crops import rgb_input
from fracture.hip.localizer import Found, LocalizerModel, Rules, locate
from fracture.hip.records import hips_of
from fracture.hip.training_config import ClassifierConfig, LocalizerConfig
from fracture.hip.training_data import FilmPictures, HipPictures
from fracture.iou import iou

__all__ = ["ClassifierStage", "LocalizerStage"]

_TUNING_SCORE = 0.05  # boxes above this count in tuning: the shipped threshold is found afterwards


class LocalizerStage:
    """Stage one in training.

    Args:
        model: The network.
        config: Of the stage.
        pictures: The training part.
        tuning: The tuning part, or None.
        device: Of the model.
    """

    terms = ("classes", "boxes")

    def __init__(
        self,
        model: LocalizerModel,
        config: LocalizerConfig,
        pictures: FilmPictures,
        tuning: FilmPictures | None,
        device: torch.device,
    ) -> None:
        self.model, self.config, self.pictures, self.tuning, self.device = model, config, pictures, tuning, device

    def losses(self, batch: Any, device: torch.device, layout: torch.memory_format) -> dict[str, Tensor]:
        """Focal loss and box loss."""
        planes, targets = batch
        output = self.model(planes.to(device, memory_format=layout))
        with torch.autocast(device.type, enabled=False):
            found = self.model.loss(output, [{k: v.to(device) for k, v in target.items()} for target in targets])
        return {"classes": found["classification"], "boxes": found["bbox_regression"]}

    def tune(self) -> tuple[float | None, dict[str, Any]]:
        """Mean IoU over the labelled hips with the best box of their side, 0 for a hip without one."""
        if self.tuning is None:
            return None, {}
        rules = Rules(**{**_as_dict(self.config.rules), "score": min(_TUNING_SCORE, self.config.rules.score)})
        overlaps = [row["iou"] for row in self.judge(self.tuning, rules)]
        if not overlaps:
            return None, {}
        return float(np.mean(overlaps)), {"found": float(np.mean(np.array(overlaps) >= 0.5))}

    def judge(self, pictures: FilmPictures, rules: Rules) -> list[dict[str, Any]]:
        """One row per labelled hip: source, group, side, the true box, and what was found on that side."""
        rows = []
        for film, found in self.found(pictures, rules):
            by_side = {one.side: one for one in found}
            for hip in hips_of(film):
                one = by_side.get(hip.side)
                rows.append(
                    {
                        "source": film.source,
                        "group": film.group,
                        "side": hip.side,
                        "box": list(hip.box),
                        "found": None if one is None else list(one.box),
                        "score": None if one is None else one.score,
                        "iou": 0.0 if one is None else float(iou(hip.box, one.box)),
                    }
                )
        return rows

    def found(self, pictures: FilmPictures, rules: Rules) -> Iterator[tuple[Any, tuple[Found, ...]]]:
        """Films with the hips found on them, in float32."""
        self.model.eval()
        for film in pictures.part:
            boxed = pictures.cache.load(pictures.part.image_path(film))
            planes = torch.from_numpy(rgb_input(boxed.pixels, boxed.mask))[None].to(self.device)
            yield film, locate(self.model, planes.to(memory_format=torch.channels_last), boxed.geometry, rules)
        self.model.train()


class ClassifierStage:
    """Stage two in training.

    Args:
        model: The network.
        config: Of the stage.
        pictures: The training part.
        tuning: The tuning part, or None.
        device: Of the model.
    """

    terms = ("cross_entropy",)

    def __init__(
        self,
        model: ClassifierModel,
        config: ClassifierConfig,
        pictures: HipPictures,
        tuning: HipPictures | None,
        device: torch.device,
    ) -> None:
        self.model, self.config, self.pictures, self.tuning, self.device = model, config, pictures, tuning, device
        allowed = allowed_mask([item.allowed for item in pictures.items])
        # With balanced sampling the classes come equally often; weights would count their rarity twice.
        weighted = config.class_weighted and not config.sampling.balanced
        self.weights = class_weights(allowed) if weighted else torch.ones(len(CLASSES))

    def losses(self, batch: Any, device: torch.device, layout: torch.memory_format) -> dict[str, Tensor]:
        """The marginalized cross-entropy."""
        planes, allowed = batch
        planes = planes.to(device, memory_format=layout) if planes.ndim == 4 else planes.to(device)
        logits = self.model(planes)
        with torch.autocast(device.type, enabled=False):
            each = hip_loss(logits, allowed.to(device), self.weights.to(device), smoothing=self.config.label_smoothing)
        return {"cross_entropy": each.mean()}

    def tune(self) -> tuple[float | None, dict[str, Any]]:
        """Accuracy over what is known of the hips (or minus the loss), and both as columns."""
        if self.tuning is None or not self.tuning.items:
            return None, {}
        probabilities = self.judge(self.tuning)
        allowed = allowed_mask([item.allowed for item in self.tuning.items]).numpy()
        accuracy = float(np.mean(allowed[np.arange(len(allowed)), probabilities.argmax(axis=1)]))
        known = np.clip((probabilities * allowed).sum(axis=1), 1e-7, 1)
        loss = float(-np.log(known).mean())
        columns = {"accuracy": accuracy, "tuning_loss": loss}
        return (accuracy if self.config.select == "accuracy" else -loss), columns

    def judge(self, pictures: HipPictures, batch: int = 16) -> NDArray[np.float64]:
        """(n, 6) probabilities of the part's hips by their labelled boxes, in float32."""
        self.model.eval()
        found: list[NDArray[np.float64]] = []
        for first in range(0, len(pictures.items), batch):
            planes = np.stack([pictures.plain(item) for item in pictures.items[first : first + batch]])
            with torch.inference_mode():
                x = torch.from_numpy(planes).to(self.device, memory_format=torch.channels_last)
                found.append(torch.softmax(self.model(x).double(), dim=1).cpu().numpy())
        self.model.train()
        return np.concatenate(found) if found else np.zeros((0, len(CLASSES)))

    def rows(self, pictures: HipPictures) -> list[dict[str, Any]]:
        """One row per hip: source, group, side, possible classes, probabilities."""
        return [
            {
                "source": item.source,
                "group": item.group,
                "side": item.hip.side,
                "box": list(item.hip.box),
                "allowed": list(item.allowed),
                "findings": list(item.hip.findings),
                "probabilities": dict(zip(CLASSES, values.tolist(), strict=True)),
            }
            for item, values in zip(pictures.items, self.judge(pictures), strict=True)
        ]


def _as_dict(rules: Rules) -> dict[str, float]:
    return {name: getattr(rules, name) for name in rules.__slots__}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float | int | None]:
    """IoU of the localizer's rows: mean, standard deviation, minimum, and how many were found at 0.5."""
    values = [row["iou"] for row in rows]
    if not values:
        return {"hips": 0, "mean": None, "deviation": None, "minimum": None, "found": None}
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))
    found = sum(v >= 0.5 for v in values) / len(values)
    return {"hips": len(values), "mean": mean, "deviation": spread, "minimum": min(values), "found": found}
