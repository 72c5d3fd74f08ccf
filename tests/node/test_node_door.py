"""The DICOM door: what is taken, what is refused and with which status, and what is on the disk by then."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from pynetdicom import AE
from pynetdicom.sop_class import ComprehensiveSRStorage, Verification  # type: ignore[attr-defined]

from fracture.errors import ConfigurationError, OutputError
from fracture.node.config import Config
from fracture.node.films import head_of
from fracture.node.node import Rooms, open_rooms
from fracture.node.receiver import Receiver
from tests.node.harness import ROOT, file_of, film, send
from tests.ports import free_port


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    told: dict[str, Any] = {"data": str(tmp_path), "port": free_port(), "keep": {"spare_megabytes": 0}}
    told["callers"] = ["SENDER", "ECHOSCU"]
    with open_rooms(Config.of(told, "a test")) as rooms:
        yield rooms


@pytest.fixture
def door(rooms: Rooms) -> Iterator[Receiver]:
    door = Receiver(rooms.config, rooms.jobs, rooms.films, rooms.audit)
    door.start()
    yield door
    door.stop(1)


def test_a_film_is_on_the_disk_with_its_job_when_it_is_acknowledged(rooms: Rooms, door: Receiver) -> None:
    assert send(rooms.config.port, [film(1)]) == {f"{ROOT}.1.1": 0}
    job = rooms.jobs.find("read", f"{ROOT}.1.1")
    assert job is not None
    assert (job.batch, job.payload["caller"], job.payload["BodyPartExamined"]) == (f"{ROOT}.2.0", "SENDER", "WRIST")
    kept = rooms.films.path(f"{ROOT}.1.1").read_bytes()
    assert kept[132:].endswith(bytes(256))
    assert head_of(kept)["StudyInstanceUID"] == f"{ROOT}.2.0"
    assert "P-0815" not in str(job)


def test_a_full_disk_is_told_and_nothing_of_the_film_stays(
    rooms: Rooms, door: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert send(rooms.config.port, [film(1)]) == {f"{ROOT}.1.1": 0xA700}
    assert not [path for path in (rooms.config.data / "films").rglob("*") if path.is_file()]
    assert rooms.jobs.counts() == {}
    assert send(rooms.config.port, [film(1)]) == {f"{ROOT}.1.1": 0}
    assert door.answers == {0xA700: 1, 0: 1}


def test_a_disk_that_is_really_full_refuses_films_until_there_is_room(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small]).returncode
    ):
        pytest.skip("a small disk cannot be mounted here")
    films = [film(number, side=300) for number in range(16)]
    config = Config.of({"data": str(small), "port": free_port(), "keep": {"spare_megabytes": 0}}, "a test")
    try:
        (small / "ballast").write_bytes(bytes(1_000_000))
        with open_rooms(config) as rooms:
            door = Receiver(rooms.config, rooms.jobs, rooms.films, rooms.audit)
            door.start()
            answers = send(config.port, films)
            taken = [uid for uid, status in answers.items() if status == 0]
            assert set(answers.values()) == {0, 0xA700}
            assert rooms.jobs.known("read", answers) >= set(taken)
            assert all(len(rooms.films.path(uid).read_bytes()) > 90_000 for uid in taken)
            (small / "ballast").unlink()
            assert set(send(config.port, films).values()) == {0}
            assert rooms.jobs.counts() == {("read", "waiting"): 16}
            door.stop(1)
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_table_that_cannot_be_written_is_told_and_the_film_is_adopted_later(
    rooms: Rooms, door: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> list[bool]:
        raise OutputError("the table of jobs cannot be written", got="disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(rooms.jobs, "add", gone)
        assert send(rooms.config.port, [film(1)]) == {f"{ROOT}.1.1": 0xA700}
    assert rooms.jobs.counts() == {}
    assert rooms.films.adopt() == 1
    assert rooms.films.adopt() == 0
    job = rooms.jobs.find("read", f"{ROOT}.1.1")
    assert job is not None
    assert job.batch == f"{ROOT}.2.0"


def test_a_bad_uid_is_refused_and_is_no_path(rooms: Rooms, door: Receiver) -> None:
    bad = film(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom knows that it is none
        bad.SOPInstanceUID = bad.file_meta.MediaStorageSOPInstanceUID = "../../1"
        answers = send(rooms.config.port, [bad, film(2)])
    assert answers == {"../../1": 0xA900, f"{ROOT}.1.2": 0}
    assert [path.name for path in rooms.config.data.rglob("*.dcm")] == [f"{ROOT}.1.2.dcm"]


def test_strangers_and_reports_are_turned_away_and_an_echo_is_answered(rooms: Rooms, door: Receiver) -> None:
    port = rooms.config.port
    assert send(port, [film(1)], caller="STRANGER") == {}
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(ComprehensiveSRStorage)
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", port)
    assert [context.abstract_syntax for context in association.accepted_contexts] == [Verification]
    assert association.send_c_echo().Status == 0
    association.release()
    if shutil.which("echoscu"):
        subprocess.run(["echoscu", "-aec", "FRACTURE", "127.0.0.1", str(port)], check=True)
    assert [line["event"] for line in rooms.audit.lines()] == ["turned away"]


def test_a_port_that_is_taken_is_told(rooms: Rooms, door: Receiver) -> None:
    with pytest.raises(ConfigurationError, match="the DICOM port cannot be opened"):
        Receiver(rooms.config, rooms.jobs, rooms.films, rooms.audit).start()


def test_films_come_in_by_tls_alone_where_there_are_certificates(tmp_path: Path) -> None:
    if not (shutil.which("openssl") and shutil.which("storescu")):
        pytest.skip("openssl or storescu is not installed (apt: dcmtk)")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
                "-keyout",
            ],
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    told: dict[str, Any] = {"data": str(tmp_path / "data"), "port": free_port(), "keep": {"spare_megabytes": 0}}
    told["tls"] = {"certificate": str(certificate), "key": str(key), "authority": str(certificate)}
    path = tmp_path / "film.dcm"
    path.write_bytes(file_of(film(1)))
    with open_rooms(Config.of(told, "a test")) as rooms:
        door = Receiver(rooms.config, rooms.jobs, rooms.films, rooms.audit)
        door.start()
        plain = ["storescu", "-to", "3", "-aec", "FRACTURE"]
        last = ["127.0.0.1", str(told["port"]), str(path)]
        assert subprocess.run([*plain, *last], capture_output=True, timeout=60).returncode != 0
        tls = [*plain, "+tls", str(key), str(certificate), "+cf", str(certificate), *last]
        subprocess.run(tls, check=True, capture_output=True, timeout=60)
        door.stop(1)
        assert rooms.jobs.find("read", f"{ROOT}.1.1") is not None


@pytest.mark.parametrize("content", [b"", b"no film", b"\0" * 128 + b"DICM" + b"\x08\x00\x18\x00UI\xff\xff" * 40])
def test_a_damaged_header_gives_an_empty_head(content: bytes) -> None:
    assert set(head_of(content).values()) == {""}
