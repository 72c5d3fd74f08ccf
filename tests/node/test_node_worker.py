"""A worker with real networks and real DICOM results, in this process."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")
pytest.importorskip("highdicom")

from pydicom import dcmread

from fracture.jobs import DEAD, DONE
from fracture.node.config import SLICES, Config
from fracture.node.films import head_of
from fracture.node.logs import LogLine
from fracture.node.node import open_rooms
from fracture.node.routing import route, taken
from fracture.node.worker import Worker
from fracture.simulate import radiograph
from tests.node.harness import file_of
from tests.spine import made
from tests.weights import write_weights


def test_results_are_kept_with_the_jobs_that_send_them_and_are_never_read_themselves(tmp_path: Path) -> None:
    write_weights(tmp_path / "weights")
    targets = [{"name": "A", "ae": "A", "host": "h"}, {"name": "B", "url": "http://b"}]
    told = {"data": str(tmp_path / "data"), "weights": [str(tmp_path / "weights")], "send": targets, "device": "cpu"}
    config = Config.of({**told, "objects": ["sr", "sc", "gsps"], "keep": {"spare_megabytes": 0}}, "a test")
    film = radiograph(1, region="wrist", size=(320, 256)).to_dicom()
    nameless = radiograph(2, region="wrist", size=(320, 256)).to_dicom()
    del nameless.StudyInstanceUID
    with open_rooms(config) as rooms:
        for one in (film, nameless):
            content = file_of(one)
            rooms.films.receive(content, one.SOPInstanceUID, "X", head_of(content))
        worker = Worker(config, rooms.jobs, rooms.films, rooms.results, rooms.audit, "w")
        while worker.step():
            pass
        job = rooms.jobs.find("read", film.SOPInstanceUID)
        assert job is not None
        assert job.state == DONE
        (reading,) = job.result["readings"]
        line = reading["line"]
        assert reading["positive"] is line["fractured"] is (reading["suspicion"] >= 0.5)
        assert line["source"] == film.SOPInstanceUID
        sent = rooms.jobs.listing(kinds=["send:A"], newest=False)
        assert {one.key for one in sent} == {one.key for one in rooms.jobs.listing(kinds=["send:B"])}
        for one in sent:
            path = rooms.results.path(f"{one.key}.dcm")
            kept = dcmread(path)
            assert (kept.StudyInstanceUID, kept.SOPClassUID) == (film.StudyInstanceUID, one.payload["sop_class"])
            assert route(config, {"caller": "PACS", **head_of(path.read_bytes())})[0] == []
        assert sorted(dcmread(rooms.results.path(f"{one.key}.dcm")).Modality for one in sent) == ["OT", "PR", "SR"]
        (dead,) = rooms.jobs.listing(states=[DEAD])
        assert dead.key == nameless.SOPInstanceUID
        assert "no StudyInstanceUID" in dead.error


def test_slices_are_read_with_their_study_and_films_by_themselves(tmp_path: Path) -> None:
    write_weights(tmp_path / "weights")
    names = [str(tmp_path / "weights"), "lumbar-small"]
    told = {"data": str(tmp_path / "data"), "weights": names, "send": [{"name": "A", "ae": "A", "host": "h"}]}
    settings = {"device": "cpu", "quiet_seconds": 0, "objects": ["sr", "sc", "seg"], "keep": {"spare_megabytes": 0}}
    config = Config.of({**told, **settings}, "a test")
    assert set(SLICES["MR"]) < set(taken(config))
    assert not set(SLICES["CT"]) & set(taken(config))
    assert not set(SLICES["MR"]) & set(taken(config.model_copy(update={"weights": names[:1]})))
    film = radiograph(1, region="wrist", size=(320, 256)).to_dicom()
    slices = made.slices(5, size=(128, 128), spacing=(1.5, 2.0), StudyInstanceUID="1.2.3.4")
    broken = made.slices(4, size=(128, 128), spacing=(1.5, 2.0), StudyInstanceUID="1.2.3.5")
    for k, one in enumerate(broken):
        one.SOPInstanceUID = f"1.2.3.5.{k}"
    (scan,) = made.slices(1, size=(128, 128), modality="CT", StudyInstanceUID="1.2.3.6", SOPInstanceUID="1.2.3.6.1")
    with open_rooms(config) as rooms:
        for dataset in (film, *slices, *broken[:2], broken[3], scan):  # one is missing
            content = file_of(dataset)
            rooms.films.receive(content, dataset.SOPInstanceUID, "X", head_of(content))
        worker = Worker(config, rooms.jobs, rooms.films, rooms.results, rooms.audit, "w")
        while worker.step():
            pass
        study = rooms.jobs.find("study", "1.2.3.4")
        assert study is not None
        ((reading,), positive) = study.result["series"], study.result["positive"]
        assert (reading["weights"], reading["slices"], positive) == ("lumbar-small", 5, [])
        assert reading["line"]["slice"][1] == 5
        sent = rooms.jobs.listing(kinds=["send:A"], batch="1.2.3.4", newest=False)
        objects = [dcmread(rooms.results.path(f"{one.key}.dcm")) for one in sent]
        assert sorted(one.Modality for one in objects) == ["OT", "SR"], "a spine has no map, and no seg"
        assert {one.StudyInstanceUID for one in objects} == {"1.2.3.4"}
        failed = rooms.jobs.find("study", "1.2.3.5")
        assert failed is not None
        assert "slices" in failed.result["series"][0]["error"]
        own = rooms.jobs.find("read", film.SOPInstanceUID)
        assert own is not None
        assert [one["weights"] for one in own.result["readings"]] == [names[0]]
        other = rooms.jobs.find("read", scan.SOPInstanceUID)
        assert other is not None
        assert other.result == {"skipped": "none of its weights reads CT"}
        assert not rooms.jobs.listing(states=[DEAD])


def test_a_log_names_no_film_even_where_an_error_does() -> None:
    where = {
        "error": "/data/films/1.2.826.0.1.3680043.8.498.1.2.dcm: no room; 2.25.1234567",
        "host": "192.168.0.17:104",
    }
    record = logging.LogRecord("fracture.node", logging.ERROR, "", 0, "a film has to wait", None, None)
    record.told = where
    line = json.loads(LogLine("worker").format(record))
    assert (line["error"], line["host"]) == ("/data/films/UID.dcm: no room; UID", "192.168.0.17:104")
