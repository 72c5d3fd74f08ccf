"""Ten odd sets through every door: training's reader, the evaluation's reference and the hips' reader agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fracture.cli.main import app
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.errors import DataError
from fracture.evaluation.files.predictions import read_predictions
from fracture.evaluation.files.references import Reference, read_reference
from fracture.hip.records import hips_of, read_hips, read_via

WIDTH, HEIGHT = 120, 100


def films(folder: Path, names: str = "ab") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(np.full((HEIGHT, WIDTH), 50 + i, np.uint8)).save(folder / f"{name}.png")


def coco(names: str = "ab", **more: Any) -> dict[str, Any]:
    """Two films; the first with one box of category 1."""
    images = [{"id": i, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for i, n in enumerate(names)]
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [10, 10, 30, 20], "area": 600, "iscrowd": 0}
    return {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "fracture"}], **more}


def write_coco(folder: Path, content: dict[str, Any]) -> Path:
    films(folder / "images")
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "annotations.json"


def negated_names(folder: Path) -> Path:
    content = coco(categories=[{"id": 1, "name": "Fractured"}, {"id": 2, "name": "Non_fractured"}])
    content["annotations"].append({"id": 2, "image_id": 1, "category_id": 2, "bbox": [0, 0, 120, 100]})
    return write_coco(folder, content)


def ids_as_text(folder: Path) -> Path:
    content = coco()
    content["images"][0]["id"] = "0"
    content["annotations"][0].update(category_id="1", image_id=0.0)
    return write_coco(folder, content)


def crowd(folder: Path) -> Path:
    content = coco()
    mask = {"counts": [1010, 20, 80, 20, 10870], "size": [HEIGHT, WIDTH]}
    content["annotations"] = [{"id": 1, "image_id": 0, "category_id": 1, "iscrowd": 1, "segmentation": mask}]
    return write_coco(folder, content)


def words_and_backslashes(folder: Path) -> Path:
    content = coco(annotations=[])
    for image, word, metal in zip(content["images"], ("Positive", "normal"), ("unknown", "y"), strict=True):
        image.update(file_name=f"images\\{image['file_name']}", fractured=word, hardware=metal, region="wrist; hand")
    return write_coco(folder, content)


def patients(folder: Path) -> Path:
    content = coco("abc")
    for image, patient in zip(content["images"], ("p1", "p1", "p2"), strict=True):
        image.update(patient=patient, study=f"s{image['id']}")
    films(folder / "images", "abc")
    return write_coco(folder, content)


def augmented_copies(folder: Path) -> Path:
    (folder / "train" / "labels").mkdir(parents=True)
    for name in ("hand_png.rf.0123456789abcdef", "hand_png.rf.fedcba9876543210", "foot_jpg.rf.0123456789abcdef"):
        films(folder / "train" / "images", "x")
        (folder / "train/images/x.png").rename(folder / f"train/images/{name}.png")
        (folder / f"train/labels/{name}.txt").write_text("0 0.5 0.5 0.25 0.2" if "hand" in name else "")
    (folder / "data.yaml").write_text("\ufefftrain: ../train/images\nnc: 2\nnames: ['fractured', 'no']\n")
    return folder


def outlines(folder: Path) -> Path:
    films(folder / "images")
    (folder / "labels").mkdir()
    (folder / "labels/a.txt").write_bytes(b"\xef\xbb\xbf1 0.25 0.2 0.5 0.2 0.5 0.4 0.25 0.4\r\n0 0.5 0.5 1 1\r\n")
    (folder / "labels/b.png.txt").write_text("1 0.5 0.5 0.2 0.2")
    (folder / "labels/classes.txt").write_bytes("\ufeffgesund\nKnöchel-Fraktur\n".encode())
    return folder


def german_table(folder: Path) -> Path:
    films(folder)
    rows = ["image;fractured;x0;y0;x1;y1;note", "a.png;ja;10,5;20;30;40;x\u2028y", 'a.png;1;50;60;70;80,5;"z;\n"']
    (folder / "films.csv").write_bytes(("\ufeff" + "\r\n".join([*rows, "b.png;nein;;;;;"])).encode())
    return folder / "films.csv"


def one_row_a_film(folder: Path) -> Path:
    films(folder)
    table = (
        "id\tfile_name\tlabel\tboxes\tPatient ID\n7\ta.png\tfractured\t1 2 11 22; 30 30 40 40\tp\n8\tb.png\tN\t\tp\n"
    )
    (folder / "films.tsv").write_text(table)
    return folder / "films.tsv"


def via_project(folder: Path) -> Path:
    films(folder)
    shape = {"name": "polygon", "all_points_x": [10, 40, 40], "all_points_y": [10, 10, 30]}
    regions = [
        {"shape_attributes": shape, "region_attributes": {"type": {"fracture": True}}},
        {"shape_attributes": {"name": "circle", "cx": 50, "cy": 50, "r": 5}, "region_attributes": {"type": "metal"}},
    ]
    records = [{"filename": "a.png", "size": 1, "regions": regions, "file_attributes": {"patient": "3"}}]
    records.append({"filename": "b.png", "size": 1, "regions": [], "file_attributes": {"patient": "3"}})
    content = {"_via_settings": {}, "_via_img_metadata": {r["filename"]: r for r in records}}
    (folder / "project.json").write_text(json.dumps(content))
    return folder / "project.json"


BOX, MORE = (10, 10, 40, 30), ((10.5, 20, 30, 40), (50, 60, 70, 80.5))
SETS: list[tuple[Callable[[Path], Path], list[int], tuple[Any, ...], list[str] | None]] = [
    (negated_names, [1, 0], (BOX,), None),
    (ids_as_text, [1, 0], (BOX,), None),
    (crowd, [1, 0], (), None),
    (words_and_backslashes, [1, 0], (), None),
    (patients, [1, 0, 0], (BOX,), ["p1", "p1", "p2"]),
    (augmented_copies, [0, 1, 1], (), ["foot", "hand", "hand"]),
    (outlines, [1, 0], ((30, 20, 60, 40),), None),
    (german_table, [1, 0], MORE, None),
    (one_row_a_film, [1, 0], ((1, 2, 11, 22), (30, 30, 40, 40)), ["p", "p"]),
    (via_project, [1, 0], (BOX,), ["3", "3"]),
]


@pytest.mark.parametrize(("make", "labels", "boxes", "groups"), SETS, ids=lambda value: getattr(value, "__name__", ""))
def test_both_doors_read_one_set(
    tmp_path: Path, make: Callable[[Path], Path], labels: list[int], boxes: tuple[Any, ...], groups: list[str] | None
) -> None:
    path = make(tmp_path / "set")
    trained, judged = read_annotations(path), read_reference(path)
    assert [film.fractured for film in trained] == labels
    if boxes:
        assert np.array(trained[0].boxes) == pytest.approx(np.array(boxes))
    assert [film.group for film in trained] == (groups or [film.source for film in trained])
    assert (judged.groups and list(judged.groups)) == groups
    agree(trained, judged)


def agree(trained: AnnotatedSet, judged: Reference) -> None:
    assert judged.names == tuple(film.source for film in trained)
    assert all(trained.image_path(film).is_file() for film in trained)
    assert judged.labels.tolist() == [bool(film.fractured) for film in trained]
    assert judged.sizes == ((WIDTH, HEIGHT),) * len(trained)
    assert judged.regions == tuple(film.regions for film in trained)
    assert judged.unboxed.tolist() == [bool(f.fractured and not f.localized and not f.crowd) for f in trained]
    expected = [(i, *box) for i, film in enumerate(trained) for box in (*film.boxes, *film.crowd)]
    if judged.boxes is None:
        assert not expected
    else:
        found = [(i, *map(float, b)) for i, b in zip(judged.boxes.film, judged.boxes.boxes, strict=True)]
        assert np.array(found) == pytest.approx(np.array(expected))
        assert int(judged.boxes.crowd.sum()) == sum(len(film.crowd) for film in trained)


def test_a_crowd_region_makes_a_film_fractured_and_not_localized(tmp_path: Path) -> None:
    film = read_annotations(crowd(tmp_path / "set"))[0]
    assert (film.fractured, film.localized, film.boxes, film.crowd) == (1, False, (), ((10.0, 10.0, 12.0, 30.0),))


def test_hardware_that_nobody_knows_stays_unknown(tmp_path: Path) -> None:
    trained = read_annotations(words_and_backslashes(tmp_path / "set"))
    assert [film.hardware for film in trained] == [None, True]
    assert trained.regions == ("hand", "wrist")
    table = tmp_path / "t.csv"
    table.write_text("image,fractured,hardware\na.png,1,Unknown\nb.png,0,n/a\nc.png,0,no\n")
    assert [film.hardware for film in read_annotations(table)] == [None, None, False]
    table.write_text("image,fractured,hardware\na.png,1,perhaps\n")
    with pytest.raises(DataError, match=r"neither yes, no nor unknown.*a.png 'perhaps'"):
        read_annotations(table)


def test_what_was_taken_and_left_is_told_and_can_be_chosen(tmp_path: Path) -> None:
    films(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 .5 .5 .2 .2")
    (tmp_path / "labels/b.txt").write_text("2 .5 .5 .2 .2\n")
    (tmp_path / "labels/B.txt").write_text("2 .5 .5 .2 .2\n")
    (tmp_path / "images/c.txt").write_text("2 .5 .5 .2 .2\n")
    films(tmp_path / "images", "c")
    (tmp_path / "data.yaml").write_text("names:\n  0: elbow positive\n  1: forearm fracture\n  2: humerus\n")
    read = read_annotations(tmp_path)
    assert [film.fractured for film in read] == [1, 0, 0]
    told = "\n".join(text for _, text in read.remarks)
    assert "count as fractures: elbow positive, forearm fracture; that do not: humerus" in told
    assert "1 films have no label file and were read as normal: images/c.png" in told
    assert "2 label files belong to no image and were not read: images/c.txt, labels/B.txt" in told
    chosen = read_annotations(tmp_path, fracture_classes="humerus, Elbow positive")
    assert [film.fractured for film in chosen] == [1, 1, 0]
    with pytest.raises(DataError, match="no such category; got knee"):
        read_annotations(tmp_path, fracture_classes=["knee"])
    verified = CliRunner().invoke(app, ["verify-data", str(tmp_path), "--no-files"])
    assert "belong to no image" in verified.output


def test_annotations_of_what_is_not_listed_are_errors(tmp_path: Path) -> None:
    content = coco()
    content["annotations"] += [
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5]},
        {"id": 3, "image_id": 1, "category_id": 9, "bbox": [0, 0, 5, 5]},
        {"id": 4, "image_id": 1, "category_id": 1, "bbox": [0, 0, float("nan"), 5]},
        {"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1e300, 5]},
        {"id": 6, "image_id": 1, "category_id": 1, "segmentation": {"counts": [5], "size": [9, 9]}},
    ]
    path = write_coco(tmp_path / "set", content)
    for door in (read_annotations, read_reference, read_hips):
        with pytest.raises(DataError) as caught:
            door(path)
        for text in ("image_id 7", "category_id 9", "annotation 4 (bbox", "annotation 5 (bbox", "6 (runs of 5 pixels"):
            assert text in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "text"),
    [({"image_id": 9, "category_id": 1}, "does not have (1): 9"), ({"image_id": 0, "category_id": 0}, "not list (1)")],
)
def test_predictions_of_what_is_not_listed_are_errors(tmp_path: Path, entry: dict[str, Any], text: str) -> None:
    truth = read_reference(write_coco(tmp_path / "set", coco()))
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{**entry, "bbox": [1, 1, 5, 5], "score": 0.5}]))
    with pytest.raises(DataError) as caught:
        read_predictions(results, reference=truth)
    assert text in str(caught.value)


def test_results_of_another_category_alone_are_an_error(tmp_path: Path) -> None:
    content = coco(categories=[{"id": 1, "name": "metal"}, {"id": 2, "name": "fracture"}], annotations=[])
    truth = read_reference(write_coco(tmp_path / "set", content))
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{"image_id": "0", "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5}]))
    with pytest.raises(DataError, match="none of one"):
        read_predictions(results, reference=truth)


@pytest.mark.usefixtures("one_figure")
def test_a_yolo_folder_and_a_table_are_references_on_the_command_line(tmp_path: Path) -> None:
    names = "abcdefghijkl"
    films(tmp_path / "yolo/images", names)
    (tmp_path / "yolo/labels").mkdir()
    rows = ["image;fractured;region"]
    for i, name in enumerate(names):
        (tmp_path / f"yolo/labels/{name}.txt").write_text("0 0.5 0.5 0.2 0.2" if i % 2 else "")
        rows.append(f"{name}.png;{'ja' if i % 2 else 'nein'};wrist")
    (tmp_path / "films.csv").write_text("\n".join(rows))
    scores = [f"{name};0,{9 - i % 5 if i % 2 else i % 5}" for i, name in enumerate(names)]
    (tmp_path / "p.csv").write_text("\n".join(["file_name;score", *scores]))
    for reference in ("yolo", "films.csv"):
        words = ["evaluate", str(tmp_path / "p.csv"), str(tmp_path / reference), "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(app, [*words, "--bootstrap", "200", "-o", "region=ankle"])
        assert done.exit_code == 0, done.output
        report = json.loads((tmp_path / "out/report.json").read_text())
        assert (report["cohort"]["films"], report["cohort"]["fractured"]) == (12, 6)
        assert "ankle" in json.dumps(report)


def hip_coco(folder: Path) -> Path:
    content = coco(categories=[{"id": 1, "name": "left_hip"}])
    content["annotations"][0].update(bbox=[-5, 10, 45, 30], findings=["neck"])
    return write_coco(folder, content)


def hip_via(folder: Path) -> Path:
    films(folder)
    shape = {"name": "rect", "x": -5, "y": 10, "width": 45, "height": 30}
    attributes = {"side": "Left", "findings": {"neck": True, "normal": False}}
    regions = [{"shape_attributes": shape, "region_attributes": attributes}]
    files = [{"filename": f"{n}.png", "regions": r, "file_attributes": {}} for n, r in (("a", regions), ("b", []))]
    (folder / "via.json").write_text(json.dumps({record["filename"]: record for record in files}))
    return folder / "via.json"


def hip_yolo(folder: Path) -> Path:
    films(folder / "images")
    (folder / "labels").mkdir()
    (folder / "labels/a.txt").write_text(f"0 {17.5 / WIDTH} 0.25 {45 / WIDTH} 0.3")
    (folder / "data.yaml").write_text("names: [left_hip, right_hip]")
    return folder


@pytest.mark.parametrize(("make", "words"), [(hip_coco, ("neck",)), (hip_via, ("neck",)), (hip_yolo, ())])
def test_hips_come_through_the_same_door(tmp_path: Path, make: Callable[[Path], Path], words: tuple[str, ...]) -> None:
    read = read_hips(make(tmp_path / "set"))
    hips = [hips_of(film) for film in read]
    assert [(hip.side, hip.findings) for hip in hips[0]] == [("left", words)]
    assert hips[0][0].box == pytest.approx((0, 10, 40, 40))  # clipped to the film
    assert hips[1] == ()
    if make is hip_via:
        assert [hips_of(film) for film in read_via(tmp_path / "set/via.json")] == hips


def test_names_of_other_machines_and_tools(tmp_path: Path) -> None:
    """Windows paths, CVAT's and Roboflow's file names, group fields in other spellings."""
    content = coco()
    for image, name in zip(content["images"], ("C:\\Users\\me\\set\\a.png", "./b.png"), strict=True):
        image.update(file_name=name, patientId="p9")
    for place in ("annotations.json", "_annotations.coco.json", "annotations/instances_default.json"):
        folder = tmp_path / place.replace("/", "-")
        write_coco(folder, content).unlink()
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(json.dumps(content))
        for door in (folder, folder / place):
            trained = read_annotations(door)
            assert [(film.source, film.group) for film in trained] == [("images/a.png", "p9"), ("images/b.png", "p9")]
            agree(trained, read_reference(door))
    assert [film.group for film in read_annotations(folder, group_field="patient_id")] == ["p9", "p9"]
    assert read_reference(folder, groups="none").groups is None
    with pytest.raises(DataError, match="no film has the field to group by; got hospital"):
        read_reference(folder, groups="hospital")


@pytest.mark.parametrize("findings", [7, True, 1.5, ["neck", 3], {"neck": 1, "shaft": 1}])
def test_findings_of_hips_that_are_no_words(tmp_path: Path, findings: object) -> None:
    content = coco(categories=[{"id": 1, "name": "left_hip"}])
    content["annotations"][0].update(findings=findings, attributes=5)
    with pytest.raises(DataError, match=r"a.png: unknown finding of a hip"):
        read_hips(write_coco(tmp_path / "set", content))
