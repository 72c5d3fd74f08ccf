"""Training the toy wing: the pictures and the losses are its own, :func:`run_stage` does all the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from knee_series import KneeNetwork, KneeReader
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from fracture.data.records import AnnotatedSet, Film
from fracture.training.config import StageConfig
from fracture.training.driver import run_stage, running
from fracture.training.stage import Stage, Tuned

Picture = tuple[np.ndarray[Any, np.dtype[np.float32]], int]


class KneePictures:
    """Every series once an epoch: its slices and whether it shows dense matter."""

    def __init__(self, part: AnnotatedSet, reader: KneeReader) -> None:
        self.part, self.reader = part, reader

    def order(self, epoch: int, turn: int = 0) -> Sequence[Film]:
        return [self.part[i] for i in np.random.default_rng((epoch, turn)).permutation(len(self.part))]

    def make(self, picture: Film) -> Picture:
        return self.reader.prepare(self.reader.take(self.part.image_path(picture))).planes, picture.fractured

    def source(self, picture: Film) -> str:
        return picture.source

    def size(self, made: Picture) -> tuple[int, ...]:
        return made[0].shape

    def collate(self, made: Sequence[Picture]) -> list[Picture]:
        return list(made)


class KneeStage(Stage):
    terms = ("loss",)

    def losses(self, batch: Sequence[Picture], totals: Sequence[float]) -> Mapping[str, Tensor]:
        """Binary cross-entropy of the most suspicious slice of each series."""
        each = [self.logit(planes) for planes, _ in batch]
        truth = torch.tensor([float(label) for _, label in batch])
        return {"loss": binary_cross_entropy_with_logits(torch.stack(each), truth, reduction="sum") / totals[0]}

    def logit(self, planes: np.ndarray[Any, np.dtype[np.float32]]) -> Tensor:
        found: Tensor = self.model(torch.from_numpy(planes).to(self.device)).max().cpu()
        return found

    def tune(self) -> Tuned:
        return Tuned(None)

    def judge(self, folder: Path) -> dict[str, Any]:
        del folder  # predictions of the validation part would be written there
        return {}


def train(annotated: AnnotatedSet, reader: KneeReader, out: Path, config: StageConfig) -> dict[str, Any]:
    """Networks and facts below ``out``; ``knee.safetensors`` goes beside a card."""

    def build(parts: Mapping[str, AnnotatedSet], run: Any) -> Stage:
        return KneeStage(KneeNetwork(), config, KneePictures(parts["train"], reader), parts, run.device)

    with running(out, device="cpu", progress=False) as run:
        return run_stage("knee", config, annotated, build, run)
