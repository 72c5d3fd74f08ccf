"""Out to a labeling tool and back: boxes where they were, only what people said counts, nothing is guessed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image
from typer.testing import CliRunner

from fracture.cli import app
from fracture.data.readers import read_annotations
from fracture.errors import ConfigurationError, DataError
from fracture.label import cvat, export, label_studio, read_corrections
from fracture.label.films import Listed, Listing
from fracture.label.picks import picked
from tests.runs.fakes import dicom_film

SIZE = (60, 40)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Four films, one a DICOM file, and one that failed."""
    lines = []
    for number, score in enumerate((0.9, 0.5, 0.2, 0.05)):
        path = tmp_path / "films" / f"p{number}" / "IM1.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full(SIZE[::-1], 40 * number + 20, np.uint8)).save(path)
        box = {"x0": 10.25, "y0": 5.5, "x1": 30.125, "y1": 21.0, "score": score, "operating_point": None}
        lines.append(line(str(path), score, [box] if score >= 0.2 else [], candidates=[box]))  # as with --candidates
    lines.append({**line(str(tmp_path / "gone.png"), 0.0, []), "error": {"type": "X", "message": "x"}})
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return tmp_path / "results.jsonl"


def line(source: str, score: float, boxes: list[Any], **more: Any) -> dict[str, Any]:
    known = {"source": source, "width": SIZE[0], "height": SIZE[1], "probability": score, "threshold": 0.2}
    known |= {"fractured": score >= 0.2, "boxes": boxes, "model": "m", "model_version": "1", "error": None}
    return known | {"input_distance": 1.0 + (score - 0.3) ** 2} | more


def submitted(tasks: Path) -> list[dict[str, Any]]:
    """What Label Studio exports where people agreed with every proposal."""
    given = json.loads(tasks.read_text())
    for task in given:
        (proposal,) = task.pop("predictions")
        task["annotations"] = [{"was_cancelled": False, "created_at": "2026-01-01", "result": proposal["result"]}]
    return list(given)


@pytest.mark.parametrize("tool", ["label-studio", "cvat"])
def test_there_and_back(results: Path, tmp_path: Path, tool: str) -> None:
    listing = export(results, tmp_path / "out", tool=tool)
    assert [film.picture for film in listing.films] == [f"00000{n}.png" for n in (1, 2, 3, 4)]
    with Image.open(tmp_path / "out" / "pictures" / "000002.png") as picture:
        assert picture.size == SIZE
    if tool == "label-studio":
        exported = tmp_path / "back.json"
        exported.write_text(json.dumps(submitted(tmp_path / "out" / "tasks.json")))
    else:
        tree = ET.parse(tmp_path / "out" / "annotations.xml")
        for image in tree.iter("image"):
            ET.SubElement(image, "tag", {"label": "checked"})
        exported = tmp_path / "back.xml"
        tree.write(exported)
    found = read_corrections(exported, tmp_path / "out" / "films.json")
    assert (len(found.annotated), found.annotated.positives, found.changed) == (4, 3, 0)
    assert found.annotated.root == tmp_path / "films"
    assert [film.source for film in found.annotated] == [f"p{n}/IM1.png" for n in range(4)]
    assert found.annotated[0].boxes[0] == pytest.approx((10.25, 5.5, 30.125, 21.0), abs=0.01)
    assert not found.annotated[3].boxes


def test_only_what_people_said_counts(results: Path, tmp_path: Path) -> None:
    export(results, tmp_path / "out", tool="label-studio")
    tasks = submitted(tmp_path / "out" / "tasks.json")
    tasks[0]["annotations"] = []
    tasks[1]["annotations"][0]["was_cancelled"] = True
    tasks[2]["annotations"][0]["result"][-1]["value"]["choices"] = ["normal"]  # and the box still there
    tasks[3]["annotations"][0]["result"][-1]["value"]["choices"] = ["fracture"]
    later = {"created_at": "2026-02-01", "result": []}
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    found = read_corrections(tmp_path / "a.json", tmp_path / "out" / "films.json")
    assert found.counts == {"nobody looked at it": 2, "called normal, but with a box": 1}
    (film,) = found.annotated
    assert (film.fractured, film.localized, film.boxes) == (1, False, ())
    tasks[3]["annotations"].append(later)
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    found = read_corrections(tmp_path / "a.json", tmp_path / "out" / "films.json")
    assert found.annotated[0].fractured == 0
    assert "the last one is taken" in found.remarks["000004.png"]


def test_cvat_counts_checked_pictures_alone(results: Path, tmp_path: Path) -> None:
    export(results, tmp_path / "out", tool="cvat")
    tree = ET.parse(tmp_path / "out" / "annotations.xml")
    names = [label.findtext("name") for label in tree.iterfind("meta/task/labels/label")]  # Datumaro reads none without
    assert names == [label["name"] for label in cvat.LABELS]
    tree.write(tmp_path / "back.xml")
    with pytest.raises(DataError, match="nobody judged"):
        read_corrections(tmp_path / "back.xml", tmp_path / "out" / "films.json")
    images = list(tree.iter("image"))
    ET.SubElement(images[1], "tag", {"label": "unsure"})
    ET.SubElement(images[3], "tag", {"label": "fracture somewhere"})
    tree.write(tmp_path / "back.xml")
    found = read_corrections(tmp_path / "back.xml", tmp_path / "out" / "films.json")
    assert found.counts == {"nobody looked at it": 2, "unsure": 1}
    assert (found.annotated[0].fractured, found.annotated[0].localized) == (1, False)


