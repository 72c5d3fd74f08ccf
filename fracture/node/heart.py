"""What keeps a worker's lease while it works, and ends a worker that has hung."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence

from fracture.errors import OutputError
from fracture.jobs import Job, Jobs
from fracture.node.logs import log

HUNG = 75
"""Exit code of a process that gave itself up."""


class Heart:
    """Renews the leases of what is in hand from a thread of its own.

    Args:
        jobs: The table.
        lease: Seconds.
        limit: Seconds after which the process ends itself: what it does has hung, and counts as a failure.
    """

    def __init__(self, jobs: Jobs, lease: float, limit: float) -> None:
        self._jobs, self._lease, self._limit = jobs, lease, limit

    @contextlib.contextmanager
    def holding(self, held: Sequence[Job]) -> Iterator[None]:
        """Keep these jobs while the block runs."""
        over = threading.Event()
        thread = threading.Thread(target=self._beat, args=(held, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat(self, held: Sequence[Job], over: threading.Event) -> None:
        end = time.monotonic() + self._limit
        while not over.wait(self._lease / 3):
            if time.monotonic() > end:
                log("hung", level=logging.ERROR, jobs=[job.id for job in held], seconds=self._limit)
                os._exit(HUNG)
            for job in held:
                with contextlib.suppress(OutputError):  # a full disk now; the lease may still last
                    self._jobs.renew(job, self._lease)
