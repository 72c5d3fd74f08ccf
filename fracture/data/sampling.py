"""In which order an epoch visits the films: balanced at first, natural afterwards, the same on any machine.

Jones et al. 2020 (Methods, "Training") balance the first 10 epochs, "so that each (region, fracture) combination
is sampled with equal probability in expectation", and go on in randomized natural order. The order is a
function of (seed, epoch) alone; a rank of a distributed run takes every ``world_size``-th film of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fracture.data.records import Film
from fracture.data.seeds import derive_seed, generator
from fracture.errors import ConfigurationError

__all__ = ["EpochSampler", "SamplingSpec", "epoch_order"]

Mode = Literal["natural", "region_label", "label"]
_MODES = ("natural", "region_label", "label")


@dataclass(frozen=True, slots=True)
class SamplingSpec:
    """How films are drawn.

    Attributes:
        balanced_epochs: Epochs drawn by ``balanced``; the paper's 10.
        balanced: ``"region_label"`` (the paper): each (region, label) combination that exists equally
            likely. ``"label"``: fractured and normal films at ``fractured_share``, whatever their region (ours,
            for sets so small that a combination has a handful of films).
        later: What follows: ``"natural"`` (the paper): every film once, shuffled; or ``"label"``.
        fractured_share: Share of fractured films under ``"label"``; 0.5 is our choice.
        films_per_epoch: Films drawn in an epoch; None for as many as the set has. Natural epochs shorter
            than the set see a different random part of it each time; longer ones see films again.
    """

    balanced_epochs: int = 10
    balanced: Mode = "region_label"
    later: Mode = "natural"
    fractured_share: float = 0.5
    films_per_epoch: int | None = None

    def __post_init__(self) -> None:
        if self.balanced_epochs < 0:
            raise ConfigurationError("balanced_epochs", got=self.balanced_epochs, allowed="0 or more")
        for name in ("balanced", "later"):
            if getattr(self, name) not in _MODES:
                raise ConfigurationError(f"sampling.{name}", got=getattr(self, name), allowed=_MODES)
        if not 0.0 < self.fractured_share < 1.0:
            raise ConfigurationError(
                "fractured_share", got=self.fractured_share, allowed="between 0 and 1, both excluded"
            )
        if self.films_per_epoch is not None and self.films_per_epoch < 1:
            raise ConfigurationError("films_per_epoch", got=self.films_per_epoch, allowed="1 or more")

    def mode(self, epoch: int) -> Mode:
        """How epoch ``epoch`` (counted from 0) is drawn."""
        return self.balanced if epoch < self.balanced_epochs else self.later


def epoch_order(films: Sequence[Film], spec: SamplingSpec, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Indices into ``films`` in the order of one epoch, shape (films per epoch,).

    Under ``"region_label"`` every combination gets the same number of draws, up to one that is given out at
    random; within a combination every film is drawn once before any is drawn again. A film that shows
    several regions belongs to each of its combinations and can be drawn for either, so it is seen more often;
    that is what "equally likely combinations" asks for. Films of unknown region form combinations of their own.

    Raises:
        ConfigurationError: No films; or ``"label"`` without films of both labels.
    """
    if not films:
        raise ConfigurationError("a sampler needs films", got="an empty set")
    rng = generator(derive_seed(seed, epoch, 0, stream="order"))
    length = spec.films_per_epoch or len(films)
    mode = spec.mode(epoch)
    if mode == "natural":
        return _cycle(np.arange(len(films)), length, rng)
    if mode == "label":
        labels = np.array([film.fractured for film in films])
        pools = [np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)]
        if not all(pool.size for pool in pools):
            raise ConfigurationError(
                "sampling by label needs fractured and normal films",
                got=f"{pools[0].size} fractured, {pools[1].size} normal",
                hint="use sampling 'natural'",
            )
        share = np.array([spec.fractured_share, 1.0 - spec.fractured_share])
    else:
        members: dict[tuple[str, int], list[int]] = {}
        for index, film in enumerate(films):
            for stratum in film.strata:
                members.setdefault(stratum, []).append(index)
        pools = [np.array(members[stratum]) for stratum in sorted(members)]
        share = np.full(len(pools), 1.0 / len(pools))
    drawn = [_cycle(pool, count, rng) for pool, count in zip(pools, _quotas(share * length, rng), strict=True)]
    return rng.permutation(np.concatenate(drawn))


def _cycle(pool: NDArray[np.int64], length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``length`` members of ``pool``: whole shuffles one after the other, the last one cut."""
    rounds = [rng.permutation(pool) for _ in range(-(-length // pool.size))]
    return np.concatenate(rounds)[:length] if rounds else pool[:0]


def _quotas(expected: NDArray[np.float64], rng: np.random.Generator) -> list[int]:
    """Whole numbers with these expectations and their sum (systematic sampling of the remainders)."""
    edges = np.concatenate([[0.0], np.cumsum(expected)])
    edges[-1] = np.round(edges[-1])
    offset = rng.random()
    ticks = np.ceil(edges - offset - 1e-12)
    return [int(count) for count in np.diff(ticks)]


class EpochSampler:
    """Indices for one rank, for ``torch.utils.data.DataLoader(sampler=...)``; needs no torch itself.

    Every rank gets the same number of films and no two ranks the same place of the order: where the epoch
    does not divide, up to ``world_size - 1`` films at its end are left out (others each epoch). Rank ``r`` takes
    places ``r, r + world_size, ...``, so the films of a global batch are those of one process with the whole
    batch.

    Args:
        films: The films, in the order of the data set.
        spec: How films are drawn.
        seed: The run's seed.
        rank: This process.
        world_size: Processes in all.

    Raises:
        ConfigurationError: A rank outside the world, or fewer films per epoch than processes.
    """

    def __init__(
        self,
        films: Sequence[Film],
        spec: SamplingSpec | None = None,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.films = tuple(films)
        self.spec = spec or SamplingSpec()
        if not 0 <= rank < world_size:
            raise ConfigurationError("the rank of a sampler", got=rank, allowed=f"0 .. {world_size - 1}")
        if (self.spec.films_per_epoch or len(self.films)) < world_size:
            raise ConfigurationError(
                "fewer films per epoch than processes",
                got=self.spec.films_per_epoch or len(self.films),
                allowed=f"at least {world_size}",
            )
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch, self.start = 0, 0

    def set_epoch(self, epoch: int, *, start: int = 0) -> None:
        """Go to an epoch; ``start`` leaves out that many films of this rank (to resume within an epoch).

        Raises:
            ConfigurationError: ``start`` beyond the end of the epoch.
        """
        total = (self.spec.films_per_epoch or len(self.films)) // self.world_size
        if epoch < 0 or not 0 <= start <= total:
            raise ConfigurationError(
                "where a sampler starts", got=f"epoch {epoch}, film {start}", allowed=f"film 0 .. {total}"
            )
        self.epoch, self.start = epoch, start

    def order(self) -> NDArray[np.int64]:
        """This rank's indices of the current epoch, without regard to ``start``."""
        whole = epoch_order(self.films, self.spec, seed=self.seed, epoch=self.epoch)
        each = len(whole) // self.world_size
        return whole[: each * self.world_size][self.rank :: self.world_size]

    def __iter__(self) -> Iterator[int]:
        return iter(self.order()[self.start :].tolist())

    def __len__(self) -> int:
        """Films that are still to come in the current epoch."""
        total = (self.spec.films_per_epoch or len(self.films)) // self.world_size
        return total - self.start
