"""A study as a whole, once it has been quiet: the most suspicious of its films, and who is told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fracture.errors import FractureError, OutputError, unforeseen
from fracture.jobs import DEAD, DONE, Job, Jobs, Keep, NewJob
from fracture.limb.study import fused
from fracture.node.kinds import READ, event_kind
from fracture.node.logs import Audit, log
from fracture.node.objects import keep, of_study
from fracture.wing.scene import digits

if TYPE_CHECKING:
    from fracture.node.config import Config
    from fracture.node.films import Films

_MOST = 2000  # films of a study that are looked at


def judge(config: Config, jobs: Jobs, kept: Films, results: Keep, audit: Audit, job: Job) -> None:
    """Fuse what the views of a study say, and tell of it where a film has become positive.

    A study of several films gets a page with all of them, and a selection of those with a finding.

    The films' suspicions are fused by ``config.study_rule`` (see :mod:`fracture.limb.study`; by default the highest
    counts: a fracture that one view shows is a fracture, whatever the others hide).
    """
    films = jobs.listing(kinds=[READ], batch=job.batch, limit=_MOST, newest=False)
    if any(film.state not in (DONE, DEAD) for film in films):
        jobs.release(job, max(1.0, config.quiet_seconds), "a film of it is not read yet")
        return
    readings = [(film, one) for film in films for one in (film.result or {}).get("readings", ())]
    suspicion = fused([one["suspicion"] for _, one in readings], config.study_rule) if readings else None
    called = suspicion is not None and suspicion >= 0.5
    positive = sorted({film.key for film, one in readings if one["positive"]}) if called else []
    result: dict[str, Any] = {
        "positive": positive,
        "suspicion": suspicion,
        "films": len(films),
        "failed": sum(film.state == DEAD for film in films),
        "weights": sorted({f"{one['weights']} {one['version']}" for _, one in readings}),
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
    if jobs.finish(job, result, [*made, *(events if news else ())]) and news:
        audit.write("positive study", study=job.key, films=positive, suspicion=suspicion)
        log("positive study", job=job.id, films=len(positive), suspicion=suspicion)
