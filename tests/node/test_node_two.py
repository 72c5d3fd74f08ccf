"""Two nodes on one PostgreSQL and one folder: nothing is read or sent twice, and one takes over from the other."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from fracture.jobs import DONE
from tests.node.harness import Archive, RunningNode, film, send, until
from tests.postgres import postgres

pytestmark = pytest.mark.hospital


@pytest.mark.slow
def test_two_nodes_share_the_work_and_one_takes_over_what_the_other_left(tmp_path: Path) -> None:
    films = [film(number, study=number, says="0.1 slow 0.1") for number in range(24)]
    with postgres() as url, Archive() as archive:
        target = {"name": "PACS", "ae": "ARCHIVE", "host": "127.0.0.1", "port": archive.port}
        shared = {"database": url, "data": str(tmp_path / "data"), "send": [target], "http": {"port": 0}}
        one, other = (RunningNode(tmp_path / name, dict(shared)) for name in ("one", "other"))
        with one, other:
            jobs = one.jobs()
            assert set(send(one.port, films[::2]).values()) == set(send(other.port, films[1::2]).values()) == {0}
            until(lambda: jobs.counts().get(("read", DONE), 0) > 2, what="they read")
            one.kill()
            until(lambda: other.drained(jobs), what="the other does the rest")
        reads = jobs.listing(kinds=["read"], states=[DONE], limit=100)
        assert len(reads) == 24
        assert len(archive.sent) == 24
        assert all(job.claims <= 2 for job in reads)
        jobs.close()
