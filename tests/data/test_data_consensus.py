"""Several annotators, cohort tables, and test sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fracture.data.coco import read_coco
from fracture.data.cohort import cohort_table, sample_test_set
from fracture.data.consensus import consensus, consensus_set
from fracture.data.records import AnnotatedSet, Box, Film
from fracture.data.splits import split_parts
from fracture.errors import DataError


def reading(*boxes: Box, fractured: int | None = None, source: str = "a.png") -> Film:
    label = int(bool(boxes)) if fractured is None else fractured
    return Film(source, 100, 80, label, regions=("hand",), boxes=boxes)


def test_majority_of_three() -> None:
    agreed = consensus([reading((10, 10, 40, 40)), reading((20, 20, 50, 50)), reading()])
    assert (agreed.fractured, agreed.votes, agreed.unanimous) == (1, 2, False)
    assert agreed.sites == ((20, 20, 40, 40),)  # where two of three overlap
    assert agreed.mask.sum() == 400
    alone = consensus([reading((10, 10, 40, 40)), reading(), reading()])
    assert (alone.fractured, alone.sites) == (0, ())


def test_pixel_majority_counts_all_annotators() -> None:
    # All three see a fracture, two of them in one place and two in another.
    agreed = consensus(
        [
            reading((10, 10, 30, 30)),
            reading((10, 10, 30, 30), (60, 40, 80, 60)),
            reading((60, 40, 80, 60)),
        ]
    )
    assert agreed.sites == ((10, 10, 30, 30), (60, 40, 80, 60))
    assert agreed.unanimous
    # Each somewhere else: a fracture by majority, but no site.
    apart = consensus([reading((0, 0, 10, 10)), reading((20, 0, 30, 10)), reading((40, 0, 50, 10))])
    assert (apart.fractured, apart.sites) == (1, ())


def test_connected_regions_join_and_part() -> None:
    joined = consensus([reading((10, 10, 20, 20), (20, 20, 30, 30))] * 3)
    assert joined.sites == ((10, 10, 30, 30),)
    parted = consensus([reading((10, 10, 20, 20), (21, 21, 30, 30))] * 3)
    assert len(parted.sites) == 2


def test_outlines_are_used_where_there_are_some() -> None:
    ring = ((10.0, 10.0), (40.0, 10.0), (10.0, 40.0))
    film = replace(reading((10, 10, 40, 40)), polygons=((ring,),))
    agreed = consensus([film] * 3)
    assert agreed.mask.sum() == pytest.approx(450, rel=0.05)


def test_ties() -> None:
    pair = [reading((10, 10, 20, 20)), reading()]
    assert consensus(pair).fractured == 1
    assert consensus(pair, tie="normal").fractured == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 50)), min_size=3, max_size=5))
def test_one_place_voted_by_all_is_found(corners: Sequence[tuple[int, int]]) -> None:
    readings = [reading((x, y, 90, 75)) for x, y in corners]
    half = len(readings) // 2  # the vote of the (half + 1)-th largest corner decides along each axis at most
    agreed = consensus(readings)
    assert agreed.unanimous
    votes = np.zeros((80, 100), int)
    for x, y in corners:
        votes[y:75, x:90] += 1
    assert np.array_equal(agreed.mask, votes > len(readings) / 2)
    assert agreed.sites[0][2:] == (90, 75)
    assert agreed.sites[0][0] >= sorted(x for x, _ in corners)[half]


def test_set_of_three_annotators(tmp_path: Path) -> None:
    def opinion(*films: Film) -> AnnotatedSet:
        return AnnotatedSet(films, "x", tmp_path)

    a, b = "a.png", "b.png"
    sets = {
        "r1": opinion(reading((10, 10, 40, 40), source=a), reading(source=b)),
        "r2": opinion(reading((20, 20, 50, 50), source=a), reading(source=b)),
        "r3": opinion(reading(source=a)),
    }
    agreed = consensus_set(sets)
    assert [(f.source, f.fractured, f.boxes, f.label_conflict) for f in agreed] == [
        (a, 1, ((20, 20, 40, 40),), True),
        (b, 0, (), False),
    ]
    assert agreed[1].extra["annotators"] == ("r1", "r2")
    assert [f.source for f in agreed.select(lambda f: bool(f.extra["unanimous"]))] == [b]
    with pytest.raises(DataError, match="one folder"):
        consensus_set({"r1": sets["r1"], "r2": replace(sets["r2"], root=tmp_path / "other")})


def test_readings_must_be_of_one_film() -> None:
    with pytest.raises(DataError, match="needs readings"):
        consensus([])
    with pytest.raises(DataError, match="agree in source and size"):
        consensus([reading(), reading(source="b.png")])
    with pytest.raises(DataError, match="agree in source and size"):
        consensus([replace(reading(), width=0)])


def test_cohort_of_fracatlas(shared_data: Path) -> None:
    films = read_coco(shared_data / "fracatlas")
    split = split_parts(films)
    table = cohort_table(films, split)
    whole, *parts = table.cohorts
    assert (whole.films, whole.fractured, whole.boxes, whole.groups, whole.hardware) == (3046, 569, 743, 226, 79)
    assert whole.views == {"frontal": 1905, "lateral": 1121, "oblique": 302}
    assert whole.per_region == (688.5, 250, 1724)
    assert whole.boxes_per_fractured == (pytest.approx(743 / 569), 1, 5)
    assert [c.name for c in parts] == ["train", "tune", "validation"]
    assert sum(c.films for c in parts) == 3046
    text = table.to_markdown()
    assert "| with fracture | 569 (19 %) |" in text
    assert "| age, median (range) | not given |" in text
    assert table.to_dict()["fracatlas"]["regions"]["fracatlas_hip"] == whole.regions["fracatlas_hip"]


def test_cohort_counts_patients_not_films() -> None:
    def film(i: int, group: str, **extra: object) -> Film:
        return Film(f"{i}", 1, 1, 0, regions=("hand",), group=group, extra=extra)

    films = AnnotatedSet(
        (
            film(0, "p", sex="M", age=50),
            film(1, "p", sex="M", age=51),
            film(2, "q", sex="F", age=30.0),
            film(3, "r"),
        ),
        "x",
        Path("nowhere"),
    )
    (cohort,) = cohort_table(films).cohorts
    assert (cohort.groups, cohort.male, cohort.sex_missing, cohort.age_missing) == (3, 1, 1, 1)
    assert cohort.age == (40.0, 30.0, 50.0)
    assert cohort.groups_per_region == (3.0, 3, 3)
    assert "| male | 1 (50 %), 1 missing |" in cohort_table(films).to_markdown()


def test_test_set_is_enriched_and_random_within_labels(shared_data: Path) -> None:
    films = read_coco(shared_data / "fracatlas")
    sample = sample_test_set(films, per_region=120, fractures_per_region=40, seed=1)
    for region, row in sample.regions.items():
        assert row["films"] >= 120, region
        assert row["fractured"] >= 40, region
    # Without the minimum a region has its natural share: 12 % of the legs are fractured.
    natural = sample_test_set(films, per_region=100, fractures_per_region=0)
    assert natural.regions["fracatlas_leg"]["fractured"] == pytest.approx(12, abs=4)
    assert sample.shortfalls == ()
    assert sample.films.name == "fracatlas/test"
    again = sample_test_set(films, per_region=120, fractures_per_region=40, seed=1)
    other = sample_test_set(films, per_region=120, fractures_per_region=40, seed=2)
    assert again.films.fingerprint() == sample.films.fingerprint()
    assert other.films.fingerprint() != sample.films.fingerprint()


def test_what_cannot_be_reached_is_told(small_set: AnnotatedSet) -> None:
    sample = sample_test_set(small_set, per_region=10, fractures_per_region=5)
    assert len(sample.films) == 12
    assert len(sample.shortfalls) == 4
    assert "wrist: 3 fractures of 5 wanted, 3 available" in sample.shortfalls
    with pytest.raises(DataError, match="targets"):
        sample_test_set(small_set, per_region=3, fractures_per_region=4)
