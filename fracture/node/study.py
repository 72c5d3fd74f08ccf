"""A study as a whole, once it has been quiet: the most suspicious of its films, and who is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracture.errors import FractureError, MissingDependencyError, OutputError, WeightsError, unforeseen
from fracture.jobs import DEAD, DONE, Job, Jobs, Keep, NewJob
from fracture.limb.study import fused
from fracture.node.kinds import READ, event_kind
from fracture.node.logs import Audit, log
from fracture.node.objects import keep, of_study
from fracture.wing.lines import suspicion_of
from fracture.wing.scene import digits

if TYPE_CHECKING:
    from fracture.node.config import Config
    from fracture.node.films import Films

_MOST = 2000  # films of a study that are looked at


ReadOne = Callable[[str, "Path | list[Path]", Job], tuple[dict[str, Any], list[str], list[NewJob]]]


def judge(config: Config, jobs: Jobs, kept: Films, results: Keep, audit: Audit, job: Job, read_one: ReadOne) -> None:
    """Read the study's series, fuse what its views say, and tell of it where a film has become positive.

    A study of several films gets a page with all of them, and a selection of those with a finding. A series that cannot
    be read is told in the result; its films stay what they are.

    The films' suspicions are fused by ``config.study_rule`` (see :mod:`fracture.limb.study`; by default the highest
    counts: a fracture that one view shows is a fracture, whatever the others hide).
    """
    films = jobs.listing(kinds=[READ], batch=job.batch, limit=_MOST, newest=False)
    if any(film.state not in (DONE, DEAD) for film in films):
        jobs.release(job, max(1.0, config.quiet_seconds), "a film of it is not read yet")
        return
    readings = [(film.key, one) for film in films for one in (film.result or {}).get("readings", ())]
    series, of_series = _series(kept, films, audit, job, read_one)
    readings += [
        (Path(one["line"]["frame"]["file"]).stem, one)  # the slice that shows it
        for one in series
        if "line" in one and suspicion_of(one["line"]) is not None
    ]
    suspicion = fused([one["suspicion"] for _, one in readings], config.study_rule) if readings else None
    called = suspicion is not None and suspicion >= 0.5
    positive = sorted({uid for uid, one in readings if one["positive"]}) if called else []
    result: dict[str, Any] = {
        "positive": positive,
        "suspicion": suspicion,
        "films": len(films),
        "failed": sum(film.state == DEAD for film in films),
        "weights": sorted({f"{one['weights']} {one['version']}" for _, one in readings}),
        "series": series,
    }
    news = sorted(set(positive) - set((job.result or {}).get("positive", ())))
    told = {
        "event": "positive study",
        "study": job.key,
        "films": positive,
        **{key: result[key] for key in ("suspicion", "weights")},
        "note": "Research use only; not a medical device.",
    }
    events = [NewJob(event_kind(hook.name), f"{job.key}+{len(positive)}", told, job.batch) for hook in config.webhook]
    read = [(film.key, film.result or {}) for film in films if film.state == DONE]
    words = f"{len(positive)} of {len(films)} films with a finding, suspicion {digits(suspicion or 0.0)}"
    try:
        with unforeseen("the study's objects", quote=False):
            made = list(keep(config, results, of_study(config, results, kept, read, words), job))
    except OutputError:
        raise  # the disk is full: the study waits
    except FractureError as error:  # who is told does not depend on a picture
        made = []
        log("objects of a study cannot be made", level=logging.ERROR, job=job.id, error=type(error).__name__)
    if jobs.finish(job, result, [*of_series, *made, *(events if news else ())]) and news:
        audit.write("positive study", study=job.key, films=positive, suspicion=suspicion)
        log("positive study", job=job.id, films=len(positive), suspicion=suspicion)


def _series(
    kept: Films, films: list[Job], audit: Audit, job: Job, read_one: ReadOne
) -> tuple[list[dict[str, Any]], list[NewJob]]:
    """What each wing for series says of the study's slices, all of them together, and the jobs that send it."""
    slices: dict[str, list[Path]] = {}
    for film in films:
        for name in (film.result or {}).get("series", ()):
            if (path := kept.path(film.key)).exists():
                slices.setdefault(name, []).append(path)
    read: list[dict[str, Any]] = []
    made: list[NewJob] = []
    for name, paths in sorted(slices.items()):
        try:
            reading, _, sent = read_one(name, paths, job)
        except (WeightsError, OutputError, MissingDependencyError):
            raise  # no fault of the series: the study waits
        except FractureError as error:
            read.append({"weights": name, "error": str(error)})
            audit.write("failed", study=job.key, weights=name, error=type(error).__name__)
            log("a series cannot be read", level=logging.WARNING, job=job.id, error=type(error).__name__)
            continue
        read.append({**reading, "slices": len(paths)})
        made += sent
        audit.write(
            "read", study=job.key, slices=len(paths), readings=[reading["version"]], objects=[one.key for one in sent]
        )
    return read, made
