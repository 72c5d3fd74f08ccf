"""A process that delivers to one target: results to an archive, events to a webhook.

An archive that cannot be reached has everything wait, however long; what it refuses is tried again a few times and is
then a dead letter. One process with one thread for each target: pynetdicom once lost an association among several.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fracture.jobs import Job, Jobs, Keep, NewJob
from fracture.node.archive import DicomArchive
from fracture.node.config import Config, Target, Webhook
from fracture.node.dicomweb import WebArchive
from fracture.node.heart import Heart
from fracture.node.hook import Hook
from fracture.node.kinds import commit_kind, event_kind, send_kind
from fracture.node.logs import Audit, log
from fracture.node.outcome import DELIVERED, Outcome, Unreachable

_AT_ONCE = 50  # jobs of one association (ours)
_LONGEST_PAUSE = 60.0  # seconds between two calls at a target that cannot be reached
_FIRST_WORD = 60.0  # seconds until an archive that has not committed itself is asked again, then twice as long (ours)
_LONGEST_WORD = 3600.0  # and at most so many


class _Target(Protocol):
    def deliver(self, jobs: Sequence[Job]) -> Mapping[int, Outcome]: ...


@dataclass
class Sender:
    """Claims what is to go to ``name``."""

    config: Config
    jobs: Jobs
    results: Keep
    audit: Audit
    owner: str
    name: str
    _silent: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._target, self._kinds = self._of(next(one for one in self._all() if one.name == self.name))

    def _all(self) -> list[Target | Webhook]:
        return [*self.config.targets, *self.config.webhook]

    def _of(self, told: Target | Webhook) -> tuple[_Target, list[str]]:
        if isinstance(told, Webhook):
            return Hook(told), [event_kind(told.name)]
        if told.url:
            return WebArchive(told, self.results), [send_kind(told.name)]
        return DicomArchive(self.config, told, self.results, self.jobs), [send_kind(told.name), commit_kind(told.name)]

    def prepare(self) -> None:
        """Nothing is needed before the first job."""

    def step(self) -> bool:
        """Deliver what is due; False where nothing is."""
        lease = self.config.lease_seconds
        found = self.jobs.claim(self._kinds, self.owner, lease=lease, limit=_AT_ONCE)
        if not found:
            return False
        with Heart(self.jobs, lease, self.config.film_seconds).holding(found):
            try:
                outcomes, why = self._target.deliver(found), ""
            except Unreachable as error:
                outcomes, why = error.before, str(error)
            for job in found:
                if (outcome := outcomes.get(job.id)) is not None:
                    self._conclude(job, outcome)
        left = [job for job in found if job.id not in outcomes]
        self._silent = self._silent + 1 if left else 0
        pause = min(_LONGEST_PAUSE, 2.0 ** min(self._silent, 10))
        for job in left:
            self.jobs.release(job, pause, why)
        if left:
            log("a target cannot be reached", level=logging.WARNING, target=self.name, waiting=len(left), reason=why)
        return True

    def _conclude(self, job: Job, outcome: Outcome) -> None:
        if outcome.asked:
            # Its answer may have come while this node was down: asked again soon, and ever later.
            pause = min(_LONGEST_WORD, _FIRST_WORD * 2.0 ** min(job.claims - 1, 10))
            self.jobs.release(job, pause, "the archive was asked to commit itself")
        elif outcome is DELIVERED:
            follows = []
            if job.kind == send_kind(self.name) and self._commits:
                follows = [NewJob(commit_kind(self.name), job.key, job.payload, job.batch, again=True)]
            self.jobs.finish(job, "delivered", follows)
        else:
            state = self.jobs.fail(job, outcome.refused)
            log("refused", level=logging.WARNING, target=self.name, job=job.id, reason=outcome.refused, state=state)
        self.audit.write("sent", target=self.name, kind=job.kind, key=job.key, outcome=outcome.refused or "ok")

    @property
    def _commits(self) -> bool:
        return any(target.commitment for target in self.config.targets if target.name == self.name)
