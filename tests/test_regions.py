"""The region tree, its fallback, and DICOM's words for regions, views and sides."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from fracture import regions
from fracture.errors import RegionError
from fracture.regions import DEFAULT_TREE, REGIONS, Region, RegionTree

FRACATLAS = ("fracatlas_hand", "fracatlas_leg", "fracatlas_hip", "fracatlas_shoulder")


def test_sixteen_regions_say_where_they_come_from() -> None:
    assert len(REGIONS) == 16
    by_source: dict[str, set[str]] = {}
    for name in REGIONS:
        by_source.setdefault(regions.get(name).source, set()).add(name)
    fda = next(names for source, names in by_source.items() if "K193417" in source)
    paper = next(names for source, names in by_source.items() if "Jones" in source)
    guess = next(names for source, names in by_source.items() if "guess" in source)
    assert (len(fda), paper, guess) == (12, {"foot"}, {"finger", "hand", "toe"})
    assert len(by_source) == 3


def test_every_region_climbs_to_any() -> None:
    for name in DEFAULT_TREE.names:
        climbed = regions.ancestors(name)
        assert climbed[-1:] == (() if name == "any" else ("any",))
    assert regions.ancestors("wrist") == ("upper_extremity", "any")
    assert regions.ancestors("clavicle") == ("shoulder_girdle", "any")
    assert regions.ancestors("fracatlas_hip") == ("pelvis_hip", "any")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("wrist", "wrist"),
        (" Wrist ", "wrist"),
        ("Tibia/Fibula", "tibia_fibula"),
        ("tibia fibula", "tibia_fibula"),
        ("Tib-Fib", "tibia_fibula"),
        ("LOWER LEG", "tibia_fibula"),
        ("Upper Extremity", "upper_extremity"),
        ("fracatlas-hand", "fracatlas_hand"),
        ("thumb", "finger"),
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    assert regions.normalize(spelling) == name


def test_unknown_region_names_the_closest() -> None:
    with pytest.raises(RegionError) as caught:
        regions.get("wirst")
    assert "'wrist'" in str(caught.value)
    assert "tibia_fibula" in str(caught.value)
    with pytest.raises(RegionError):
        regions.normalize(3)  # type: ignore[arg-type]
    with pytest.raises(RegionError):
        regions.normalize("")


@pytest.mark.parametrize(
    ("name", "available", "node"),
    [
        ("wrist", ("wrist", "upper_extremity", "any"), "wrist"),
        ("wrist", ("upper_extremity", "any"), "upper_extremity"),
        ("wrist", ("any",), "any"),
        ("wrist", FRACATLAS, "fracatlas_hand"),
        ("wrist", ("any", "fracatlas_hand"), "fracatlas_hand"),
        ("wrist", ("fracatlas_hand", "wrist"), "wrist"),
        ("knee", FRACATLAS, "fracatlas_leg"),
        ("femur", FRACATLAS, "fracatlas_hip"),
        ("femur", ("fracatlas_leg", "any"), "fracatlas_leg"),
        ("humerus", FRACATLAS, "fracatlas_shoulder"),
        ("humerus", ("fracatlas_hand",), "fracatlas_hand"),
        ("pelvis_hip", FRACATLAS, "fracatlas_hip"),
        ("fracatlas_hand", ("wrist", "hand", "upper_extremity"), "upper_extremity"),
        ("any", ("wrist", "any"), "any"),
    ],
)
def test_lookup_takes_the_nearest(name: str, available: tuple[str, ...], node: str) -> None:
    found = regions.lookup(name, available)
    assert found.node == node
    assert name in found.reason or node in found.reason


def test_each_region_finds_a_fracatlas_node() -> None:
    for name in REGIONS:
        assert regions.lookup(name, FRACATLAS).node in FRACATLAS


def test_lookup_without_an_answer() -> None:
    with pytest.raises(RegionError, match="ankle"):
        regions.lookup("wrist", ("ankle",))
    with pytest.raises(RegionError):
        regions.lookup("any", FRACATLAS)
    with pytest.raises(RegionError):
        regions.lookup("wrist", ())


@given(st.sampled_from(DEFAULT_TREE.names), st.sets(st.sampled_from(DEFAULT_TREE.names)))
def test_lookup_with_the_root_always_answers_from_what_is_available(name: str, some: set[str]) -> None:
    node = regions.lookup(name, some | {"any"}).node
    assert node in some | {"any"}
    if name in some:
        assert node == name


def test_with_region_leaves_the_tree_as_it_is() -> None:
    tree = DEFAULT_TREE.with_region(
        "scaphoid", "Wrist", body_parts=["Scaphoid Bone"], codes=["24109009"], aliases=["navicular"]
    )
    assert "scaphoid" not in DEFAULT_TREE
    assert tree.ancestors("scaphoid") == ("wrist", "upper_extremity", "any")
    assert tree.normalize("Navicular") == "scaphoid"
    assert tree.lookup("scaphoid", FRACATLAS).node == "fracatlas_hand"
    assert tree.from_dicom("SCAPHOID BONE") == ("scaphoid",)
    assert tree.from_dicom("WRIST", ["24109009"]) == ("scaphoid",)  # the wrist lies above it


def test_tree_goes_through_json() -> None:
    tree = DEFAULT_TREE.with_region("ward_7", "any", covers=["hand", "foot"], source="a test")
    again = RegionTree.from_dict(json.loads(json.dumps(tree.to_dict())))
    assert again == tree
    assert again.lookup("hand", ["ward_7"]).node == "ward_7"


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"regions": []},
        {"regions": [{"name": "any", "parent": None}, {"name": "a", "parent": "b"}]},
        {"regions": [{"name": "any", "parent": None}, {"name": "a", "parent": "a"}]},
        {"regions": [{"name": "any", "parent": None}, {"name": "A", "parent": "any"}]},
        {"regions": [{"name": "any", "parent": None}, {"name": "a", "parent": "any", "codes": "1"}]},
        {"regions": [{"name": "any", "parent": None}, {"name": "a", "parent": "any", "color": "red"}]},
        {"regions": [{"name": "any", "parent": None}, {"name": "any", "parent": None}]},
        {"regions": [{"name": "any", "parent": None}, "a"]},
        {"regions": [{"name": "any", "parent": None}], "version": 1},
    ],
)
def test_malformed_trees_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises(RegionError):
        RegionTree.from_dict(broken)


def test_cycles_and_double_aliases_are_refused() -> None:
    root = Region("any", None, "root")
    with pytest.raises(RegionError, match="own ancestor"):
        RegionTree((root, Region("a", "b"), Region("b", "a")))
    with pytest.raises(RegionError, match="already means"):
        RegionTree((root, Region("a", "any", aliases=("x",)), Region("b", "any", aliases=("x",))))


@pytest.mark.parametrize(
    ("body_part", "codes", "expected"),
    [
        ("HAND", (), ("hand",)),
        ("hand ", (), ("hand",)),
        ("L HAND/WRIST", (), ("hand", "wrist")),
        ("LOWER LEG", (), ("tibia_fibula",)),
        ("RIGHT FOOT", (), ("foot",)),
        ("TIBIA_FIBULA", (), ("tibia_fibula",)),
        ("EXTREMITY", (), ()),
        ("CHEST", (), ()),
        ("", (), ()),
        (None, ("85562004",), ("hand",)),
        (None, ("T-D8700",), ("hand",)),
        (None, ("t-15710", "816092008"), ("hip", "pelvis")),
        ("HAND", ("53120007",), ("hand",)),  # the upper limb lies above the hand
        ("UPPER LIMB", (), ("upper_extremity",)),
    ],
)
def test_regions_from_dicom(body_part: str | None, codes: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert regions.from_dicom(body_part, codes) == expected


def test_codes_agree_with_pydicoms_dictionary() -> None:
    from pydicom.sr._snomed_dict import mapping

    to_srt = mapping["SCT"]
    pairs = 0
    for region in DEFAULT_TREE.regions:
        for code in region.codes:
            if code in to_srt:
                assert to_srt[code] in region.codes, (region.name, code)
                pairs += 1
    assert pairs >= 35


@pytest.mark.parametrize(
    ("raw", "view"),
    [
        ("frontal", "frontal"),
        ("frontal dorso-plantar", "frontal"),
        ("frontal inlet-outlet", "frontal"),
        ("axillary", "lateral"),
        ("frog-leg lateral", "lateral"),
        ("lateral", "lateral"),
        ("Y", "lateral"),
        ("oblique", "oblique"),
        ("oblique-mortise", "oblique"),
        ("sunrise", None),
    ],
)
def test_raw_views_collapse_as_in_the_paper(raw: str, view: str | None) -> None:
    assert regions.collapse_view(raw) == view


@pytest.mark.parametrize(
    ("position", "codes", "view"),
    [
        ("AP", (), "frontal"),
        ("PA", (), "frontal"),
        ("LL", (), "lateral"),
        ("LATERAL", (), "lateral"),
        ("FROG LEG", (), "lateral"),
        ("AP OBLIQUE", (), "oblique"),
        ("RLD", (), None),
        ("", (), None),
        (None, ("399348003",), "frontal"),
        (None, ("R-10236",), "lateral"),
        ("AP", ("399182000",), "oblique"),
        ("AP", ("nonsense",), "frontal"),
    ],
)
def test_views_from_dicom(position: str | None, codes: tuple[str, ...], view: str | None) -> None:
    assert regions.view_from_dicom(position, codes) == view


@pytest.mark.parametrize(
    ("letters", "codes", "side"),
    [
        (("R",), (), "right"),
        (("", "L"), (), "left"),
        (("U", None, "B"), (), "bilateral"),
        ((), ("7771000",), "left"),
        ((), ("24028007", "7771000"), "bilateral"),
        (("R",), ("7771000",), "right"),
        ((), (), None),
    ],
)
def test_sides_from_dicom(letters: tuple[str | None, ...], codes: tuple[str, ...], side: str | None) -> None:
    assert regions.laterality_from_dicom(letters, codes) == side
