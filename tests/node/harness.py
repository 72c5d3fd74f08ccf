"""A node under test: real processes, a wing without networks, an archive that counts, senders that remember."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationSocket

from fracture.jobs import DONE, RUNNING, WAITING, Jobs
from tests.ports import free_port

HERE = Path(__file__).parent
ROOT = "1.2.826.0.1.3680043.8.498"


def _shut(self: AssociationSocket) -> None:
    if self.socket is not None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


# pynetdicom 3.0 leaves a socket unclosed whose connection was refused, or whose other end was killed: its shutdown
# fails, and the close that follows it in one `try` is left out.
AssociationSocket._shutdown_socket = _shut  # type: ignore[method-assign]


def film(number: int, *, study: int = 0, says: str = "0.2", side: int = 16) -> Dataset:
    """A small CR film. ``says`` begins with its score."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = ComputedRadiographyImageStorage, f"{ROOT}.1.{number}"
    data.StudyInstanceUID, data.SeriesInstanceUID = f"{ROOT}.2.{study}", f"{ROOT}.3.{study}"
    data.Modality, data.BodyPartExamined, data.Manufacturer = "CR", "WRIST", "maker"
    data.PatientName, data.PatientID, data.AccessionNumber = "Secret^Person", "P-0815", f"A{study}"
    data.StudyDate, data.StudyTime, data.StudyID, data.ReferringPhysicianName = "20260101", "120000", "1", ""
    data.PatientBirthDate, data.PatientSex, data.InstanceNumber, data.ImageComments = "", "", number, says
    data.Rows = data.Columns = side
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = bytes(side * side)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data


def file_of(data: Dataset) -> bytes:
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def until(true: Callable[[], Any], seconds: float = 120.0, what: str = "") -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def site(folder: Path) -> Path:
    """A folder that has the fake wing installed, for PYTHONPATH."""
    info = folder / "fake_wing-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-wing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fracture.wings]\nfake = fake_wing:WING\n")
    shutil.copy(HERE / "fake_wing" / "fake_wing.py", folder)
    return folder


def write_card(folder: Path, version: str = "1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    card = {
        "format": "fake/1",
        "name": "fake",
        "version": version,
        "created": "2026-01-01",
        "description": "none",
        "license": "CC0",
        "attribution": [],
        "intended_use": "tests",
        "limitations": [],
    }
    temporary = folder / ".new"
    temporary.write_text(json.dumps(card))
    temporary.replace(folder / "fake_card.json")
    return folder


@dataclass
class Archive:
    """A PACS that counts what it is sent; ``refuse`` says a status for an object's UID."""

    port: int = field(default_factory=free_port)
    sent: Counter[str] = field(default_factory=Counter)
    refuse: Callable[[str], int] = lambda _: 0
    tls: ssl.SSLContext | None = None
    _server: Any = None

    def start(self) -> None:
        ae = AE(ae_title="ARCHIVE")
        ae.add_supported_context(SecondaryCaptureImageStorage)
        ae.add_supported_context(Verification)
        self._server = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
            ssl_context=self.tls,
        )

    def _store(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if (status := self.refuse(uid)) == 0:
            self.sent[uid] += 1
        return status

    def stop(self) -> None:
        self._server.ae.shutdown()

    def __enter__(self) -> Archive:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass
class RunningNode:
    """A node's processes on a folder; may be killed and started again."""

    folder: Path
    settings: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        place = self.folder / "site"
        self.settings = {
            "data": str(self.folder / "data"),
            "port": free_port(),
            "http": {"port": free_port()},
            "weights": [str(write_card(self.folder / "weights"))],
            "objects": ["sc"],
            "quiet_seconds": 0.2,
            "lease_seconds": 2.0,
            "pause_seconds": 0.2,
            "keep": {"spare_megabytes": 1},
            **self.settings,
        }
        path = os.pathsep.join([str(site(place)), str(HERE.parents[1])])
        self.environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    @property
    def port(self) -> int:
        return int(self.settings["port"])

    def start(self, *killed: str) -> None:
        """``killed``: arguments of tests.node.killing."""
        told = self.folder / "settings.json"
        told.write_text(json.dumps(self.settings))
        command = [sys.executable, "-m", "tests.node.killing", str(told), *killed]
        with (self.folder / "log.jsonl").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stderr=log)
        try:
            until(lambda: self.dead or self._open(), what="the node's port")
        except AssertionError:
            self.kill()
            raise

    @property
    def dead(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _open(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def get(self, path: str) -> tuple[int, str]:
        address = f"http://127.0.0.1:{self.settings['http']['port']}{path}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def jobs(self) -> Jobs:
        return Jobs(self.settings.get("database") or Path(self.settings["data"]) / "jobs.sqlite")

    def drained(self, jobs: Jobs) -> bool:
        """Nothing waits or runs."""
        return not any(state in (WAITING, RUNNING) for _, state in jobs.counts())

    def results(self, jobs: Jobs) -> Mapping[str, Any]:
        return {job.key: job.result for job in jobs.listing(kinds=["read"], states=[DONE], limit=10**6)}

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines() if line[:1] == "{"]

    def __enter__(self) -> RunningNode:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.dead:
            self.stop()


def send(port: int, films: Sequence[Dataset], *, patience: float = 5.0, caller: str = "SENDER") -> dict[str, int]:
    """Status by SOP Instance UID, of those that were answered."""
    ae = AE(ae_title=caller)
    ae.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    ae.dimse_timeout = ae.acse_timeout = ae.network_timeout = ae.connection_timeout = patience
    answers: dict[str, int] = {}
    with contextlib.suppress(RuntimeError, ValueError):
        association = ae.associate("127.0.0.1", port, ae_title="FRACTURE")
        if association.is_established:
            for one in films:
                status = association.send_c_store(one)
                if "Status" not in status:
                    break
                answers[str(one.SOPInstanceUID)] = status.Status
            association.release()
    return answers


class Senders:
    """Several senders that send each film until it is acknowledged."""

    def __init__(self, port: int, films: Sequence[Dataset], count: int) -> None:
        self.acknowledged: set[str] = set()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(port, list(films[number::count]), f"SENDER{number}"))
            for number in range(count)
        ]

    def _work(self, port: int, films: list[Dataset], caller: str) -> None:
        while films and not self._stop.is_set():
            answers = send(port, films, caller=caller)
            self.acknowledged |= {uid for uid, status in answers.items() if status == 0}
            films = [one for one in films if str(one.SOPInstanceUID) not in self.acknowledged]
            if films:
                self._stop.wait(0.2)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Senders]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self.wait()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(120)
