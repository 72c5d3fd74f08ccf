"""Training heads on a trunk that does not learn: its maps are made once for each variant of a film, and kept.

An epoch then costs what the heads cost, however many variants there are. Several trainings, as those of folds, may
share what is kept.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fracture.data.masking import coarser, exposed
from fracture.data.records import AnnotatedSet, Film
from fracture.data.seeds import derive_seed, generator
from fracture.io.reading import read
from fracture.models.backbone import seeded
from fracture.models.hand_trunk import tone
from fracture.models.starting_points import read_tensors
from fracture.training.stage import PlainPictures, Stage

_LONGEST: Final = 1400  # a film's longer side kept in memory, in pixels
Made = tuple[list[Tensor], Any]
"""The trunk's maps of one picture, and its truth."""
Kept = dict[Any, Any]


class TrunkPictures(PlainPictures):
    """Variants of each film, each once an epoch, as the trunk sees them (in half precision).

    Args:
        part: The training part.
        config: With ``stage``, a name that what is kept is told apart by, and ``seed``.
        trunk: In evaluation mode; float32 planes (B, 1, H, W) to several maps.
        kept: What is kept, where trainings share it.
    """

    def __init__(self, part: AnnotatedSet, config: Any, trunk: nn.Module, kept: Kept | None = None) -> None:
        super().__init__(part, config.seed)
        self.config, self.trunk, self.kept = config, trunk, {} if kept is None else kept

    @abstractmethod
    def variants(self, film: Film) -> int:
        """How many there are of a film."""

    @abstractmethod
    def drawn(self, film: Film, index: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], Any]:
        """A variant's picture, float32 (H, W), and its truth."""

    def order(self, epoch: int, turn: int = 0) -> list[Any]:
        """(film, which of its variants)."""
        rng = generator(derive_seed(self.seed, epoch, turn, stream="order"))
        variants = [(film, k) for film in self.part for k in range(self.variants(film))]
        return [variants[i] for i in rng.permutation(len(variants)).tolist()]

    def source(self, picture: Any) -> str:
        """The film's name."""
        return str(picture[0].source)

    def size(self, made: Made) -> tuple[int, ...]:
        """Shape of the finest map."""
        return tuple(made[0][0].shape)

    def make(self, picture: tuple[Film, int]) -> Made:
        """One variant."""
        film, index = picture
        name = (self.config.stage, self.seed, film.source, index)
        if name not in self.kept:
            plane, truth = self.drawn(film, index, generator(derive_seed(self.seed, 0, index, stream=film.source)))
            with torch.inference_mode():
                maps = self.trunk(torch.from_numpy(plane)[None, None].contiguous(memory_format=torch.channels_last))
            self.kept[name] = [one[0].half() for one in maps], truth
        maps, truth = self.kept[name]
        return [one.clone() for one in maps], truth

    def pixels(self, film: Film) -> tuple[NDArray[np.float32], float]:
        """The film, made smaller where it is very large, and its scale."""
        if film.source not in self.kept:
            found = read(str(self.part.image_path(film))).pixels
            scale = min(1.0, _LONGEST / max(found.shape))
            if scale < 1:
                small = cv2.resize(found, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                found = np.asarray(small, np.float32)
            self.kept[film.source] = found
        found = self.kept[film.source]
        return found, found.shape[1] / film.width if film.width else 1.0


def changed_grays(plane: NDArray[np.float32], mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """A film (h, w) in [0, 1] taken otherwise, in the grays that a hand landmark trunk sees; 0 outside of the mask."""
    return exposed(tone(coarser(plane, rng), mask), mask, rng)


class HeadStage(Stage):
    """A training of heads on maps that are there."""

    def maps(self, batch: Sequence[Made]) -> list[Tensor]:
        """The batch's maps, level by level."""
        levels = zip(*(maps for maps, _ in batch), strict=True)
        return [torch.stack(level).float().to(self.device, memory_format=self.layout) for level in levels]


def on_trunk(build: Any, init: str, seed: int) -> Any:
    """A new network with random heads on the ``trunk`` of a safetensors file.

    Args:
        build: Makes a network that has a ``trunk``.
        init: The file.
        seed: Of the heads.

    Raises:
        WeightsError: It cannot be read.
    """
    model = seeded(lambda _: build(), None, seed)
    tensors = read_tensors(init)
    model.trunk.load_state_dict({k.removeprefix("trunk."): v for k, v in tensors.items() if k.startswith("trunk.")})
    return model
