"""Studies, webhooks, what is refused and what waits, and what goes when: without processes of their own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from fracture.jobs import DEAD, DONE, WAITING, Jobs, NewJob
from fracture.node.config import Config
from fracture.node.hook import signature
from fracture.node.node import Rooms, open_rooms
from fracture.node.retention import prune
from fracture.node.sender import Sender
from fracture.node.study import judge


def no_series(*_: object) -> Any:
    raise AssertionError("these studies have films alone")


class Listener(BaseHTTPRequestHandler):
    """Remembers what it is told; answers what it is told to."""

    answers: ClassVar[list[int]] = []
    told: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        self.told.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.answers.pop(0) if self.answers else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[int]:
    Listener.answers, Listener.told = [], []
    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def rooms(tmp_path: Path, listener: int) -> Iterator[Rooms]:
    (tmp_path / "secret").write_text("key\n")
    hook = {"name": "RIS", "url": f"http://127.0.0.1:{listener}/", "secret_file": str(tmp_path / "secret")}
    told = {"data": str(tmp_path / "data"), "webhook": [hook], "pause_seconds": 0.01, "quiet_seconds": 0}
    with open_rooms(Config.of(told, "a test")) as rooms:
        yield rooms


def read(rooms: Rooms, uid: str, score: float, study: str = "1.2") -> None:
    rooms.jobs.add(NewJob("read", uid, batch=study))
    (job,) = rooms.jobs.claim(["read"], "w")
    reading = {"weights": "w", "version": "w 1", "positive": score >= 0.5, "suspicion": score, "line": {}}
    rooms.jobs.finish(job, {"readings": [reading]}, [NewJob("study", study, batch=study, again=True)])


def judged(rooms: Rooms) -> list[Any]:
    for job in rooms.jobs.claim(["study"], "w", limit=9):
        judge(rooms.config, rooms.jobs, rooms.films, rooms.results, rooms.audit, job, no_series)
    return [json.loads(json.dumps(job.payload)) for job in rooms.jobs.listing(kinds=["event:RIS"], newest=False)]


def test_a_study_is_as_suspicious_as_its_most_suspicious_film_and_told_once(rooms: Rooms) -> None:
    read(rooms, "1", 0.2)
    assert judged(rooms) == []
    read(rooms, "2", 0.9)
    (event,) = judged(rooms)
    assert (event["study"], event["films"], event["suspicion"]) == ("1.2", ["2"], 0.9)
    read(rooms, "3", 0.3)
    assert len(judged(rooms)) == 1
    read(rooms, "4", 0.6)
    assert [event["films"] for event in judged(rooms)] == [["2"], ["2", "4"]]
    study = rooms.jobs.find("study", "1.2")
    assert study is not None
    assert (study.result["films"], study.result["suspicion"]) == (4, 0.9)


@pytest.mark.parametrize(("rule", "suspicion", "told"), [("or", 0.9, 1), ("and", 0.2, 0)])
def test_the_rule_of_the_settings_fuses_the_films(rooms: Rooms, rule: str, suspicion: float, told: int) -> None:
    rooms = replace(rooms, config=rooms.config.model_copy(update={"study_rule": rule}))
    read(rooms, "1", 0.2)
    read(rooms, "2", 0.9)
    assert len(judged(rooms)) == told
    study = rooms.jobs.find("study", "1.2")
    assert study is not None
    assert study.result["suspicion"] == pytest.approx(suspicion)


def test_a_study_of_several_films_gets_a_page_and_one_selection_of_those_with_a_finding(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    from pydicom import dcmread

    from tests.results.made import faults, film_file, prediction

    pacs = {"name": "PACS", "ae": "A", "host": "h"}
    told = {"data": str(tmp_path / "data"), "send": [pacs], "quiet_seconds": 0, "objects": ["sc", "ko"]}
    with open_rooms(Config.of({**told, "keep": {"spare_megabytes": 0}}, "a test")) as rooms:
        for number, positive in enumerate((True, True, False)):
            uid = f"1.2.3.4.{number}"
            path = film_file(tmp_path, SOPInstanceUID=uid, InstanceNumber=number + 1)
            found = prediction(path, fractured=positive)
            study = str(dcmread(path).StudyInstanceUID)
            rooms.films.receive(path.read_bytes(), uid, "X", {"StudyInstanceUID": study})
            (job,) = rooms.jobs.claim(["read"], "w")
            (capture,) = found.to_dicom(["sc"])
            capture.save_as(rooms.results.write(f"{capture.SOPInstanceUID}.dcm", b""), enforce_file_format=True)
            said = {"weights": "w", "version": "w 1", "suspicion": 0.8 if positive else 0.1, "line": found.to_dict()}
            result = {"readings": [{**said, "positive": positive}], "captures": [str(capture.SOPInstanceUID)]}
            rooms.jobs.finish(job, result, [NewJob("study", study, batch=study, again=True)])
        for _ in range(2):  # judged again, it is the same study: nothing is sent twice
            (job,) = rooms.jobs.claim(["study"], "w")
            judge(rooms.config, rooms.jobs, rooms.films, rooms.results, rooms.audit, job, no_series)
            rooms.jobs.add(NewJob("study", study, batch=study, again=True))
        sent = [dcmread(rooms.results.path(f"{job.key}.dcm")) for job in rooms.jobs.listing(kinds=["send:PACS"])]
        page, selection = sorted(sent, key=lambda one: str(one.Modality), reverse=True)
        assert (page.Modality, page.ImageType[-1], len(page.SourceImageSequence)) == ("OT", "SUMMARY", 3)
        (evidence,) = selection.CurrentRequestedProcedureEvidenceSequence
        named = [item for series in evidence.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
        assert [item.ReferencedSOPInstanceUID for item in named] == ["1.2.3.4.0", "1.2.3.4.1"]
        (text,) = (item.TextValue for item in selection.ContentSequence if "TextValue" in item)
        assert text.startswith("2 of 3 films with a finding, suspicion 0.80")
        assert faults(page, tmp_path) == faults(selection, tmp_path) == []


def test_a_study_waits_for_films_that_are_not_read_yet(rooms: Rooms) -> None:
    read(rooms, "1", 0.9)
    rooms.jobs.add(NewJob("read", "2", batch="1.2"))
    assert judged(rooms) == []
    study = rooms.jobs.find("study", "1.2")
    assert study is not None
    assert (study.state, study.error) == (WAITING, "a film of it is not read yet")


def test_an_event_is_signed_and_comes_when_the_webhook_is_there(rooms: Rooms) -> None:
    rooms.jobs.add(NewJob("event:RIS", "1.2+1", {"study": "1.2"}))
    sender = Sender(rooms.config, rooms.jobs, rooms.results, rooms.audit, "s", "RIS")
    Listener.answers = [503, 200]
    assert sender.step()
    waiting = rooms.jobs.find("event:RIS", "1.2+1")
    assert waiting is not None
    assert (waiting.state, waiting.tries, waiting.error) == (WAITING, 0, "HTTP 503")
    time.sleep(2.1)
    assert sender.step()
    assert rooms.jobs.counts() == {("event:RIS", DONE): 1}
    headers, body = Listener.told[-1]
    assert json.loads(body) == {"id": "1.2+1", "study": "1.2"}
    assert headers["X-Fracture-Signature"] == signature("key", headers["X-Fracture-Time"], body)
    assert headers["X-Fracture-Signature"] != signature("another", headers["X-Fracture-Time"], body)


@pytest.mark.parametrize("status", [400, 302])
def test_a_webhook_that_refuses_gives_a_dead_letter_and_a_redirection_is_no_way(rooms: Rooms, status: int) -> None:
    rooms.jobs.add(NewJob("event:RIS", "1.2+1", {}))
    sender = Sender(rooms.config, rooms.jobs, rooms.results, rooms.audit, "s", "RIS")
    Listener.answers = [status] * 3
    for _ in range(3):
        assert sender.step()
        time.sleep(0.05)
    assert [(job.state, job.error) for job in rooms.jobs.listing()] == [(DEAD, f"HTTP {status}")]
    assert len(Listener.told) == 3


def test_what_is_done_goes_after_its_days_and_what_waits_stays(tmp_path: Path) -> None:
    targets = [{"name": name, "ae": name, "host": "h"} for name in ("A", "B")]
    told = {"data": str(tmp_path), "send": targets, "keep": {"days": 1}}
    config = Config.of(told, "a test")
    clock = [time.time() - 3 * 86400]
    old = Jobs(config.table, clock=lambda: clock[0])
    with open_rooms(config) as rooms:
        for uid in ("1", "2"):
            rooms.films.receive(b"film", uid, "", {"StudyInstanceUID": ""})
        rooms.jobs.remove([job.id for job in rooms.jobs.listing()])
        old.add(NewJob("read", "1"), NewJob("read", "2"), *(NewJob(f"send:{n}", u) for n in "AB" for u in ("8", "9")))
        for uid in ("8", "9"):
            rooms.results.write(f"{uid}.dcm", b"result")
        for kind, key in (("read", "1"), ("send:A", "8"), ("send:A", "9"), ("send:B", "9")):
            old.settle(kind, key)
        prune(config, rooms.jobs, rooms.films, rooms.results, rooms.audit)
        left = {(job.kind, job.key) for job in rooms.jobs.listing()}
        assert left == {("read", "2"), ("send:A", "8"), ("send:B", "8")}
        assert not rooms.films.path("1").exists()
        assert rooms.films.path("2").exists()
        assert [path.name for path in rooms.results.files()] == ["8.dcm"]
        assert rooms.films.adopt() == 0
    old.close()


def test_the_oldest_goes_first_where_there_is_no_room(tmp_path: Path) -> None:
    config = Config.of({"data": str(tmp_path), "keep": {"gigabytes": 5000 / 2**30}}, "a test")
    with open_rooms(config) as rooms:
        for number in range(8):
            rooms.films.receive(bytes(1000), str(number), "", {"StudyInstanceUID": ""})
        for job in rooms.jobs.claim(["read"], "w", limit=6):
            rooms.jobs.finish(job)
        prune(config, rooms.jobs, rooms.films, rooms.results, rooms.audit)
        assert [job.key for job in rooms.jobs.listing(newest=False)] == ["3", "4", "5", "6", "7"]
        assert rooms.films.size() == 5000
