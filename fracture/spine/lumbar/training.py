"""Training the finder of discs: targets that leave unmarked discs out, turned and scaled pictures, focal loss."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fracture.atomic import write_text
from fracture.data.merged import with_further
from fracture.data.records import AnnotatedSet, Film
from fracture.data.seeds import generator
from fracture.models.heatmaps import center_loss, center_map
from fracture.spine.centers import SIDE, STRIDE, CenterNetwork, build_network, initialize
from fracture.spine.lumbar.finding import find_discs
from fracture.spine.lumbar.records import DiscMark, discs_of, polyline
from fracture.spine.picture import fit, read_picture
from fracture.spine.specs import CenterSpec
from fracture.spine.training import SpineConfig, SpineStage, train_stages
from fracture.spine.variation import PictureVariation, SeededPictures, varied
from fracture.training.driver import Running
from fracture.training.stage import Stage
from fracture.wing.runner import TorchRunner

_CELLS = SIDE // STRIDE
_SPREAD = 1.5  # cells, standard deviation of a center's peak (ours)
Maps = NDArray[np.float32]


class LumbarConfig(SpineConfig):
    """Settings of the finder's training."""

    WING, STAGE, BATCH = "lumbar", "discs", 8

    model: CenterSpec = CenterSpec()
    augment: PictureVariation = PictureVariation()


class _Pictures(SeededPictures):
    def read(self, film: Film) -> tuple[NDArray[np.uint8], float]:
        """The network's picture times 255, and how many pixels of the film one of it is."""
        planes, grid = fit(read_picture(self.part.image_path(film)))
        return np.rint(planes[0] * 255).astype(np.uint8), grid.scale_x

    def make(self, picture: tuple[Film, int]) -> tuple[Maps, Maps, Maps]:
        """The picture, its targets (4 maps), and what each cell of the two center maps counts."""
        film, seed = picture
        plane, scale = self.plain(film)
        image, matrix = varied(plane, self.config.augment, generator(seed))
        marks = [_moved(mark, scale, matrix) for mark in discs_of(film)]
        return image, *targets(marks, anchored=bool(film.extra["anchored"]))


def _moved(mark: DiscMark, scale: float, matrix: NDArray[Any]) -> DiscMark:
    x, y = (matrix @ (mark.x / scale, mark.y / scale, 1.0)).tolist()
    factor = float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))) / scale
    size = None if mark.size is None else (mark.size[0] * factor, mark.size[1] * factor)
    return DiscMark(x, y, size, mark.level, mark.abnormal)


