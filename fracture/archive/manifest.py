"""The list of an archive's films: one JSON line each, cut into shards without being held in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.atomic import write_atomic
from fracture.errors import ConfigurationError, DataError, needing
from fracture.runs.inputs import collect
from fracture.runs.journal import encode

_DICOMDIR = "DICOMDIR"


@dataclass(frozen=True, eq=False)
class Manifest:
    """A manifest on the disk.

    Attributes:
        path: The file.
        films: How many there are.
        shard_size: Films per shard; the last may have fewer.
        sha256: Of the file's bytes.
        offsets: int64, where each shard begins in the file, and at last where the file ends.
    """

    path: Path
    films: int
    shard_size: int
    sha256: str
    offsets: NDArray[np.int64]

    @classmethod
    def open(cls, path: str | Path, shard_size: int) -> Manifest:
        """Read a manifest once, for its checksum and the places of its shards.

        Raises:
            ConfigurationError: ``shard_size`` is below 1.
            DataError: It cannot be read, is empty, or a line is not an object with a ``source``.
        """
        if shard_size < 1:
            raise ConfigurationError("a shard has at least one film", got=shard_size)
        digest, offsets, place, films = hashlib.sha256(), [], 0, 0
        try:
            with Path(path).open("rb") as stream:
                for line in stream:
                    if films % shard_size == 0:
                        offsets.append(place)
                    _source(line, path, films + 1)
                    digest.update(line)
                    place += len(line)
                    films += 1
        except OSError as error:
            raise DataError(f"the manifest {path} cannot be read", got=error) from error
        if not films:
            raise DataError(f"the manifest {path} lists no film", hint="fracture archive manifest PATH... makes one")
        return cls(Path(path), films, shard_size, digest.hexdigest(), np.array([*offsets, place], np.int64))

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return len(self.offsets) - 1

    def sources(self, shard: int) -> list[str]:
        """The films of a shard, in order."""
        with self.path.open("rb") as stream:
            stream.seek(int(self.offsets[shard]))
            text = stream.read(int(self.offsets[shard + 1] - self.offsets[shard]))
        first = shard * self.shard_size + 1
        return [_source(line, self.path, first + i) for i, line in enumerate(text.splitlines(keepends=True))]


def write_manifest(sources: Iterable[str], path: str | Path) -> int:
    """Write a manifest, whole or not at all; how many films it lists.

    Raises:
        DataError: A film is listed twice, or there is none.
        OutputError: It cannot be written.
    """
    count = 0

    def fill(temporary: Path) -> None:
        nonlocal count
        seen: set[bytes] = set()
        with temporary.open("wb") as stream:
            for source in sources:
                key = hashlib.blake2b(source.encode("utf-8", "surrogateescape"), digest_size=16).digest()
                if key in seen:
                    raise DataError("a film is listed twice", got=ascii(source), hint="each film stands once")
                seen.add(key)
                stream.write(encode({"source": source}))
                count += 1
        if not count:
            raise DataError("there is no film to list")

    write_atomic(path, fill)
    return count


def is_address(source: str) -> bool:
    """Whether a source is fetched from a DICOMweb archive."""
    return source.startswith(("https://", "http://"))


def films_at(paths: Iterable[str]) -> tuple[Iterator[str], str]:
    """The films at some paths: folders, patterns and files as for ``fracture predict``; a ``DICOMDIR``'s films; the
    column ``source`` of a Parquet table; a QIDO-RS query, ``https://...`` (:mod:`fracture.archive.dicomweb`).

    Returns:
        The films, and what was left out, in words.

    Raises:
        ConfigurationError: A path without films.
        DataError: A DICOMDIR or table that cannot be read, or an archive that does not answer.
    """
    plain, found = [], []
    for path in paths:
        if is_address(path):
            from fracture.archive.dicomweb import films_of_query

            found.append(films_of_query(path))
        elif Path(path).name.upper() == _DICOMDIR:
            found.append(_of_dicomdir(Path(path)))
        elif path.endswith(".parquet"):
            found.append(_of_parquet(Path(path)))
        else:
            plain.append(path)
    told = ""
    if plain:
        inputs = collect(plain)
        told = inputs.told()
        found.insert(0, iter(inputs.films))
    return (film for part in found for film in part), told


def _of_dicomdir(path: Path) -> Iterator[str]:
    """The files of its IMAGE records, in its order; records that are not in use are none."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    from fracture.io.quiet import FAULTS, quiet

    try:
        with quiet():
            records = dcmread(path).DirectoryRecordSequence
            named = [r.ReferencedFileID for r in records if r.DirectoryRecordType == "IMAGE" and r.RecordInUseFlag]
    except (InvalidDicomError, *FAULTS) as error:
        raise DataError(f"{path} is not a DICOMDIR that can be read", got=f"{type(error).__name__}: {error}") from error
    return (str(path.parent.joinpath(*([name] if isinstance(name, str) else name))) for name in named)


def _of_parquet(path: Path) -> Iterator[str]:
    with needing("archive"):
        from pyarrow import ArrowException, parquet
    try:
        file = parquet.ParquetFile(path)
        if "source" not in file.schema_arrow.names:
            raise DataError(f"{path} has no column source", got=", ".join(file.schema_arrow.names))
    except (OSError, ArrowException) as error:
        raise DataError(f"{path} is not a Parquet table that can be read", got=error) from error
    return (str(one) for batch in file.iter_batches(columns=["source"]) for one in batch.column(0).to_pylist())


def _source(line: bytes, path: Any, number: int) -> str:
    try:
        source = json.loads(line)["source"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"line {number} of the manifest {path} is not a film",
            got=ascii(line[:80]),
            allowed='{"source": "path/to/film"}',
        ) from error
    if not isinstance(source, str) or not source or not line.endswith(b"\n"):
        raise DataError(
            f"line {number} of the manifest {path} is not a film", got=ascii(line[:80]), allowed='{"source": "path"}'
        )
    return source
