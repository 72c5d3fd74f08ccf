"""Text files as they come: tables, numbers, JSON, run-length codes, YOLO's descriptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from fracture.data.exif import repair_exif_frames
from fracture.data.files import as_number, load_csv, load_json, read_text
from fracture.data.readers import read_annotations
from fracture.data.rle import mask_box, run_lengths
from fracture.data.yolo import class_names
from fracture.errors import DataError, UnreadableDataError, UnreadableFileError


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "sep=;\n"])
def test_tables(tmp_path: Path, ends: str, mark: str) -> None:
    path = tmp_path / "t"
    rows = ["Image;Patient ID;x0", 'a;"1;2";10,5', "b\u2028c\x0b\x85;3;1.234,5", "", "d;4"]
    path.write_bytes((mark + ends.join(rows)).encode())
    table = load_csv(path)
    assert table.columns == ("image", "patient_id", "x0")
    assert table.rows[0] == {"image": "a", "patient_id": "1;2", "x0": "10,5"}
    assert table.rows[1]["image"] == "b\u2028c"  # the control characters at the end are blanks
    assert [as_number(row.get("x0")) for row in table.rows] == [10.5, 1234.5, None]


def test_tables_that_would_lose_a_value(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,fractured,x0\na.png,1,10,5\n")
    with pytest.raises(DataError, match=r"more values than columns \(1\): line 2"):
        load_csv(path)
    path.write_text("image,fractured,Fractured\na.png,1,0\n")
    with pytest.raises(DataError, match=r"occur twice \(1\): fractured"):
        load_csv(path)
    path.write_text("image,fractured\na.png,\nb.png,unknown\n")
    with pytest.raises(DataError, match=r"films without a label \(2\): a.png, b.png"):
        read_annotations(path)


def test_numbers() -> None:
    assert [as_number(v) for v in ("1,5", "1,234.5", "1.234,5", " 7 ", 3, "-2")] == [1.5, 1234.5, 1234.5, 7, 3, -2]
    assert [as_number(v) for v in ("", "nan", "inf", 10**400, 1e300, True, None, [1], "1_0x")] == [None] * 9


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(UnreadableDataError, match="not a JSON file"):
        load_json(path)
    path.write_text('{"images": [{"id": ' + "9" * 5000 + "}]}")
    with pytest.raises(DataError, match="JSON"):
        read_annotations(path)
    with pytest.raises(UnreadableFileError, match="no such file"):
        read_text(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read_annotations(tmp_path / "pipe")


@pytest.mark.parametrize(
    "content",
    [
        {"images": 3}, {"images": [1]}, {"images": [{}]}, {"images": [{"id": 1, "file_name": "a"}], "annotations": {}},
        {"images": [{"id": 1, "file_name": "a", "width": 1e12, "height": 5}]},
        {"images": [{"id": 1, "file_name": "a", "width": "x", "height": 5}], "categories": [7]},
        {"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": "abcd"}]},
        {"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": [0, 0, 2, None]}]},
        {"images": [{"id": 1, "file_name": "a"}, {"id": "1", "file_name": "b"}]},
    ],
)  # fmt: skip
def test_malformed_coco(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError):
        read_annotations(tmp_path)


masks = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**81 - 1)).map(
    lambda t: np.array([t[2] >> i & 1 for i in range(t[0] * t[1])], np.uint8).reshape(t[:2])
)


@given(masks)
def test_run_length_codes_are_those_of_pycocotools(mask: np.ndarray) -> None:
    from pycocotools import mask as coco

    code = coco.encode(np.asfortranarray(mask))
    text = {"size": list(mask.shape), "counts": code["counts"].decode()}
    runs = run_lengths(text)
    decoded = np.repeat(np.arange(runs.size) % 2, runs).reshape(mask.shape, order="F")
    assert np.array_equal(decoded, mask)
    assert np.array_equal(run_lengths({"size": list(mask.shape), "counts": runs.tolist()}), runs)
    box = mask_box(text)
    if not mask.any():
        assert box is None
        return
    assert box is not None
    rows, columns = np.nonzero(mask)
    assert box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    x, y, width, height = coco.toBbox(code)
    assert box == (x, y, x + width, y + height)


@pytest.mark.parametrize(
    "code",
    [
        {"size": [4, 4], "counts": [20]}, {"size": [4, 4], "counts": [-1, 17]}, {"size": [4], "counts": [4]},
        {"size": [1e9, 1e9], "counts": [1]}, {"size": [4, 4], "counts": "~~~"}, {"size": [4, 4], "counts": "o"},
        {"size": [4, 4], "counts": None}, {"size": [4, 4], "counts": "PPPPPPPPP"},
    ],
)  # fmt: skip
def test_malformed_run_length_codes(code: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"mask|counts|run"):
        mask_box(code)


def yolo(
    folder: Path, rows: str, yaml: str | None, *, image: str = "images/a.png", label: str = "labels/a.txt"
) -> Path:
    for name in (image, label):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((100, 200), np.uint8)).save(folder / image)
    (folder / label).write_text(rows)
    if yaml is not None:
        (folder / "data.yaml").write_text(yaml)
    return folder


NAMES = "names: {0: metal, 1: fracture}\n"


@pytest.mark.parametrize(
    ("image", "label", "yaml"),
    [
        ("images/a.png", "labels/a.txt", "train: images\nval: images\n"),
        ("images/train/a.png", "labels/train/a.txt", "path: .\ntrain: images/train\ntest:\n"),
        ("train/images/a.png", "train/labels/a.txt", "train: ../train/images\nval: ../valid/images\n"),
        ("train/images/a.png", "train/labels/a.txt", "path: /content/nowhere\ntrain: [train/images, more/images]\n"),
        ("images/a.png", "labels/a.txt", "train: train.txt\n"),
        ("x/images/y/images/a.png", "x/images/y/labels/a.txt", ""),
        ("obj/a.png", "obj/a.txt", ""),
    ],
)
def test_descriptions_of_yolo_sets(tmp_path: Path, image: str, label: str, yaml: str) -> None:
    folder = yolo(tmp_path / "set", "1 0.5 0.5 0.2 0.2 0.9\n", NAMES + yaml, image=image, label=label)
    (folder / "train.txt").write_text("./images/a.png\n")
    film = read_annotations(folder, "yolo").film(image)
    assert film.boxes == (pytest.approx((80, 40, 120, 60)),)
    assert read_annotations(folder / "data.yaml").films == read_annotations(folder, "yolo").films


@pytest.mark.parametrize(
    "text", ["names: [metal, fracture]", 'names: {"0": metal, 1: fracture}', "names: metal, fracture"]
)
def test_class_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.yaml").write_text("\ufeff" + text, encoding="utf-8")
    assert class_names(tmp_path / "d.yaml") == ("metal", "fracture")
    (tmp_path / "d.yaml").write_text("names: [no, yes, on]")
    assert class_names(tmp_path / "d.yaml") == ("no", "yes", "on")  # not false and true


def test_a_quote_that_is_never_closed_swallows_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('image,fractured,note\na.png,1,"12"" film"\nb.png,0,6" film\n')
    assert [row["note"] for row in load_csv(tmp_path / "a.csv").rows] == ['12" film', '6" film']
    (tmp_path / "a.csv").write_text('image,fractured,note\na.png,1,"open\nb.png,0,\nc.png,1,\n')
    with pytest.raises(UnreadableDataError, match="not a CSV file"):
        load_csv(tmp_path / "a.csv")


def test_class_names_that_are_none(tmp_path: Path) -> None:
    for bad in ("names: {0: a, 2: b}", "names: 3\n---\nx: 1", "nc: 2", "names: [[a], [b]]", "[" * 5000, "x: &a [*a]"):
        (tmp_path / "d.yaml").write_text(bad)
        with pytest.raises(DataError):
            class_names(tmp_path / "d.yaml")


@given(st.tuples(*[st.floats(0.3, 0.7)] * 2), st.tuples(*[st.floats(0.02, 0.2)] * 2), st.floats(0, np.pi))
def test_oriented_boxes_are_hulls(center: tuple[float, float], sides: tuple[float, float], turn: float) -> None:
    from fracture.data.yolo import _row

    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = np.array(center) + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * sides @ turned.T
    mark = _row("fracture", corners.ravel().tolist(), (200, 100))
    pixels = corners * (200, 100)
    assert mark.box == pytest.approx((*pixels.min(axis=0), *pixels.max(axis=0)))
    assert np.array(mark.rings[0]) == pytest.approx(pixels)
    assert mark == _row("fracture", [*corners.ravel().tolist(), 0.9], (200, 100))  # with a confidence


@pytest.mark.parametrize(
    "row", ["1 120 50 30 30", "1 nan 0.5 0.1 0.1", "2 0.5 0.5 0.1 0.1", "-1 0.5 0.5 0.1 0.1", "1 0.5"]
)
def test_rows_that_are_no_fractions(tmp_path: Path, row: str) -> None:
    with pytest.raises(DataError, match=r"malformed rows of label files \(1\): a.txt, line 2"):
        read_annotations(yolo(tmp_path, f"1 0.5 0.5 0.2 0.2\n{row}\n", NAMES))


def test_poses(tmp_path: Path) -> None:
    film = read_annotations(yolo(tmp_path, "1 0.5 0.5 0.2 0.2 0.4 0.4 2", NAMES + "kpt_shape: [1, 3]"))[0]
    assert film.boxes == (pytest.approx((80, 40, 120, 60)),)
    assert film.polygons == ()


def test_utf8_in_any_locale(tmp_path: Path) -> None:
    folder = yolo(tmp_path, "1 0.5 0.5 0.2 0.2", None)
    (folder / "classes.txt").write_bytes("gesund\nSprunggelenk-Fraktur übel\n".encode())
    code = f"import fracture.data as d; print(d.read_annotations({str(folder)!r})[0].fractured)"
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.strip() == "1", done.stderr


def rotated(folder: Path, *boxes: list[int]) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / "images").mkdir()
    for i in range(len(boxes)):
        Image.fromarray(np.full((100, 160), 40 + i, np.uint8)).save(folder / f"images/{i}.jpg", exif=exif)
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 160, "height": 100} for i in range(len(boxes))],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": box} for i, box in enumerate(boxes)],
        "categories": [{"id": 1, "name": "fracture"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_exif_repair_moves_no_box_that_was_right(tmp_path: Path) -> None:
    """Label Studio's size is that before the rotation, its boxes are drawn after it."""
    read = read_annotations(rotated(tmp_path, [10, 20, 30, 40], [10, 120, 30, 30]))
    repaired = repair_exif_frames(read)
    assert [(f.width, f.height, f.boxes) for f in repaired] == [(100, 160, f.boxes) for f in read]


def test_exif_repair_turns_boxes_of_the_stored_frame(tmp_path: Path) -> None:
    read = read_annotations(rotated(tmp_path, [10, 20, 30, 40], [120, 10, 30, 30]))
    repaired = repair_exif_frames(read)
    assert [film.boxes for film in repaired] == [((40, 10, 80, 40),), ((60, 120, 90, 150),)]


def test_exif_repair_leaves_what_cannot_be_told(tmp_path: Path) -> None:
    read = read_annotations(rotated(tmp_path, [10, 20, 30, 40]))
    assert repair_exif_frames(read) == read
    assert repair_exif_frames(read, drawn="stored")[0].boxes == ((40, 10, 80, 40),)
    assert repair_exif_frames(read, drawn="shown")[0].boxes == read[0].boxes
