"""The process that reads films, one after the other; it ends when the server does."""

from __future__ import annotations

import io
import os
import re
import signal
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fracture.errors import ConfigurationError, FractureError, MultiFrameError, OutputError, UnexpectedError
from fracture.io.images import sniff
from fracture.jobs import Job, Jobs, Keep
from fracture.serve.readings import Kept, Opened, read_film

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from fracture.serve.settings import Settings

PREDICT, DICOM = "predict", "dicom"
"""Kinds of jobs: read a film; read it again and make DICOM objects of a reading."""
KINDS = (PREDICT, DICOM)
"""The server's own; a node may keep others in the same table."""

Load = Callable[[str, str, str, str], Opened]
"""Opens weights: (name, device, precision, engine)."""

_ELSEWHERE = re.compile(r"\b(allow|frame)=")  # arguments that Python and the command line have
_IDLE = 1.0  # seconds between looks at the table without being told of a job
_TROUBLE = 2.0  # seconds of rest where the table cannot be reached, or the disk is full


def open_jobs(settings: Settings) -> Jobs:
    """The server's table of jobs."""
    return Jobs(settings.database or settings.data / "jobs.sqlite", pause=1.0)


def told(error: FractureError) -> dict[str, Any]:
    """An error as a client gets it: type, what, got, allowed, hint, message; hints name only what a request can say."""
    if error.hint is not None and _ELSEWHERE.search(error.hint):
        hint = "send the frame that is meant as a film of its own" if isinstance(error, MultiFrameError) else None
        error = type(error)(error.what, got=error.got, allowed=error.allowed, hint=hint)
    parts = {name: None if (part := getattr(error, name)) is None else str(part) for name in ("what", "got", "hint")}
    allowed = error.allowed
    words = [allowed] if isinstance(allowed, str) or not hasattr(allowed, "__iter__") else list(allowed)
    return {
        "type": type(error).__name__,
        **parts,
        "allowed": [] if allowed is None else [str(word) for word in words],
        "message": str(error),
    }


def work(settings: Settings, load: Load, connection: Connection, owner: str) -> None:
    """Open the weights, tell of them, and read what there is to read until the server is gone.

    Sends ``("ready", [about, ...])`` once, ``("done", key)`` for each job, and ``("broken", words)`` where the weights
    cannot be opened. Whatever it is sent wakes it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which ends this process when it is done
    try:
        readers = [load(name, settings.device, settings.precision, settings.engine) for name in settings.weights]
    except FractureError as error:
        connection.send(("broken", str(error)))
        return
    worker = _Worker(settings, readers, open_jobs(settings), owner)
    try:
        connection.send(("ready", [opened.about for opened in readers]))
        while True:
            while connection.poll(0):
                connection.recv()
            try:
                job = worker.step()
            except OutputError:  # what waits still does, and what was in hand is claimed anew when its lease is over
                time.sleep(_TROUBLE)
                continue
            if job is not None:
                connection.send(("done", job.key))
            else:
                connection.poll(_IDLE)
    except (EOFError, OSError):
        return  # the server is gone; what is running was finished, what waits is the next one's


@dataclass(frozen=True)
class _Worker:
    settings: Settings
    readers: list[Opened]
    jobs: Jobs
    owner: str

    def step(self) -> Job | None:
        """Do one job; None where nothing is due.

        Raises:
            OutputError: The table of jobs cannot be used.
        """
        for job in self.jobs.claim(KINDS, self.owner, lease=self.settings.lease):
            over = threading.Event()
            heart = threading.Thread(target=self._beat, args=(job, over), daemon=True)
            heart.start()
            try:
                self._do(job)
            finally:
                over.set()
            return job
        return None

    def _beat(self, job: Job, over: threading.Event) -> None:
        while not over.wait(self.settings.lease / 4):
            with suppress(OutputError):
                self.jobs.renew(job, self.settings.lease)

    def _do(self, job: Job) -> None:
        try:
            made = self._objects(job) if job.kind == DICOM else self._read(job)
        except OutputError as error:
            self.jobs.release(job, 10.0, str(error))
        except UnexpectedError as error:  # may be of the moment: a lack of memory, say
            self.jobs.fail(job, str(error))
        except FractureError as error:
            self.jobs.finish(job, {"error": told(error)})
        except MemoryError:
            self.jobs.fail(job, "the server's memory was too small for this film")
            os._exit(1)  # a fresh process is better than one that has run out
        else:
            self.jobs.finish(job, made)

    def _read(self, job: Job) -> dict[str, Any]:
        return Kept(self._keep, job.key).write(self._found(job), job.payload["name"])

    def _found(self, job: Job) -> Any:
        ask = job.payload
        path = self._keep.path(ask["film"])
        most = self.settings.max_pixels
        return read_film(self.readers, path, ask["name"], region=ask["region"], max_pixels=most)

    def _objects(self, job: Job) -> dict[str, Any]:
        """A zip of DICOM objects of one reading, beside the prediction's other files."""
        ask = job.payload
        found = self._found(job)
        if not 0 <= ask["reading"] < len(found):
            raise ConfigurationError("no such reading", got=ask["reading"], allowed=f"0 to {len(found) - 1}")
        result = found[ask["reading"]][1]
        if not hasattr(result, "to_dicom"):
            kind = type(result).__name__
            raise ConfigurationError("these weights' results cannot be made into DICOM objects", got=kind)
        path = self._keep.path(ask["film"])
        is_picture = sniff(path.read_bytes()[:64]) in ("png", "jpeg", "tiff")
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for made in result.to_dicom(ask["objects"], source=path, new_study=is_picture):
                content = io.BytesIO()
                made.save_as(content, enforce_file_format=True)
                archive.writestr(f"{made.Modality}-{made.SOPInstanceUID}.dcm", content.getvalue())
        name = f"{job.key.replace(':', '-').replace(',', '-')}.zip"
        self._keep.write(name, stream.getvalue())
        return {"files": [name]}

    @property
    def _keep(self) -> Keep:
        return Keep(self.settings.data / "files")
