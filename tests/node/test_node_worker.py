"""A worker with real networks and real DICOM results, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")
pytest.importorskip("highdicom")

from pydicom import dcmread

from fracture.jobs import DEAD, DONE
from fracture.node.config import Config
from fracture.node.films import head_of
from fracture.node.node import open_rooms
from fracture.node.routing import route
from fracture.node.worker import Worker
from fracture.simulate import radiograph
from tests.node.harness import file_of
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
            made = dcmread(path)
            assert (made.StudyInstanceUID, made.SOPClassUID) == (film.StudyInstanceUID, one.payload["sop_class"])
            assert route(config, {"caller": "PACS", **head_of(path.read_bytes())})[0] == []
        assert sorted(dcmread(rooms.results.path(f"{one.key}.dcm")).Modality for one in sent) == ["OT", "PR", "SR"]
        (dead,) = rooms.jobs.listing(states=[DEAD])
        assert dead.key == nameless.SOPInstanceUID
        assert "no StudyInstanceUID" in dead.error
