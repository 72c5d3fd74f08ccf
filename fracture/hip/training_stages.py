"""Both stages in training: loss and tuning, and what each says about films it was not trained on."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fracture.atomic import write_text
from fracture.data.records import AnnotatedSet
from fracture.errors import DataError
from fracture.hip.classes import CLASSES
from fracture.hip.classifier import (
    ClassifierModel,
    allowed_mask,
    build_classifier,
    class_weights,
    hip_loss,
    initialize_classifier,
)
from fracture.hip.localizer import Found, build_localizer, initialize_localizer, locate
from fracture.hip.records import counts, hips_of
from fracture.hip.spec import Rules
from fracture.hip.training_config import ClassifierConfig, LocalizerConfig
from fracture.hip.training_data import FilmPictures, HipPictures
from fracture.iou import iou
from fracture.preprocess.rgb import rgb_input
from fracture.training.cache import FilmCache, default_cache_folder
from fracture.training.driver import Running, prepare_films
from fracture.training.patches import PatchCache
from fracture.training.stage import Stage, Tuned

_TUNING_SCORE = 0.05  # boxes above this count in tuning: the shipped threshold is found afterwards


def build_stage(
    config: LocalizerConfig | ClassifierConfig,
    facts: Mapping[str, Any],
    parts: Mapping[str, AnnotatedSet],
    run: Running,
) -> LocalizerStage | ClassifierStage:
    """A stage with its network started and its films checked and in the cache.

    Args:
        config: Of the stage.
        facts: For the manifest.
        parts: Films by part.
        run: The run.

    Raises:
        ModelError, WeightsError: A starting point that does not fit, told before any film is prepared.
        DataError: Films that cannot be read, or no hip of a known class.
    """
    folder = config.data.cache or default_cache_folder()
    if isinstance(config, LocalizerConfig):
        localizer = build_localizer(config.model, seed=config.seed)
        start = initialize_localizer(localizer, config.init)
        cache = FilmCache(folder, config.preprocess)
        prepare_films(parts, dict.fromkeys(parts, cache), run, threads=config.loop.workers)
        films = {name: FilmPictures(part, cache, config) for name, part in parts.items()}
        return LocalizerStage(localizer, config, films, run.device, world=run.world, start=start.to_dict(), facts=facts)
    patches = PatchCache(Path(folder) / "hips")
    classifier = build_classifier(config.model, seed=config.seed)
    start = initialize_classifier(classifier, config.init)
    hips = {name: HipPictures(part, patches, config) for name, part in parts.items()}
    if not hips["train"].items:
        raise DataError(
            "no hip of the classifier's training part has a known class",
            hint="give hip_class or findings per annotation",
        )
    return ClassifierStage(classifier, config, hips, run.device, world=run.world, start=start.to_dict(), facts=facts)


class _HipStage(Stage):
    """What both stages share.

    Args:
        model: The network.
        config: Of the stage.
        pictures: By part; ``train`` is trained on, ``tune`` stops the training.
        device: Of the model.
        facts: For the manifest.
        options: Of :class:`fracture.training.stage.Stage`.
    """

    format = "fracture-hip-stage/1"

    def __init__(
        self,
        model: Any,
        config: LocalizerConfig | ClassifierConfig,
        pictures: Mapping[str, Any],
        device: torch.device,
        *,
        facts: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        parts = {name: one.part for name, one in pictures.items()}
        super().__init__(model, config, pictures["train"], parts, device, **options)
        self.by_part, self.known = dict(pictures), dict(facts or {})

    def manifest(self) -> dict[str, Any]:
        """The recipe, and what the hips of the parts are."""
        return {**self.known, "hips": {name: counts(part) for name, part in self.parts.items()}}

    def judge(self, folder: Path) -> dict[str, Any]:
        """Rows for the hips that were not trained on, and their summary."""
        results = {}
        for name in ("tune", "validation"):
            if name in self.by_part and self.world.leads:
                rows = self.rows(self.by_part[name])
                results[name] = self.summary(rows)
                write_text(folder / f"predictions_{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return {"results": results}

    @abstractmethod
    def rows(self, pictures: Any) -> list[dict[str, Any]]:
        """One row per hip, in float32."""

    @staticmethod
    @abstractmethod
    def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float | int | None]:
        """A summary of the rows."""


class LocalizerStage(_HipStage):
    """Stage one in training."""

    terms = ("loss", "classes", "boxes")

    def losses(self, batch: Any, totals: Sequence[float]) -> Mapping[str, Tensor]:
        """Focal loss and box loss."""
        planes, targets = batch
        output = self.model(planes.to(self.device, memory_format=self.layout))
        with torch.autocast(self.device.type, enabled=False):
            found = self.model.loss(output, [{k: v.to(self.device) for k, v in target.items()} for target in targets])
        share = len(planes) / totals[0]
        classes, boxes = found["classification"] * share, found["bbox_regression"] * share
        return {"loss": classes + boxes, "classes": classes, "boxes": boxes}

    def tune(self) -> Tuned:
        """Mean IoU over the labeled hips with the best box of their side, 0 for a hip without one."""
        score = min(_TUNING_SCORE, self.config.rules.score)
        pictures = self.by_part.get("tune")
        overlaps = [] if pictures is None else [
            row["iou"] for row in self.rows(pictures, replace(self.config.rules, score=score))
        ]  # fmt: skip
        if not overlaps:
            return Tuned(None)
        return Tuned(float(np.mean(overlaps)), {"found": float(np.mean(np.array(overlaps) >= 0.5))})

    def rows(self, pictures: FilmPictures, rules: Rules | None = None) -> list[dict[str, Any]]:
        """One row per labeled hip: source, group, side, the true box, and what was found on that side."""
        rows = []
        for film, found in self._found(pictures, rules or self.config.rules):
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

    def _found(self, pictures: FilmPictures, rules: Rules) -> Iterator[tuple[Any, tuple[Found, ...]]]:
        """Films with the hips found on them, in float32."""
        self.model.eval()
        for film in pictures.part:
            boxed = pictures.cache.load(pictures.part.image_path(film))
            planes = torch.from_numpy(rgb_input(boxed.pixels, boxed.mask))[None].to(self.device)
            yield film, locate(self.model, planes.to(memory_format=torch.channels_last), boxed.geometry, rules)
        self.model.train()

    @staticmethod
    def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float | int | None]:
        """IoU of the localizer's rows: mean, standard deviation, minimum, and how many were found at 0.5."""
        values = [row["iou"] for row in rows]
        if not values:
            return {"hips": 0, "mean": None, "deviation": None, "minimum": None, "found": None}
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))
        found = sum(v >= 0.5 for v in values) / len(values)
        return {"hips": len(values), "mean": mean, "deviation": spread, "minimum": min(values), "found": found}


