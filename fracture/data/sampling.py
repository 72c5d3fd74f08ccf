"""In which order an epoch visits the films: balanced at first, natural afterwards, the same on any machine.

Jones et al. 2020 (Methods, "Training") balance the first 10 epochs, "so that each (region, fracture) combination
is sampled with equal probability in expectation", and go on in randomized natural order. The order is a
function of (seed, epoch) alone; a rank of a distributed run takes every ``world_size``-th film of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fracture.data.records import Film
from fracture.data.seeds import derive_seed, generator
from fracture.errors import ConfigurationError
from fracture.schema import Record

Mode = Literal["natural", "region_label", "label"]


@dataclass(frozen=True, slots=True)
class SamplingSpec(Record):
    """How films are drawn; the table ``[sampling]`` of a recipe.

    Attributes:
        balanced_epochs: Epochs drawn by ``balanced``; the paper's 10.
        balanced: ``"region_label"`` (the paper): each (region, label) combination that exists equally
            likely. ``"label"``: fractured and normal films at ``fractured_share``, whatever their region (ours,
            for sets so small that a combination has a handful of films).
        later: What follows: ``"natural"`` (the paper): every film once, shuffled; or ``"label"``.
        fractured_share: Share of fractured films under ``"label"``; 0.5 is our choice.
        films_per_epoch: Films drawn in an epoch; None for as many as the set has. Natural epochs shorter
            than the set see a different random part of it each time; longer ones see films again.

    Raises:
        ConfigurationError: A value out of range.
    """

    balanced_epochs: Annotated[int, Field(ge=0)] = 10
    balanced: Mode = "region_label"
    later: Mode = "natural"
    fractured_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    films_per_epoch: Annotated[int, Field(ge=1)] | None = None

    def mode(self, epoch: int) -> Mode:
        """How epoch ``epoch`` (counted from 0) is drawn."""
        return self.balanced if epoch < self.balanced_epochs else self.later


def epoch_order(
    films: Sequence[Film],
    spec: SamplingSpec,
    *,
    seed: int,
    epoch: int,
    draws: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Indices into ``films`` in the order of one epoch, shape (films per epoch,).

    Under ``"region_label"`` every combination gets the same number of draws, up to one that is given out at
    random; within a combination every film is drawn once before any is drawn again. A film that shows
    several regions belongs to each of its combinations and can be drawn for either, so it is seen more often;
    that is what "equally likely combinations" asks for. Films of unknown region form combinations of their own.

    Args:
        films: Of the training set.
        spec: How films are drawn.
        seed: The run's.
        epoch: From 0; each has an order of its own.
        draws: int64 (n,), how often a film is drawn where another of its pool is drawn once, 0 for never
            (:mod:`fracture.data.draws`); all once where left out.

    Raises:
        ConfigurationError: No films, or none that is drawn; or ``"label"`` without films of both labels.
    """
    if not films or (draws is not None and not draws.any()):
        raise ConfigurationError("a sampler needs films", got="an empty set" if not films else "none that is drawn")
    rng = generator(derive_seed(seed, epoch, 0, stream="order"))
    times = np.ones(len(films), np.int64) if draws is None else draws
    length = spec.films_per_epoch or int(times.sum())
    mode = spec.mode(epoch)
    if mode == "natural":
        return _cycle(np.repeat(np.arange(len(films)), times), length, rng)
    if mode == "label":
        labels = np.array([film.fractured for film in films])
        pools = [np.repeat(each, times[each]) for each in (np.flatnonzero(labels == 1), np.flatnonzero(labels == 0))]
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
                members.setdefault(stratum, []).extend([index] * int(times[index]))
        members = {stratum: own for stratum, own in members.items() if own}
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
