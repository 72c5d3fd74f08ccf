"""Pictures for both stages: which are presented, in which order, and how they are made. All of it from seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fracture.data.records import AnnotatedSet, Box, Film
from fracture.hip.augment import VARIANTS, augment_film, augment_hip
from fracture.hip.classes import CLASSES, SIDES, stratum
from fracture.hip.crops import crop_box, crop_hip
from fracture.hip.records import HipLabel, hips_of
from fracture.preprocess.rgb import rgb_input
from fracture.training.cache import FilmCache
from fracture.training.patches import PatchCache
from fracture.training.presentations import Picture, presentations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.hip.training_config import ClassifierConfig, LocalizerConfig


def set_of(film: Film) -> str:
    """The set that a film of a merged set came from, by the front of its group."""
    return film.group.partition("/")[0] if "/" in film.group else ""


class _Pictures:
    """What a stage presents; :mod:`fracture.training.stage` says what it must give."""

    part: AnnotatedSet
    config: Any
    keys: list[tuple[str, str]]
    forms = 1

    def order(self, epoch: int, turn: int = 0) -> list[Picture]:
        """The pictures of an epoch."""
        number = epoch * 1000 + turn
        return presentations(self.keys, self.config.sampling, self.forms, seed=self.config.seed, epoch=number)

    def size(self, made: tuple[Any, ...]) -> tuple[int, ...]:
        """Of the planes."""
        return tuple(made[0].shape)


class FilmPictures(_Pictures):
    """Films for the localizer.

    Args:
        part: Films with hips (see :mod:`fracture.hip.records`); a film without any is a film without hips.
        cache: Letterboxed films.
        config: Of the stage.
    """

    def __init__(self, part: AnnotatedSet, cache: FilmCache, config: LocalizerConfig) -> None:
        self.part, self.cache, self.config = part, cache, config
        self.keys = [(set_of(film), "+".join(sorted(film.regions)) or "none") for film in part]

    def source(self, picture: Picture) -> str:
        """The film's name."""
        return self.part[picture.item].source

    def targets(self, film: Film, boxes_to_network: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Boxes (n, 4) in network pixels and sides (n,)."""
        hips = hips_of(film)
        boxes = np.asarray(boxes_to_network(np.array([hip.box for hip in hips], np.float64).reshape(-1, 4)))
        return boxes, np.array([SIDES.index(hip.side) for hip in hips], np.int64)

    def make(self, picture: Picture) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]:
        """Planes (3, h, w), boxes and sides."""
        film = self.part[picture.item]
        boxed = self.cache.load(self.part.image_path(film))
        boxes, sides = self.targets(film, boxed.geometry.boxes_to_network)
        pixels, mask, boxes, sides = augment_film(
            boxed.pixels, boxed.mask, boxes, sides, self.config.augmentation, seed=picture.seed
        )
        return rgb_input(pixels, mask), boxes, sides

    @staticmethod
    def collate(made: Sequence[tuple[Any, ...]]) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
        """A batch, padded right and below to a common size, and torchvision's targets."""
        height, width = (max(int(planes.shape[axis]) for planes, *_ in made) for axis in (1, 2))
        batch = torch.zeros(len(made), 3, height, width)
        targets = []
        for row, (planes, boxes, sides) in zip(batch, made, strict=True):
            row[:, : planes.shape[1], : planes.shape[2]] = torch.from_numpy(planes)
            targets.append({"boxes": torch.from_numpy(boxes).float().view(-1, 4), "labels": torch.from_numpy(sides)})
        return batch, targets


@dataclass(frozen=True, slots=True)
class HipItem:
    """A hip that trains the classifier: its film's file, size and set, and its label."""

    path: Path
    source: str
    group: str
    name: str
    hip: HipLabel

    @property
    def allowed(self) -> tuple[str, ...]:
        """The classes that are possible."""
        return self.hip.allowed or ()


class HipPictures(_Pictures):
    """Crops of hips for the classifier; hips without a place among the six classes are left out.

    Args:
        part: Films with hips.
        cache: Native surroundings of the hips.
        config: Of the stage.
    """

    def __init__(self, part: AnnotatedSet, cache: PatchCache, config: ClassifierConfig) -> None:
        self.part, self.cache, self.config = part, cache, config
        self.items = [
            HipItem(part.image_path(film), film.source, film.group, set_of(film), hip)
            for film in part
            for hip in hips_of(film)
            if hip.allowed
        ]
        self.keys = [(item.name, stratum(item.allowed)) for item in self.items]
        self.forms = len(VARIANTS) * len(config.augmentation.margins)
        # A window of "top" is as high as its width says: where augmentation widens the box, it ends further down.
        deeper = 1.4 if config.crop.fit == "top" else 1.0
        self.reach = deeper * max(config.augmentation.reach, config.crop.margin)
        self.least = config.crop.size if config.crop.fit == "native" else 0

    def source(self, picture: Picture) -> str:
        """The film's name."""
        return self.items[picture.item].source

    def patch(self, item: HipItem) -> tuple[NDArray[np.float32], Box]:
        """The native pixels around a hip and its box among them, as far as the box decides the crop."""
        crop = self.config.crop
        return self.cache.load(
            item.path, item.hip.box, reach=self.reach, least=self.least, shape=lambda box: crop_box(box, crop)
        )

    def make(self, picture: Picture) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Planes (3, size, size), or (views, 3, size, size), and the possible classes (6,)."""
        item = self.items[picture.item]
        pixels, box = self.patch(item)
        views = self.config.sampling.views
        made = [self._form(pixels, box, item, picture, view) for view in range(views)]
        return (made[0] if views == 1 else np.stack(made)), np.array(
            [name in item.allowed for name in CLASSES], np.bool_
        )

    def _form(
        self, pixels: NDArray[np.float32], box: Box, item: HipItem, picture: Picture, view: int
    ) -> NDArray[np.float32]:
        form = (picture.form + view) % self.forms
        crop = augment_hip(
            pixels,
            box,
            item.hip.side,
            self.config.crop,
            self.config.augmentation,
            variant=VARIANTS[form % len(VARIANTS)],
            size=form // len(VARIANTS),
            seed=(picture.seed + view) % 2**63,
        )
        return rgb_input(crop.pixels, crop.mask)

    def plain(self, item: HipItem) -> NDArray[np.float32]:
        """Planes as inference makes them."""
        pixels, box = self.patch(item)
        crop = crop_hip(pixels, box, item.hip.side, self.config.crop)
        return rgb_input(crop.pixels, crop.mask)

    @staticmethod
    def collate(made: Sequence[tuple[Any, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch of planes and of possible classes."""
        planes = torch.from_numpy(np.stack([planes for planes, _ in made]))
        return planes, torch.from_numpy(np.stack([mask for _, mask in made]))
