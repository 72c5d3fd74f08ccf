"""A real PostgreSQL of one's own, without a network: a folder and a socket in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Database", "database", "postgres"]


@dataclass
class Database:
    """A running server; it may go away and come back.

    Attributes:
        url: For SQLAlchemy.
    """

    url: str
    run: Callable[..., None]
    options: tuple[str, ...]

    def start(self) -> None:
        self.run("start", "-w", "-s", *self.options)

    def stop(self) -> None:
        """At once, as in a crash: connections are cut."""
        self.run("stop", "-m", "immediate", "-s")


@contextlib.contextmanager
def database() -> Iterator[Database]:
    """Run a server; skips where PostgreSQL (or the right to run it) is absent."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (apt: postgresql)")
    pytest.importorskip("psycopg")
    control = str(programs[-1])
    # It refuses to run as root, and a socket's path may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    data = str(folder / "data")

    def run(*command: str) -> None:
        subprocess.run([*as_user, control, "-D", data, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")

    options = ("-l", f"{folder}/log", "-o", f"-k {folder} -c listen_addresses= -c shared_buffers=16MB")
    found = Database(f"postgresql+psycopg://postgres@/postgres?host={folder}", run, options)
    try:
        run("init", "-s", "-o", "--auth=trust --username=postgres --no-sync")
        found.start()
        try:
            yield found
        finally:
            found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a server and give its URL; skips where PostgreSQL (or the right to run it) is absent."""
    with database() as found:
        yield found.url
