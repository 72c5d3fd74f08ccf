"""What goes when: films and results that nothing is left to be done for, by age, and by size."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from fracture.jobs import DEAD, DONE, Job, Jobs, Keep
from fracture.node.config import Config
from fracture.node.films import Films
from fracture.node.kinds import READ, commit_kind, send_kind
from fracture.node.logs import Audit

_CHUNK = 500
_DAY = 86400.0


def prune(config: Config, jobs: Jobs, films: Films, results: Keep, audit: Audit, *, dead: bool = False) -> int:
    """Remove what is older than ``config.keep.days``, and then the oldest until ``config.keep.gigabytes`` hold all.

    A film goes when its job is done, a result when all targets have it (and have committed themselves where they are
    asked to); what waits stays whatever its age. A file goes before its job, so that no film is taken for a new one.

    Args:
        config, jobs, films, results, audit: The node's.
        dead: Also what is dead for that long, with its film.

    Returns:
        How many jobs were forgotten.
    """
    states = [DONE, DEAD] if dead else [DONE]
    gone = 0
    for chunk in _old(jobs, states, time.time() - config.keep.days * _DAY):
        gone += _forget(config, jobs, films, results, chunk)
    excess = films.size() + results.size() - config.keep.gigabytes * 2**30
    oldest = (job for chunk in _old(jobs, [DONE], time.time() + 1) for job in chunk)
    while excess > 0 and (job := next(oldest, None)) is not None:
        size = _size(films, results, job)
        if size and _forget(config, jobs, films, results, [job]):
            gone, excess = gone + 1, excess - size
    _orphans(config, jobs, results)
    if gone:
        audit.write("pruned", jobs=gone)
    return gone


def _old(jobs: Jobs, states: list[str], before: float) -> Iterator[list[Job]]:
    seen: set[int] = set()
    while chunk := jobs.listing(states=states, before=before, newest=False, limit=_CHUNK + len(seen)):
        if not (fresh := [job for job in chunk if job.id not in seen]):
            return
        seen |= {job.id for job in fresh}
        yield fresh


def _size(films: Films, results: Keep, job: Job) -> int:
    if job.kind != READ and not job.kind.startswith("send:"):
        return 0
    path = films.path(job.key) if job.kind == READ else results.path(f"{job.key}.dcm")
    return path.stat().st_size if path.exists() else 0


def _forget(config: Config, jobs: Jobs, films: Films, results: Keep, chunk: list[Job]) -> int:
    ready = []
    for job in chunk:
        if job.kind == READ:
            films.remove(job.key)
        elif job.kind.startswith("send:"):
            if _wanted(config, jobs, job.key):
                continue
            results.remove(f"{job.key}.dcm")
        ready.append(job.id)
    return jobs.remove(ready)


def _wanted(config: Config, jobs: Jobs, uid: str) -> bool:
    """Whether a result has still to go somewhere."""
    kinds = [kind for target in config.targets for kind in (send_kind(target.name), commit_kind(target.name))]
    found = [jobs.find(kind, uid) for kind in kinds]
    return any(job is not None and job.state != DONE for job in found)


def _orphans(config: Config, jobs: Jobs, results: Keep) -> None:
    """Results of a worker that was killed before it was done, and those that nobody is sent."""
    oldest = time.time() - config.keep.days * _DAY
    for path in list(results.files()):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest and not _wanted(config, jobs, path.name.removesuffix(".dcm")):
                path.unlink()
