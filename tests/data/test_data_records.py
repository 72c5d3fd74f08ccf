"""The records, and what every reader makes of its format."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import fracture.data
from fracture.data.readers import detect_format, read_annotations
from fracture.data.records import AnnotatedSet, Film
from fracture.data.views import collapse_view, collapse_views
from fracture.errors import ConfigurationError, DataError

Maker = Callable[..., NDArray[np.uint8]]


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def test_film_keeps_its_promises() -> None:
    film = Film("a.png", 10, 20, 1, regions=("hand", "wrist"), views=("frontal", "lateral"))
    assert film.group == "a.png"
    assert film.view is None
    assert replace(film, views=("oblique",)).view == "oblique"
    assert film.strata == (("hand", 1), ("wrist", 1))
    assert Film("b.png", 1, 1, 0).strata == (("any", 0),)
    assert pickle.loads(pickle.dumps(film)) == film
    with pytest.raises(DataError, match="label"):
        Film("a.png", 10, 20, 2)
    with pytest.raises(DataError, match="polygons"):
        Film("a.png", 10, 20, 1, boxes=((0, 0, 1, 1),), polygons=((), ()))


def test_set_finds_and_selects(small_set: AnnotatedSet) -> None:
    assert small_set.positives == 6
    assert small_set.regions == ("ankle", "wrist")
    assert small_set.film("images/03.png") is small_set[3]
    assert len(small_set.select(lambda film: film.fractured == 1)) == 6
    assert [f.source for f in small_set.subset(["images/05.png", "images/01.png"])] == [
        "images/05.png",
        "images/01.png",
    ]
    with pytest.raises(DataError, match="2 of 3 films"):
        small_set.subset(["x", "images/01.png", "y"])
    with pytest.raises(DataError, match="more than once"):
        AnnotatedSet((small_set[0], small_set[0]), "double", small_set.root)


def test_fingerprint_follows_content_not_order(small_set: AnnotatedSet) -> None:
    turned = replace(small_set, films=small_set.films[::-1])
    changed = replace(small_set, films=(replace(small_set[0], fractured=0, boxes=()), *small_set.films[1:]))
    assert turned.fingerprint() == small_set.fingerprint()
    assert changed.fingerprint() != small_set.fingerprint()


def test_merge_keeps_paths_and_parts_groups(small_set: AnnotatedSet, tmp_path: Path) -> None:
    other = AnnotatedSet((Film("x.png", 5, 5, 0, group="0"),), "other", tmp_path / "elsewhere")
    merged = AnnotatedSet.merge([small_set, other], name="both")
    assert len(merged) == 13
    assert merged.image_path(merged[0]) == small_set.image_path(small_set[0]).resolve()
    assert merged[12].source == "elsewhere/x.png"
    assert {"small/0", "other/0"} <= {film.group for film in merged}
    with pytest.raises(DataError, match="names of their own"):
        AnnotatedSet.merge([small_set, small_set], name="twice")


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("AP", "frontal"),
        ("frontal dorso-plantar", "frontal"),
        ("frog-leg lateral", "lateral"),
        ("Y", "lateral"),
        ("oblique-mortise", "oblique"),
        ("sunrise", None),
        (None, None),
    ],
)
def test_views_collapse_as_in_the_paper(name: str | None, view: str | None) -> None:
    assert collapse_view(name) == view


def test_views_are_ordered_and_single() -> None:
    assert collapse_views(["lateral", "AP", "PA", "nonsense"]) == ("frontal", "lateral")


def test_fracatlas_copy(shared_data: Path) -> None:
    films = read_annotations(shared_data / "fracatlas")
    assert (len(films), films.positives, sum(len(f.boxes) for f in films)) == (3046, 569, 743)
    assert films.regions == ("fracatlas_hand", "fracatlas_hip", "fracatlas_leg", "fracatlas_shoulder")
    assert films.license == "CC BY 4.0"
    assert all(len(f.polygons) == len(f.boxes) for f in films)
    assert sum(bool(f.hardware) for f in films) == 79
    assert sum(f.label_conflict for f in films) == 12
    assert len({f.group for f in films}) == 226
    film = films.film("images/IMG0000057.jpg")
    assert film.boxes == (pytest.approx((401.9, 397.94, 451.74, 433.43)),)
    assert film.views == ("oblique",)
    assert films.image_path(film).is_file()
    plain = read_annotations(shared_data / "fracatlas", region_prefix="", region_map={"leg": "tibia_fibula"})
    assert plain.regions == ("hand", "hip", "shoulder", "tibia_fibula")


def test_grazpedwri_sample_as_coco(shared_data: Path) -> None:
    films = read_annotations(shared_data / "grazpedwri_dx_sample")
    assert (len(films), films.positives) == (8, 4)
    assert films.regions == ("wrist",)
    assert {f.views for f in films} == {("frontal",)}
    wires = next(f for f in films if "3799_" in f.source)
    assert (wires.fractured, wires.boxes, wires.localized, wires.hardware) == (1, (), False, True)
    other = films[1].extra["other_boxes"]
    assert isinstance(other, tuple)
    assert other[0]["category"] == "text"


@pytest.fixture
def fracatlas_archive(tmp_path: Path, film_pixels: Maker) -> Path:
    """Three films in the published layout."""
    root = tmp_path / "FracAtlas"
    write(root / "images/Fractured/IMG0000019.jpg", film_pixels(1))
    write(root / "images/Non_fractured/IMG0000020.jpg", film_pixels(2))
    write(root / "images/Non_fractured/IMG0000041.jpg", film_pixels(3))
    columns = "image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,frontal,lateral,oblique"
    rows = [
        "IMG0000019.jpg,1,0,0,1,1,0,0,1,1,1,0,0",
        "IMG0000020.jpg,0,1,0,0,0,0,1,0,0,1,1,0",
        "IMG0000041.jpg,0,1,0,0,0,1,0,0,0,0,0,1",
    ]
    (root / "dataset.csv").write_text("\n".join([columns, *rows]) + "\n")
    (root / "Utilities/Fracture Split").mkdir(parents=True)
    (root / "Utilities/Fracture Split/valid.csv").write_text("image_id\nIMG0000019.jpg\n")
    coco = root / "Annotations/COCO JSON/COCO_fracture_masks.json"
    coco.parent.mkdir(parents=True)
    coco.write_text(
        json.dumps(
            {
                "categories": [{"id": 1, "name": "fractured"}],
                "images": [{"id": 1, "file_name": "IMG0000019.jpg", "width": 160, "height": 200}],
                "annotations": [
                    {
                        "id": 1,
                        "image_id": 1,
                        "category_id": 1,
                        "iscrowd": 0,
                        "bbox": [10, 20, 30, 40],
                        "segmentation": [[10, 20, 40, 20, 40, 60]],
                    }
                ],
            }
        )
    )
    return root


def test_fracatlas_as_published(fracatlas_archive: Path) -> None:
    assert detect_format(fracatlas_archive) == "fracatlas"
    films = read_annotations(fracatlas_archive)
    first, second, third = films
    assert first.source == "images/Fractured/IMG0000019.jpg"
    assert first.boxes == ((10, 20, 40, 60),)
    assert first.polygons == ((((10, 20), (40, 20), (40, 60)),),)
    assert first.regions == ("fracatlas_hand", "fracatlas_shoulder")
    assert (second.views, second.fractured, second.boxes) == (("frontal", "lateral"), 0, ())
    assert (second.width, second.height) == (160, 200)
    assert [film.group for film in films] == ["0", "1", "2"]
    assert third.hardware is True
    assert [film.extra["published_part"] for film in films] == ["tune", None, None]
    assert films.remarks == ()


def test_fracatlas_contradictions_are_remarks(fracatlas_archive: Path) -> None:
    table = fracatlas_archive / "dataset.csv"
    table.write_text(table.read_text().replace("IMG0000020.jpg,0,1,0,0,0,0,1,0,0", "IMG0000020.jpg,0,1,0,0,0,0,1,1,3"))
    films = read_annotations(fracatlas_archive)
    assert films[1].source == "images/Non_fractured/IMG0000020.jpg"
    assert not films[1].localized
    assert [text for _, text in films.remarks] == ["labeled fractured=1 but stored in Non_fractured"]


def test_fracatlas_missing_columns_are_named(fracatlas_archive: Path) -> None:
    (fracatlas_archive / "dataset.csv").write_text("image_id,fractured,fracture_count,multiscan\nx,0,0,0\n")
    with pytest.raises(DataError, match="columns are missing"):
        read_annotations(fracatlas_archive)


def test_grazpedwri_as_published(tmp_path: Path, shared_data: Path) -> None:
    stems = ["0003_0662359226_01_WRI-R1_M011", "0020_0163123912_01_WRI-L1_M015", "3799_0949300875_03_WRI-L1_M010"]
    for stem in stems:
        target = tmp_path / "images_part1" / f"{stem}.png"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((shared_data / "grazpedwri_dx_sample/images" / f"{stem}.png").read_bytes())
    labels = tmp_path / "folder_structure/yolov5/labels"
    labels.mkdir(parents=True)
    # Class 3 is the fracture, 8 the side letter; 704 x 1130 pixels.
    (labels / f"{stems[0]}.txt").write_text(
        f"8 0.5 0.1 0.1 0.05\n3 {272.5 / 704} {696 / 1130} {125 / 704} {70 / 1130}\n"
    )
    (labels / f"{stems[1]}.txt").write_text("")
    header = (
        "filestem,patient_id,study_number,timehash,gender,age,laterality,projection,initial_exam,ao_classification,cast,"
        "diagnosis_uncertain,osteopenia,fracture_visible,metal,pixel_spacing,device_manufacturer"
    )
    rows = [
        f"{stems[0]},3,1,662359226,M,11.1,R,1,1.0,23-M/3.1,,,,1.0,,0.144,Siemens",
        f"{stems[1]},20,1,163123912,M,15.2,L,2,1.0,,,1.0,,,,0.144,Siemens",
        f"{stems[2]},3799,3,949300875,M,10.1,L,3,,23r-M/3.1,,,1.0,1.0,1.0,0.144,Siemens",
        "9999_x,9999,1,1,F,,L,1,,,,,,,,0.144,Siemens",
    ]
    (tmp_path / "dataset.csv").write_text("\n".join([header, *rows]) + "\n")
    assert detect_format(tmp_path) == "grazpedwri"
    films = read_annotations(tmp_path)
    assert len(films) == 4
    assert len(read_annotations(tmp_path, skip_missing=True)) == 3
    first = films[0]
    assert first.boxes == (pytest.approx((210.0, 661.0, 335.0, 731.0)),)
    truth = read_annotations(shared_data / "grazpedwri_dx_sample").film(f"images/{stems[0]}.png")
    assert first.boxes[0] == pytest.approx(truth.boxes[0])
    assert (first.fractured, first.views, first.group, first.hardware) == (1, ("frontal",), "3", False)
    assert first.extra["age"] == 11.1
    assert (films[1].fractured, films[1].views, films[1].extra["diagnosis_uncertain"]) == (0, ("lateral",), True)
    assert (films[2].fractured, films[2].localized, films[2].hardware) == (1, False, True)
    assert (films[3].width, films[3].extra["age"]) == (0, None)


def test_yolo(tmp_path: Path, film_pixels: Maker) -> None:
    for part, name in (("train", "p1_a"), ("train", "p1_b"), ("valid", "p2_a"), ("test", "p3_a")):
        write(tmp_path / part / "images" / f"{name}.png", film_pixels(len(name)))
        (tmp_path / part / "labels").mkdir(exist_ok=True)
    (tmp_path / "data.yaml").write_text("train: train/images\nnames: ['fracture', 'metal', 'no fracture']\nnc: 3\n")
    (tmp_path / "train/labels/p1_a.txt").write_text("0 0.5 0.5 0.25 0.1\n1 0.1 0.1 0.1 0.1\n")
    (tmp_path / "train/labels/p1_b.txt").write_text("0 0.25 0.25 0.5 0.25 0.5 0.75\n")
    (tmp_path / "valid/labels/p2_a.txt").write_text("2 0.5 0.5 1 1\n")
    assert detect_format(tmp_path) == "yolo"
    films = read_annotations(tmp_path, region="wrist", group_pattern=r"(p\d+)_")
    by_name = {Path(f.source).stem: f for f in films}
    assert by_name["p1_a"].boxes == (pytest.approx((60.0, 90.0, 100.0, 110.0)),)
    assert by_name["p1_b"].boxes == (pytest.approx((40.0, 50.0, 80.0, 150.0)),)
    assert by_name["p1_b"].polygons[0][0][2] == pytest.approx((80.0, 150.0))
    assert [by_name[n].fractured for n in ("p1_a", "p1_b", "p2_a", "p3_a")] == [1, 1, 0, 0]
    assert [by_name[n].group for n in ("p1_a", "p1_b", "p2_a")] == ["p1", "p1", "p2"]
    assert by_name["p2_a"].extra["published_part"] == "tune"
    assert films.regions == ("wrist",)
    (tmp_path / "train/labels/p1_a.txt").write_text("0 0.5 0.5\n7 0.5 0.5 0.1 0.1\n")
    (tmp_path / "valid/labels/p2_a.txt").write_text("fracture 1 2 3 4\n")
    with pytest.raises(DataError, match=r"malformed rows of label files \(3\)") as caught:
        read_annotations(tmp_path)
    assert "line 1" in str(caught.value)
    assert "line 2" in str(caught.value)
    assert "p2_a.txt" in str(caught.value)


def test_csv_with_boxes(tmp_path: Path, film_pixels: Maker) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "films" / f"{name}.png", film_pixels(ord(name)))
    table = tmp_path / "labels.csv"
    table.write_text(
        "image;group;region;view;fractured;x0;y0;x1;y1;age\n"
        "films/a.png;7;Tibia/Fibula;AP;1;10;20;30;40;55\n"
        "films/a.png;7;knee;lat;1;50;60;70;80.5;55\n"
        "films/b.png;7;wrist;;0;;;;;\n"
        "films/c.png;8;wrist;oblique;1;;;;;\n"
    )
    films = read_annotations(table)
    a, b, c = films
    assert a.boxes == ((10, 20, 30, 40), (50, 60, 70, 80.5))
    assert (a.regions, a.views, a.group) == (("tibia_fibula", "knee"), ("frontal", "lateral"), "7")
    assert a.extra["age"] == "55"
    assert (b.fractured, b.localized, b.width, b.height) == (0, True, 160, 200)
    assert (c.fractured, c.localized) == (1, False)


def test_csv_tells_every_faulty_row(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,fractured,x0,y0,x1,y1\na.png,maybe,,,,\nb.png,1,1,2,three,4\nc.png,1,nan,1,2,inf\n")
    with pytest.raises(DataError, match="neither 0 nor 1") as caught:
        read_annotations(table)
    assert all(name in str(caught.value) for name in ("a.png", "b.png", "c.png"))


def test_csv_rows_that_disagree_are_remarks(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,group,fractured\na.png,1,0\na.png,2,1\n")
    films = read_annotations(table)
    assert films[0].fractured == 1
    assert len(films.remarks) == 2


def test_image_level_labels(tmp_path: Path, film_pixels: Maker) -> None:
    write(tmp_path / "wrist/fractured/a.png", film_pixels(0))
    write(tmp_path / "wrist/normal/b.png", film_pixels(1))
    write(tmp_path / "thumbnails/c.png", film_pixels(2))
    films = read_annotations(tmp_path)
    assert [(f.source, f.fractured, f.localized, f.regions) for f in films] == [
        ("wrist/fractured/a.png", 1, False, ("wrist",)),
        ("wrist/normal/b.png", 0, True, ("wrist",)),
    ]


def test_coco_faults(tmp_path: Path) -> None:
    file = tmp_path / "annotations.json"
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 4}],
        "annotations": [{"id": 5, "image_id": 2, "category_id": 1, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 1, "name": "left_hip"}],
    }
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="fracture_categories"):
        read_annotations(tmp_path)
    with pytest.raises(DataError, match=r"images that are not listed \(1\): annotation 5 \(image_id 2\)"):
        read_annotations(tmp_path, fracture_categories=["left_hip"])
    with pytest.raises(DataError, match="no such category"):
        read_annotations(tmp_path, fracture_categories=["elbow"])
    content["annotations"] = [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1]}]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="whose bbox is no"):
        read_annotations(tmp_path, fracture_categories=["left_hip"])
    file.write_text("{")
    with pytest.raises(DataError, match="not a JSON file"):
        read_annotations(tmp_path)


def test_door_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing there"):
        read_annotations(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be told"):
        read_annotations(tmp_path)
    with pytest.raises(ConfigurationError, match="unknown annotation format"):
        read_annotations(tmp_path, "labelme")
    with pytest.raises(ConfigurationError, match="options of the csv reader"):
        read_annotations(tmp_path, "csv", colour="red")


def test_importing_the_package_costs_nothing() -> None:
    code = (
        "import sys, fracture.data as d; heavy = {'torch', 'cv2', 'numpy', 'albumentations'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0 if all(getattr(d, n) is not None for n in d.__all__) else 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fracture.data.nothing  # noqa: B018
    assert "read_annotations" in dir(fracture.data)
