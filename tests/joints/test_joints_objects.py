"""``fracture joints predict`` end to end: JSON lines, overlay, gallery, and DICOM results that dciodvfy accepts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner

from fracture import simulate
from fracture.cli.main import app
from tests.dicom.builder import dataset, file_bytes
from tests.results.made import UIDS, run, tool


@pytest.fixture(scope="module")
def hand_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated hand as a DICOM file that names no side."""
    pixels = simulate.hand(4, size=(384, 320), damaged=False).film.pixels
    path = tmp_path_factory.mktemp("films") / "hand.dcm"
    path.write_bytes(file_bytes(dataset(np.asarray(pixels, np.uint16), **UIDS, BodyPartExamined="HAND")))
    return path


@pytest.mark.slow
def test_one_command_writes_everything_there_is(hand_file: Path, tmp_path: Path) -> None:
    out = {name: tmp_path / name for name in ("overlay", "dicom", "report")}
    words = ["joints", "predict", str(hand_file), "--side", "right", "--spacing", "0.3", "--workers", "0"]
    words += ["--json", str(tmp_path / "out.jsonl")]
    words += [part for name, folder in out.items() for part in (f"--{name}", str(folder))]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (line,) = map(json.loads, (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines())
    (limb,) = line["limbs"]
    assert (line["regions"], limb["side"], limb["side_source"]) == (["hand"], "right", "caller")
    assert len(line["joints"]) == 26
    assert len(limb["columns"]) + len(limb["missing"]) == 31  # of a hand
    assert all(name.startswith("RH_") for name in limb["columns"])
    with Image.open(line["overlay"]) as picture:
        assert picture.width >= 320
    assert list(out["report"].glob("*.html"))
    objects = sorted(out["dicom"].rglob("*.dcm"))
    assert {pydicom.dcmread(path).Modality for path in objects} >= {"SR", "OT"}
    again = ["dicom", "results", str(tmp_path / "out.jsonl"), str(hand_file), "--dicom", str(tmp_path / "again")]
    done = CliRunner().invoke(app, again)
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "again").rglob("*.dcm")} == {path.name for path in objects}
    for path in objects:
        said = run(tool("dciodvfy"), "-new", path)
        assert not [line for line in said.splitlines() if line.startswith("Error")], said
