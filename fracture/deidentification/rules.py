"""Pseudonyms, new UIDs and shifts of dates: each follows from the key and what it replaces, and from nothing else."""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.uid import UID

from fracture.errors import ConfigurationError, OutputError
from fracture.io.dicom.uid import derived_uid

DATES = ("remove", "shift")
_SHORTEST = 16  # bytes of a key: 128 bits, beyond all guessing (our choice)
_MOST_DAYS = 3650  # a date moves back by up to ten years (our choice)
_HEX = re.compile(r"[0-9a-f]{32,}\Z")


@dataclass(frozen=True, slots=True)
class Rules:
    """How films are de-identified. Films that are done by equal rules fit each other: one patient has one pseudonym,
    one study one UID. Without the key nobody can tell which patient, and with it anybody who has a list of ids can.

    Attributes:
        key: Secret, at least 16 bytes.
        dates: ``"remove"`` leaves no date and no time. ``"shift"`` moves a patient's dates back by the same 1 to 3650
            days, so that intervals between studies stay, and keeps times of day.
        keep_institution: Keep the institution's name, as the paper did; else it gets a pseudonym.

    Raises:
        ConfigurationError: A key that is too short, or an unknown way with dates.
    """

    key: bytes = field(repr=False)
    dates: str = "remove"
    keep_institution: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.key, bytes) or len(self.key) < _SHORTEST:
            got = f"{len(self.key)} bytes" if isinstance(self.key, bytes) else type(self.key).__name__
            raise ConfigurationError(
                "the key of pseudonyms must be a secret that cannot be guessed",
                got=got,
                allowed=f"at least {_SHORTEST} bytes",
                hint="make one with secrets.token_bytes(32), or use read_key(path), and keep it",
            )
        if self.dates not in DATES:
            raise ConfigurationError("unknown way with dates", got=repr(self.dates), allowed=DATES)

    def digest(self, kind: str, *parts: str) -> str:
        """HMAC-SHA-256 of what is replaced, 64 hexadecimal digits. ``kind`` keeps equal texts of two kinds apart.

        Args:
            kind: What the texts are, as ``"patient"``.
            *parts: The texts.
        """
        return hmac.digest(self.key, json.dumps([kind, *parts]).encode(), "sha256").hex()

    def pseudonym(self, kind: str, text: str) -> str:
        """16 hexadecimal digits for a text; ``""`` for none.

        Args:
            kind: As for :meth:`digest`.
            text: What is replaced.
        """
        return self.digest(kind, text)[:16] if text else ""

    def uid(self, uid: str) -> UID:
        """The new UID below 2.25 (PS3.5 B.2) of an old one, wherever it stands."""
        return derived_uid("deidentified", self.digest("uid", uid))

    def days(self, patient: str) -> int:
        """By how many days a patient's dates move back."""
        return 1 + int(self.digest("days", patient), 16) % _MOST_DAYS


def read_key(path: str | os.PathLike[str]) -> bytes:
    """The key in a file, made of 32 random bytes where there is no such file; only its owner may read it (mode 0600).

    Raises:
        ConfigurationError: No key file, or one that others may read.
        OutputError: It cannot be made.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _existing(path)
    except OSError as error:
        raise OutputError(f"{path}: the key file cannot be made", got=error.strerror) from error
    text = secrets.token_hex(32)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return bytes.fromhex(text)


def _existing(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ConfigurationError(f"{path}: not a regular file", hint="give the path of a key file, or of a new one")
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigurationError(f"{path}: the key file cannot be read", got=reason) from None
    if os.name == "posix" and mode & 0o077:
        raise ConfigurationError(
            f"{path}: others may read the key file", got=oct(mode & 0o777), allowed="0o600", hint=f"chmod 600 {path}"
        )
    if not _HEX.match(text) or len(text) % 2:
        raise ConfigurationError(
            f"{path}: no key", allowed="at least 32 hexadecimal digits", hint="give the path of a new file to make one"
        )
    return bytes.fromhex(text)