def targets(marks: Sequence[DiscMark], *, anchored: bool) -> tuple[Maps, Maps]:
    """Maps that the network is to give for a picture, and where they count.

    Beyond the outermost marked discs, and where a gap between two is wide enough for a third, discs may lie that nobody
    marked: there the map of discs does not count. The map of L5/S1 counts everywhere where L5/S1 is marked; else only
    above the lowest marked disc, where it cannot be.

    Args:
        marks: From the head to the feet, in pixels of the network's picture.
        anchored: Whether L5/S1 is among them, by name.

    Returns:
        float32 (4, h, w): the two center maps in [0, 1], logarithms of width and height at centers with a box, 0
        elsewhere; and float32 (2, h, w): 1 where the center maps count.
    """
    y, x = (np.mgrid[:_CELLS, :_CELLS] + 0.5) * STRIDE
    found, counts = np.zeros((4, _CELLS, _CELLS), np.float32), np.ones((2, _CELLS, _CELLS), np.float32)
    places, gap = polyline(marks)
    gap = gap or SIDE / 8
    for a, b in _open_ends(places, gap, anchored):
        counts[0][_near(x, y, a, b) < 0.6 * gap] = 0
    if not anchored:
        down = places[-1] - places[-2] if len(places) > 1 else np.array([0.0, gap])
        low = places[-1] if len(places) else np.zeros(2)
        beyond = (x - low[0]) * down[0] + (y - low[1]) * down[1] > -0.5 * gap * np.linalg.norm(down)
        counts[1][beyond] = 0
    cells = [(mark.y / STRIDE - 0.5, mark.x / STRIDE - 0.5) for mark in marks]
    found[0] = center_map(found[0].shape, cells, _SPREAD)
    last = [cell for cell, mark in zip(cells, marks, strict=True) if mark.level.endswith("/S1")]
    found[1] = center_map(found[1].shape, last, _SPREAD)
    counts[0][found[0] > 0.1] = 1
    for mark in marks:
        row, column = int(mark.y // STRIDE), int(mark.x // STRIDE)
        if mark.size is not None and 0 <= row < _CELLS and 0 <= column < _CELLS:
            found[2:, row, column] = np.log(np.maximum(mark.size, 1.0))
    return found, counts


def _open_ends(places: NDArray[np.float64], gap: float, anchored: bool) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Stretches of the spine that may hold discs that nobody marked."""
    if not len(places):
        return [(np.zeros(2), np.array([SIDE, SIDE]))]
    way = (places[-1] - places[0]) / (np.linalg.norm(places[-1] - places[0]) or 1)
    up, down = (way, way) if len(places) > 1 else (np.array([0.0, 1.0]),) * 2
    if len(places) > 2:
        up, down = ((b - a) / np.linalg.norm(b - a) for a, b in (places[:2], places[-2:]))
    wide = [(a, b) for a, b in pairwise(places) if np.linalg.norm(b - a) > 1.6 * gap]
    below = [] if anchored else [(places[-1] + down * 0.5 * gap, places[-1] + down * 2.5 * gap)]
    return [(places[0] - up * 0.5 * gap, places[0] - up * SIDE), *below, *wide]


def _near(x: NDArray[Any], y: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Distance of each cell from a stretch."""
    way = b - a
    along = np.clip(((x - a[0]) * way[0] + (y - a[1]) * way[1]) / max(float(way @ way), 1e-9), 0, 1)
    far: NDArray[Any] = np.hypot(x - a[0] - along * way[0], y - a[1] - along * way[1])
    return far


def disc_loss(out: Tensor, truth: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Mean over the pictures of the focal loss of centers (Zhou et al. 2019, eq. 1) and, times 0.1, the size's error.

    Args:
        out, truth: (B, 4, h, w).
        counts: (B, 2, h, w).
    """
    centers = truth[:, :2]
    focal = center_loss(out[:, :2], centers, counts) / (centers >= 1).sum().clamp(min=1)
    known = truth[:, 2:] != 0
    size = ((out[:, 2:].float() - truth[:, 2:]).abs() * known).sum() / known.sum().clamp(min=1)
    return {"loss": focal + 0.1 * size, "focal": focal, "size": size}


class DiscStage(SpineStage):
    """The finder in training."""

    format = "fracture-lumbar-stage/1"
    terms = ("loss", "focal", "size")

    def terms_of(self, *batch: Tensor) -> Mapping[str, Tensor]:
        """See :func:`disc_loss`."""
        image, truth, counts = batch
        return disc_loss(self.model(image.to(memory_format=self.layout)), truth, counts)

    def judge(self, folder: Path) -> dict[str, Any]:
        """``found.jsonl``: what the finder says of the pictures that it was not trained on."""
        part = self.parts.get("validation")
        if part is None:
            return {}
        runner = TorchRunner(self.model.eval(), device=self.device, dtype=torch.float32)
        lines = []
        for film in part:
            found = find_discs(runner, read_picture(part.image_path(film)))
            lines.append(json.dumps({"source": film.source, **found.to_dict()}))
        if self.world.leads:
            write_text(folder / "found.jsonl", "\n".join(lines) + "\n")
        return {"judged": len(lines)}


def train(
    config: LumbarConfig, annotated: AnnotatedSet, *, train_only: AnnotatedSet | None = None, **options: Any
) -> dict[str, Any]:
    """Train the finder: ``discs``.

    Args:
        config: Settings; ``split`` divides ``annotated`` by groups.
        annotated: Of :func:`fracture.spine.lumbar.records.read_discs`.
        train_only: Further pictures, trained on whole.
        options: ``out``, ``device`` and ``progress``, as for :func:`fracture.spine.training.train_stages`.

    Returns, Raises:
        As there.
    """
    whole = with_further(annotated, [] if train_only is None else [train_only])

    def build(parts: Mapping[str, AnnotatedSet], run: Running) -> Stage:
        model: CenterNetwork = build_network(config.model, seed=config.seed)
        start = initialize(model, config.init)
        model.freeze(config.optimizer.freeze_stages)
        pictures = _Pictures(parts["train"], config)
        return DiscStage(model, config, pictures, parts, run.device, world=run.world, start=start.to_dict())

    return train_stages([(config, build)], whole, **options)
