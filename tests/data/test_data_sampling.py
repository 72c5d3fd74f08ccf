"""The order of an epoch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fracture.data.coco import read_coco
from fracture.data.records import Film
from fracture.data.sampling import SamplingSpec, epoch_order
from fracture.data.seeds import derive_seed
from fracture.errors import ConfigurationError


def films(counts: dict[tuple[tuple[str, ...], int], int]) -> list[Film]:
    return [
        Film(f"{'+'.join(regions)}_{label}_{i}", 1, 1, label, regions=regions)
        for (regions, label), n in counts.items()
        for i in range(n)
    ]


UNEVEN = films({(("hand",), 0): 60, (("hand",), 1): 20, (("hip",), 0): 15, (("hip",), 1): 3, (("hand", "hip"), 1): 2})


def test_balanced_epochs_draw_every_combination_equally() -> None:
    drawn: Counter[str] = Counter()
    for epoch in range(10):
        order = epoch_order(UNEVEN, SamplingSpec(), seed=5, epoch=epoch)
        assert len(order) == len(UNEVEN)
        drawn.update(UNEVEN[i].source.rsplit("_", 1)[0] for i in order)
    # Four combinations, 250 draws each; (hand, 1) and (hip, 1) share the films that show both.
    assert drawn["hand_0"] == 250
    assert drawn["hip_0"] == 250
    assert drawn["hand_1"] + drawn["hip_1"] + drawn["hand+hip_1"] == 500
    # Each of the 22 films of (hand, 1) is drawn alike, and the two of both regions through (hip, 1) as well.
    assert drawn["hand_1"] == pytest.approx(250 * 20 / 22, rel=0.1)
    assert drawn["hand+hip_1"] == pytest.approx(250 * 2 / 22 + 250 * 2 / 5, rel=0.1)


def test_quotas_are_right_in_expectation() -> None:
    # 7 draws for 4 combinations: 1.75 each.
    spec = SamplingSpec(films_per_epoch=7, balanced_epochs=10_000)
    drawn: Counter[str] = Counter()
    for epoch in range(800):
        order = epoch_order(UNEVEN, spec, seed=0, epoch=epoch)
        assert len(order) == 7
        drawn.update(UNEVEN[i].source.rsplit("_", 1)[0] for i in order)
    for name in ("hand_0", "hip_0"):
        assert drawn[name] / 800 == pytest.approx(1.75, abs=0.06)


def test_natural_epochs_see_every_film_once() -> None:
    spec = SamplingSpec(balanced_epochs=2)
    first, second = (epoch_order(UNEVEN, spec, seed=1, epoch=e) for e in (2, 3))
    assert sorted(first) == list(range(len(UNEVEN)))
    assert first.tolist() != second.tolist()
    assert first.tolist() == epoch_order(UNEVEN, spec, seed=1, epoch=2).tolist()
    assert first.tolist() != epoch_order(UNEVEN, spec, seed=2, epoch=2).tolist()


def test_balance_by_label() -> None:
    spec = SamplingSpec(balanced_epochs=0, later="label", fractured_share=0.25, films_per_epoch=40)
    order = epoch_order(UNEVEN, spec, seed=0, epoch=7)
    assert sum(UNEVEN[i].fractured for i in order) == 10
    with pytest.raises(ConfigurationError, match="fractured and normal"):
        epoch_order([f for f in UNEVEN if f.fractured], spec, seed=0, epoch=0)


def test_films_are_not_drawn_again_before_all_were() -> None:
    order = epoch_order(UNEVEN, SamplingSpec(), seed=0, epoch=0)
    hands = Counter(int(i) for i in order if UNEVEN[i].source.startswith("hand_0"))
    assert max(hands.values()) == 1  # 25 draws among 60 films


def test_fracatlas_is_balanced(shared_data: Path) -> None:
    real = read_coco(shared_data / "fracatlas").films
    order = epoch_order(real, SamplingSpec(), seed=0, epoch=0)
    fractured = np.mean([real[i].fractured for i in order])
    assert fractured == pytest.approx(0.5, abs=0.001)  # four regions, each with both labels


def test_seeds_differ_in_each_part() -> None:
    seeds = {derive_seed(s, e, i, stream=name) for s in range(4) for e in range(4) for i in range(40) for name in "ab"}
    assert len(seeds) == 4 * 4 * 40 * 2
    assert derive_seed(1, 2, 3) == 5_018_291_674_588_323_140  # golden: a resumed run must draw the same


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"balanced_epochs": -1}, "balanced_epochs"),
        ({"balanced": "even"}, "balanced"),
        ({"fractured_share": 1.0}, "fractured_share"),
        ({"films_per_epoch": 0}, "films_per_epoch"),
    ],
)
def test_illegal_settings_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        SamplingSpec(**change)  # type: ignore[arg-type]


def test_no_films_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs films"):
        epoch_order([], SamplingSpec(), seed=0, epoch=0)
