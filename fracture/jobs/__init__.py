"""A durable table of jobs, and durable files beside it: what the node and the server stand on.

A job is added once for its key, claimed by one worker under a lease, and finished, failed or set aside; what follows
from it is added in the same transaction. An embedded SQLite file by default, or PostgreSQL for several machines, by the
same tables. Needs the extra ``node`` or ``serve``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.jobs.keep import Keep as Keep
    from fracture.jobs.model import (
        DEAD as DEAD,
        DONE as DONE,
        RUNNING as RUNNING,
        WAITING as WAITING,
        Job as Job,
        NewJob as NewJob,
    )
    from fracture.jobs.table import Jobs as Jobs

lazy_names(globals())
