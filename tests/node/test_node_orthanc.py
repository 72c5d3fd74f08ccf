"""A node and a real Orthanc: C-STORE with storage commitment, STOW-RS, C-MOVE and WADO-RS."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from fracture.jobs import DONE
from tests.node.harness import ROOT, RunningNode, file_of, film, send, until
from tests.node.orthanc import orthanc_at, own_network
from tests.ports import free_port

pytestmark = pytest.mark.hospital


def command(node: RunningNode, *arguments: str) -> str:
    """What ``fracture node ...`` says."""
    config = node.folder / "node.toml"
    lines = [
        f"{key} = {json.dumps(value)}" for key, value in node.settings.items() if not isinstance(value, (dict, list))
    ]
    lines += [f"weights = {json.dumps(node.settings['weights'])}", f"objects = {json.dumps(node.settings['objects'])}"]
    for target in node.settings["send"]:
        lines += ["[[send]]", *(f"{key} = {json.dumps(value)}" for key, value in target.items())]
    config.write_text("\n".join(lines))
    run = [sys.executable, "-m", "fracture", "node", *arguments, "--config", str(config)]
    return subprocess.run(run, env=node.environment, check=True, capture_output=True, text=True).stdout


def test_results_reach_orthanc_by_both_ways_and_prior_films_come_from_it(tmp_path: Path) -> None:
    with own_network():
        port = free_port()
        with orthanc_at(tmp_path / "orthanc", port) as orthanc:
            pacs = {"name": "PACS", "ae": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom, "commitment": True}
            web = {"name": "WEB", "url": f"http://127.0.0.1:{orthanc.http}/dicom-web"}
            node = RunningNode(tmp_path / "node", {"port": port, "send": [pacs, web]})
            with node:
                jobs = node.jobs()
                assert send(port, [film(1), film(2, says="0.9")]) == {f"{ROOT}.1.1": 0, f"{ROOT}.1.2": 0}
                until(lambda: jobs.counts().get(("commit:PACS", DONE)) == 2 and node.drained(jobs), what="commitment")
                made = {job.key for job in jobs.listing(kinds=["send:PACS", "send:WEB"], states=[DONE])}
                assert orthanc.uids() == sorted(made)
                assert len(made) == 2
                # Films that Orthanc has already: one that comes by C-MOVE, one by DICOMweb.
                for number in (7, 8):
                    (tmp_path / f"{number}.dcm").write_bytes(file_of(film(number, study=number)))
                    store = [
                        "storescu",
                        "-aec",
                        "ORTHANC",
                        "127.0.0.1",
                        str(orthanc.dicom),
                        str(tmp_path / f"{number}.dcm"),
                    ]
                    subprocess.run(store, check=True)
                said = command(node, "pull", "--from", "PACS", "--query", f"StudyInstanceUID={ROOT}.2.7")
                assert "1 objects were sent" in said
                said = command(node, "pull", "--from", "WEB", "--query", f"StudyInstanceUID={ROOT}.2.8")
                assert "1 films found, 1 of them new" in said
                until(lambda: len(node.results(jobs)) == 4 and node.drained(jobs), what="the pulled films are read")
                assert len(orthanc.uids()) == 6
                jobs.close()
