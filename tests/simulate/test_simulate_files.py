"""What is written: DICOM DX that a validator accepts, PNG without loss, COCO that tools read."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

import fracture
from fracture.errors import ConfigurationError, RegionError
from fracture.simulate import REGIONS, radiograph, write_dataset
from fracture.simulate.dataset import film_seed, png_bytes

SMALL = (112, 100)
VIEWS = [(region, view) for region, p in REGIONS.items() for view in p.views]


def test_dicom_round_trip(tmp_path: Path) -> None:
    film = radiograph(3, region="wrist", view="lateral", size=SMALL)
    film.to_dicom(inverted=False).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    assert np.array_equal(data.pixel_array, film.pixels)
    assert data.Modality == "DX"
    assert data.PresentationIntentType == "FOR PRESENTATION"
    assert (data.BitsAllocated, data.BitsStored, data.HighBit) == (16, 12, 11)
    assert data.BodyPartExamined == "WRIST"
    assert data.ImageLaterality == film.laterality[0].upper()
    assert float(data.ImagerPixelSpacing[0]) == pytest.approx(film.spacing, abs=1e-6)
    assert data.PatientName == "SIMULATED^FILM"
    assert data.StudyDate == "20000101"


def test_monochrome1_is_the_complement() -> None:
    film = radiograph(3, region="wrist", size=SMALL)
    data = film.to_dicom(inverted=True)
    assert data.PhotometricInterpretation == "MONOCHROME1"
    assert np.array_equal(4095 - data.pixel_array, film.pixels)
    drawn = {radiograph(s, region="finger", size=SMALL).to_dicom().PhotometricInterpretation for s in range(4)}
    assert drawn == {"MONOCHROME1", "MONOCHROME2"}


@pytest.mark.parametrize("inverted", [False, True])
def test_the_library_reads_what_it_simulates(tmp_path: Path, inverted: bool) -> None:
    film = radiograph(8, region="knee", view="lateral", size=SMALL)
    film.to_dicom(inverted=inverted).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    record = fracture.read(tmp_path / "a.dcm")
    truth = film.to_radiograph()
    assert np.abs(record.pixels - truth.pixels).max() < 2 / 4095
    assert (record.regions, record.view, record.laterality) == (("knee",), "lateral", film.laterality)
    assert record.spacing == pytest.approx(truth.spacing, abs=1e-5)


def test_regions_and_views_survive_dicom(tmp_path: Path) -> None:
    for number, (region, view) in enumerate(VIEWS):
        film = radiograph(number, region=region, view=view, size=(96, 96))
        film.to_dicom().save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        record = fracture.read(tmp_path / f"{number}.dcm")
        assert (record.regions, record.view) == ((region,), view)


def test_same_film_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        radiograph(5, size=SMALL).to_dicom().save_as(tmp_path / name, enforce_file_format=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    other = radiograph(6, size=SMALL).to_dicom()
    assert other.SOPInstanceUID != radiograph(5, size=SMALL).to_dicom().SOPInstanceUID


@pytest.mark.parametrize(("region", "view"), VIEWS)
def test_dciodvfy_finds_no_error(tmp_path: Path, region: str, view: str) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    for inverted in (False, True):
        path = tmp_path / f"{inverted}.dcm"
        radiograph(1, region=region, view=view, size=(96, 96)).to_dicom(inverted=inverted).save_as(
            path, enforce_file_format=True
        )
        done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
        report = done.stdout + done.stderr
        assert "DXImageForPresentation" in report
        assert "Error" not in report, report
        assert done.returncode == 0


def test_png_keeps_the_twelve_bits() -> None:
    film = radiograph(1, region="hand", size=SMALL)
    back = cv2.imdecode(np.frombuffer(png_bytes(film), np.uint8), cv2.IMREAD_UNCHANGED)
    assert back.dtype == np.uint16
    assert np.array_equal(back >> 4, film.pixels)
    small = cv2.imdecode(np.frombuffer(png_bytes(film, 8), np.uint8), cv2.IMREAD_UNCHANGED)
    assert small.dtype == np.uint8
    assert np.array_equal(small, film.pixels >> 4)
    with pytest.raises(ConfigurationError, match="8, 16"):
        png_bytes(film, 12)


def test_dataset_of_both_formats(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    summary = write_dataset(
        tmp_path / "films", 6, seed=2, format="both", size=SMALL, progress=lambda done, n: seen.append((done, n))
    )
    assert seen == [(k, 6) for k in range(1, 7)]
    assert (summary.films, summary.fractured) == (6, 3)
    assert len(summary.files) == 12
    assert all(path.is_file() for path in summary.files)
    coco = json.loads(summary.annotations.read_text(encoding="utf-8"))
    assert summary.boxes == len(coco["annotations"])
    assert coco["categories"] == [{"id": 1, "name": "fracture"}]
    by_image = {image["id"]: image for image in coco["images"]}
    for image in coco["images"]:
        film = radiograph(
            film_seed(2, image["id"]), region=image["regions"][0], fractured=bool(image["fractured"]), size=SMALL
        )
        png = cv2.imread(str(summary.directory / image["file_name"]), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(png >> 4, film.pixels)
        dicom = pydicom.dcmread(summary.directory / image["dicom"])
        stored = dicom.pixel_array
        assert np.array_equal(
            4095 - stored if dicom.PhotometricInterpretation == "MONOCHROME1" else stored, film.pixels
        )
        mine = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        assert bool(mine) == bool(image["fractured"])
        for row, found in zip(mine, film.fractures, strict=True):
            x0, y0, x1, y1 = found.box
            assert row["bbox"] == [x0, y0, x1 - x0, y1 - y0]
            assert (row["fracture_type"], row["displaced"], row["bone"]) == (found.kind, found.displaced, found.bone)
    assert len({a["id"] for a in coco["annotations"]}) == len(coco["annotations"])
    assert all(a["image_id"] in by_image for a in coco["annotations"])


def test_coco_fields_match_those_of_fracatlas(tmp_path: Path, shared_data: Path) -> None:
    summary = write_dataset(tmp_path / "films", 2, format="png", size=SMALL, regions=["wrist"], fracture_rate=1.0)
    mine = json.loads(summary.annotations.read_text(encoding="utf-8"))
    real = json.loads((shared_data / "fracatlas" / "annotations.json").read_text(encoding="utf-8"))
    assert set(real["images"][0]) - set(mine["images"][0]) == {"official_fracture_split"}
    assert set(real["annotations"][0]) <= set(mine["annotations"][0])
    for key, value in real["images"][0].items():
        if key in mine["images"][0]:
            assert type(mine["images"][0][key]) is type(value), key


def test_pycocotools_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco_module = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    summary = write_dataset(tmp_path / "films", 3, format="png", size=SMALL, fracture_rate=1.0)
    coco = coco_module.COCO(str(summary.annotations))
    capsys.readouterr()
    for row in coco.loadAnns(coco.getAnnIds()):
        with warnings.catch_warnings():  # pycocotools 2.0 against numpy 2
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            mask = coco.annToMask(row).astype(bool)
        x, y, w, h = (round(v) for v in row["bbox"])
        assert mask.any()
        inside = np.zeros_like(mask)
        inside[y : y + h, x : x + w] = True
        assert not (mask & ~inside).any()
        assert mask.sum() == pytest.approx(row["area"], rel=0.25, abs=25)


def test_dataset_is_reproducible(tmp_path: Path) -> None:
    first = write_dataset(tmp_path / "a", 2, format="png", size=SMALL, regions=("hip", "hand"))
    second = write_dataset(tmp_path / "b", 2, format="png", size=SMALL, regions=("hip", "hand"))
    for one, two in zip((*first.files, first.annotations), (*second.files, second.annotations), strict=True):
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_fracture_rate(tmp_path: Path, rate: float) -> None:
    summary = write_dataset(tmp_path / "films", 3, size=SMALL, fracture_rate=rate, regions=["forearm"])
    assert summary.fractured == 3 * rate
    assert (summary.boxes > 0) == (rate > 0)


@pytest.mark.parametrize(
    ("error", "settings"),
    [
        (ConfigurationError, {"n": 0}),
        (ConfigurationError, {"format": "tiff"}),
        (ConfigurationError, {"fracture_rate": 1.5}),
        (ConfigurationError, {"seed": -3}),
        (ConfigurationError, {"png_bits": 12}),
        (ConfigurationError, {"regions": []}),
        (RegionError, {"regions": ["skull"]}),
    ],
)
def test_impossible_data_sets_are_refused_before_anything_is_written(
    tmp_path: Path, error: type[Exception], settings: dict[str, object]
) -> None:
    with pytest.raises(error):
        write_dataset(tmp_path / "films", **{"n": 2, "size": SMALL, **settings})  # type: ignore[arg-type]
    assert not (tmp_path / "films").exists()


def test_a_folder_with_annotations_is_not_overwritten(tmp_path: Path) -> None:
    write_dataset(tmp_path, 1, size=SMALL)
    with pytest.raises(ConfigurationError, match="already holds"):
        write_dataset(tmp_path, 1, size=SMALL)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="folder"):
        write_dataset(tmp_path / "file", 1, size=SMALL)