class ClassifierStage(_HipStage):
    """Stage two in training."""

    terms = ("loss", "cross_entropy")

    def __init__(
        self,
        model: ClassifierModel,
        config: ClassifierConfig,
        pictures: Mapping[str, HipPictures],
        device: torch.device,
        **options: Any,
    ) -> None:
        super().__init__(model, config, pictures, device, **options)
        allowed = allowed_mask([item.allowed for item in pictures["train"].items])
        # With balanced sampling the classes come equally often; weights would count their rarity twice.
        weighted = config.class_weighted and not config.sampling.balanced
        self.weights = class_weights(allowed) if weighted else torch.ones(len(CLASSES))

    def losses(self, batch: Any, totals: Sequence[float]) -> Mapping[str, Tensor]:
        """The marginalized cross-entropy."""
        planes, allowed = batch
        share = len(planes) / totals[0]
        planes = planes.to(self.device, memory_format=self.layout) if planes.ndim == 4 else planes.to(self.device)
        logits = self.model(planes)
        smoothing, weights = self.config.label_smoothing, self.weights.to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            loss = hip_loss(logits, allowed.to(self.device), weights, smoothing=smoothing).mean() * share
        return {"loss": loss, "cross_entropy": loss}

    def tune(self) -> Tuned:
        """Accuracy over what is known of the hips (or minus the loss), and both as columns."""
        tuning = self.by_part.get("tune")
        if tuning is None or not tuning.items:
            return Tuned(None)
        probabilities = self.probabilities(tuning)
        allowed = allowed_mask([item.allowed for item in tuning.items]).numpy()
        accuracy = float(np.mean(allowed[np.arange(len(allowed)), probabilities.argmax(axis=1)]))
        known = np.clip((probabilities * allowed).sum(axis=1), 1e-7, 1)
        loss = float(-np.log(known).mean())
        columns = {"accuracy": accuracy, "tuning_loss": loss}
        return Tuned(accuracy if self.config.select == "accuracy" else -loss, columns)

    def probabilities(self, pictures: HipPictures) -> NDArray[np.float64]:
        """(n, 6) probabilities of the part's hips by their labeled boxes, in float32."""
        self.model.eval()
        found: list[NDArray[np.float64]] = []
        for first in range(0, len(pictures.items), 16):
            planes = np.stack([pictures.plain(item) for item in pictures.items[first : first + 16]])
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
            for item, values in zip(pictures.items, self.probabilities(pictures), strict=True)
        ]

    @staticmethod
    def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float | int | None]:
        """Accuracy over what is known of the hips."""
        right = [max(row["probabilities"], key=row["probabilities"].get) in row["allowed"] for row in rows]
        return {"hips": len(rows), "accuracy": sum(right) / len(right) if right else None}
