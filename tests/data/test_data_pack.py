"""A set in one file: the same films and annotations, smaller."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fracture.cli.main import app
from fracture.data.pack import pack
from fracture.data.readers import read_annotations
from fracture.errors import DataError
from fracture.io.reading import read


def made(folder: Path) -> Path:
    """Two films of 1440 x 960, one fractured with an outline, and one small film with a crowd region."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for k, (width, height) in enumerate([(1440, 960), (1440, 960), (300, 400)]):
        smooth = cv2.resize(rng.random((12, 18)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "images" / f"{k}.png"), (np.clip(smooth, 0, 1) * 65535).astype(np.uint16))
        images.append(
            {"id": k, "file_name": f"{k}.png", "width": width, "height": height, "patient": f"p{k // 2}"}
            | {"regions": ["wrist"], "views": ["lateral"], "site": "X", "hardware": k % 2}
        )
    ring = [100, 200, 500, 200, 500, 400]
    annotations = [
        {"id": 0, "image_id": 0, "category_id": 1, "bbox": [100, 200, 400, 200], "segmentation": [ring], "iscrowd": 0},
        {"id": 1, "image_id": 2, "category_id": 1, "bbox": [10, 20, 30, 40], "iscrowd": 1},
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fracture"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_a_packed_set_is_the_set_made_smaller(tmp_path: Path) -> None:
    before = read_annotations(made(tmp_path / "set"), group_field="patient")
    packed = pack(before, tmp_path / "films.zip", long_side=720, quality=95)
    assert (packed.films, packed.failures) == (3, ())
    assert packed.size == (tmp_path / "films.zip").stat().st_size
    zipfile.ZipFile(tmp_path / "films.zip").extractall(tmp_path / "there")
    after = read_annotations(tmp_path / "there")
    assert [f.source for f in after] == [Path(f.source).with_suffix(".jpg").as_posix() for f in before]
    assert [(f.width, f.height) for f in after] == [(720, 480), (720, 480), (300, 400)]
    for old, new in zip(before, after, strict=True):
        for name in ("fractured", "regions", "views", "group", "site", "hardware", "localized"):
            assert getattr(old, name) == getattr(new, name)
        small = read(after.image_path(new)).pixels
        large = read(before.image_path(old)).pixels
        expected = cv2.resize(large, small.shape[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small - expected).mean() < 0.01
    assert after[0].boxes == ((50.0, 100.0, 250.0, 200.0),)
    assert after[0].polygons == ((((50.0, 100.0), (250.0, 100.0), (250.0, 200.0)),),)
    assert after[2].crowd == before[2].crowd == ((10.0, 20.0, 40.0, 60.0),)


def test_the_same_set_gives_the_same_bytes_and_a_broken_film_is_told(tmp_path: Path) -> None:
    folder = made(tmp_path / "set")
    (folder / "images" / "1.png").write_bytes(b"no film")
    for name in ("a.zip", "b.zip"):
        outcome = CliRunner().invoke(app, ["pack-data", str(folder), str(tmp_path / name)])
        assert outcome.exit_code == 1
        assert "left out: images/1.png" in outcome.stderr
        assert "2 films" in outcome.stdout
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    assert CliRunner().invoke(app, ["pack-data", str(folder), str(other)]).exit_code != 0
    assert other.read_text() == "mine"


def test_a_set_without_readable_films_leaves_no_file(tmp_path: Path) -> None:
    folder = made(tmp_path / "set")
    for path in (folder / "images").iterdir():
        path.write_bytes(b"no film")
    with pytest.raises(DataError, match=r"none of the 3 films"):
        pack(read_annotations(folder), tmp_path / "films.zip")
    assert not (tmp_path / "films.zip").exists()
    with pytest.raises(DataError, match="quality=0"):
        pack(read_annotations(folder), tmp_path / "films.zip", quality=0)