@given(x=st.floats(0, 50), y=st.floats(0, 50), w=st.floats(1, 40), h=st.floats(1, 40), angle=st.floats(-180, 180))
def test_turned_boxes_are_the_boxes_around_them(x: float, y: float, w: float, h: float, angle: float) -> None:
    """Label Studio turns about the upper left corner, CVAT about the middle; both clockwise as one sees it."""
    turn = math.radians(angle)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]])
    value = {"x": x, "y": y / 2, "width": w, "height": h / 2, "rotation": angle}  # percent of 100 x 200 pixels
    (answer,) = label_studio.answers(
        [
            {
                "data": {"picture": "p"},
                "annotations": [
                    {
                        "result": [
                            {"type": "rectanglelabels", "original_width": 100, "original_height": 200, "value": value}
                        ]
                    }
                ],
            }
        ]
    )
    expected = corners @ rotation.T + (x, y)
    assert answer.boxes[0] == pytest.approx((*expected.min(axis=0), *expected.max(axis=0)), abs=1e-6)
    box = f'<box label="fracture" xtl="{x}" ytl="{y}" xbr="{x + w}" ybr="{y + h}" rotation="{angle}"/>'
    xml = f'<annotations><version>1.1</version><image name="p" width="9" height="9">{box}</image></annotations>'
    (answer,) = cvat.answers(xml.encode())
    expected = (corners - (w / 2, h / 2)) @ rotation.T + (x + w / 2, y + h / 2)
    assert answer.boxes[0] == pytest.approx((*expected.min(axis=0), *expected.max(axis=0)), abs=1e-6)


def test_picks() -> None:
    lines = [line(str(n), score, []) for n, score in enumerate((0.9, 0.19, 0.3, 0.01))]
    assert picked(lines, "uncertain", 2) == [1, 2]
    assert picked(lines, "unlike", 2) == [0, 3]
    assert picked(lines, "mixed", 3) == [1, 0, 2]
    assert sorted(picked(lines, "random", None, seed=1)) == [0, 1, 2, 3]
    with pytest.raises(ConfigurationError, match="input check"):
        picked([{**lines[0], "input_distance": None}], "unlike", 1)


@pytest.mark.parametrize(
    "content",
    [
        b"[]x",
        b'{"a": 1}',
        b'[{"data": {}}]',
        b'[{"data": {"picture": "other.png"}}]',
        b'[{"data": {"picture": "000001.png"}, "annotations": [{"result": [{"type": "choices", "value": {}}]}]}]',
        b"<annotations><version>1.0</version></annotations>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><annotations/>',
        b"<annotations><version>1.1</version><image name='000001.png' width='60'><box/></image></annotations>",
        b"<annotations><version>1.1</version><image name='000001.png' width='61' height='40'/></annotations>",
        b"<annotations",
    ],
)
def test_other_files_are_refused(results: Path, tmp_path: Path, content: bytes) -> None:
    export(results, tmp_path / "out", tool="cvat")
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError):
        read_corrections(tmp_path / "x", tmp_path / "out" / "films.json")


def test_films_that_changed_are_left_out_and_told(results: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / "films" / f"p{n}" / "IM1.png" for n in (0, 1))
    first.write_bytes(dicom_film())  # 16 x 16
    second.unlink()
    told: list[str] = []
    listing = export(results, tmp_path / "out", tool="cvat", say=told.append)
    assert len(listing.films) == 2
    assert len(told) == 3
    assert any("not the film that was predicted" in one for one in told)
    with pytest.raises(ConfigurationError, match="holds something"):
        export(results, tmp_path / "out", tool="cvat")
    with pytest.raises(ConfigurationError, match="labeling tool"):
        export(results, tmp_path / "new", tool="paint")


def test_the_commands_and_what_reads_it(results: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    out = tmp_path / "out"
    done = runner.invoke(
        app, ["label", "export", str(results), "--out", str(out), "--pick", "uncertain", "--count", "3"]
    )
    assert done.exit_code == 0, done.output
    (tmp_path / "back.json").write_text(json.dumps(submitted(out / "tasks.json")))
    arguments = ["label", "import", str(tmp_path / "back.json"), "--films", str(out / "films.json")]
    done = runner.invoke(app, [*arguments, "--out", str(tmp_path / "set.json")])
    assert done.exit_code == 0, done.output
    assert "3 films" in done.output
    annotated = read_annotations(tmp_path / "set.json", images=str(tmp_path / "films"))
    assert len(annotated) == 3
    assert all(annotated.image_path(film).is_file() for film in annotated)


def test_the_listing_is_checked(tmp_path: Path) -> None:
    film = Listed("000001.png", "a", 3, 4, boxes=((0.0, 0.0, 1.0, 1.0, 0.5),))
    path = tmp_path / "films.json"
    path.write_text(json.dumps(Listing((film,), "m").to_dict()))
    assert Listing.read(path).films == (film,)
    for change in ({"width": 0}, {"width": "3"}, {"other": 1}, {"boxes": [[1, 2]]}):
        path.write_text(json.dumps({"format": "fracture-label/1", "films": [{**film.to_dict(), **change}]}))
        with pytest.raises(DataError):
            Listing.read(path)
