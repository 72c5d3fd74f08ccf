"""What is not there for a while, or keeps nothing: an archive that lost an object, one behind TLS, a database."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from fracture.errors import OutputError
from fracture.jobs import DONE, WAITING, Job, Jobs, NewJob
from fracture.node.commitment import commitment_told
from fracture.node.config import Config
from fracture.node.node import Rooms, open_rooms
from fracture.node.outcome import ASKED, Outcome
from fracture.node.receiver import Receiver
from fracture.node.sender import Sender
from tests.node.harness import ROOT, Archive, file_of, film, send
from tests.ports import free_port
from tests.postgres import database

pytestmark = pytest.mark.hospital

SENT = {"sop_class": str(SecondaryCaptureImageStorage), "syntax": str(ExplicitVRLittleEndian)}


def told(folder: Path, **settings: Any) -> Config:
    return Config.of({"data": str(folder), "keep": {"spare_megabytes": 0}, **settings}, "a test")


def test_what_an_archive_says_it_lost_is_sent_again_and_what_it_keeps_is_not(tmp_path: Path) -> None:
    pacs = {"name": "PACS", "ae": "ARCHIVE", "host": "127.0.0.1", "port": free_port(), "commitment": True}
    report = Dataset()
    report.ReferencedSOPSequence, report.FailedSOPSequence = ([Dataset()], [Dataset()])
    report.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2"
    report.FailedSOPSequence[0].ReferencedSOPInstanceUID = "1.3"

    def states(rooms: Rooms) -> dict[str, tuple[str, str]]:
        found = {uid: [rooms.jobs.find(kind, uid) for kind in ("send:PACS", "commit:PACS")] for uid in ("1.2", "1.3")}
        return {uid: (send.state, commit.state) for uid, (send, commit) in found.items() if send and commit}

    with open_rooms(told(tmp_path, send=[pacs])) as rooms:
        for uid in ("1.2", "1.3"):
            rooms.jobs.add(NewJob("send:PACS", uid, SENT), NewJob("commit:PACS", uid, SENT))
            rooms.jobs.settle("send:PACS", uid, "delivered")
        commitment_told(rooms.jobs, rooms.audit, report)
        assert states(rooms) == {"1.2": (DONE, DONE), "1.3": (WAITING, WAITING)}
        (again,) = rooms.jobs.claim(["send:PACS"], "s", limit=9)
        assert (again.key, again.payload) == ("1.3", SENT)
        rooms.jobs.finish(again, "delivered")
        report.ReferencedSOPSequence, report.FailedSOPSequence = report.FailedSOPSequence, []
        commitment_told(rooms.jobs, rooms.audit, report)
        assert states(rooms) == {"1.2": (DONE, DONE), "1.3": (DONE, DONE)}
        assert [(line["kept"], line["lost"]) for line in rooms.audit.lines()] == [(["1.2"], ["1.3"]), (["1.3"], [])]


def test_an_archive_that_does_not_commit_itself_is_asked_again_ever_later_until_every_hour(tmp_path: Path) -> None:
    class Silent:
        def deliver(self, jobs: Sequence[Job]) -> Mapping[int, Outcome]:
            return dict.fromkeys((job.id for job in jobs), ASKED)

    pacs = {"name": "PACS", "ae": "ARCHIVE", "host": "127.0.0.1", "port": free_port(), "commitment": True}
    now, asked = [0.0], []
    with open_rooms(told(tmp_path, send=[pacs])) as rooms:
        jobs = Jobs(rooms.config.table, clock=lambda: now[0])
        sender = Sender(rooms.config, jobs, rooms.results, rooms.audit, "s", "PACS")
        sender._target = Silent()
        jobs.add(NewJob("commit:PACS", "1.2", SENT))
        while now[0] < 5 * 3600:
            if sender.step():
                asked.append(now[0])
            now[0] += 10.0
        jobs.close()
    minutes = [round((after - before) / 60) for before, after in pairwise(asked)]
    assert minutes == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, made = folder / f"{name}.key", folder / f"{name}.pem"
    asked = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=archive"]
    asked += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(["openssl", *asked], check=True, capture_output=True)
    return key, made


def test_results_go_to_an_archive_by_tls_if_its_certificate_is_known(tmp_path: Path) -> None:
    key, own = certificate(tmp_path, "own")
    _, strange = certificate(tmp_path, "strange")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, key)
    result = film(1)
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    with Archive(tls=context) as archive:
        for authority, state in ((strange, WAITING), (own, DONE)):
            pacs = {"name": "PACS", "ae": "ARCHIVE", "host": "127.0.0.1", "port": archive.port}
            config = told(tmp_path / authority.stem, send=[{**pacs, "tls_authority": str(authority)}])
            with open_rooms(config) as rooms:
                rooms.results.write(f"{result.SOPInstanceUID}.dcm", file_of(result))
                rooms.jobs.add(NewJob("send:PACS", str(result.SOPInstanceUID), SENT))
                assert Sender(config, rooms.jobs, rooms.results, rooms.audit, "s", "PACS").step()
                (job,) = rooms.jobs.listing(kinds=["send:PACS"])
                assert job.state == state, job.error
        assert archive.sent == {result.SOPInstanceUID: 1}


class Web(BaseHTTPRequestHandler):
    """Takes whatever comes, as an archive by STOW-RS or as a webhook, and remembers who asked how."""

    took: ClassVar[list[tuple[str, str | None]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.took.append((self.path, self.headers["Authorization"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


def test_web_addresses_are_believed_by_the_authority_of_the_settings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, own = certificate(tmp_path, "own")
    _, strange = certificate(tmp_path, "strange")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, key)
    (tmp_path / "secret").write_text("a token")
    secret, result, states = str(tmp_path / "secret"), film(1), {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(Web, "took", [])
    try:
        for authority, environment in ((None, strange), (strange, own), (own, strange)):
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(environment))
            trust = {} if authority is None else {"tls_authority": str(authority)}
            root = f"https://127.0.0.1:{server.server_port}"
            archive = {"name": "WEB", "url": f"{root}/dicom-web", "token_file": secret, **trust}
            hook = {"name": "RIS", "url": f"{root}/told", "secret_file": secret, **trust}
            folder = tmp_path / f"data{len(states)}"
            with open_rooms(told(folder, send=[archive], webhook=[hook])) as rooms:
                rooms.results.write(f"{result.SOPInstanceUID}.dcm", file_of(result))
                rooms.jobs.add(NewJob("send:WEB", str(result.SOPInstanceUID), SENT), NewJob("event:RIS", "1.2+1", {}))
                for name in ("WEB", "RIS"):
                    assert Sender(rooms.config, rooms.jobs, rooms.results, rooms.audit, "s", name).step()
                states[authority] = {job.kind: job.state for job in rooms.jobs.listing()}
    finally:
        server.shutdown()
        server.server_close()
    waiting = {"send:WEB": WAITING, "event:RIS": WAITING}
    assert states == {None: waiting, strange: waiting, own: {"send:WEB": DONE, "event:RIS": DONE}}
    assert Web.took == [("/dicom-web/studies", "Bearer a token"), ("/told", None)]


def test_a_database_that_goes_away_has_films_refused_and_loses_none_when_it_is_back(tmp_path: Path) -> None:
    one, other = f"{ROOT}.1.1", f"{ROOT}.1.2"
    with database() as server, open_rooms(told(tmp_path, database=server.url, port=free_port())) as rooms:
        door = Receiver(rooms.config, rooms.jobs, rooms.films, rooms.audit)
        door.start()
        try:
            assert send(rooms.config.port, [film(1)]) == {one: 0}
            server.stop()
            assert send(rooms.config.port, [film(2)]) == {other: 0xA700}
            assert not rooms.films.path(other).exists()
            with pytest.raises(OutputError, match="the table of jobs cannot be"):
                rooms.jobs.claim(["read"], "w")
            server.start()
            assert send(rooms.config.port, [film(1), film(2)]) == {one: 0, other: 0}
            assert sorted(job.key for job in rooms.jobs.claim(["read"], "w", limit=9)) == [one, other]
        finally:
            door.stop(1)
