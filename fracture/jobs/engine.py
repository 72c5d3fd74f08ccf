"""The database behind the table: an SQLite file, or PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fracture.errors import ConfigurationError, OutputError, needing
from fracture.jobs.model import TABLE

with needing("node", "serve"):
    from sqlalchemy import Connection, Engine, create_engine, event
    from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
    from sqlalchemy.pool import QueuePool

_WAIT = 30  # seconds that a writer waits for another (ours; a commit takes milliseconds)


def open_engine(where: str | os.PathLike[str]) -> Engine:
    """Open, and where needed make, the table of jobs.

    Args:
        where: Path of an SQLite file, or the URL of a PostgreSQL database, ``postgresql+psycopg://user@host/name``.

    Raises:
        ConfigurationError: Another kind of database.
        MissingDependencyError: psycopg is not installed.
        OutputError: The database cannot be opened.
    """
    text = os.fspath(where)
    if "://" not in text:
        Path(text).parent.mkdir(parents=True, exist_ok=True)
        text = f"sqlite:///{Path(text).absolute()}"
    elif text.startswith("postgresql://"):
        text = text.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = _engine(text)
    try:
        _make_table(engine)
    except DBAPIError as error:
        raise OutputError(
            "the table of jobs cannot be opened",
            got=str(error.orig).strip().splitlines()[0],
            hint="is the database running, and may this user make tables in it?",
        ) from error
    return engine


def _engine(url: str) -> Engine:
    if url.startswith("sqlite:///"):
        # A connection is used by one thread at a time; as many as there are threads at once.
        options: dict[str, Any] = {"connect_args": {"timeout": _WAIT}, "poolclass": QueuePool, "max_overflow": -1}
    elif url.startswith("postgresql+psycopg://"):
        options = {"pool_pre_ping": True, "max_overflow": -1}
    else:
        raise ConfigurationError(
            "jobs are kept in another kind of database",
            got=url.partition("://")[0],
            allowed=("a file of SQLite", "postgresql+psycopg://user@host/name"),
        )
    try:
        with needing("postgres"):
            engine = create_engine(url, **options)
    except ArgumentError as error:
        raise ConfigurationError("the URL of the database cannot be read", got=error) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    """WAL lets readers and a writer go on at once; FULL has every commit on the disk before it returns."""
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where sqlite3 guesses
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    """A writer takes the lock when it begins: one that read first could not get it any more."""
    kind = "" if connection.get_execution_options().get("reading") else " IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN{kind}")


def _make_table(engine: Engine) -> None:
    try:
        TABLE.metadata.create_all(engine)
    except DBAPIError:  # another process made it at the same moment
        TABLE.metadata.create_all(engine)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that waits for no writer.

    Raises:
        OutputError: The database is gone.
    """
    with _told("read"), engine.connect().execution_options(reading=True) as connection:
        yield connection


@contextmanager
def at_once(engine: Engine) -> Iterator[Connection]:
    """A transaction: all of it or nothing, on the disk when it ends.

    Raises:
        OutputError: It cannot be written: the disk is full, or the database is gone.
    """
    with _told("written"), engine.begin() as connection:
        yield connection


@contextmanager
def _told(done: str) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise OutputError(
            f"the table of jobs cannot be {done}",
            got=str(error.orig).strip().splitlines()[0],
            hint="nothing was changed",
        ) from error
