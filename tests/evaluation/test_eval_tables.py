"""Reading predictions and references, matching their names, and telling every fault at once."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fracture.errors import DataError, UnreadableFileError
from fracture.evaluation.files.predictions import read_predictions
from fracture.evaluation.files.references import read_reference
from fracture.evaluation.opponents import read_readings
from fracture.evaluation.tables import Cases, join
from tests.evaluation.simulated import predictions, reference, write, write_lines


def small(folder: Path, edit: Callable[[list[dict[str, Any]]], object] | None = None) -> tuple[Path, Path]:
    coco = reference(20)
    lines = predictions(coco)
    if edit is not None:
        edit(lines)
    (folder / "r.json").write_text(json.dumps(coco))
    return write_lines(folder / "p.jsonl", lines), folder / "r.json"


def cases_of(folder: Path, edit: Callable[[list[dict[str, Any]]], object] | None = None, **options: Any) -> Cases:
    first, second = small(folder, edit)
    return join(read_predictions(first), read_reference(second), **options)


def test_json_lines_and_coco(tmp_path: Path) -> None:
    coco = reference(20)
    lines = predictions(coco)
    cases = cases_of(tmp_path)
    assert len(cases) == 20
    assert cases.labels.tolist() == [bool(i["fractured"]) for i in coco["images"]]
    assert cases.scores.tolist() == [line["probability"] for line in lines]
    assert cases.calls is not None
    assert cases.calls.tolist() == [line["fractured"] for line in lines]
    assert cases.groups == tuple(str(i["group"]) for i in coco["images"])
    assert cases.group_field == "group"
    assert cases.models == ("toy 3",)
    assert cases.predicted_from == "candidates"
    assert cases.predicted is not None
    assert len(cases.predicted) == sum(len(line["candidates"]) for line in lines)
    assert cases.fractures is not None
    assert len(cases.fractures) == sum(a["category_id"] == 2 for a in coco["annotations"])  # metal is no fracture
    assert cases.disagreement is not None
    assert cases.disagreement.sum() == 2
    assert cases.members("region")["wrist"].sum() == sum("wrist" in i["regions"] for i in coco["images"])
    assert set(cases.members("hardware")) <= {"with hardware", "without hardware"}
    assert cases.members("nothing") == {}
    assert "displacement" in cases.indicators
    assert cases.ages is not None


def test_order_of_the_predictions_does_not_matter(tmp_path: Path) -> None:
    plain = cases_of(tmp_path)
    turned = cases_of(tmp_path, lambda lines: lines.reverse())
    assert turned.names == plain.names
    assert np.array_equal(turned.scores, plain.scores)
    assert turned.predicted is not None
    assert plain.predicted is not None
    assert np.array_equal(turned.predicted.boxes, plain.predicted.boxes)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: f"/elsewhere/{name}",
        lambda name: f"C:\\data\\{name}".replace("/", "\\"),
        lambda name: Path(name).name,
        lambda name: f"/dicom/{Path(name).stem}.dcm.gz",
        lambda name: Path(name).stem,
    ],
)
def test_names_are_matched_by_path_base_or_stem(tmp_path: Path, rename: Callable[[str], str]) -> None:
    def edit(lines: list[dict[str, Any]]) -> None:
        for line in lines:
            line["source"] = rename(line["source"].removeprefix("/data/x/"))

    assert len(cases_of(tmp_path, edit)) == 20


def test_the_id_wins_over_the_source(tmp_path: Path) -> None:
    def edit(lines: list[dict[str, Any]]) -> None:
        for place, line in enumerate(lines):
            line["id"], line["source"] = f"case_{place:03d}", "same.png"

    assert len(cases_of(tmp_path, edit)) == 20


def test_ambiguous_names_are_refused(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "a/x.png"}, {"id": 2, "file_name": "b/x.png"}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [0, 0, 2, 2]}],
    }
    (tmp_path / "r.json").write_text(json.dumps(coco))
    (tmp_path / "good.csv").write_text("file_name,score\n/q/a/x.png,0.5\nb/x.png,0.1\n")
    (tmp_path / "bad.csv").write_text("file_name,score\nx.png,0.5\n")
    truth = read_reference(tmp_path / "r.json")
    assert join(read_predictions(tmp_path / "good.csv"), truth).scores.tolist() == [0.5, 0.1]
    with pytest.raises(DataError, match="could mean several films"):
        join(read_predictions(tmp_path / "bad.csv"), truth)


def test_missing_and_extra_films(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"without a prediction \(2\).*allow-missing"):
        cases_of(tmp_path, lambda lines: lines.__delitem__(slice(0, 2)))
    cases = cases_of(tmp_path, lambda lines: lines.__delitem__(slice(0, 2)), allow_missing=True)
    assert len(cases) == 18
    assert len(cases.missing) == 2

    def add(lines: list[dict[str, Any]]) -> None:
        lines.append({**lines[0], "source": "unknown.png"})

    with pytest.raises(DataError, match=r"does not have \(1\): unknown.png"):
        cases_of(tmp_path, add)
    assert cases_of(tmp_path, add, allow_extra=True).extra == ("unknown.png",)


def test_films_the_detector_could_not_read_are_set_aside(tmp_path: Path) -> None:
    def edit(lines: list[dict[str, Any]]) -> None:
        lines[3] = {"source": lines[3]["source"], "error": {"type": "UnreadableFileError", "message": "truncated"}}

    cases = cases_of(tmp_path, edit)
    assert len(cases) == 19
    assert cases.failures == (("/data/x/films/case_003.png", "UnreadableFileError"),)
    assert cases.missing == ()


def test_faults_are_told_together(tmp_path: Path) -> None:
    def edit(lines: list[dict[str, Any]]) -> None:
        lines[0]["probability"] = float("nan")
        lines[1]["probability"] = 1.2
        lines[2]["source"] = lines[3]["source"]
        lines[4]["candidates"] = [{"x0": 5, "y0": 0, "x1": 5, "y1": 9, "score": 0.3}]
        lines[5].pop("probability")
        lines[6]["fractured"] = "perhaps"

    with pytest.raises(DataError) as caught:
        cases_of(tmp_path, edit)
    for text in (
        "NaN or not a number (2)",
        "outside [0, 1] (1)",
        "occur twice (1)",
        "broken or empty (1)",
        "neither true",
    ):
        assert text in str(caught.value)


def test_two_predictions_of_one_film(tmp_path: Path) -> None:
    def edit(lines: list[dict[str, Any]]) -> None:
        lines.append({**lines[0], "source": "case_000"})

    with pytest.raises(DataError, match="two predictions for one film"):
        cases_of(tmp_path, edit)


def test_boxes_of_another_frame_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"size differs.*100x260 against 200x260"):
        cases_of(tmp_path, lambda lines: lines[0].update(width=100))


def test_thresholds(tmp_path: Path) -> None:
    cases = cases_of(tmp_path, threshold=0.5)
    assert cases.calls is not None
    assert np.array_equal(cases.calls, cases.scores >= 0.5)
    odd = cases_of(tmp_path, lambda lines: lines[0].update(fractured=not lines[0]["fractured"]))
    assert any("1 films are not called as score" in remark for remark in odd.remarks)
    with pytest.raises(DataError, match="without a call"):
        cases_of(tmp_path, lambda lines: lines[0].pop("fractured"))


def test_boxes_only_are_said(tmp_path: Path) -> None:
    cases = cases_of(tmp_path, lambda lines: [line.pop("candidates") for line in lines])
    assert cases.predicted_from == "boxes"
    assert any("--candidates" in remark for remark in cases.remarks)
    bare = cases_of(tmp_path, lambda lines: [(line.pop("candidates"), line.pop("boxes")) for line in lines])
    assert bare.predicted is None
    assert bare.shown is None


def test_coco_results(tmp_path: Path) -> None:
    coco = reference(20)
    (tmp_path / "r.json").write_text(json.dumps(coco))
    results = [
        {
            "image_id": line_id,
            "category_id": 2,
            "bbox": [b["x0"], b["y0"], b["x1"] - b["x0"], b["y1"] - b["y0"]],
            "score": b["score"],
        }
        for line_id, line in zip([i["id"] for i in coco["images"]], predictions(coco), strict=True)
        for b in line["candidates"]
    ]
    results.append({"image_id": 7, "category_id": 3, "bbox": [0, 0, 9, 9], "score": 1.0})  # metal: not a fracture
    (tmp_path / "c.json").write_text(json.dumps(results))
    truth = read_reference(tmp_path / "r.json")
    cases = join(read_predictions(tmp_path / "c.json", reference=truth), truth)
    assert len(cases) == 20
    assert cases.calls is None
    best = [max((b["score"] for b in line["candidates"]), default=0.0) for line in predictions(coco)]
    assert cases.scores == pytest.approx(best)
    assert any("highest box score" in remark for remark in cases.remarks)
    with pytest.raises(DataError, match="name films by number"):
        read_predictions(tmp_path / "c.json")
    (tmp_path / "bad.json").write_text(json.dumps([{"image_id": 7000, "score": 0.5, "bbox": [0, 0, 1, 1]}, {"x": 1}]))
    with pytest.raises(DataError, match=r"does not have \(1\): 7000; entries without"):
        read_predictions(tmp_path / "bad.json", reference=truth)
    film_scores = [{"image_id": i["id"], "score": 0.5} for i in coco["images"]]
    (tmp_path / "s.json").write_text(json.dumps(film_scores))
    scored = join(read_predictions(tmp_path / "s.json", reference=truth), truth)
    assert scored.predicted is None
    assert set(scored.scores.tolist()) == {0.5}


def test_csv_both_ways(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "file_name,fractured,regions,patient,site,hardware,age,boxes,callus\n"
        "a.png,1,hand;wrist,p1,A,0,40,1 2 11 22; 30 30 40 40,1\n"
        "b.png,0,hand,p1,A,1,,,\n"
        "c.png,true,leg,p2,B,0,70,5 5 9 9,0\n"
    )
    with (tmp_path / "p.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "score", "call"), ("x/a.png", 0.9, 1), ("b", 0.2, 0), ("c.dcm", 0.4, 0)])
    truth = read_reference(tmp_path / "r.csv")
    cases = join(read_predictions(tmp_path / "p.csv"), truth)
    assert cases.labels.tolist() == [True, False, True]
    assert cases.group_field == "patient"
    assert cases.regions[0] == ("hand", "wrist")
    assert cases.fractures is not None
    assert cases.fractures.boxes.tolist() == [[1, 2, 11, 22], [30, 30, 40, 40], [5, 5, 9, 9]]
    assert cases.attributes["hardware"] == ("without hardware", "with hardware", "without hardware")
    assert cases.ages == (40.0, None, 70.0)
    assert cases.indicators["callus"] == (True, None, False)
    assert cases.calls is not None
    assert cases.calls.tolist() == [True, False, False]
    assert read_reference(tmp_path / "r.csv", groups="none").groups is None
    assert read_reference(tmp_path / "r.csv", groups="site").groups == ("A", "A", "B")
    with pytest.raises(DataError, match="field to group by"):
        read_reference(tmp_path / "r.csv", groups="hospital")


def test_logits_need_a_word(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,score\na,-3\nb,7\n")
    with pytest.raises(DataError, match="any-score"):
        read_predictions(tmp_path / "p.csv")
    assert read_predictions(tmp_path / "p.csv", any_score=True).scores.tolist() == [-3.0, 7.0]


def test_fractured_films_without_a_box_are_named(tmp_path: Path) -> None:
    coco = reference(20)
    image = next(i for i in coco["images"] if i["fractured"])
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] != image["id"]]
    (tmp_path / "r.json").write_text(json.dumps(coco))
    path = write_lines(tmp_path / "p.jsonl", predictions(coco))
    cases = join(read_predictions(path), read_reference(tmp_path / "r.json"))
    assert cases.unboxed.sum() == 1
    assert any("no reference box" in remark for remark in cases.remarks)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda c: c["images"].append(dict(c["images"][0])), "ids that occur twice.*names that are missing or occur"),
        (lambda c: c["images"][0].update(fractured=2), "neither 0 nor 1"),
        (lambda c: c["annotations"].append({"image_id": 12345, "category_id": 2}), "images that are not listed"),
        (lambda c: c["annotations"][0].update(bbox=[1, 1, 0, 5]), "broken or empty"),
        (lambda c: [i.update(fractured=0) for i in c["images"]], "labeled normal that have fracture boxes"),
        (lambda c: (c["images"].clear(), c["annotations"].clear()), "no film"),
    ],
)
def test_faults_of_a_reference(tmp_path: Path, edit: Callable[[dict[str, Any]], object], text: str) -> None:
    coco = reference(10)
    edit(coco)
    (tmp_path / "r.json").write_text(json.dumps(coco))
    with pytest.raises(DataError, match=text):
        read_reference(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("content", "text"),
    [("", "empty"), ("{oops", "not a JSON"), ("a,b\n1,2\n", "column"), ("[1,", "not a JSON"), ("\xff\xfe", "UTF-8")],
)
def test_files_that_are_something_else(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UnreadableFileError, match=text):
        read_predictions(path)
    if not content.startswith("["):
        with pytest.raises(UnreadableFileError, match=text):
            read_reference(path)


def test_missing_files_folders_and_lists(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="no such file"):
        read_predictions(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cannot be told"):
        read_reference(tmp_path)
    (tmp_path / "l.json").write_text("[]")
    with pytest.raises(UnreadableFileError, match="neither a reference"):
        read_reference(tmp_path / "l.json")
    (tmp_path / "e.jsonl").write_text('{"source": "a", "error": {"type": "X"}}\n')
    with pytest.raises(DataError, match="no film has a prediction"):
        read_predictions(tmp_path / "e.jsonl")
    (tmp_path / "o.json").write_text("{}")
    with pytest.raises(UnreadableFileError, match="list of images"):
        read_reference(tmp_path / "o.json")


def test_readings_of_humans(tmp_path: Path) -> None:
    path = tmp_path / "readers.csv"
    path.write_text("reader,file_name,fractured,training\nr1,a,1,expert\nr2,a,0,resident\nr3,a,0,resident\n")
    assert read_readings(path).calls == {
        "expert": {"r1": {"a": True}},
        "resident": {"r2": {"a": False}, "r3": {"a": False}},
    }
    path.write_text("reader,file_name,fractured\nr1,a,1\nr1,a,0\nr1,b,maybe\n")
    with pytest.raises(DataError, match=r"read twice \(1\).*without a reader"):
        read_readings(path)
    path.write_text("reader,fractured\nr1,1\n")
    with pytest.raises(UnreadableFileError, match="columns reader"):
        read_readings(path)
    path.write_text("reader,file_name,fractured\n")
    with pytest.raises(DataError, match="no reading"):
        read_readings(path)


def test_fracatlas_reads(shared_data: Path, tmp_path: Path) -> None:
    truth = read_reference(shared_data / "fracatlas" / "annotations.json")
    assert len(truth.names) == 3046
    assert truth.labels.sum() == 569
    assert truth.boxes is not None
    assert len(truth.boxes) == 743
    assert truth.groups is not None
    assert len(set(truth.groups)) == 226
    assert truth.disagreement is not None
    assert truth.disagreement.sum() == 12
    assert write(tmp_path)[0].is_file()
