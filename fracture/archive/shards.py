"""A shard: some films of the manifest, read by one process, and the one file that says that it is done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracture.archive.manifest import Manifest, is_address
from fracture.atomic import write_atomic
from fracture.errors import DataError
from fracture.runs.journal import encode
from fracture.wing.lines import flagged_of

if TYPE_CHECKING:
    from fracture.wing.card import BaseCard
    from fracture.wing.contract import Reader

HEAD, SHARDS = "archive.json", "shards"


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the results; picklable, so that it travels to other processes and machines.

    Attributes:
        weights: Folder of the weights.
        device, precision, engine: As for :func:`fracture.load`; ``auto`` is each machine's own.
        fast: Run the members that the card names for it (the detector's weights alone).
        options: Of the reader's ``predict_many``.
        threads: Of torch in each process; 0 leaves torch's own number.
        dicom: Folder for DICOM objects, or None.
        objects: Which.
        new_study: For films that are no DICOM.
    """

    weights: str
    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    fast: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 0
    dicom: Path | None = None
    objects: tuple[str, ...] = ()
    new_study: bool = False

    def card(self) -> BaseCard:
        """The weights' card."""
        from fracture.wing.contract import find_wing

        wing, folder = find_wing(self.weights)
        card: BaseCard = wing.store.card.read(folder)
        return card

    def reader(self) -> Reader[Any]:
        """The reader of these weights.

        Raises:
            WeightsError: They cannot be used.
        """
        if self.fast:
            from fracture.limb.detector import Detector

            options: dict[str, Any] = {"device": self.device, "precision": self.precision, "engine": self.engine}
            return Detector.load(self.weights, fast=True, **options)
        from fracture.wing.contract import load_reader

        return load_reader(self.weights, device=self.device, precision=self.precision, engine=self.engine)


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a shard.

    Attributes:
        shard: Its number.
        films, flagged, failed: Counts.
        unwritten: Films whose DICOM objects could not be made or written.
    """

    shard: int
    films: int
    flagged: int
    failed: int
    unwritten: int = 0


def part_of(folder: Path, shard: int) -> Path:
    """The file of a shard."""
    return folder / SHARDS / f"{shard:07d}.jsonl"


def read_shard(folder: Path, manifest: Manifest, settings: Settings, shard: int) -> Done:
    """Read the films of one shard and write their lines; nothing is done where its file is there already.

    The lines are those of ``predict_many``, in the manifest's order; to the last digit where the shard size is a
    multiple of the batch size (8), since networks round otherwise in batches of another size. Two processes that read
    one shard at the same time do no harm: each writes a file of its own and renames it, and the results are the same.

    Raises:
        OutputError: The lines cannot be written.
        WeightsError: The weights cannot be used.
    """
    target = part_of(folder, shard)
    if target.exists():
        return _counted(shard, lines_of(target))
    listed = manifest.sources(shard)
    sources: Iterable[Any] = listed
    if any(map(is_address, listed)):
        from fracture.archive.dicomweb import fetched

        sources = fetched(listed)
    reader = _reader(_key(settings))
    found: list[dict[str, Any]] = []
    unwritten = 0

    def fill(temporary: Path) -> None:
        nonlocal unwritten
        results = reader.predict_many(sources, keep=settings.dicom is not None, **settings.options)
        with temporary.open("wb") as stream:
            for number, result in enumerate(results):
                line = result.to_dict()
                if settings.dicom is not None:
                    line["dicom"] = made = _objects(result, settings, shard, number)
                    unwritten += made is None and result.ok
                stream.write(encode(line))
                found.append(line)

    write_atomic(target, fill)
    done = _counted(shard, found)
    return Done(done.shard, done.films, done.flagged, done.failed, unwritten)


def lines_of(part: Path) -> list[dict[str, Any]]:
    """The lines of a shard that is done.

    Raises:
        DataError: The file was changed.
    """
    try:
        return [json.loads(line) for line in part.read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{part} is not what a shard's reader wrote", got=error, hint="delete it, and run again"
        ) from error


def _counted(shard: int, lines: list[dict[str, Any]]) -> Done:
    failed = sum(line["error"] is not None for line in lines)
    return Done(shard, len(lines), sum(map(flagged_of, lines)), failed)


def _objects(result: Any, settings: Settings, shard: int, number: int) -> list[str] | None:
    """The DICOM objects of a film, in a folder for each shard and film; None where they could not be written."""
    from fracture.errors import FractureError, unforeseen
    from fracture.results.folder import ObjectFolder

    if not result.ok or settings.dicom is None:
        return None
    folder = ObjectFolder(settings.dicom, list(settings.objects), settings.new_study)
    try:
        with unforeseen(result.source):
            return folder.add(result, settings.dicom / f"{shard:07d}" / f"{number:06d}")
    except (FractureError, OSError):
        return None


def _key(settings: Settings) -> str:
    return json.dumps(
        [settings.weights, settings.device, settings.precision, settings.engine, settings.fast, settings.threads]
    )


@lru_cache(maxsize=1)
def _reader(key: str) -> Reader[Any]:
    """The reader of this process; weights are loaded once."""
    weights, device, precision, engine, fast, threads = json.loads(key)
    if threads:
        import torch

        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)
    return Settings(weights, device, precision, engine, fast).reader()


def missing(folder: Path, shards: int) -> Iterator[int]:
    """The shards that have no file yet, in order."""
    with os.scandir(folder / SHARDS) as entries:
        there = {entry.name for entry in entries}
    return (shard for shard in range(shards) if part_of(folder, shard).name not in there)
