"""Classes, mapping of findings, splits, cross-table rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fracture.data.merged import merge_sets, part_of_split
from fracture.errors import DataError
from fracture.hip.classes import CLASSES, FINDINGS, OPERATIONS, REGIONS, allowed_classes, fracture_probability
from fracture.hip.records import (
    HipLabel,
    as_film,
    balance,
    exclude_cross_table,
    hips_of,
    is_cross_table,
    read_hips,
    split_hips,
)
from tests.hip.conftest import write_set

BOX = (0.0, 0.0, 10.0, 20.0)


def test_the_binary_reading_is_the_sum_of_the_fracture_classes() -> None:
    p = dict(zip(CLASSES, (0.1, 0.2, 0.3, 0.15, 0.05, 0.2), strict=True))
    assert fracture_probability(p) == pytest.approx(0.65)


def test_every_class_has_an_operation_and_one_region() -> None:
    assert set(OPERATIONS) == set(CLASSES)
    assert sorted(name for names in REGIONS.values() for name in names) == sorted(CLASSES)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        (["normal"], ("normal",)),
        (["neck"], ("displaced_neck", "nondisplaced_neck")),
        (["intertrochanteric", "lesser-trochanter"], ("intertrochanteric",)),
        (["greater_trochanter"], ("intertrochanteric",)),
        (["Subtrochanteric"], ("intertrochanteric",)),
        (["neck", "intertrochanteric"], ("displaced_neck", "nondisplaced_neck", "intertrochanteric")),
        (["dislocation"], None),
        (["dislocation", "neck"], None),
        ([], None),
    ],
)
def test_findings(findings: list[str], expected: tuple[str, ...] | None) -> None:
    assert allowed_classes(findings=findings) == expected


def test_a_given_class_says_it_all() -> None:
    assert allowed_classes(hip_class="arthroplasty", findings=["normal"]) == ("arthroplasty",)
    with pytest.raises(DataError, match="unknown class"):
        allowed_classes(hip_class="broken")
    with pytest.raises(DataError, match="unknown finding"):
        allowed_classes(findings=["arthritis"])


def test_what_a_label_knows() -> None:
    assert HipLabel("left", BOX, ("displaced_neck", "nondisplaced_neck")).fractured is True
    assert HipLabel("left", BOX, ("normal", "nondisplaced_neck")).fractured is None
    assert HipLabel("left", BOX, ("arthroplasty",)).fractured is False
    assert HipLabel("left", BOX, None).fractured is None
    assert HipLabel("left", BOX, ("displaced_neck", "nondisplaced_neck")).hip_class is None
    with pytest.raises(DataError, match="side"):
        HipLabel("both", BOX)
    with pytest.raises(DataError, match="area"):
        HipLabel("left", (5, 5, 5, 9))


def test_a_film_has_at_most_one_hip_per_side() -> None:
    with pytest.raises(DataError, match="two hips"):
        as_film("a.png", (100, 100), [HipLabel("left", BOX), HipLabel("left", BOX)])


def test_reading_the_toy_set(toy_set: Path) -> None:
    films = read_hips(toy_set)
    first = hips_of(films[0])
    assert {hip.side for hip in first} == {"left", "right"}
    right = next(hip for hip in first if hip.side == "right")
    assert right.box == (10, 30, 60, 110)
    assert right.allowed == ("normal",)
    assert films[0].fractured == 1  # its other hip is a neck fracture
    assert films[2].fractured == 1
    assert "unlabeled" in films[2].regions


def test_hip_class_of_a_simulated_set(tmp_path: Path) -> None:
    films = read_hips(write_set(tmp_path / "sim", 6, classes=CLASSES))
    assert [hip.hip_class for film in films for hip in hips_of(film)][:3] == [
        "normal",
        "displaced_neck",
        "displaced_neck",
    ]


def test_split_keeps_groups_together_and_is_balanced(tmp_path: Path) -> None:
    films = read_hips(write_set(tmp_path / "many", 60))
    paired = replace(films, films=tuple(replace(f, group=str(i // 2)) for i, f in enumerate(films)))
    split = split_hips(paired, seed=3)
    part = split.part_of()
    for first, second in zip(paired.films[::2], paired.films[1::2], strict=True):
        assert part[first.source] == part[second.source]
    sizes = {name: len(sources) for name, sources in split.parts.items()}
    assert sizes["train"] in range(34, 39)
    assert sizes["tune"] in range(12, 18)
    assert sum(sizes.values()) == 60
    tests = balance(paired, split)
    assert tests["multiclass"].p_value > 0.5
    assert tests["binary"].p_value > 0.5
    assert split_hips(paired, seed=3).checksum == split.checksum


def test_a_part_is_found_again_without_the_other_sets(toy_set: Path, tmp_path: Path) -> None:
    real = read_hips(toy_set)
    merged = merge_sets([real, read_hips(write_set(tmp_path / "other", 4))])
    split = split_hips(merged.select(lambda film: "toy" in film.source), seed=1)
    part = part_of_split(real, split, "tune")
    assert {f"toy/{film.source}" in "".join(split.parts["tune"]) for film in part} == {True}
    assert len(part) == len(split.parts["tune"])
    with pytest.raises(DataError, match="no such part"):
        part_of_split(real, split, "test")


@pytest.mark.parametrize(
    ("said", "crossed"),
    [
        ({"view_position": "AP"}, False),
        ({"view_position": "LL"}, True),
        ({"view_codes": ["399198007"]}, True),
        ({"view_codes": ["399348003"]}, False),
        ({"view_position": "LAT", "description": "HIP FROG LEG LATERAL"}, False),
        ({"description": "Hip cross table lateral"}, True),
        ({"description": "hip axial X-TABLE"}, True),
        ({}, False),
    ],
)
def test_cross_table_laterals(said: dict[str, object], crossed: bool) -> None:
    assert is_cross_table(**said) is crossed  # type: ignore[arg-type]


def test_cross_table_laterals_are_left_out(tmp_path: Path) -> None:
    kept, gone = exclude_cross_table(read_hips(write_set(tmp_path / "lateral", 2, view_position="LL")))
    assert len(kept) == 0
    assert len(gone) == 2


def test_the_real_set(shared_data: Path) -> None:
    films = read_hips(shared_data / "hip")
    hips = [hip for film in films for hip in hips_of(film)]
    assert (len(films), len(hips)) == (127, 252)
    assert sum(hip.allowed == ("normal",) for hip in hips) == 178
    assert sum(hip.allowed is None for hip in hips) == 19
    assert sum(bool(hip.fractured) for hip in hips) == 55
    assert all(set(f) <= set(FINDINGS) for f in (hip.findings for hip in hips))
    part = split_hips(films).part_of()
    names = {film.source.split("/")[-1][:3]: film.source for film in films}
    for first, second in (("027", "028"), ("022", "025")):  # one patient each
        assert part[names[first]] == part[names[second]]
    # On an AP film the patient's right hip stands on the left of the picture.
    for film in films:
        sides = {hip.side: hip.box for hip in hips_of(film)}
        if len(sides) == 2:
            assert sides["right"][0] < sides["left"][0]
