"""A process that reads films, one at a time, and judges studies."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracture.errors import (
    FractureError,
    MissingDependencyError,
    OutputError,
    UnexpectedError,
    WeightsError,
)
from fracture.jobs import Job, Jobs, Keep, NewJob
from fracture.node.films import Films
from fracture.node.heart import Heart
from fracture.node.kinds import READ, STUDY
from fracture.node.logs import Audit, log
from fracture.node.objects import CAPTURE, keep
from fracture.node.routing import fits, route
from fracture.node.study import judge
from fracture.wing.contract import find_wing
from fracture.wing.lines import flagged_of, suspicion_of

if TYPE_CHECKING:
    from fracture.node.config import Config
    from fracture.wing.contract import Reader

_PATIENCE = 60.0  # seconds until films are tried again whose weights cannot be opened, or whose disk is full


@dataclass(frozen=True)
class _Opened:
    stamp: object
    version: str
    reader: Reader[Any]
    series: tuple[str, ...]


@dataclass
class Worker:
    """Claims films and studies. Readers of any wing stay open until the files of their weights change."""

    config: Config
    jobs: Jobs
    films: Films
    results: Keep
    audit: Audit
    owner: str
    _readers: dict[str, _Opened] = field(default_factory=dict, init=False)

    def prepare(self) -> None:
        """Open the weights that will be needed, so that the first film does not wait for them."""
        for name in self.config.readers:
            try:
                self._reader(name)
            except FractureError as error:
                log("weights cannot be opened", level=logging.ERROR, weights=name, error=str(error))

    def step(self) -> bool:
        """Do one job; False where nothing is due."""
        lease = self.config.lease_seconds
        found = self.jobs.claim([READ, STUDY], self.owner, lease=lease)
        for job in found:
            with Heart(self.jobs, lease, self.config.film_seconds).holding(found):
                self._do(job)
        return bool(found)

    def _do(self, job: Job) -> None:
        try:
            if job.kind == STUDY:
                judge(self.config, self.jobs, self.films, self.results, self.audit, job, self._read_one)
            else:
                self._read(job)
        except (WeightsError, OutputError, MissingDependencyError, OSError) as error:
            # Weights, the disk, the database: no film's fault. It waits.
            self.jobs.release(job, _PATIENCE, str(error))
            log("a film has to wait", level=logging.ERROR, job=job.id, error=str(error))
        except FractureError as error:
            # A film that cannot be read will not be read later either; what nobody foresaw may be.
            state = self.jobs.fail(
                job, str(error), for_good=not isinstance(error, UnexpectedError), then=[self._study(job)]
            )
            self.audit.write("failed", uid=job.key, error=type(error).__name__, state=state)
            log("a film failed", level=logging.WARNING, job=job.id, error=type(error).__name__, state=state)

    def _read(self, job: Job) -> None:
        names, why_not = route(self.config, job.payload)
        if not names:
            self.jobs.finish(job, {"skipped": why_not})
            self.audit.write("not read", uid=job.key, reason=why_not)
            return
        modality = job.payload["Modality"].upper()
        fitting = {name: one.series for name in names if fits((one := self._reader(name)).series, modality)}
        if not fitting:
            self.jobs.finish(job, {"skipped": f"none of its weights reads {modality}"})
            self.audit.write("not read", uid=job.key, reason=f"no weights for {modality}")
            return
        if series := [name for name, modalities in fitting.items() if modalities]:  # with its study, as a whole
            self.jobs.finish(job, {"readings": [], "captures": [], "series": series}, [self._study(job)])
            return
        readings: list[dict[str, Any]] = []
        made: list[NewJob] = []
        captures: list[str] = []
        for name in fitting:
            reading, shown, sent = self._read_one(name, self.films.path(job.key), job)
            readings.append(reading)
            captures += shown
            made += sent
        if self.jobs.finish(job, {"readings": readings, "captures": captures}, [*made, self._study(job)]):
            told = [{key: reading[key] for key in ("weights", "version", "positive")} for reading in readings]
            self.audit.write("read", uid=job.key, readings=told, objects=[one.key for one in made])
            log("a film was read", job=job.id, weights=list(fitting), objects=len(made))

    def _read_one(
        self, name: str, source: Path | list[Path], job: Job
    ) -> tuple[dict[str, Any], list[str], list[NewJob]]:
        """A film or a study's slices, read by some weights: what was found, UIDs of pictures, and the jobs that send
        what was made.

        Raises:
            FractureError: It cannot be read.
        """
        opened = self._reader(name)
        result: Any
        (result,) = opened.reader.predict_many([source], workers=0, keep=True)
        if not result.ok:
            raise result.error
        line = {**result.to_dict(), "source": job.key}
        positive, suspicion = flagged_of(line), suspicion_of(line)
        said = {"positive": positive, "suspicion": float(positive) if suspicion is None else suspicion}
        mapped = getattr(result, "mapped", False)
        kinds = [kind for kind in self.config.objects if kind != "seg" or mapped]
        # A wing of another package may make no objects; what it found is kept all the same.
        objects = result.to_dicom(kinds) if hasattr(result, "to_dicom") else []
        captures = [str(one.SOPInstanceUID) for one in objects if one.get("ImageType", [""])[-1] == CAPTURE]
        made = list(keep(self.config, self.results, objects, job))
        return {"weights": name, "version": opened.version, **said, "line": line}, captures, made

    def _study(self, job: Job) -> NewJob:
        """Judge the film's study once it has been quiet; another film lets it wait anew."""
        return NewJob(STUDY, job.batch, {}, job.batch, delay=self.config.quiet_seconds, again=True)

    def _reader(self, name: str) -> _Opened:
        """These weights as they are now. Where their files have changed and cannot be opened (half copied, say), it
        goes on with those that are open."""
        opened = self._readers.get(name)
        try:
            wing, folder = find_wing(name)
            if opened is not None and opened.stamp == _stamp(folder):
                return opened
            stamp, weights = _stamp(folder), wing.store.open(folder)
            card, config = weights.card, self.config
            reader = wing.open(weights, device=config.device, precision=config.precision, engine=config.engine)
            if _stamp(folder) != stamp:
                raise WeightsError("the weights changed while they were opened", got=name)
        except WeightsError as error:
            if opened is None:
                raise
            log("weights changed and cannot be opened; the former go on", level=logging.ERROR, error=str(error))
            return opened
        self._readers[name] = _Opened(stamp, card.label, reader, wing.series)
        self.audit.write("weights", name=name, version=card.label, files={one.file: one.sha256 for one in card.files})
        log("weights opened", weights=name, version=card.label)
        return self._readers[name]


def _stamp(folder: Path) -> object:
    """What changes when a file in the folder does."""
    return sorted((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in folder.iterdir())
