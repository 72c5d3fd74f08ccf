"""SIGKILL between the steps of a node: a film that was acknowledged is read and its result delivered, once each.

All points, with eight senders and a real Orthanc, are killed by benchmarks/node_kill.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from tests.node.harness import Archive, RunningNode
from tests.node.kill_run import kill_run

pytestmark = pytest.mark.hospital


@pytest.mark.slow
def test_what_was_acknowledged_is_read_and_delivered_once(tmp_path: Path) -> None:
    with Archive() as archive:
        target = {"name": "PACS", "ae": "ARCHIVE", "host": "127.0.0.1", "port": archive.port}
        node = RunningNode(tmp_path, {"send": [target], "tries": 10, "http": {"port": 0}})
        tally = kill_run(node, ["renamed", "read", "delivered"], films=12, senders=2)
    assert tally.acknowledged == tally.read == len(tally.results) == 12
    assert tally.dead == 0
    assert set(archive.sent) == tally.results
