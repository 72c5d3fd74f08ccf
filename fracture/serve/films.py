"""Films as the server keeps them: taken in, looked up, handed out, and removed when their time is over."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fracture.jobs import DEAD, DONE, RUNNING, WAITING, Job, Jobs, Keep, NewJob
from fracture.serve.readings import Kept
from fracture.serve.worker import DICOM, KINDS, PREDICT

if TYPE_CHECKING:
    from fracture.serve.settings import Settings

_SPARE = 500 * 2**20  # bytes of the disk that uploads leave free
_STATES = {WAITING: "waiting", RUNNING: "running", DEAD: "failed"}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a prediction stands.

    Attributes:
        job: Its job.
        state: ``"waiting"``, ``"running"``, ``"done"`` or ``"failed"``.
        ahead: Films that are read before it, while it waits.
        error: Why it failed, as a client gets it.
    """

    job: Job
    state: str
    ahead: int | None
    error: dict[str, Any] | None

    @property
    def over(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ("done", "failed")


class Films:
    """The server's films.

    Args:
        settings: Of the server.
        jobs: The table.
        clock: Gives the time in seconds since 1970.
    """

    def __init__(self, settings: Settings, jobs: Jobs, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._jobs, self._clock = settings, jobs, clock
        self.keep = Keep(settings.data / "files", spare=_SPARE)

    def adopt(self) -> None:
        """At the start: what a server that was killed had in hand waits again, without counting as a failure. Where
        servers share a database it may be in another's hand, and waits until its lease is over."""
        if self._settings.database is None:
            for job in self._jobs.listing(kinds=KINDS, states=[RUNNING], limit=1000):
                self._jobs.release(job)
        self.keep.sweep()

    def add(self, films: Iterable[tuple[str, bytes]], region: Sequence[str]) -> list[str]:
        """Take films in: when this returns, they and their jobs are on the disk.

        Args:
            films: Name and content.
            region: Regions that the client names.

        Returns:
            The predictions' numbers, which cannot be guessed.

        Raises:
            OutputError: The disk is full; nothing was taken in.
        """
        new = []
        for name, content in films:
            number = uuid.uuid4().hex
            film = f"{number}-upload"
            self.keep.write(film, content)
            new.append(NewJob(PREDICT, number, {"film": film, "name": name, "region": list(region)}, film))
        self._jobs.add(*new)
        return [job.key for job in new]

    def again(self, job: Job, region: Sequence[str]) -> str:
        """Have the film of a prediction read again, as showing other regions; the first reading stays.

        Raises:
            FileNotFoundError: The film is gone.
        """
        self._touch(job)
        number = uuid.uuid4().hex
        self._jobs.add(NewJob(PREDICT, number, {**job.payload, "region": list(region)}, job.batch))
        return number

    def objects(self, job: Job, reading: int, kinds: Sequence[str]) -> str:
        """Have DICOM objects made of a reading; the key of the job."""
        key = f"{job.key}:{reading}:{','.join(kinds)}"
        payload = {**job.payload, "reading": reading, "objects": list(kinds)}
        self._jobs.add(NewJob(DICOM, key, payload, job.batch, priority=1))
        return key

    def queued(self) -> int:
        """Films that wait."""
        return sum(n for (kind, state), n in self._jobs.counts().items() if kind in KINDS and state == WAITING)

    def over(self, key: str, kind: str) -> bool:
        """Whether a job is done, set aside or gone."""
        job = self._jobs.find(kind, key)
        return job is None or job.state in (DONE, DEAD)

    def standing(self, key: str, kind: str = PREDICT) -> Standing | None:
        """How a job stands; None where there is none."""
        job = self._jobs.find(kind, key)
        return None if job is None else self._standing(job, self._line() if job.state == WAITING else [])

    def standings(self, keys: Sequence[str]) -> list[Standing]:
        """The same for several predictions; those that do not exist are left out."""
        found = [job for key in keys if (job := self._jobs.find(PREDICT, key)) is not None]
        line = self._line() if any(job.state == WAITING for job in found) else []
        return [self._standing(job, line) for job in found]

    def _line(self) -> list[int]:
        waiting = self._jobs.listing(kinds=[PREDICT], states=[WAITING], limit=10_000, newest=False)
        return [job.id for job in waiting]

    def _standing(self, job: Job, line: list[int]) -> Standing:
        error = (job.result or {}).get("error")
        if job.state == DEAD:
            what = f"{job.payload['name']}: it could not be read, and was given up"
            error = {"type": "UnexpectedError", "what": what, "got": job.error, "allowed": [], "hint": None}
            error["message"] = f"{what}; {job.error}"
        state = "failed" if error else _STATES.get(job.state, "done")
        return Standing(job, state, line.index(job.id) if job.id in line else None, error)

    def kept(self, job: Job) -> Kept:
        """A prediction's files."""
        return Kept(self.keep, job.key)

    def _touch(self, job: Job) -> None:
        """A film is as old as what was last asked of it."""
        now = self._clock()
        os.utime(self.keep.path(job.batch), (now, now))

    def expires(self, job: Job) -> float:
        """When a prediction is removed, in seconds since 1970."""
        return job.changed + 3600 * self._settings.keep_hours

    def remove(self, job: Job) -> None:
        """Forget a prediction, its files, and the film where no other prediction is of it."""
        others = self._jobs.listing(batch=job.batch, limit=1000)
        mine = [one for one in others if one.id == job.id or one.key.startswith(f"{job.key}:")]
        names = [name for one in mine for name in (one.result or {}).get("files", ())]
        for name in [*names, *([job.batch] if len(mine) == len(others) else [])]:
            self.keep.remove(name)
        self._jobs.remove([one.id for one in mine])

    def expire(self) -> int:
        """Remove predictions and files whose time is over; films that still wait stay.

        Returns:
            How many predictions and made objects were removed.
        """
        for job in self._jobs.listing(kinds=KINDS, states=[WAITING, RUNNING], limit=10_000):
            with suppress(OSError):
                self._touch(job)
        before = self._clock() - 3600 * self._settings.keep_hours
        old = self._jobs.listing(kinds=KINDS, states=[DONE, DEAD], before=before, limit=10_000)
        for path in self.keep.files():
            with suppress(OSError):  # removed meanwhile
                if path.stat().st_mtime < before:
                    path.unlink()
        return self._jobs.remove([job.id for job in old])
