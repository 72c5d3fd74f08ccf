"""The one table, and a row of it as a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fracture.errors import needing

with needing("node", "serve"):
    from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text
    from sqlalchemy.engine import RowMapping

WAITING, RUNNING, DONE, DEAD = "waiting", "running", "done", "dead"

TABLE = Table(
    "fracture_jobs",
    MetaData(),
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("kind", String(80), nullable=False),
    Column("key", String(200), nullable=False),
    Column("batch", String(80), nullable=False),
    Column("state", String(8), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error", Text, nullable=False),
    Column("owner", String(80), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("due", Float(53), nullable=False),
    Column("lease", Float(53), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("changed", Float(53), nullable=False),
    Index("fracture_jobs_once", "kind", "key", unique=True),
    Index("fracture_jobs_next", "state", "kind", "due"),
    Index("fracture_jobs_batch", "batch", "kind"),
    sqlite_autoincrement=True,  # a number is never given twice
)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be added.

    Attributes:
        kind: What is to be done; workers claim by kind. At most 80 characters.
        key: One job of a kind has it; adding it again changes nothing. At most 200 characters.
        payload: What the worker needs, as JSON knows it; no pixels, a path to them.
        batch: What belongs together, such as a study or an upload. At most 80 characters.
        priority: Higher goes first.
        delay: Seconds until it may be claimed.
        again: One that exists waits anew, ``delay`` seconds from now, with this payload and no tries; what a worker
            makes of the one before comes too late.
    """

    kind: str
    key: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    batch: str = ""
    priority: int = 0
    delay: float = 0.0
    again: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the table.

    Attributes:
        id: Its number, never given twice.
        kind, key, batch, priority, payload: As added.
        state: ``"waiting"``, ``"running"``, ``"done"`` or ``"dead"`` (given up; ``retry`` wakes it).
        result: What the worker said when it was done, else None.
        error: Why it failed last, or was put back; empty where it did not.
        owner: Who claimed it last.
        tries: Failures that count.
        claims: How often it was claimed; a worker whose number is not the last comes too late.
        due: When it may be claimed, in seconds since 1970, UTC.
        lease: Until when it is its owner's, likewise.
        created, changed: Likewise.
    """

    id: int
    kind: str
    key: str
    batch: str
    state: str
    priority: int
    payload: dict[str, Any]
    result: Any
    error: str
    owner: str
    tries: int
    claims: int
    due: float
    lease: float
    created: float
    changed: float


def job_of(row: RowMapping) -> Job:
    """A row as a record."""
    return Job(**row)
