"""A folder of files that are on the disk, name and content, when their writing returns."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from fracture.atomic import sweep, write_atomic
from fracture.errors import ConfigurationError, OutputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Keep:
    """Files by name, spread over 256 folders.

    Args:
        folder: Where; made where missing.
        spare: Bytes of the disk that stay free: writing below them is refused.
    """

    def __init__(self, folder: Path, *, spare: int = 0) -> None:
        self.folder, self._spare = folder, spare
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where the file of a name lies, or would.

        Raises:
            ConfigurationError: A name that is not of letters, digits, ``.``, ``_`` and ``-``.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError("not the name of a file", got=ascii(name[:80]), allowed="letters, digits, . _ -")
        return self.folder / hashlib.sha256(name.encode()).hexdigest()[:2] / name

    def write(self, name: str, content: bytes) -> Path:
        """Temporary file, flush, rename, flush of the folder. One of that name is replaced.

        Raises:
            OutputError: It cannot be written, or the disk would be too full; nothing is left of it.
        """
        path = self.path(name)
        if self._spare and self.free() < self._spare + len(content):
            raise OutputError(
                f"{self.folder}: the disk is too full",
                got=f"{self.free() >> 20} MiB free",
                allowed=f"{(self._spare + len(content)) >> 20} MiB or more",
                hint="free some room",
            )
        write_atomic(path, lambda temporary: temporary.write_bytes(content), size=len(content))
        return path

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no fault."""
        self.path(name).unlink(missing_ok=True)

    def files(self) -> Iterator[Path]:
        """Every whole file, in no order."""
        for folder in self.folder.iterdir():
            if folder.is_dir():
                yield from (path for path in folder.iterdir() if not path.name.startswith("."))

    def sweep(self) -> None:
        """Remove what killed processes left half-written a day ago or longer."""
        for folder in self.folder.iterdir():
            sweep(folder)

    def free(self) -> int:
        """Bytes free on its disk."""
        return shutil.disk_usage(self.folder).free

    def size(self) -> int:
        """Bytes of all whole files."""
        total = 0
        for path in self.files():
            with contextlib.suppress(OSError):  # removed meanwhile
                total += path.stat().st_size
        return total
