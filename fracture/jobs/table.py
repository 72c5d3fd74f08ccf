"""Jobs: added once, claimed under a lease, finished together with what follows from them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from fracture.errors import needing
from fracture.jobs.engine import at_once, open_engine, reading
from fracture.jobs.model import DEAD, DONE, RUNNING, TABLE, WAITING, Job, NewJob, job_of

with needing("node", "serve"):
    from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, update
    from sqlalchemy.dialects import postgresql, sqlite

_LONGEST_ERROR = 2000  # characters
_MANY = 500  # values of one IN list (SQLite takes 999 variables in old releases)
_COLUMNS = TABLE.c


class Jobs:
    """The table of jobs. Threads and processes share it; a process opens its own after it has forked.

    Args:
        where: Path of an SQLite file, or the URL of a PostgreSQL database.
        tries: Failures after which a job is dead.
        pause: Seconds before a failed job is tried again; doubled with each failure, at most an hour.
        clock: Gives the time in seconds since 1970.

    Raises:
        OutputError: The database cannot be opened.
        ConfigurationError: Another kind of database.
    """

    def __init__(
        self,
        where: str | os.PathLike[str],
        *,
        tries: int = 3,
        pause: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = open_engine(where)
        self._tries, self._pause, self._clock = tries, pause, clock

    def close(self) -> None:
        """Close the database's connections."""
        self._engine.dispose()

    # --- adding

    def add(self, *new: NewJob) -> list[bool]:
        """Add jobs in one transaction that is on the disk when this returns.

        Returns:
            For each whether it is new; one whose kind and key exist is left as it is, unless it says ``again``.
        """
        with at_once(self._engine) as connection:
            return [self._add(connection, one) for one in new]

    def _add(self, connection: Connection, new: NewJob) -> bool:
        now = self._clock()
        insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(TABLE)
        fresh = {"state": WAITING, "payload": dict(new.payload), "due": now + new.delay, "changed": now, "tries": 0}
        added = connection.execute(
            insert.values(
                **fresh,
                kind=new.kind,
                key=new.key,
                batch=new.batch,
                priority=new.priority,
                error="",
                owner="",
                claims=0,
                lease=0.0,
                created=now,
            )
            .on_conflict_do_nothing()
            .returning(_COLUMNS.id)
        ).first()
        if added is None and new.again:
            connection.execute(update(TABLE).where(_is(new.kind, new.key)).values(**fresh, error=""))
        return added is not None

    # --- working

    def claim(self, kinds: Collection[str], owner: str, *, lease: float = 300.0, limit: int = 1) -> list[Job]:
        """Take jobs that are due, or whose owner's lease has run out; nobody else gets them while the lease lasts.

        Args:
            kinds: Kinds wanted.
            owner: Who claims, different for each worker that may die alone.
            lease: Seconds; :meth:`renew` makes it longer.
            limit: At most so many.

        Returns:
            Those of higher priority first, then the older ones; empty where nothing is due.
        """
        now = self._clock()
        ready = and_(_COLUMNS.kind.in_(kinds), _ready(now))
        with reading(self._engine) as connection:
            if connection.execute(select(_COLUMNS.id).where(ready).limit(1)).first() is None:
                return []
        with at_once(self._engine) as connection:
            wanted = select(_COLUMNS.id, _COLUMNS.state, _COLUMNS.claims).where(ready)
            order = (_COLUMNS.priority.desc(), _COLUMNS.due, _COLUMNS.id)
            found = connection.execute(wanted.order_by(*order).limit(limit).with_for_update(skip_locked=True)).all()
            # A job whose workers vanish again and again, with nobody who saw them die.
            lost = [row.id for row in found if row.state == RUNNING and row.claims >= 10 * self._tries]
            if lost:
                why = f"given up: claimed {10 * self._tries} times, and its workers vanished each time"
                connection.execute(_of(lost).values(state=DEAD, error=why, changed=now))
            taken = [row.id for row in found if row.id not in lost]
            held = {"state": RUNNING, "owner": owner, "lease": now + lease, "changed": now}
            connection.execute(_of(taken).values(**held, claims=_COLUMNS.claims + 1))
            rows = connection.execute(select(TABLE).where(_COLUMNS.id.in_(taken)).order_by(*order))
            return [job_of(row) for row in rows.mappings()]

    def renew(self, job: Job, lease: float = 300.0) -> bool:
        """Keep a job for ``lease`` more seconds; False where it is another's by now."""
        return self._change(job, lease=self._clock() + lease)

    def finish(self, job: Job, result: Any = None, then: Iterable[NewJob] = ()) -> bool:
        """Done: keep the result and add what follows, all at once.

        Returns:
            False where the lease was lost and the job is another's, or waits anew; then nothing is changed or added.
        """
        with at_once(self._engine) as connection:
            if not self._held(connection, job, state=DONE, result=result, error=""):
                return False
            for new in then:
                self._add(connection, new)
        return True

    def fail(self, job: Job, error: str, *, for_good: bool = False, then: Iterable[NewJob] = ()) -> str:
        """A failure that counts: it waits longer each time, and after the last try it is dead.

        Args:
            job: As claimed.
            error: Why, without a patient's name, id or date.
            for_good: Another try would not help.
            then: What is added if it is dead now.

        Returns:
            ``"waiting"`` or ``"dead"``, and ``""`` where the lease was lost.
        """
        dead = for_good or job.tries + 1 >= self._tries
        values: dict[str, Any] = {"state": DEAD if dead else WAITING, "tries": job.tries + 1}
        with at_once(self._engine) as connection:
            if not self._held(connection, job, **values, due=self._later(job.tries), error=error[:_LONGEST_ERROR]):
                return ""
            for new in then if dead else ():
                self._add(connection, new)
        return str(values["state"])

    def release(self, job: Job, delay: float = 0.0, why: str = "") -> bool:
        """Put a job back for ``delay`` seconds through no fault of its own; False where the lease was lost."""
        return self._change(job, state=WAITING, due=self._clock() + delay, error=why[:_LONGEST_ERROR])

    def crashed(self, owner: str, error: str) -> list[Job]:
        """A worker was seen dead: what it held has failed, and is tried again or dead.

        Returns:
            What it held, as it was.
        """
        return [job for job in self.held(owner) if self.fail(job, error)]

    def settle(self, kind: str, key: str, result: Any = None) -> bool:
        """Finish a job that somebody else answers, whoever holds it; False where there is none that is not done."""
        with at_once(self._engine) as connection:
            values = {"state": DONE, "result": result, "error": "", "changed": self._clock()}
            where = and_(_is(kind, key), _COLUMNS.state != DONE)
            return bool(connection.execute(update(TABLE).where(where).values(**values)).rowcount)

    def retry(self, *, ids: Sequence[int] = (), kinds: Sequence[str] = ()) -> int:
        """Wake dead jobs, with all their tries before them: those of these numbers or kinds, or all.

        Returns:
            How many.
        """
        chosen = [*([_COLUMNS.id.in_(ids)] if ids else []), *([_COLUMNS.kind.in_(kinds)] if kinds else [])]
        now = self._clock()
        fresh = {"state": WAITING, "tries": 0, "claims": 0, "due": now, "changed": now}
        with at_once(self._engine) as connection:
            return connection.execute(update(TABLE).where(_COLUMNS.state == DEAD, *chosen).values(**fresh)).rowcount

    # --- looking

    def get(self, number: int) -> Job | None:
        """The job of a number."""
        return next(iter(self._select(_COLUMNS.id == number)), None)

    def find(self, kind: str, key: str) -> Job | None:
        """The job of a kind and key."""
        return next(iter(self._select(_is(kind, key))), None)

    def known(self, kind: str, keys: Iterable[str]) -> set[str]:
        """Which of these keys have a job of the kind."""
        wanted, found = list(keys), set()
        with reading(self._engine) as connection:
            for start in range(0, len(wanted), _MANY):
                some = and_(_COLUMNS.kind == kind, _COLUMNS.key.in_(wanted[start : start + _MANY]))
                found |= set(connection.execute(select(_COLUMNS.key).where(some)).scalars())
        return found

    def held(self, owner: str) -> list[Job]:
        """What an owner has in hand."""
        return self._select(_COLUMNS.state == RUNNING, _COLUMNS.owner == owner, limit=_MANY)

    def listing(
        self,
        *,
        kinds: Sequence[str] = (),
        states: Sequence[str] = (),
        batch: str | None = None,
        before: float | None = None,
        limit: int = 100,
        newest: bool = True,
    ) -> list[Job]:
        """Jobs by number, the newest first or the oldest first; ``before``: unchanged since that time."""
        chosen: list[ColumnElement[bool]] = []
        if kinds:
            chosen.append(_COLUMNS.kind.in_(kinds))
        if states:
            chosen.append(_COLUMNS.state.in_(states))
        if batch is not None:
            chosen.append(_COLUMNS.batch == batch)
        if before is not None:
            chosen.append(_COLUMNS.changed < before)
        return self._select(*chosen, limit=limit, newest=newest)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many there are, by (kind, state)."""
        with reading(self._engine) as connection:
            groups = select(_COLUMNS.kind, _COLUMNS.state, func.count()).group_by(_COLUMNS.kind, _COLUMNS.state)
            return {(kind, state): count for kind, state, count in connection.execute(groups)}

    def oldest(self) -> dict[str, float]:
        """By kind the seconds since the oldest job that could be claimed became due."""
        with reading(self._engine) as connection:
            now = self._clock()
            groups = select(_COLUMNS.kind, func.min(_COLUMNS.due)).where(_COLUMNS.state == WAITING)
            rows = connection.execute(groups.where(_COLUMNS.due <= now).group_by(_COLUMNS.kind))
            return {kind: now - due for kind, due in rows}

    def remove(self, ids: Sequence[int]) -> int:
        """Forget jobs, whatever their state; their files are the caller's to remove, and to remove first."""
        removed = 0
        with at_once(self._engine) as connection:
            for start in range(0, len(ids), _MANY):
                removed += connection.execute(delete(TABLE).where(_COLUMNS.id.in_(ids[start : start + _MANY]))).rowcount
        return removed

    # --- within

    def _later(self, tries: int) -> float:
        return self._clock() + min(3600.0, self._pause * 2.0 ** min(tries, 20))

    def _change(self, job: Job, **values: Any) -> bool:
        with at_once(self._engine) as connection:
            return self._held(connection, job, **values)

    def _held(self, connection: Connection, job: Job, **values: Any) -> bool:
        """Change a job if it is still the caller's."""
        mine = and_(_COLUMNS.id == job.id, _COLUMNS.state == RUNNING, _COLUMNS.claims == job.claims)
        return bool(connection.execute(update(TABLE).where(mine).values(**values, changed=self._clock())).rowcount)

    def _select(self, *chosen: ColumnElement[bool], limit: int = 1, newest: bool = True) -> list[Job]:
        order = _COLUMNS.id.desc() if newest else _COLUMNS.id
        with reading(self._engine) as connection:
            rows = connection.execute(select(TABLE).where(*chosen).order_by(order).limit(limit))
            return [job_of(row) for row in rows.mappings()]


def _is(kind: str, key: str) -> ColumnElement[bool]:
    return and_(_COLUMNS.kind == kind, _COLUMNS.key == key)


def _ready(now: float) -> ColumnElement[bool]:
    due = and_(_COLUMNS.state == WAITING, _COLUMNS.due <= now)
    return or_(due, and_(_COLUMNS.state == RUNNING, _COLUMNS.lease < now))


def _of(ids: list[int]) -> Any:
    return update(TABLE).where(_COLUMNS.id.in_(ids))
