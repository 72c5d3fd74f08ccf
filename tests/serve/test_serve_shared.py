"""Several servers, and several workers of one, on one table of jobs: a real PostgreSQL and one folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from fracture.jobs import RUNNING, Jobs, NewJob
from fracture.serve.films import Films
from fracture.serve.settings import Settings
from tests.postgres import database
from tests.serve.fakes import SLOW, film, serving, until

LEASE = 6.0


@pytest.mark.hospital
def test_servers_share_the_films_and_one_takes_over_what_the_other_left(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with database() as base, contextlib.closing(Jobs(base.url)) as jobs:
        told = {"database": base.url, "lease": LEASE}
        with serving(data, workers=2, **told) as one, one.client() as client:
            slow = send(client, 4, width=SLOW)
            until(lambda: owners(jobs, RUNNING) == 2)  # its two workers read at once
            with serving(data, **told) as other, other.client() as asked:
                mine, theirs = send(client, 4), send(asked, 4)
                assert all(job.claims <= 1 for job in jobs.listing())  # its start took nothing from the first
                late = send(client, 3, width=SLOW)
                until(lambda: owners(jobs, RUNNING) == 3)
                one.kill()
                numbers = [*slow, *mine, *theirs, *late]
                until(lambda: states(asked, numbers) == ["done"] * 15)
                assert {job.claims for job in jobs.listing()} == {1, 2}  # twice what was in the hands of the first
                assert all(asked.get(f"/v1/predictions/{number}").json()["readings"] for number in numbers)
                base.stop()
                answer = asked.get(f"/v1/predictions/{late[0]}")
                assert (answer.status_code, asked.get("/readyz").status_code) == (503, 503), answer.text
                base.start()
                until(lambda: asked.get("/readyz").status_code == 200)
                assert asked.post("/v1/predictions", files={"file": ("a.png", film())}).status_code == 200


def send(client: httpx.Client, count: int, width: int = 120) -> list[str]:
    """Films that nobody waits for."""
    files = [("file", (f"{k}.png", film(width=width, height=60))) for k in range(count)]
    answer = client.post("/v1/predictions", files=files, headers={"prefer": "respond-async"})
    return [one["id"] for one in answer.json()["predictions"]]


def states(client: httpx.Client, numbers: list[str]) -> list[str]:
    return [one["state"] for one in client.get("/v1/predictions", params={"id": numbers}).json()["predictions"]]


def owners(jobs: Jobs, state: str) -> int:
    return len({job.owner for job in jobs.listing(states=[state])})


def test_a_server_starts_and_cleans_without_touching_what_is_not_its_own(tmp_path: Path) -> None:
    with contextlib.closing(Jobs(tmp_path / "jobs.sqlite")) as jobs:
        jobs.add(NewJob("read", "a node's"), NewJob("predict", "a", batch="a"), NewJob("predict", "b", batch="b"))
        jobs.claim(["read"], "a node")
        (job,) = jobs.claim(["predict"], "another server")
        shared = Films(Settings(data=tmp_path, database=f"sqlite:///{tmp_path}/jobs.sqlite"), jobs)
        alone = Films(Settings(data=tmp_path), jobs)
        shared.adopt()
        assert [one.id for one in jobs.held("another server")] == [job.id]
        assert shared.queued() == 1
        alone.adopt()
        assert jobs.held("another server") == []
        assert len(jobs.held("a node")) == 1
        (read,) = jobs.held("a node")
        jobs.finish(read)
        later = Films(Settings(data=tmp_path, keep_hours=1e-9), jobs)
        later.expire()
        assert jobs.find("read", "a node's") is not None
