"""What a report was made from: versions, files with checksums, and the date."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from fracture._version import __version__
from fracture.evaluation.stats.record import Record
from fracture.regular import sha256_of

if TYPE_CHECKING:
    from fracture.evaluation.tables import Cases


@dataclass(frozen=True, slots=True)
class Manifest(Record):
    """Where a report comes from.

    Attributes:
        created: Date and time in UTC, ISO 8601, to the second.
        versions: Name to version of the library and what it counts with.
        files: Role (predictions, reference) to file name and SHA-256; the name only, never the folder.
        models: Models that made the predictions.
    """

    created: str
    versions: dict[str, str]
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    models: tuple[str, ...] = ()


def make_manifest(cases: Cases) -> Manifest:
    """The manifest of an evaluation made now."""
    versions = {"fracture": __version__, "python": platform.python_version()}
    for name in ("numpy", "scipy", "matplotlib"):
        versions[name] = metadata.version(name)
    files = {}
    for role, source in (("predictions", cases.predictions_source), ("reference", cases.reference_source)):
        path = Path(source)
        if source and path.is_file():
            files[role] = {"name": path.name, "sha256": sha256_of(path)}
    return Manifest(datetime.now(UTC).isoformat(timespec="seconds"), versions, files, cases.models)
