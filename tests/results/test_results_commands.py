"""The commands: objects beside the lines, of earlier lines too, and of no film that failed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from fracture.cli.main import app
from fracture.errors import ConfigurationError
from fracture.hip.prediction import HipFilm
from fracture.limb.prediction import Prediction
from fracture.results import read_sr, summary
from fracture.results.folder import ObjectFolder
from tests.dicom.builder import SECRETS
from tests.results.made import faults, film_file, hips, prediction

RUN = CliRunner()


def test_a_result_comes_back_from_its_line(tmp_path: Path) -> None:
    path = film_file(tmp_path)
    for made, kind in ((prediction(path), Prediction), (hips(path), HipFilm)):
        line = json.loads(json.dumps(made.to_dict()))
        assert kind.from_dict(line).to_dict() == made.to_dict()
        with pytest.raises(ConfigurationError, match="no line of"):
            kind.from_dict({"source": "x"})


def test_objects_of_lines_that_were_written_earlier(tmp_path: Path) -> None:
    path, out = film_file(tmp_path), tmp_path / "out"
    lines = [prediction(path).to_dict(), {"source": "gone.dcm", "error": {"type": "X", "message": "cut off"}}]
    jsonl = tmp_path / "lines.jsonl"
    jsonl.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    done = RUN.invoke(app, ["dicom", "results", str(jsonl), str(path), "--dicom", str(out), "--objects", "sr,sc,ko"])
    assert done.exit_code == 1, done.output
    assert "gone.dcm" in done.output
    names = sorted(file.name.partition(".")[0] for file in (out / "film.dcm.objects").iterdir())
    assert names == ["ko", "sc", "sr"]
    (page,) = (out / "summaries").iterdir()
    assert faults(pydicom.dcmread(page), tmp_path) == []
    before = {file: file.read_bytes() for file in out.rglob("*.dcm")}
    RUN.invoke(app, ["dicom", "results", str(jsonl), str(path), "--dicom", str(out), "--objects", "sr,sc,ko"])
    assert {file: file.read_bytes() for file in out.rglob("*.dcm")} == before, "a retry changes nothing"


def test_seg_of_lines_is_refused_with_the_way_to_keep_it(tmp_path: Path) -> None:
    done = RUN.invoke(app, ["dicom", "results", "x", "y", "--dicom", str(tmp_path), "--objects", "seg"])
    assert isinstance(done.exception, ConfigurationError)
    assert "--dicom OUT --objects seg" in str(done.exception)


def test_a_newer_reading_names_the_one_that_lies_there(tmp_path: Path) -> None:
    p = prediction(film_file(tmp_path))
    folder = ObjectFolder(tmp_path / "out", ["sr"])
    (first,) = folder.add(p, tmp_path / "out" / "film")
    (second,) = folder.add(replace(p, weights_checksum="9" * 64), tmp_path / "out" / "film")
    assert first != second
    new = pydicom.dcmread(second)
    named = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == pydicom.dcmread(first).SOPInstanceUID
    assert faults(new, tmp_path) == []
    assert "PredecessorDocumentsSequence" not in pydicom.dcmread(first)


def test_the_summary_shows_the_films_of_one_study(tmp_path: Path) -> None:
    path = film_file(tmp_path)
    (one,) = prediction(path).to_dicom(["sc"])
    (two,) = replace(prediction(path), fractured=False, boxes=()).to_dicom(["sc"])
    page = summary([one, two])
    assert page.StudyInstanceUID == one.StudyInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in page.SourceImageSequence} == {
        one.SOPInstanceUID,
        two.SOPInstanceUID,
    }
    assert faults(page, tmp_path) == []
    pixels = pydicom.dcmread(tmp_path / "made.dcm").pixel_array
    assert (pixels == np.array([255, 159, 28])).all(axis=2).any(), "the box's color is on the page"
    two.StudyInstanceUID = "1.2.3.999"
    with pytest.raises(ConfigurationError, match="one study"):
        summary([one, two])


@pytest.mark.slow
def test_predict_writes_objects_and_leaves_none_of_a_film_that_failed(tmp_path: Path, repository: Path) -> None:
    """With the shipped weights: a film, a picture, and a damaged file."""
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    film = repository / "examples" / "wrist_radius_transverse.dcm"
    (films / "a.dcm").write_bytes(film.read_bytes())
    (films / "b.png").write_bytes((repository / "examples" / "hand_normal.png").read_bytes())
    (films / "c.dcm").write_bytes(film.read_bytes()[:5000])
    command = ["predict", str(films), "--dicom", str(out), "--objects", "sr,sc,gsps,seg", "--json"]
    done = RUN.invoke(app, [*command, str(tmp_path / "1.jsonl")])
    assert done.exit_code == 1
    lines = [json.loads(line) for line in (tmp_path / "1.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [bool(line["dicom"]) for line in lines] == [True, False, False]
    assert "new-study" in done.output
    assert sorted(path.name for path in out.iterdir()) == ["a.dcm.objects", "summaries"]
    report = read_sr(pydicom.dcmread(next(out.rglob("sr.*"))))
    assert report.film.numbers["probability"] == pytest.approx(lines[0]["probability"])
    done = RUN.invoke(app, [*command, str(tmp_path / "2.jsonl"), "--new-study"])
    assert sorted(path.name for path in (out / "b.png.objects").iterdir())[0].startswith("gsps.")


def test_objects_of_a_de_identified_copy_name_nobody(tmp_path: Path) -> None:
    from fracture.deidentification import Rules, deidentify
    from fracture.errors import UnsupportedError

    key = bytes(range(32))
    path = film_file(tmp_path, BurnedInAnnotation="NO")
    copied = deidentify(path, key=key)
    folder = ObjectFolder(tmp_path / "out", ["sr", "sc", "gsps", "seg", "ko"], rules=Rules(key))
    paths = folder.add(prediction(path), tmp_path / "unused")
    for made in map(pydicom.dcmread, paths):
        assert made.StudyInstanceUID == copied.StudyInstanceUID
        assert made.PatientID == copied.PatientID
        assert not [secret for secret in SECRETS.values() if secret in str(made)]
        assert faults(made, tmp_path) == []
    assert read_sr(pydicom.dcmread(paths[0])).referenced == copied.SOPInstanceUID
    unsure = film_file(tmp_path)
    with pytest.raises(UnsupportedError, match="may hold a name"):
        folder.add(prediction(unsure), tmp_path / "unused")


def test_lines_of_earlier_go_into_the_study_of_the_copy_too(tmp_path: Path) -> None:
    """The films may have moved since: the copy's header is that of the film found, not of the line's path."""
    from fracture.deidentification import deidentify, read_key

    film, key = film_file(tmp_path, BurnedInAnnotation="NO"), tmp_path / "key"
    jsonl = tmp_path / "lines.jsonl"
    jsonl.write_text(json.dumps({**prediction(film).to_dict(), "source": "elsewhere/film.dcm"}), encoding="utf-8")
    asked = ["dicom", "results", str(jsonl), str(film), "--dicom", str(tmp_path / "out"), "--deidentify", str(key)]
    done = RUN.invoke(app, asked)
    assert done.exit_code == 0, done.output
    copied = deidentify(film, key=read_key(key))
    made = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert len(made) == 4
    for one in made:
        assert one.StudyInstanceUID == copied.StudyInstanceUID
        assert not [secret for secret in SECRETS.values() if secret in str(one)]
