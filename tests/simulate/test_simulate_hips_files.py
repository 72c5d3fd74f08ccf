"""Folders of simulated hips: the layout of the real set, class shares, the command line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fracture.errors import ConfigurationError
from fracture.simulate import HIP_CLASSES, HIP_MIX, VARIANTS, Summary, write_hips

SIZE = (96, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Summary, dict[str, Any]]:
    path = tmp_path_factory.mktemp("hips")
    summary = write_hips(path, 6, seed=3, size=SIZE, single_rate=0.0, frog_leg_rate=0.0)
    return summary, json.loads(summary.annotations.read_text())


def test_layout_is_that_of_the_real_set(folder: tuple[Summary, dict[str, Any]], shared_data: Path) -> None:
    _, coco = folder
    real = json.loads((shared_data / "hip" / "annotations.json").read_text())
    assert coco["categories"] == real["categories"]
    assert set(real["images"][0]) <= set(coco["images"][0])
    assert set(real["annotations"][0]) <= set(coco["annotations"][0])
    assert (shared_data / "hip" / "images" / real["images"][0]["file_name"]).is_file()
    # The words for a whole or broken hip are the real set's own.
    words = {f for a in real["annotations"] for f in a["findings"]}
    ours = {f for a in coco["annotations"] for f in a["findings"]}
    assert ours - {"internal-fixation", "arthroplasty"} <= words


def test_files_and_annotations_agree(folder: tuple[Summary, dict[str, Any]]) -> None:
    summary, coco = folder
    assert summary.films == len(coco["images"]) == 6
    assert summary.boxes == len(coco["annotations"])
    for image, path in zip(coco["images"], summary.files, strict=True):
        assert path == summary.directory / "images" / image["file_name"]
        with Image.open(path) as opened:
            assert opened.size == (image["width"], image["height"])
            assert opened.mode == "L"
    for row in coco["annotations"]:
        x, y, w, h = row["bbox"]
        assert x >= 0
        assert y >= 0
        assert w > 4
        assert h > 4
        assert x + w <= SIZE[1]
        assert y + h <= SIZE[0]
        assert row["variant"] in VARIANTS[row["hip_class"]]
        assert row["area"] == pytest.approx(w * h, rel=0.01)


def test_each_film_has_a_right_hip_on_its_left(folder: tuple[Summary, dict[str, Any]]) -> None:
    _, coco = folder
    names = {c["id"]: c["name"] for c in coco["categories"]}
    for image in coco["images"]:
        x = {names[a["category_id"]]: a["bbox"][0] for a in coco["annotations"] if a["image_id"] == image["id"]}
        assert len(x) >= 1
        if len(x) == 2:
            assert x["right_hip"] < x["left_hip"]


def test_classes_have_theirclass_shares(tmp_path: Path) -> None:
    from fracture.simulate.dataset import class_shares

    counts = Counter(class_shares(HIP_MIX, 200))
    assert counts == {name: round(200 * share) for name, share in HIP_MIX.items()}
    assert sum(Counter(class_shares(dict.fromkeys(HIP_CLASSES, 1.0), 50)).values()) == 50
    summary = write_hips(
        tmp_path / "mixed",
        3,
        size=SIZE,
        mix={"arthroplasty": 1.0, "displaced_neck": 1.0},
        single_rate=0.0,
        frog_leg_rate=0.0,
    )
    rows = json.loads(summary.annotations.read_text())["annotations"]
    assert Counter(r["hip_class"] for r in rows) == {"arthroplasty": 3, "displaced_neck": 3}


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    a, b = (write_hips(tmp_path / name, 1, seed=11, size=SIZE) for name in ("a", "b"))
    assert a.annotations.read_bytes() == b.annotations.read_bytes()
    assert [f.read_bytes() for f in a.files] == [f.read_bytes() for f in b.files]
    c = write_hips(tmp_path / "c", 1, seed=12, size=SIZE)
    assert [f.read_bytes() for f in a.files] != [f.read_bytes() for f in c.files]


def test_single_hips_and_frog_legs_are_written(tmp_path: Path) -> None:
    single = write_hips(tmp_path / "single", 2, size=SIZE, single_rate=1.0)
    assert single.boxes == 2
    frog = write_hips(tmp_path / "frog", 1, size=SIZE, frog_leg_rate=1.0, single_rate=0.0)
    assert json.loads(frog.annotations.read_text())["images"][0]["view"] == "frog_leg"


def test_sixteen_bits_keep_twelve(tmp_path: Path) -> None:
    summary = write_hips(tmp_path, 1, size=SIZE, png_bits=16)
    with Image.open(summary.files[0]) as image:
        assert np.asarray(image).max() > 255


@pytest.mark.parametrize(
    "setting",
    [
        {"n": 0},
        {"seed": -1},
        {"mix": {"broken": 1.0}},
        {"mix": {"normal": 0.0}},
        {"mix": {"normal": -1.0}},
        {"single_rate": 2.0},
        {"png_bits": 12},
    ],
)
def test_settings_that_do_not_exist(tmp_path: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        write_hips(tmp_path / "none", **{"n": 1, "size": SIZE, **setting})
    assert not (tmp_path / "none").exists()


def test_a_data_set_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="already holds"):
        write_hips(tmp_path, 1, size=SIZE)


def test_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from fracture.cli.main import app

    runner = CliRunner()
    out = tmp_path / "hips"
    done = runner.invoke(
        app, ["simulate", str(out), "--kind", "hips", "-n", "1", "--size", "96", "--mix", "intertrochanteric=1"]
    )
    assert done.exit_code == 0, done.output
    rows = json.loads((out / "annotations.json").read_text())["annotations"]
    assert {r["hip_class"] for r in rows} == {"intertrochanteric"}


@pytest.mark.parametrize(
    "options",
    [
        ["--kind", "hips", "--region", "wrist"],
        ["--kind", "hips", "--format", "dicom"],
        ["--kind", "pelves"],
        ["--size", "640"],
        ["--kind", "hips", "--mix", "normal"],
        ["--kind", "hips", "--mix", "normal=many"],
    ],
)
def test_command_line_refuses_what_does_not_apply(tmp_path: Path, options: list[str]) -> None:
    from typer.testing import CliRunner

    from fracture.cli.main import app

    done = CliRunner().invoke(app, ["simulate", str(tmp_path / "none"), "-n", "1", *options])
    assert done.exit_code != 0
    assert not (tmp_path / "none").exists()


def test_the_hips_reader_reads_it(folder: tuple[Summary, dict[str, Any]]) -> None:
    from fracture.hip.records import hips_of, read_hips

    summary, coco = folder
    read = read_hips(summary.directory)
    found = [(hip.side, hip.allowed) for film in read for hip in hips_of(film)]
    names = {c["id"]: c["name"].removesuffix("_hip") for c in coco["categories"]}
    assert found == [(names[row["category_id"]], (row["hip_class"],)) for row in coco["annotations"]]
