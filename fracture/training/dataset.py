"""From annotated films to the detector's micro-batches. All draws derive from seed, epoch and place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fracture.data.augment import augment
from fracture.data.draws import read_draws
from fracture.data.records import AnnotatedSet, Film
from fracture.data.sampling import epoch_order
from fracture.data.seeds import derive_seed, generator
from fracture.data.targets import draw_target, fracture_outlines, fracture_rings
from fracture.errors import InputError
from fracture.io.ahead import groups_ahead
from fracture.models.spec import MAP_STRIDE
from fracture.preprocess import Geometry, Letterboxed, PreprocessSpec, normalize
from fracture.training.cache import Fault, FilmCache
from fracture.training.cell_loss import BoxTargets
from fracture.training.config import MemberConfig
from fracture.training.crops import choose_window
from fracture.training.loss import Targets
from fracture.training.pasting import paste_fracture
from fracture.training.windows import FilmWindow, boxes_within, cut_window


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One film as the network takes it.

    Attributes:
        film: Its annotation.
        planes: float32 (C, H, W), in [-1, 1].
        mask: bool (H, W), True where the pixel is image.
        target: float32 (H / 8, W / 8), share of each cell inside a fracture.
        geometry: The letterbox (without the augmentation).
        boxes: float32 (n, 4) and (m, 4) in network pixels: fractures, and fractures that count neither way.
        judged: Whether ``film.fractured`` holds for what the planes show; unknown for a window that may show a fracture
            or not.
    """

    film: Film
    planes: NDArray[np.float32]
    mask: NDArray[np.bool_]
    target: NDArray[np.float32]
    geometry: Geometry
    boxes: tuple[NDArray[np.float32], NDArray[np.float32]]
    judged: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Films of one forward pass, padded right and below to a common size.

    Attributes:
        planes: float32 (B, C, H, W).
        mask: bool (B, 1, H, W).
        targets: What the outputs should be.
        films: The films, in order.
        geometries: Their letterboxes.
    """

    planes: Tensor
    mask: Tensor
    targets: Targets
    films: tuple[Film, ...]
    geometries: tuple[Geometry, ...]


class Place(NamedTuple):
    """A film's presentation in an epoch: its number in the part, the epoch, and the place in the epoch's order."""

    film: int
    epoch: int
    place: int


class Films:
    """The films of one part of a set, from the cache to network inputs.

    Args:
        part: The films.
        cache: Prepared films of ``config.preprocess``.
        config: The member's configuration.
        regions: Names of the region head's outputs, in order.
    """

    def __init__(self, part: AnnotatedSet, cache: FilmCache, config: MemberConfig, regions: Sequence[str]) -> None:
        self.part = part
        self.cache = cache
        self.preprocess: PreprocessSpec = config.preprocess
        self.seed = config.seed
        self.sampling = config.sampling
        self.augmentation = config.augmentation.spec()
        self.skip_unreadable = config.data.on_unreadable == "skip"
        self.crops = config.crops
        self.windows = config.windows
        self.shape = config.loss.target_shape
        self.mode = config.loss.target_mode
        self.regions = tuple(regions)
        self.draws_file = config.data.draws
        self.donors = [film for film in part if film.boxes and film.localized] if self.windows.pasted else []

    def __len__(self) -> int:
        return len(self.part)

    @cached_property
    def draws(self) -> NDArray[np.int64] | None:
        """How often each film is drawn where others are drawn once; None where all are.

        Raises:
            DataError: The file of draws cannot be used.
        """
        return None if self.draws_file is None else read_draws(self.draws_file, [film.source for film in self.part])

    def order(self, epoch: int, turn: int = 0) -> list[Place]:
        """The presentations of one epoch; further turns go on where the one before ended."""
        seed = derive_seed(self.seed, epoch, turn, stream="order") if turn else self.seed
        found = epoch_order(self.part.films, self.sampling, seed=seed, epoch=epoch, draws=self.draws).tolist()
        return [Place(index, epoch, turn * len(found) + place) for place, index in enumerate(found)]

    def make(self, picture: Place) -> Example | Fault:
        """A film as training sees it; a fault where it cannot be read and ``data.on_unreadable`` says to skip it.

        Raises:
            InputError: The film cannot be read.
        """
        try:
            return self.augmented(picture.film, epoch=picture.epoch, place=picture.place)
        except InputError as error:
            if not self.skip_unreadable:
                raise
            return Fault(self.source(picture), error)

    def source(self, picture: Place) -> str:
        """The film's name."""
        return self.part[picture.film].source

    def size(self, made: Example) -> tuple[int, ...]:
        """Height and width."""
        return made.mask.shape

    def collate(self, made: Sequence[Example]) -> Batch:
        """See :func:`collate`."""
        return collate(made, self.regions)

    def plain(self, index: int) -> Example:
        """A film as in use: no augmentation.

        Raises:
            InputError: The film cannot be read.
        """
        film = self.part[index]
        return self._finish(film, self.cache.load(self.part.image_path(film)), None)

    def augmented(self, index: int, *, epoch: int, place: int) -> Example:
        """A film, or in the first ``crops.epochs`` epochs a part of it, as training sees it at one place of one epoch.

        A part's ``film`` says what the part shows; its geometry is still the whole film's.

        Raises:
            InputError: The film cannot be read.
        """
        film = self.part[index]
        boxed = self.cache.load(self.part.image_path(film))
        if self.windows.size:
            return self._window(film, boxed, generator(derive_seed(self.seed, epoch, place, stream="windows")))
        matrix = None
        if self.augmentation is not None:
            drawn = augment(boxed.pixels, boxed.mask, self.augmentation, seed=derive_seed(self.seed, epoch, place))
            boxed, matrix = Letterboxed(drawn.pixels, drawn.mask, boxed.geometry), drawn.matrix
        # Where a fracture is known to be somewhere, but not where, no part can be labeled.
        if epoch >= self.crops.epochs or (film.fractured and not film.localized):
            return self._finish(film, boxed, matrix)
        seed = derive_seed(self.seed, epoch, place, stream="crops")
        return self._finish(film, boxed, matrix, generator(seed))

    def _window(self, film: Film, boxed: Letterboxed, rng: np.random.Generator) -> Example:
        window = cut_window(boxed, film, self.windows, rng)
        rings = self._rings(film, boxed, window)
        if self.donors and not film.fractured and rng.random() < self.windows.pasted:
            film, window, rings = self._pasted(film, window, rng)
        size = (self.windows.size, self.windows.size)
        target = draw_target(rings, size, stride=MAP_STRIDE, mode=self.mode)
        ignored = window.ignored
        if film.fractured and not film.localized:  # somewhere: the window says nothing about it
            ignored = np.array([[0.0, 0.0, *size]], np.float32)
        elif not len(window.boxes):
            film = replace(film, fractured=0, boxes=(), polygons=())
        planes = normalize(window.pixels, window.mask, self.preprocess)
        judged = len(window.boxes) > 0 or not len(ignored)
        return Example(film, planes, window.mask, target, boxed.geometry, (window.boxes, ignored), judged)

    def _rings(self, film: Film, boxed: Letterboxed, window: FilmWindow) -> list[NDArray[np.float64]]:
        rings = fracture_rings(film, boxed.geometry, shape=self.shape)
        return [ring @ window.matrix[:, :2].T + window.matrix[:, 2] for ring in rings]

    def _pasted(
        self, film: Film, window: FilmWindow, rng: np.random.Generator
    ) -> tuple[Film, FilmWindow, list[NDArray[np.float64]]]:
        """A normal film's window with a fracture of another film of its region, where one has a place in it."""
        donors = [one for one in self.donors if set(one.regions) & set(film.regions)] or self.donors
        donor = donors[int(rng.integers(len(donors)))]
        boxed = self.cache.load(self.part.image_path(donor))
        other = cut_window(boxed, donor, self.windows.model_copy(update={"near": 1.0}), rng)
        pasted = None
        if len(other.boxes):
            number = int(rng.integers(len(other.boxes)))
            pasted = paste_fracture(window, other, number, rng)
        if pasted is None:
            return film, window, []
        x0, y0, x1, y1 = other.boxes[number].tolist()
        inside = [
            ring
            for ring in self._rings(donor, boxed, other)
            if x0 - 1 <= ring[:, 0].mean() <= x1 + 1 and y0 - 1 <= ring[:, 1].mean() <= y1 + 1
        ]
        return replace(donor, regions=film.regions), pasted.window, [ring + pasted.shift for ring in inside]

    def _finish(
        self,
        film: Film,
        boxed: Letterboxed,
        matrix: NDArray[np.float64] | None,
        cut: np.random.Generator | None = None,
    ) -> Example:
        rings, whole = fracture_rings(film, boxed.geometry, shape=self.shape), film
        moved = np.eye(2, 3) if matrix is None else matrix
        if matrix is not None:
            rings = [ring @ matrix[:, :2].T + matrix[:, 2] for ring in rings]
        height, width = boxed.pixels.shape
        target = draw_target(rings, (width, height), stride=MAP_STRIDE, mode=self.mode)
        planes = normalize(boxed.pixels, boxed.mask, self.preprocess)  # always last
        if cut is None:
            boxes = self._boxes(whole, boxed, moved, (width, height))
            return Example(film, planes, boxed.mask, target, boxed.geometry, boxes)
        # Cut after the normalization: a part has the very values that it has in the whole film.
        window = choose_window(rings, boxed.pixels, boxed.mask, self.crops, cut)
        if not window.shows_fracture:
            film = replace(film, fractured=0, boxes=(), polygons=())
        x, y, w, h = window[:4]
        part, s = np.s_[y : y + h, x : x + w], MAP_STRIDE
        cells = np.s_[y // s : (y + h) // s, x // s : (x + w) // s]
        boxes = self._boxes(whole, boxed, moved - [[0.0, 0.0, x], [0.0, 0.0, y]], (w, h))
        return Example(film, planes[:, *part], boxed.mask[part], target[cells], boxed.geometry, boxes)

    def _boxes(
        self, film: Film, boxed: Letterboxed, matrix: NDArray[np.float64], size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See :attr:`Example.boxes`, of a picture that the letterboxed film was carried into."""
        if film.fractured and not film.localized:  # somewhere
            return np.zeros((0, 4), np.float32), np.array([[0.0, 0.0, *size]], np.float32)
        return boxes_within(fracture_outlines(film, boxed.geometry), matrix, size, self.windows.visible)


def collate(examples: Sequence[Example], regions: Sequence[str]) -> Batch:
    """Films of any sizes as one batch, padded with zeros right and below to the largest height and width."""
    height = max(e.mask.shape[0] for e in examples)
    width = max(e.mask.shape[1] for e in examples)
    n, channels, s = len(examples), examples[0].planes.shape[0], MAP_STRIDE
    planes = torch.zeros(n, channels, height, width)
    mask = torch.zeros(n, 1, height, width, dtype=torch.bool)
    target = torch.zeros(n, 1, height // s, width // s)
    shown = torch.zeros(n, len(regions))
    for i, e in enumerate(examples):
        h, w = e.mask.shape
        planes[i, :, :h, :w] = torch.from_numpy(e.planes)
        mask[i, 0, :h, :w] = torch.from_numpy(e.mask)
        target[i, 0, : h // s, : w // s] = torch.from_numpy(e.target)
        for j, region in enumerate(regions):
            shown[i, j] = float(region in e.film.regions)
    # A cell counts where at least half of it is image.
    share = mask.float().view(n, 1, height // s, s, width // s, s).mean(dim=(3, 5))
    films = [e.film for e in examples]
    targets = Targets(
        fractured=torch.tensor([float(f.fractured) for f in films]),
        map=target,
        valid=(share >= 0.5).float(),
        localized=torch.tensor([float(f.fractured and f.localized) for f in films]),
        regions=shown,
        known=torch.tensor([float(bool(f.regions)) for f in films]),
        judged=torch.tensor([float(e.judged) for e in examples]),
        cells=BoxTargets(*(tuple(torch.from_numpy(e.boxes[k]) for e in examples) for k in (0, 1))),
    )
    return Batch(planes, mask, targets, tuple(films), tuple(e.geometry for e in examples))


def evaluation_batches(
    films: Films, *, micro_batch: int, rank: int = 0, world: int = 1, workers: int = 1
) -> Iterator[Batch]:
    """Every film of a part once, unaugmented, films of one shape together.

    Raises:
        InputError: A film cannot be read.
    """
    shapes = [films.cache.shape(films.part.image_path(film)) for film in films.part]
    groups: dict[tuple[int, int], list[int]] = {}
    for index in range(rank, len(films), world):
        groups.setdefault(shapes[index], []).append(index)
    cut = [members[i : i + micro_batch] for members in groups.values() for i in range(0, len(members), micro_batch)]
    for examples in groups_ahead(cut, films.plain, workers):
        yield collate(examples, films.regions)
