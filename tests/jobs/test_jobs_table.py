"""The table of jobs, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fracture.errors import ConfigurationError, MissingDependencyError, OutputError
from tests.postgres import postgres

sqlalchemy = pytest.importorskip("sqlalchemy")

from fracture.jobs import DEAD, DONE, RUNNING, WAITING, Jobs, NewJob  # noqa: E402


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "data" / "jobs.sqlite")
    url: str = request.getfixturevalue("database")
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS fracture_jobs")
    engine.dispose()
    return url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(where: str, clock: Clock) -> Iterator[Jobs]:
    table = Jobs(where, tries=3, pause=10, clock=clock)
    yield table
    table.close()


def states(jobs: Jobs) -> dict[str, str]:
    return {job.key: job.state for job in jobs.listing()}


def test_a_job_is_added_once_for_its_key(jobs: Jobs) -> None:
    assert jobs.add(NewJob("read", "1", {"n": 1}), NewJob("read", "2")) == [True, True]
    assert jobs.add(NewJob("read", "1", {"n": 2}), NewJob("send", "1"), NewJob("read", "3")) == [False, True, True]
    found = jobs.find("read", "1")
    assert found is not None
    assert (found.payload, found.state, found.result) == ({"n": 1}, WAITING, None)
    assert jobs.known("read", ["1", "9", "3"]) == {"1", "3"}
    assert jobs.counts() == {("read", WAITING): 3, ("send", WAITING): 1}


def test_who_claims_has_it_alone_and_what_follows_comes_with_the_end(jobs: Jobs, clock: Clock) -> None:
    jobs.add(NewJob("read", "a"), NewJob("read", "b", priority=1), NewJob("read", "later", delay=60))
    (first,) = jobs.claim(["read"], "w1")
    assert first.key == "b"
    assert [job.key for job in jobs.claim(["read", "send"], "w2", limit=9)] == ["a"]
    assert jobs.claim(["read"], "w3") == []
    assert jobs.finish(first, {"score": 0.5}, [NewJob("send", "b")])
    assert [(job.key, job.result) for job in jobs.listing(states=[DONE])] == [("b", {"score": 0.5})]
    assert [job.key for job in jobs.claim(["send"], "w3")] == ["b"]
    clock.now += 61
    assert [job.key for job in jobs.claim(["read"], "w3")] == ["later"]


def test_a_lost_lease_changes_nothing(jobs: Jobs, clock: Clock) -> None:
    jobs.add(NewJob("read", "a"))
    (slow,) = jobs.claim(["read"], "slow", lease=30)
    clock.now += 20
    assert jobs.renew(slow, 30)
    clock.now += 20
    assert jobs.claim(["read"], "other") == []
    clock.now += 20
    (quick,) = jobs.claim(["read"], "other")
    assert not jobs.renew(slow)
    assert not jobs.finish(slow, "late", [NewJob("send", "late")])
    assert jobs.fail(slow, "late") == ""
    assert not jobs.release(slow)
    assert jobs.finish(quick, "right")
    found = jobs.find("read", "a")
    assert found is not None
    assert (found.result, found.tries) == ("right", 0)
    assert jobs.find("send", "late") is None


def test_failures_wait_longer_and_end_dead_until_woken(jobs: Jobs, clock: Clock) -> None:
    jobs.add(NewJob("read", "a"))
    said = []
    for pause in (10, 20, 40):
        (job,) = jobs.claim(["read"], "w")
        said.append(jobs.fail(job, "why", then=[NewJob("event", "a is dead")]))
        clock.now += pause - 1
        assert jobs.claim(["read"], "w") == []
        clock.now += 2
    assert said == [WAITING, WAITING, DEAD]
    assert states(jobs) == {"a": DEAD, "a is dead": WAITING}
    assert jobs.claim(["read"], "w") == []
    assert jobs.retry(kinds=["send"]) == 0
    assert jobs.retry(ids=[job.id]) == 1
    (again,) = jobs.claim(["read"], "w")
    assert (again.tries, again.error) == (0, "why")
    assert jobs.fail(again, "no use", for_good=True) == DEAD


def test_a_release_counts_no_failure(jobs: Jobs, clock: Clock) -> None:
    jobs.add(NewJob("send", "a"))
    for _ in range(9):
        (job,) = jobs.claim(["send"], "w")
        assert jobs.release(job, 5, "the archive is down")
        assert jobs.claim(["send"], "w") == []
        clock.now += 5
    (job,) = jobs.claim(["send"], "w")
    assert (job.tries, job.error) == (0, "the archive is down")


def test_a_worker_that_was_seen_dead_has_failed(jobs: Jobs, clock: Clock) -> None:
    jobs.add(NewJob("read", "poison"))
    for _ in range(3):
        assert len(jobs.claim(["read"], "w")) == 1
        assert jobs.crashed("somebody else", "died") == []
        assert [job.key for job in jobs.crashed("w", "the worker died")] == ["poison"]
        clock.now += 100
    assert jobs.claim(["read"], "w") == []
    assert [(job.state, job.error) for job in jobs.listing()] == [(DEAD, "the worker died")]


def test_a_worker_that_vanished_has_not_failed_but_not_for_ever(jobs: Jobs, clock: Clock) -> None:
    jobs.add(NewJob("read", "a"))
    for number in range(30):  # nodes that lost their power, far more often than a job may fail
        (job,) = jobs.claim(["read"], "w", lease=1)
        assert (job.tries, job.claims) == (0, number + 1)
        clock.now += 2
    assert jobs.claim(["read"], "w") == []
    assert [job.error for job in jobs.listing(states=[DEAD])] == [
        "given up: claimed 30 times, and its workers vanished each time"
    ]


def test_again_wakes_a_job_and_outdates_its_worker(jobs: Jobs, clock: Clock) -> None:
    add = NewJob("study", "s", {"films": 1}, delay=30, again=True)
    assert jobs.add(add) == [True]
    clock.now += 20
    jobs.add(NewJob("study", "s", {"films": 2}, delay=30, again=True))
    clock.now += 20
    assert jobs.claim(["study"], "w") == []
    clock.now += 20
    (job,) = jobs.claim(["study"], "w")
    assert job.payload == {"films": 2}
    assert jobs.add(NewJob("study", "s", {"films": 3}, again=True)) == [False]
    assert not jobs.finish(job)
    (job,) = jobs.claim(["study"], "w")
    assert jobs.finish(job)
    assert jobs.settle("study", "s") is False
    assert jobs.add(NewJob("study", "s", {"films": 4}, again=True)) == [False]
    assert states(jobs) == {"s": WAITING}
    assert jobs.settle("study", "s", "answered")
    assert states(jobs) == {"s": DONE}


def test_looking_and_forgetting(jobs: Jobs, clock: Clock) -> None:
    jobs.add(*(NewJob("read", str(n), batch=f"study {n % 2}") for n in range(6)))
    (job,) = jobs.claim(["read"], "w")
    jobs.finish(job)
    clock.now += 50
    assert [job.key for job in jobs.listing(batch="study 1")] == ["5", "3", "1"]
    assert [job.key for job in jobs.listing(newest=False, limit=2)] == ["0", "1"]
    assert [job.key for job in jobs.listing(before=clock.now - 49, states=[DONE], kinds=["read"])] == ["0"]
    assert jobs.oldest() == {"read": 50}
    assert jobs.remove([job.id, 999]) == 1
    assert jobs.get(job.id) is None
    assert jobs.add(NewJob("read", "0")) == [True]
    again = jobs.find("read", "0")
    assert again is not None
    assert again.id > 6


def test_threads_and_processes_share_it_and_no_job_is_done_twice(where: str) -> None:
    jobs = Jobs(where)
    jobs.add(*(NewJob("read", str(n)) for n in range(60)))
    script = (
        "import sys\nfrom fracture.jobs import Jobs\njobs = Jobs(sys.argv[1])\n"
        "while found := jobs.claim(['read'], sys.argv[2], limit=2):\n"
        "    print(*(job.key for job in found if jobs.finish(job, sys.argv[2])))\n"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", script, where, f"p{n}"], stdout=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    done: list[str] = []

    def work(name: str) -> None:
        while found := jobs.claim(["read"], name):
            done.extend(job.key for job in found if jobs.finish(job, name))
            jobs.add(NewJob("read", found[0].key))

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        done += other.communicate()[0].split()
        assert other.returncode == 0
    assert sorted(done, key=int) == [str(n) for n in range(60)]
    assert jobs.counts() == {("read", DONE): 60}
    assert (RUNNING, WAITING) == ("running", "waiting")
    jobs.close()


def test_sqlite_is_flushed_with_every_commit(tmp_path: Path) -> None:
    from fracture.jobs.engine import at_once, open_engine

    engine = open_engine(tmp_path / "jobs.sqlite")
    with at_once(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("mysql://host/name", ConfigurationError, "mysql"),
        ("postgresql://nobody@127.0.0.1:1/none", OutputError, "is the database running"),
    ],
)
def test_what_is_no_database_is_told(url: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Jobs(url)


def test_a_missing_extra_is_told_with_its_pip_line() -> None:
    script = (
        "import sys\nsys.modules['sqlalchemy'] = None\nimport fracture.errors\n"
        "try:\n    from fracture.jobs import Jobs\nexcept fracture.errors.MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert 'pip install "fracture-radiographs[node]" or pip install "fracture-radiographs[serve]"' in said
    assert issubclass(MissingDependencyError, Exception)
