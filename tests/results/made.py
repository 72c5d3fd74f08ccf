"""Films and results made by hand: no network runs."""

from __future__ import annotations

import functools
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

import fracture
from fracture.hip.classes import CLASSES
from fracture.hip.prediction import Hip, HipFilm
from fracture.limb.prediction import Prediction
from fracture.wing.result import Box, GridToSource
from tests.dicom.builder import dataset, file_bytes, gradient

NOW = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)
KINDS = ["sr", "sc", "gsps", "seg", "ko"]
UIDS = {"SeriesInstanceUID": "1.2.3.5", "SOPInstanceUID": "1.2.3.4"}


def film_file(folder: Path, **attributes: Any) -> Path:
    """A small CR film, 96 x 64 pixels."""
    made = dataset(attributes.pop("pixels", gradient(64, 96)), **{**UIDS, "BodyPartExamined": "WRIST", **attributes})
    path = folder / "film.dcm"
    path.write_bytes(file_bytes(made))
    return path


def prediction(source: Any, **changes: Any) -> Prediction:
    """A positive result on a film: two boxes, a map, all that a card states."""
    reading = {"frame": changes.pop("frame", None), "allow": ("*",)}
    radiograph = fracture.read(source, **reading)
    width, height = radiograph.width, radiograph.height
    rows, columns = -(-height // 8), -(-width // 8)
    values = {
        "source": radiograph.source,
        "width": width,
        "height": height,
        "probability": 0.7123456,
        "fractured": True,
        "threshold": 0.3,
        "boxes": (
            Box(width * 0.1234567, height * 0.2, width * 0.4, height * 0.5001, 0.61, "high_specificity"),
            Box(0.0, 0.0, float(width), float(height), 0.4, "high_sensitivity"),
        ),
        "thresholds": {"high_sensitivity": 0.3, "high_specificity": 0.9},
        "reached": ("high_sensitivity",),
        "map_threshold": 0.37,
        "regions": ("wrist",),
        "region_source": "model",
        "region_probabilities": {"wrist": 0.9, "hand": 0.1},
        "probability_map": np.linspace(0, 1, rows * columns, dtype=np.float32).reshape(rows, columns),
        "map_to_source": GridToSource(8, 8),
        "model": "made-up",
        "model_version": "2.1",
        "weights_checksum": "0123456789abcdef" * 4,
        "spacing": radiograph.spacing,
        "warnings": ("a remark",),
        "radiograph": radiograph,
    }
    return Prediction(**{**values, **changes})


def hips(source: Any, **changes: Any) -> HipFilm:
    """A film with a broken right and a doubtful left hip."""
    radiograph = fracture.read(source)
    width, height = radiograph.width, radiograph.height
    made = []
    for side, x, top in (("right", 0.1, 1), ("left", 0.6, 0)):
        probabilities = dict.fromkeys(CLASSES, 0.08)
        probabilities[CLASSES[top]] = 0.6
        box = Box(width * x, height * 0.2, width * (x + 0.3), height * 0.8, 0.93)
        made.append(Hip(side=side, box=box, probabilities=probabilities, threshold=0.5, advise_threshold=0.05))
    values = {"source": radiograph.source, "width": width, "height": height, "hips": tuple(made)}
    card = {"model": "made-up-hips", "model_version": "1", "weights_checksum": "f" * 64, "radiograph": radiograph}
    return HipFilm(**{**values, **card, **changes})


def tool(name: str) -> str:
    """A program of dcmtk or dicom3tools; the test is skipped where it is not installed."""
    if (path := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: object) -> str:
    """What a program says, on both streams."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def save(made: Dataset, folder: Path, name: str = "made") -> Path:
    path = folder / f"{name}.dcm"
    made.save_as(path, enforce_file_format=True)
    return path


def faults(made: Dataset, folder: Path) -> list[str]:
    """What dciodvfy calls an error."""
    said = run(tool("dciodvfy"), "-new", save(made, folder))
    return [line for line in said.splitlines() if line.startswith("Error")]


@functools.cache
def small_film() -> bytes:
    return file_bytes(dataset(gradient(64, 96), **UIDS, BodyPartExamined="WRIST"))
