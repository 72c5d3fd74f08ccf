"""The committed examples are what their script makes, and small."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pydicom
import pytest


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "examples"


@pytest.fixture(scope="module")
def script(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_examples", folder / "make_examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(path: Path) -> np.ndarray:
    """The gray levels in 0..255, bright = dense."""
    if path.suffix == ".png":
        return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), dtype=int)
    data = pydicom.dcmread(path)
    pixels = data.pixel_array.astype(int)
    return (4095 - pixels if data.PhotometricInterpretation == "MONOCHROME1" else pixels) >> 4


def test_examples_are_those_of_the_script(folder: Path, script: ModuleType) -> None:
    if int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip("OpenCV 4 draws the side letters in another font")
    coco = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    assert [image["file_name"] for image in coco["images"]] == list(script.FILMS)
    for image in coco["images"]:
        film = script.film(image["file_name"])
        # Another processor may round the last bit of a logarithm differently.
        difference = np.abs(stored(folder / image["file_name"]) - (film.pixels >> 4).astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01
        rows = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        assert bool(rows) == film.fractured == bool(image["fractured"])
        for row, box in zip(rows, film.boxes, strict=True):
            x, y, w, h = row["bbox"]
            assert np.allclose((x, y, x + w, y + h), box, atol=1.0)


def test_examples_are_small_and_varied(folder: Path, script: ModuleType) -> None:
    files = [path for path in folder.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    assert {"DX"} == {pydicom.dcmread(path, stop_before_pixels=True).Modality for path in folder.glob("*.dcm")}
    assert len(list(folder.glob("*.dcm"))) >= 2
    assert len(list(folder.glob("*.png"))) >= 2
    assert {image.get("fractured", True) for image in script.FILMS.values()} == {True, False}
