"""A run over an archive: what it was asked, which shards are left, how far it is, and its lines in one file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fracture._version import __version__
from fracture.archive.driver import SetAside, read_here, read_on_dask
from fracture.archive.manifest import Manifest
from fracture.archive.shards import HEAD, SHARDS, Done, Settings, lines_of, missing, part_of
from fracture.atomic import hold, sweep, write_atomic, write_json
from fracture.errors import ConfigurationError, DataError
from fracture.runs.journal import encode
from fracture.wing.lines import flagged_of

FORMAT = "fracture-archive/1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a run is.

    Attributes:
        shards, done: How many there are, and how many are done.
        films: Of the whole manifest.
        read, flagged, failed: Of the shards that are done.
        unwritten: Films whose DICOM objects could not be written, in this run.
        set_aside: Shards that could not be read, in this run.
    """

    shards: int
    done: int
    films: int
    read: int = 0
    flagged: int = 0
    failed: int = 0
    unwritten: int = 0
    set_aside: tuple[SetAside, ...] = ()


def run_archive(
    manifest: str | Path,
    out: str | Path,
    settings: Settings,
    *,
    workers: int = 1,
    dask: str | None = None,
    shard_size: int = 1000,
    told: Callable[[Done | SetAside], object] = lambda _: None,
) -> Outcome:
    """Read all films of a manifest that no earlier call with the same request has read.

    Args:
        manifest: A file of JSON lines, ``{"source": "path"}``; :func:`fracture.archive.manifest.write_manifest`.
        out: The run's folder.
        settings: What decides the results.
        workers: Processes of this machine.
        dask: A Dask scheduler instead.
        shard_size: Films per shard; ours is 1,000, as large archives need few files, and a death costs little.
        told: Called with what became of each shard.

    Raises:
        ConfigurationError: ``out`` holds another request's results, or is used by another driver.
        DataError: The manifest cannot be used.
        OutputError: Results cannot be written.
        WeightsError: The weights cannot be used.
    """
    folder = Path(out)
    listed = Manifest.open(manifest, shard_size)
    card = settings.card()
    request = _request(listed, settings, f"{card.label} (card {card.checksum})")
    with hold(folder / "lock", f"the archive's run in {folder}"):
        _check(folder, request)
        (folder / SHARDS).mkdir(exist_ok=True)
        sweep(folder / SHARDS)
        left = list(missing(folder, listed.shards))
        read = (
            read_here(folder, listed, settings, left, workers)
            if dask is None
            else read_on_dask(dask, folder, listed, settings, left)
        )
        aside, unwritten = list[SetAside](), 0
        for one in read:
            told(one)
            if isinstance(one, SetAside):
                aside.append(one)
            else:
                unwritten += one.unwritten
    return replace(status(folder), unwritten=unwritten, set_aside=tuple(aside))


def status(out: str | Path) -> Outcome:
    """How far a run is, from its files alone; another process may be reading.

    Raises:
        DataError: There is no run in the folder, or one of its files was changed.
    """
    folder = Path(out)
    head = _head(folder)
    shards = -(-int(head["films"]) // int(head["shard_size"]))
    left = set(missing(folder, shards))
    read = flagged = failed = 0
    for shard in range(shards):
        if shard in left:
            continue
        lines = lines_of(part_of(folder, shard))
        read += len(lines)
        flagged += sum(map(flagged_of, lines))
        failed += sum(line["error"] is not None for line in lines)
    return Outcome(shards, shards - len(left), int(head["films"]), read, flagged, failed)


def merge(out: str | Path, target: str | Path, *, partial: bool = False) -> int:
    """Write all lines in the manifest's order into one file: JSON lines, or Parquet by the name's ending.

    Returns:
        How many lines.

    Raises:
        DataError: There is no run in the folder; shards are left, and ``partial`` does not allow that.
        ConfigurationError: The target exists.
        OutputError: It cannot be written.
    """
    folder, path = Path(out), Path(target)
    head = _head(folder)
    shards = -(-int(head["films"]) // int(head["shard_size"]))
    left = set(missing(folder, shards))
    if left and not partial:
        raise DataError(
            "the archive is not read yet",
            got=f"{len(left)} of {shards} shards are left",
            hint="run it to its end, or take what there is with --partial",
        )
    if path.exists():
        raise ConfigurationError("the file exists already", got=path, hint="give another name")
    there = [part_of(folder, shard) for shard in range(shards) if shard not in left]
    count = 0

    def fill(temporary: Path) -> None:
        nonlocal count
        with temporary.open("wb") as stream:
            for part in there:
                lines = lines_of(part)
                stream.write(b"".join(map(encode, lines)))
                count += len(lines)

    def table(temporary: Path) -> None:
        nonlocal count
        count = write_parquet_parts(lambda: (map(row_of, lines_of(part)) for part in there), temporary)

    if path.suffix == ".parquet":
        from fracture.gallery.table import row_of, write_parquet_parts

        write_atomic(path, table)
    else:
        write_atomic(path, fill)
    return count


def _request(manifest: Manifest, settings: Settings, weights: str) -> dict[str, Any]:
    """What must be the same when a run goes on."""
    return {
        "format": FORMAT,
        "fracture": __version__,
        "manifest": manifest.sha256,
        "films": manifest.films,
        "shard_size": manifest.shard_size,
        "weights": weights,
        "device": settings.device,
        "precision": settings.precision,
        "engine": settings.engine,
        "fast": settings.fast,
        "options": json.loads(json.dumps(dict(settings.options))),
        "dicom": [str(settings.dicom), *settings.objects] if settings.dicom is not None else None,
    }


def _check(folder: Path, request: dict[str, Any]) -> None:
    path = folder / HEAD
    if not path.exists():
        if any(one.name not in ("lock", SHARDS) for one in folder.iterdir()) or (folder / SHARDS).exists():
            raise ConfigurationError("the folder holds something else", got=folder, hint="give a new or an empty one")
        write_json(path, request)
        return
    stated = _head(folder)
    if changed := [key for key in {**stated, **request} if stated.get(key) != request.get(key)]:
        raise ConfigurationError(
            f"{folder} holds results of another request",
            got="; ".join(f"{key} {stated.get(key)} then, {request.get(key)} now" for key in changed),
            hint="give the same manifest, weights and options as before, or another --out",
        )


def _head(folder: Path) -> dict[str, Any]:
    try:
        head = json.loads((folder / HEAD).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} holds no archive's run", got=f"{HEAD}: {error}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise DataError(f"{folder} holds no archive's run", got=f"{HEAD} of another format", allowed=FORMAT)
    return head
