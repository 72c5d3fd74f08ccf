"""What a server is told, checked before anything is opened."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from fracture.errors import ConfigurationError

DEFAULT_WEIGHTS = ("fracatlas-small", "hip-small")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of a server; the defaults are ours.

    Attributes:
        data: Folder of films, results and jobs; made where missing, held by one server at a time unless they share a
            database.
        database: URL of a PostgreSQL database with the table of jobs, for servers that share their work and the folder;
            None for a file in the folder.
        workers: Processes that read films; each has the weights in memory.
        lease: Seconds after which others read what a server that vanished had in hand, where they share a database.
        weights: Names or folders. The first reads every film; hips' networks among the others read films where a hip
            or pelvis is seen.
        device, precision, engine: As for :func:`fracture.load`.
        host, port: Where it listens.
        token: What a request must carry as bearer; None for no authentication, on this machine's own address alone.
        max_bytes: Most bytes of one film (413).
        max_request: Most bytes of one request, all films together (413).
        max_pixels: Most pixels of one film (422).
        max_files: Most films of one request (413).
        queue: Most films that wait; more are refused (429).
        rate: Films and new readings a minute that one client may ask for, on average and at once (429).
        wait: Seconds that a request for one film waits for its result before it is answered 202.
        keep_hours: Films and results are removed so long after the last change.

    Raises:
        ConfigurationError: A value out of range, or an open address without a token.
    """

    data: Path
    database: str | None = None
    workers: int = 1
    lease: float = 60.0
    weights: tuple[str, ...] = DEFAULT_WEIGHTS
    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    max_bytes: int = 128 * 2**20
    max_request: int = 2**30
    max_pixels: int = 50_000_000
    max_files: int = 100
    queue: int = 200
    rate: int = 600
    wait: float = 60.0
    keep_hours: float = 24.0

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigurationError("a server needs weights", got="none")
        for name in (
            *("workers", "lease", "max_bytes", "max_request", "max_pixels", "max_files", "queue", "rate", "keep_hours"),
        ):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be above 0", got=getattr(self, name))
        if not 0 <= self.wait <= 600:
            raise ConfigurationError("wait is in seconds", got=self.wait, allowed="0 to 600")
        if not 0 <= self.port <= 65535:
            raise ConfigurationError("no such port", got=self.port, allowed="0 (any that is free) to 65535")
        if self.token is not None and not re.fullmatch(r"[!-~]{16,}", self.token):
            raise ConfigurationError(
                "the token is too weak",
                got=f"{len(self.token)} characters",
                allowed="16 or more printable ASCII characters",
                hint="openssl rand -hex 32 makes one",
            )
        if self.token is None and not self.local:
            raise ConfigurationError(
                "an address that others reach needs a token",
                got=self.host,
                allowed="127.0.0.1, ::1 or localhost without one",
                hint="give --token-file FILE, and put a proxy with TLS before it",
            )

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
