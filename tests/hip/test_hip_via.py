"""VGG Image Annotator files: round trips, and files as VIA writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fracture.data.records import AnnotatedSet
from fracture.errors import DataError
from fracture.hip.records import hips_of, read_hips, read_via, write_via


def essentials(films: AnnotatedSet) -> list[Any]:
    return [(film.source, film.width, film.height, film.group, hips_of(film)) for film in films]


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_round_trip(toy_set: Path, tmp_path: Path, suffix: str) -> None:
    films = read_hips(toy_set)
    path = tmp_path / f"project{suffix}"
    write_via(films, path)
    again = read_via(path, images=toy_set)
    assert essentials(again) == essentials(films)
    assert again.fingerprint() == films.fingerprint()


def via(regions: list[dict[str, Any]]) -> dict[str, Any]:
    record = {
        "filename": "a.png",
        "size": 1234,
        "regions": regions,
        "file_attributes": {"width": "500", "height": "400"},
    }
    return {"a.png1234": record}


def rectangle(**attributes: Any) -> dict[str, Any]:
    shape = {"name": "rect", "x": 12, "y": 30, "width": 100, "height": 150}
    return {"shape_attributes": shape, "region_attributes": attributes}


def test_a_project_and_an_export_as_via_writes_them(tmp_path: Path) -> None:
    export = via([rectangle(side="left", hip_class="arthroplasty")])
    (tmp_path / "export.json").write_text(json.dumps(export))
    (tmp_path / "project.json").write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": export}))
    for name in ("export.json", "project.json"):
        hip = hips_of(read_via(tmp_path / name)[0])[0]
        assert (hip.side, hip.box, hip.allowed) == ("left", (12, 30, 112, 180), ("arthroplasty",))


def test_checkboxes_and_texts_of_findings(tmp_path: Path) -> None:
    boxes = via([rectangle(side="Right", findings={"neck": True, "normal": False})])
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert hips_of(read_via(tmp_path / "boxes.json")[0])[0].allowed == ("displaced_neck", "nondisplaced_neck")


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (rectangle(side="", hip_class="normal"), "side"),
        (rectangle(side="left", hip_class="broken"), "unknown class"),
        (
            {"shape_attributes": {"name": "polygon"}, "region_attributes": {"side": "left"}},
            "not a rectangle, .*polygon",
        ),
        ({"shape_attributes": {"name": "rect", "x": 1}, "region_attributes": {"side": "left"}}, "lack its numbers"),
    ],
)
def test_faults_are_told_with_their_film(tmp_path: Path, region: dict[str, Any], message: str) -> None:
    (tmp_path / "bad.json").write_text(json.dumps(via([region])))
    with pytest.raises(DataError, match=message) as caught:
        read_via(tmp_path / "bad.json")
    assert "a.png" in str(caught.value)


def test_other_files_are_refused(tmp_path: Path, toy_set: Path) -> None:
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="not a VIA"):
        read_via(tmp_path / "list.json")
    (tmp_path / "table.csv").write_text("name,value\na,1\n")
    with pytest.raises(DataError, match="not a VIA table"):
        read_via(tmp_path / "table.csv")
    with pytest.raises(DataError, match="JSON or CSV"):
        write_via(read_hips(toy_set), tmp_path / "project.xml")


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_simulated_hips_come_back_with_class_and_words(tmp_path: Path, suffix: str) -> None:
    """Displacement is in the class alone, hardware in words that the public set does not have."""
    implant = rectangle(side="left", hip_class="internal_fixation", findings="internal-fixation")
    broken = rectangle(side="right", hip_class="displaced_neck", findings="neck")
    export = via([implant, broken])
    (tmp_path / "in.json").write_text(json.dumps(export))
    films = read_via(tmp_path / "in.json")
    write_via(films, tmp_path / f"out{suffix}")
    again = read_via(tmp_path / f"out{suffix}")
    assert essentials(again) == essentials(films)
    found = hips_of(again[0])
    assert [hip.hip_class for hip in found] == ["internal_fixation", "displaced_neck"]
    assert [hip.findings for hip in found] == [("internal-fixation",), ("neck",)]
