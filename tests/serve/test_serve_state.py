"""A server over time: killed and started again, expiring, with a token, with weights that cannot be opened."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from fracture.cli.main import app
from fracture.errors import ConfigurationError
from fracture.jobs import Jobs
from fracture.serve.films import Films
from fracture.serve.guard import Rate
from fracture.serve.settings import Settings
from tests.serve.fakes import SLOW, film, serving, until

pytestmark = pytest.mark.hospital


def test_killed_in_the_middle_it_loses_nothing(tmp_path: Path) -> None:
    numbers: list[str] = []
    with serving(tmp_path / "data") as server, server.client() as client:
        for _ in range(3):
            files = [("file", (f"{k}.png", film(width=SLOW if k == 0 else 120, height=60))) for k in range(3)]
            numbers += [one["id"] for one in client.post("/v1/predictions", files=files).json()["predictions"]]
        until(lambda: any(state == "running" for state in states(client, numbers)))
        server.kill()
    with serving(tmp_path / "data") as server, server.client() as client:
        assert len(states(client, numbers)) == 9
        until(lambda: states(client, numbers) == ["done"] * 9)
        assert all(client.get(f"/v1/predictions/{one}").json()["readings"] for one in numbers)


def states(client: httpx.Client, numbers: list[str]) -> list[str]:
    return [one["state"] for one in client.get("/v1/predictions", params={"id": numbers}).json()["predictions"]]


def test_until_the_weights_are_open_it_is_not_ready_and_takes_films(tmp_path: Path) -> None:
    with serving(tmp_path / "data", ready=False, weights=["slow-to-open"]) as server, server.client() as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/weights").status_code == 503
        assert client.post("/v1/predictions", files={"file": ("a.png", film())}).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_weights_that_cannot_be_opened_are_told(tmp_path: Path) -> None:
    with serving(tmp_path / "data", ready=False, weights=["broken"]) as server, server.client() as client:
        until(lambda: "not what its card describes" in client.get("/readyz").json()["why"])
        assert client.get("/readyz").status_code == 503


def test_a_token(tmp_path: Path) -> None:
    token = "a-token-of-many-letters"
    with serving(tmp_path / "data", token=token, wait=1) as server:
        with server.client() as client:
            for path in ("/v1/weights", "/metrics", "/v1/predictions?id=a"):
                answer = client.get(path)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert client.post("/v1/predictions", files={"file": ("a.png", film())}).status_code == 401
            for path in ("/", "/page.js", "/healthz", "/readyz", "/openapi.json"):
                assert client.get(path).status_code == 200
        for wrong in (f"Bearer {token}x", token, "Bearer", f"Basic {token}", "Bearer \xff"):
            with contextlib.closing(httpx.Client(base_url=server.url, trust_env=False)) as client:
                given = [(b"authorization", wrong.encode("latin-1"))]
                assert client.get("/v1/weights", headers=given).status_code == 401
        with server.client(authorization=f"Bearer {token}") as client:
            assert client.get("/v1/weights").status_code == 200
            assert client.post("/v1/predictions", files={"file": ("a.png", film())}).status_code == 200


def test_a_disk_that_is_full_is_told_until_there_is_room(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", small]).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with serving(small / "data") as server, server.client() as client:
            answer = client.post("/v1/predictions", files={"file": ("a.png", film())})
            assert answer.status_code == 507
            assert "the disk is too full" in answer.json()["error"]["what"]
            assert [path for path in (small / "data" / "files").rglob("*") if path.is_file()] == []
            subprocess.run(["mount", "-o", "remount,size=2g", small], check=True)
            assert client.post("/v1/predictions", files={"file": ("a.png", film())}).status_code == 200
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


@pytest.mark.parametrize("wrong", [{"host": "0.0.0.0"}, {"host": "10.0.0.1"}, {"token": "short"}, {"queue": 0}])
def test_settings_that_will_not_do(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Settings(data=tmp_path, **wrong)  # type: ignore[arg-type]


def test_rate_and_queue(tmp_path: Path) -> None:
    slow = {"file": ("slow.png", film(width=SLOW, height=60))}
    with serving(tmp_path / "data", rate=6, queue=2) as server, server.client(prefer="respond-async") as client:
        answers = [client.post("/v1/predictions", files=slow) for _ in range(8)]
        codes = [answer.status_code for answer in answers]
        assert codes[:3] == [202] * 3 or codes[:2] == [202] * 2  # one may be running already
        assert codes[-1] == 429
        assert {answer.json()["error"]["what"] for answer in answers if answer.status_code == 429} == {
            "2 films are waiting already",
            "too many requests",
        }
        assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_bucket_fills_evenly() -> None:
    now = [0.0]
    rate = Rate(60, clock=lambda: now[0])
    assert [rate.wait("a") for _ in range(60)] == [0.0] * 60
    assert rate.wait("a") == pytest.approx(1.0)
    assert rate.wait("b") == 0.0
    now[0] = 1.0
    assert rate.wait("a") == 0.0
    assert rate.wait("a") == pytest.approx(1.0)
    assert rate.wait("c", 1000) == 0.0  # more than fits is given once, from a full bucket
    assert rate.wait("c") > 0


def test_results_expire_and_films_that_wait_do_not(tmp_path: Path) -> None:
    now = [time.time()]
    settings = Settings(data=tmp_path, keep_hours=1)
    with contextlib.closing(Jobs(tmp_path / "jobs.sqlite", clock=lambda: now[0])) as jobs:
        films = Films(settings, jobs, clock=lambda: now[0])
        done, waiting = films.add([("a.png", film()), ("b.png", film())], [])
        (job,) = jobs.claim(["predict"], "me")
        films.keep.write(f"{done}.json", b"[]")
        jobs.finish(job, {"files": [f"{done}.json"]})
        now[0] += 1800
        assert films.expire() == 0
        now[0] += 3600
        assert films.expire() == 1
        assert films.standing(done) is None
        assert [path.name for path in films.keep.files()] == [f"{waiting}-upload"]
        found = films.standing(waiting)
        assert found is not None
        films.remove(found.job)
        assert list(films.keep.files()) == []


def test_sigterm_finishes_the_film_in_hand_and_keeps_the_others(tmp_path: Path) -> None:
    slow = [("file", (f"{k}.png", film(width=SLOW, height=60))) for k in range(3)]
    with serving(tmp_path / "data") as server, server.client() as client:
        numbers = [one["id"] for one in client.post("/v1/predictions", files=slow).json()["predictions"]]
        until(lambda: "running" in states(client, numbers))
        server.process.terminate()
        server.process.wait(30)
    with contextlib.closing(Jobs(tmp_path / "data" / "jobs.sqlite")) as jobs:
        found = sorted(job.state for job in jobs.listing())
    assert found == ["done", "waiting", "waiting"]


def test_one_server_has_a_folder(tmp_path: Path) -> None:
    refused = pytest.raises(AssertionError, match="data of a server")
    with serving(tmp_path / "data", ready=False), refused, serving(tmp_path / "data"):
        pass


def test_the_command_refuses_an_open_address_without_a_token() -> None:
    result = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"])
    assert isinstance(result.exception, ConfigurationError)
    assert "--token-file" in str(result.exception)
