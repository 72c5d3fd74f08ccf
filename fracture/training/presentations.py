"""Which items an epoch presents, in which form and order: by set and stratum, all of it from seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fracture.data.seeds import derive_seed, generator
from fracture.errors import ConfigurationError, DataError
from fracture.training.config import Section


class Sampling(Section):
    """Which pictures an epoch presents, of items that each have several forms."""

    balanced: bool = Field(
        default=False, description="ours: each stratum of a set equally often; else naturally, as the hip paper"
    )
    variants: int | None = Field(
        default=None, ge=1, description="pictures of each item in an epoch, drawn from its forms; None: all of them"
    )
    fresh: bool = Field(
        default=False, description="new draws in every epoch (ours); the hip paper's additional images are made once"
    )
    shares: dict[str, float] = Field(
        default={}, description="set name -> share of the presentations; sets left out share the rest by their size"
    )

    @model_validator(mode="after")
    def _legal(self) -> Self:
        if any(share <= 0 for share in self.shares.values()) or sum(self.shares.values()) > 1 + 1e-6:
            raise ConfigurationError("sampling.shares", got=self.shares, allowed="positive numbers, at most 1 in all")
        return self


@dataclass(frozen=True, slots=True)
class Picture:
    """One presentation: which item, in which form.

    Attributes:
        item: Place in the part's items.
        form: Which of the forms of the item; 0 where there is one.
        seed: Of its augmentation.
    """

    item: int
    form: int
    seed: int


def presentations(
    keys: Sequence[tuple[str, str]], sampling: Sampling, forms: int, *, seed: int, epoch: int
) -> list[Picture]:
    """The pictures of one epoch in their order.

    Without balance or shares every item is presented ``variants`` times (in all its forms where None), shuffled. With
    them as many pictures are drawn, with the wanted share for each set and, where balanced, equal shares for the
    strata within a set.

    Args:
        keys: (set, stratum) of each item.
        sampling: Of the recipe.
        forms: Forms of an item.
        seed: Of the run.
        epoch: From 0.
    """
    rng = generator(derive_seed(seed, epoch, 0, stream="hip-order"))
    each = forms if sampling.variants is None else sampling.variants
    count = len(keys)
    if not (sampling.balanced or sampling.shares):
        items = np.repeat(np.arange(count), each)
    else:
        items = rng.choice(count, size=count * each, p=_odds(keys, sampling))
    if sampling.variants is None and not (sampling.balanced or sampling.shares):
        chosen = np.tile(np.arange(forms), count)
    else:
        chosen = rng.integers(0, forms, size=items.size)
    order = rng.permutation(items.size)
    drawn = epoch if sampling.fresh else 0
    return [
        Picture(item, form, derive_seed(seed, drawn, (place if sampling.fresh else item * forms + form), stream="hip"))
        for place, (item, form) in enumerate(zip(items[order].tolist(), chosen[order].tolist(), strict=True))
    ]


def _odds(keys: Sequence[tuple[str, str]], sampling: Sampling) -> NDArray[np.float64]:
    sizes = Counter(name for name, _ in keys)
    if unknown := sorted(set(sampling.shares) - set(sizes)):
        raise DataError("sampling.shares names sets without training items", got=unknown, allowed=sorted(sizes))
    rest = max(0.0, 1 - sum(sampling.shares.values()))
    free = sum(size for name, size in sizes.items() if name not in sampling.shares)
    share = {name: sampling.shares.get(name, rest * size / max(1, free)) for name, size in sizes.items()}
    cells = Counter(keys)
    strata = Counter(name for name, _ in cells)
    odds = np.array(
        [share[key[0]] / (strata[key[0]] * cells[key] if sampling.balanced else sizes[key[0]]) for key in keys]
    )
    return np.asarray(odds / odds.sum())
