"""The folder that ``--report OUT`` makes: ``index.html`` (the gallery), ``results.csv``, ``results.parquet`` where
pyarrow is installed, ``run.json`` (what was run, where, and what came of it), and ``pieces/``, by which a run that was
interrupted is resumed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fracture._version import __version__
from fracture.atomic import write_atomic, write_json
from fracture.errors import ConfigurationError
from fracture.gallery.page import MARK, write_page
from fracture.gallery.table import can_parquet, row_of, write_csv, write_parquet
from fracture.runs.outputs import Protected, check_folder
from fracture.wing.contract import Result
from fracture.wing.pieces import piece_of

FILES = ("index.html", "results.csv", "results.parquet", "run.json")
"""What a report's folder holds beside ``pieces/``; the first tells whose it is."""

_MANY = 1000  # films from which pictures are smaller, so that 10,000 make a page of about 150 MB
_SIDES = (640, 320)
_PACKAGES = ("torch", "numpy", "opencv-python-headless", "pydicom")


def is_gallery(head: bytes) -> bool:
    """Whether a file that begins so is a gallery of ours."""
    return head.startswith(MARK)


def check_report(folder: Path, films: Iterable[str], *, replace: bool) -> None:
    """Refuse to write a report over films or over files of somebody else; called before anything is written.

    Args:
        folder: The report's.
        films: What will be read.
        replace: Whether a report of ours may be replaced.

    Raises:
        ConfigurationError: There is a file in the folder's place, a film or another file in a report's file's, or a
            report and not ``replace``.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError("--report is a file", got=folder, hint="give a folder")
    check_folder(folder, FILES, Protected.of(films), option="--report", own=is_gallery)
    if (folder / FILES[0]).exists() and not replace:
        raise ConfigurationError(
            "--report: there is a report of an earlier run",
            got=folder / FILES[0],
            hint="--resume goes on with that run, --overwrite replaces it",
        )


class Report:
    """Writes a report as a run goes on; see the module's text.

    Args:
        folder: Made where missing.
        films: How many there will be; it decides the size of the pictures.
        kind: Of result (``film``, ``hips``), since pictures of one kind are not taken for those of another.
    """

    def __init__(self, folder: Path, films: int, kind: str = "film") -> None:
        self.folder, self.page = folder, folder / FILES[0]
        self._side = _SIDES[films > _MANY]
        self._kind = kind

    def piece(self, source: str) -> Path:
        """Where a film's pictures are kept; the name tells nothing of the film."""
        name = hashlib.sha256(os.fsencode(f"{self._kind} {self._side} {os.path.abspath(source)}")).hexdigest()[:32]  # noqa: PTH100
        return self.folder / "pieces" / name[:2] / f"{name}.json"

    def draw(self, result: Result) -> None:
        """Keep a result's pictures.

        Raises:
            OutputError: They cannot be written.
            ConfigurationError: The result holds no pixels.
        """
        write_json(self.piece(result.source), piece_of(result.scene(), self._side), indent=None)

    def finish(
        self, lines: Sequence[Mapping[str, Any]], request: Mapping[str, Any], summary: Mapping[str, Any]
    ) -> None:
        """Write the page, the tables and the summary.

        Args:
            lines: Of all films, in order.
            request: What was run: weights with their checksum, options.
            summary: What came of it.

        Raises:
            OutputError: They cannot be written.
        """
        rows = [row_of(line) for line in lines]
        write_atomic(self.folder / "results.csv", lambda path: _csv(rows, path))
        tables = ["results.csv"]
        if can_parquet():
            write_atomic(self.folder / "results.parquet", lambda path: write_parquet(rows, path))
            tables.append("results.parquet")
        run = {**request, "summary": dict(summary), "machine": machine(), "tables": tables}
        write_json(self.folder / "run.json", run)
        write_page(self.page, lines, self._pictures, run)

    def _pictures(self, source: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = json.loads(self.piece(source).read_bytes())
        except (OSError, ValueError):
            return []
        return found


def machine() -> dict[str, str]:
    """What computed: Python, system, processor, versions. No name of a host or a person."""
    found = {"fracture": __version__, "python": platform.python_version(), "system": platform.platform()}
    found["processor"] = f"{platform.machine()}, {os.cpu_count()} cores"
    return found | dict(_versions())


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"


def _csv(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        write_csv(rows, stream)
