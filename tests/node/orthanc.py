"""A real Orthanc for tests, in a network of its own: Debian's listens on all addresses whatever it is told."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.node.harness import until
from tests.ports import free_port

__all__ = ["Orthanc", "orthanc_at", "own_network"]

PROGRAM = "/usr/sbin/Orthanc"
_NEW_NETWORK = 0x40000000


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, in a network that has nothing but its own loopback; skips where that may not
    be."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    if shutil.which("ip") is None or libc.unshare(_NEW_NETWORK) != 0:
        os.close(before)
        pytest.skip("a network namespace cannot be made here")
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        libc.setns(before, _NEW_NETWORK)
        os.close(before)


@dataclass
class Orthanc:
    """Its ports, and what it holds."""

    folder: Path
    dicom: int
    http: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, modalities: dict[str, Sequence[Any]]) -> None:
        plugins = "/usr/share/orthanc/plugins"
        told = {
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": modalities,
            "BuiltinDecoderTranscoderOrder": "Before",  # Debian's GDCM ends Orthanc over a SEG without planes
            "Plugins": [f"{plugins}/libOrthancDicomWeb.so", f"{plugins}/libOrthancGdcm.so"],
        }
        settings = self.folder / "orthanc.json"
        settings.write_text(json.dumps(told))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAM, str(settings)], stdout=log, stderr=log)
        until(self._up, what="Orthanc")

    def _up(self) -> bool:
        with contextlib.suppress(OSError):
            return isinstance(self.get("/system"), dict)
        return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
            return json.load(answer)

    def uids(self) -> list[str]:
        """SOP Instance UIDs of all that it holds, sorted."""
        return sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in self.get("/instances?expand"))

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)


@contextlib.contextmanager
def orthanc_at(folder: Path, node_port: int) -> Iterator[Orthanc]:
    """An Orthanc that knows a node as FRACTURE; skips where it is not installed."""
    if not Path(PROGRAM).exists():
        pytest.skip("Orthanc is not installed (apt: orthanc orthanc-dicomweb orthanc-gdcm)")
    folder.mkdir()
    found = Orthanc(folder, free_port(), free_port())
    found.start({"FRACTURE": ["FRACTURE", "127.0.0.1", node_port]})
    try:
        yield found
    finally:
        found.stop()
