"""A film's way through a node, in real processes."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")
pytest.importorskip("prometheus_client")

from fracture.jobs import DEAD, DONE
from tests.node.harness import ROOT, Archive, RunningNode, film, send, until, write_card

pytestmark = pytest.mark.hospital


@pytest.fixture
def archive() -> Archive:
    return Archive()


def node_at(folder: Path, archive: Archive, **more: object) -> RunningNode:
    target = {"name": "PACS", "ae": "ARCHIVE", "host": "127.0.0.1", "port": archive.port}
    return RunningNode(folder, {"send": [target], **more})


def test_films_are_read_once_and_results_sent_and_studies_ordered(tmp_path: Path, archive: Archive) -> None:
    films = [film(1, study=1), film(2, study=1, says="0.9"), film(3, study=2, says="0.4"), film(4, says="unreadable")]
    films[2].BodyPartExamined = "HIP"
    rules = [{"body_part": ["hip"], "weights": [str(write_card(tmp_path / "second", "7"))]}]
    with archive, node_at(tmp_path, archive, rules=rules) as node:
        jobs = node.jobs()
        assert send(node.port, films) == dict.fromkeys([str(one.SOPInstanceUID) for one in films], 0)
        until(lambda: jobs.counts().get(("study", DONE)) == 3 and node.drained(jobs), what="all is done")
        assert send(node.port, films) == dict.fromkeys([str(one.SOPInstanceUID) for one in films], 0)
        time.sleep(0.5)
        assert node.drained(jobs)
        assert list(archive.sent.values()) == [1, 1, 1]
        readings = {uid: result["readings"][0] for uid, result in node.results(jobs).items()}
        assert {uid[-1]: (one["positive"], one["version"]) for uid, one in readings.items()} == {
            "1": (False, "fake 1"),
            "2": (True, "fake 1"),
            "3": (False, "fake 7"),
        }
        (failed,) = jobs.listing(states=[DEAD])
        assert (failed.key, failed.error) == (f"{ROOT}.1.4", "the film cannot be read")
        _, page = node.get("/")
        assert [found[-1] for found in re.findall(rf"{re.escape(ROOT)}\.2\.\d", page)] == ["1", "2"]
        assert "Secret" not in page
        status, ready = node.get("/readyz")
        assert (status, json.loads(ready)["dead"]) == (200, 1)
        metrics = node.get("/metrics")[1]
        assert 'fracture_jobs{kind="send:PACS",state="done"} 3.0' in metrics
        assert 'fracture_received_total{status="0x0000"} 8.0' in metrics
        assert node.get("/nowhere")[0] == 404
        jobs.close()
    audit = "".join(path.read_text() for path in (tmp_path / "data" / "audit").iterdir())
    assert [json.loads(line)["event"] for line in audit.splitlines()][-1] == "stop"
    assert audit.count('"event": "received", "caller": "SENDER"') == 8
    told = (tmp_path / "log.jsonl").read_text()
    for secret in ("Secret", "0815", ROOT):
        assert secret not in told
    assert "Secret" not in audit
    assert "0815" not in audit


def test_a_film_that_ends_its_reader_is_set_aside_and_the_others_are_read(tmp_path: Path, archive: Archive) -> None:
    films = [film(1), film(2, says="0.1 poison"), film(3)]
    with archive, node_at(tmp_path, archive) as node:
        jobs = node.jobs()
        send(node.port, films)
        until(lambda: node.drained(jobs), what="all is done")
        assert len(node.results(jobs)) == 2
        (dead,) = jobs.listing(states=[DEAD])
        assert (dead.key, dead.tries, dead.error) == (f"{ROOT}.1.2", 3, "the worker died (signal 9)")
        study = jobs.find("study", f"{ROOT}.2.0")
        assert study is not None
        assert (study.result["films"], study.result["failed"]) == (3, 1)
        jobs.close()


def test_an_archive_that_is_away_loses_nothing_and_what_it_refuses_is_a_dead_letter(
    tmp_path: Path, archive: Archive
) -> None:
    with node_at(tmp_path, archive) as node:
        jobs = node.jobs()
        send(node.port, [film(number) for number in range(4)])
        until(lambda: any(line["event"] == "a target cannot be reached" for line in node.log()), what="it is away")
        until(lambda: len(node.results(jobs)) == 4, what="films are read meanwhile")
        assert ("send:PACS", DONE) not in jobs.counts()
        bad = jobs.listing(kinds=["send:PACS"])[0].key
        archive.refuse = lambda uid: 0xC123 if uid == bad else 0
        with archive:
            until(lambda: node.drained(jobs), what="all is sent")
        assert len(archive.sent) == 3
        (dead,) = jobs.listing(states=[DEAD])
        assert (dead.key, dead.tries, dead.error) == (bad, 3, "status 0xC123")
        archive.refuse = lambda _: 0
        assert jobs.retry() == 1
        with archive:
            until(lambda: node.drained(jobs), what="the dead letter is sent")
        assert sorted(archive.sent.values()) == [1, 1, 1, 1]
        jobs.close()


def test_weights_that_change_while_it_runs_are_used_from_then_on_and_half_copied_ones_are_not(
    tmp_path: Path, archive: Archive
) -> None:
    with archive, node_at(tmp_path, archive) as node:
        jobs = node.jobs()

        def version(number: int) -> str:
            send(node.port, [film(number)])
            until(lambda: f"{ROOT}.1.{number}" in node.results(jobs), what="the film is read")
            return str(node.results(jobs)[f"{ROOT}.1.{number}"]["readings"][0]["version"])

        assert version(1) == "fake 1"
        write_card(tmp_path / "weights", "2")
        assert version(2) == "fake 2"
        (tmp_path / "weights" / "fake_card.json").write_text('{"format": "fake/1", "na')
        assert version(3) == "fake 2"
        write_card(tmp_path / "weights", "3")
        assert version(4) == "fake 3"
        jobs.close()


def test_it_ends_when_told_after_the_film_in_hand(tmp_path: Path, archive: Archive) -> None:
    with archive, node_at(tmp_path, archive) as node:
        jobs = node.jobs()
        send(node.port, [film(1, says="0.1 slow 1.5"), film(2)])
        until(lambda: ("read", "running") in jobs.counts(), what="it reads")
        assert node.stop() == 0
        assert list(node.results(jobs)) == [f"{ROOT}.1.1"]
        assert jobs.counts()["read", "waiting"] == 1
        jobs.close()
