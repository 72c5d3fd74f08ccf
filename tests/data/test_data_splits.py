"""Splits: by group, stratified, repeatable, and a file that tells when it was touched."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fracture.data.coco import read_coco
from fracture.data.records import AnnotatedSet, Film
from fracture.data.splits import Split, published_split, rotate_folds, split_folds, split_parts
from fracture.errors import DataError


def made(groups: list[list[tuple[str, int]]]) -> AnnotatedSet:
    films = [
        Film(f"{g}_{i}.png", 10, 10, label, regions=(region,), group=str(g))
        for g, members in enumerate(groups)
        for i, (region, label) in enumerate(members)
    ]
    return AnnotatedSet(tuple(films), "made", Path("nowhere"))


strata = st.tuples(st.sampled_from(["hand", "knee", "hip"]), st.integers(0, 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(strata, min_size=1, max_size=6), min_size=3, max_size=25), st.integers(0, 5))
def test_every_film_once_and_no_group_in_two_parts(groups: list[list[tuple[str, int]]], seed: int) -> None:
    films = made(groups)
    split = split_parts(films, seed=seed)
    listed = [source for sources in split.parts.values() for source in sources]
    assert sorted(listed) == sorted(film.source for film in films)
    part_of = split.part_of()
    for group in {film.group for film in films}:
        assert len({part_of[film.source] for film in films if film.group == group}) == 1
    assert all(split.parts.values())


def test_fracatlas_parts_have_their_share_of_every_stratum(shared_data: Path) -> None:
    films = read_coco(shared_data / "fracatlas")
    split = split_parts(films, seed=3)
    total = {k: sum(row[k] for row in split.counts.values()) for k in split.counts["train"]}
    for part, share in (("train", 0.8), ("tune", 0.1), ("validation", 0.1)):
        for stratum, count in split.counts[part].items():
            if stratum != "groups":
                assert abs(count - share * total[stratum]) <= max(2.5, 0.02 * total[stratum]), (part, stratum)
    again = split_parts(films, seed=3)
    assert again.checksum == split.checksum
    assert split_parts(films, seed=4).parts != split.parts


def test_stratification_beats_chance(shared_data: Path) -> None:
    films = read_coco(shared_data / "fracatlas")
    groups = sorted({film.group for film in films})

    def spread(part_of: dict[str, int]) -> float:
        rare = [0] * 5
        for film in films:
            rare[part_of[film.source]] += film.fractured and "fracatlas_hip" in film.regions
        return float(np.std(rare))

    folds = split_folds(films, 5, seed=0)
    ours = spread({s: int(name[4:]) for name, sources in folds.parts.items() for s in sources})
    rng = np.random.default_rng(0)
    chance = []
    for _ in range(20):
        fold = dict(zip(groups, rng.permutation(len(groups)) % 5, strict=True))
        chance.append(spread({film.source: int(fold[film.group]) for film in films}))
    assert ours < min(chance)


def test_file_keeps_the_split_and_notices_changes(small_set: AnnotatedSet, tmp_path: Path) -> None:
    split = split_parts(small_set, {"train": 0.5, "tune": 0.5}, seed=1)
    path = tmp_path / "deep" / "split.json"
    split.write(path)
    assert Split.read(path) == split
    assert [p.name for p in path.parent.iterdir()] == ["split.json"]
    assert split.checksum in path.read_text()

    content = json.loads(path.read_text())
    content["parts"]["tune"].append(content["parts"]["train"].pop())
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="checksum"):
        Split.read(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="not a split file"):
        Split.read(path)
    with pytest.raises(DataError, match="no such file"):
        Split.read(tmp_path / "absent.json")


def test_part_gives_films(small_set: AnnotatedSet) -> None:
    split = split_parts(small_set, {"a": 0.5, "b": 0.5}, seed=1)
    assert len(split.part(small_set, "a")) + len(split.part(small_set, "b")) == 12
    assert len(split.part(small_set, "a", "b")) == 12
    with pytest.raises(DataError, match="no such part"):
        split.part(small_set, "train")
    with pytest.raises(DataError, match="not in the set"):
        split.part(small_set.select(lambda film: film.source != split.parts["a"][0]), "a")


def test_folds_turn(small_set: AnnotatedSet) -> None:
    folds = split_folds(small_set, 3, seed=2)
    held = []
    for fold in range(3):
        turn = rotate_folds(folds, fold)
        assert not set(turn.parts["tune"]) & set(turn.parts["validation"])
        assert sum(len(sources) for sources in turn.parts.values()) == 12
        assert turn.counts["train"]["films"] == len(turn.parts["train"])
        held += turn.parts["validation"]
    assert sorted(held) == sorted(film.source for film in small_set)
    by_hand = rotate_folds(Split(folds.parts, folds.name, folds.seed, "by hand", folds.fingerprint), 1)
    assert by_hand.parts == rotate_folds(folds, 1).parts
    assert by_hand.counts == {}
    with pytest.raises(DataError, match="the fold"):
        rotate_folds(folds, 3)
    with pytest.raises(DataError, match="three or more folds"):
        rotate_folds(split_parts(small_set), 0)


def test_impossible_splits_are_refused(small_set: AnnotatedSet) -> None:
    with pytest.raises(DataError, match="fewer groups"):
        split_folds(small_set, 7)
    with pytest.raises(DataError, match="2 or more"):
        split_folds(small_set, 1)
    with pytest.raises(DataError, match="sum to 1"):
        split_parts(small_set, {"train": 0.8, "tune": 0.3})


def test_published_split_is_taken_as_it_is(small_set: AnnotatedSet) -> None:
    parts = ["train"] * 6 + ["tune"] * 4 + [""] * 2
    films = tuple(replace(f, extra={"published_part": p}) for f, p in zip(small_set, parts, strict=True))
    split = published_split(replace(small_set, films=films))
    assert {name: len(sources) for name, sources in split.parts.items()} == {"train": 6, "tune": 4}
    assert split.counts["train"]["films"] == 6
    with pytest.raises(DataError, match="no film says"):
        published_split(small_set)


def test_many_groups_take_no_square_of_their_number() -> None:
    films = made([[("hand", i % 5 == 0), ("knee", i % 7 == 0)] for i in range(4000)])
    start = time.process_time()
    split = split_parts(films)
    assert time.process_time() - start < 10.0  # measured: about 2 s
    assert split.counts["tune"]["fractured"] == pytest.approx(0.1 * films.positives, abs=2)
