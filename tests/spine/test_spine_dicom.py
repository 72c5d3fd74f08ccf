"""DICOM objects of a spine's result: in the study of the slice that it shows, in that slice's own pixels."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("highdicom")

from pydicom import dcmread

from fracture.cli.main import app
from fracture.errors import ConfigurationError
from fracture.results import read_sr
from fracture.spine import find_series
from fracture.spine.frame import frame_of
from fracture.spine.lumbar.reader import LumbarReader
from fracture.spine.lumbar.result import LumbarSpine
from fracture.spine.planes import oriented
from tests.dicom.builder import file_bytes
from tests.spine.made import AXIAL, SAGITTAL, enhanced, slices, write
from tests.spine.test_spine_lumbar import Marker, reader, spotted, study, weights

__all__ = ["Marker", "reader", "weights"]  # fixtures
UIDS = {"StudyInstanceUID": "1.2.3.4", "FrameOfReferenceUID": "1.2.3.5"}
# The same sagittal slices as scanners may store them: as they are seen, feet up, front to the right, and on their side.
TURNED = {
    "seen": (SAGITTAL, lambda seen: seen),
    "feet up": ((0.0, 1.0, 0.0, 0.0, 0.0, 1.0), lambda seen: seen[::-1]),
    "front to the right": ((0.0, -1.0, 0.0, 0.0, 0.0, -1.0), lambda seen: seen[:, ::-1]),
    "on its side": ((0.0, 0.0, -1.0, 0.0, 1.0, 0.0), lambda seen: seen.T),
}


@pytest.mark.parametrize("how", TURNED)
def test_places_are_those_of_the_file_however_it_is_turned(how: str, reader: LumbarReader, tmp_path: Path) -> None:
    orientation, turn = TURNED[how]
    spacing = (2.0, 1.5) if how == "on its side" else (1.5, 2.0)
    made = slices(9, orientation=orientation, size=(128, 128), spacing=spacing, **UIDS)  # type: ignore[arg-type]
    for k, one in enumerate(made):
        pixels = spotted()
        pixels[60:] *= k == 4
        one.PixelData = np.ascontiguousarray(turn(pixels)).tobytes()
    found = reader.predict(write(made, tmp_path))
    (report, *_) = found.to_dicom(["sr", "sc", "gsps"])
    assert (report.StudyInstanceUID, read_sr(report).referenced) == ("1.2.3.4", made[4].SOPInstanceUID)
    stored = turn(spotted())
    discs = [place for place in read_sr(report).places if place.kind == "disc"]
    assert len(discs) == 6
    for place in discs:
        x0, y0, x1, y1 = place.edges
        assert stored[round((y0 + y1) / 2) - 3 : round((y0 + y1) / 2) + 3, round((x0 + x1) / 2)].max() == 1000
    assert {place.answers["level"] for place in discs} == {disc.level for disc in found.discs}
    assert "Magnetic resonance imaging" in str(report)


def test_a_frame_of_an_enhanced_file_is_named_by_its_number(reader: LumbarReader, tmp_path: Path) -> None:
    made = slices(5, size=(128, 128), spacing=(1.5, 2.0))
    for k, one in enumerate(made):
        pixels = spotted()
        pixels[60:] *= k == 2
        one.PixelData = pixels.tobytes()
    whole = enhanced(made, [4, 2, 0, 1, 3])
    whole.StudyInstanceUID, whole.SOPInstanceUID = "1.2.3.4", "1.2.3.77"
    (tmp_path / "a.dcm").write_bytes(file_bytes(whole))
    found = reader.predict(tmp_path / "a.dcm")
    assert found.frame is not None
    assert (found.frame.index, found.slice[0]) == (1, 2)
    (report,) = found.to_dicom(["sr"])
    assert (read_sr(report).referenced, read_sr(report).frame) == ("1.2.3.77", 1)


def test_a_line_gives_the_same_objects_and_so_does_the_command(reader: LumbarReader, tmp_path: Path) -> None:
    found = reader.predict(study(tmp_path / "s", **UIDS))
    again = LumbarSpine.from_dict(json.loads(json.dumps(found.to_dict())))
    pairs = zip(found.to_dicom(["sr", "sc"]), again.to_dicom(["sr", "sc"]), strict=True)
    assert all(one.SOPInstanceUID == other.SOPInstanceUID for one, other in pairs)
    (tmp_path / "l.jsonl").write_text(json.dumps(found.to_dict()) + "\n")
    told = ["dicom", "results", str(tmp_path / "l.jsonl"), str(tmp_path / "s"), "--dicom", str(tmp_path / "out")]
    result = CliRunner().invoke(app, told)
    assert result.exit_code == 0, result.output
    kinds = sorted(dcmread(path).Modality for path in (tmp_path / "out").rglob("*.dcm"))
    assert kinds == ["OT", "OT", "PR", "SR"], "the fourth is the study's page"
    with pytest.raises(ConfigurationError, match="no line of fracture spine lumbar predict"):
        LumbarSpine.from_dict({"discs": [{"x": 1}]})


def test_without_a_file_there_is_nothing_to_refer_to(reader: LumbarReader, tmp_path: Path) -> None:
    stack = find_series(study(tmp_path, **UIDS)).series[0]
    volume = stack.read().volume
    with pytest.raises(ConfigurationError, match="belong to a slice of a DICOM series"):
        reader.predict(volume).to_dicom(["sr"])
    assert frame_of(stack, volume, 3) is not None
    assert frame_of(stack, oriented(volume, "axial"), 3) is None, "no frame lies in the plane of such a slice"
    assert frame_of(find_series(write(slices(3, orientation=AXIAL), tmp_path / "b")).series[0], volume, 3) is None


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_the_validator_finds_no_error(reader: LumbarReader, tmp_path: Path) -> None:
    for made in reader.predict(study(tmp_path / "s", **UIDS)).to_dicom(["sr", "sc", "gsps"]):
        made.save_as(path := tmp_path / f"{made.Modality}.dcm", enforce_file_format=True)
        told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert "Error" not in told, told


def test_the_command_writes_objects(weights: Path, tmp_path: Path) -> None:
    study(tmp_path / "s", **UIDS)
    told = ["spine", "lumbar", "predict", str(tmp_path / "s"), "--weights", str(weights), "--device", "cpu"]
    result = CliRunner().invoke(app, [*told, "--dicom", str(tmp_path / "out"), "--json", str(tmp_path / "l.jsonl")])
    assert result.exit_code == 0, result.output
    line = json.loads((tmp_path / "l.jsonl").read_text())
    assert [dcmread(path).StudyInstanceUID for path in line["dicom"]] == ["1.2.3.4"] * 3
