"""Giving shards to workers: processes of this machine, or a Dask cluster.

A worker that dies (killed, out of memory, a fault in a decoder) costs the shards that it held; they are given out
again. Which film was to blame is not known, so a shard that was there when workers died :data:`TRIES` times is read
alone, and where that fails too it is set aside and named, and the others go on.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from fracture.archive.manifest import Manifest
from fracture.archive.shards import Done, Settings, read_shard
from fracture.errors import ConfigurationError, FractureError, needing

TRIES = 3
"""Deaths of workers that a shard may be present at before it is read alone. Ours."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A shard whose reading killed its worker again and again, or failed as a whole.

    Attributes:
        shard: Its number.
        reason: Why, in words.
    """

    shard: int
    reason: str


def read_here(
    folder: Path, manifest: Manifest, settings: Settings, shards: Iterable[int], workers: int
) -> Iterator[Done | SetAside]:
    """Read shards with processes of this machine, as they are done.

    Args:
        folder: Of the archive's run.
        manifest: The films.
        settings: What decides the results.
        shards: Their numbers.
        workers: Processes; each has one thread of torch where there are several.

    Raises:
        ConfigurationError: No worker.
        FractureError: Something that no other shard would fare better with: results that cannot be written, weights
            that cannot be used.
    """
    if workers < 1:
        raise ConfigurationError("an archive is read by at least one process", got=workers)
    left, deaths = list(shards), Counter[int]()
    while left:
        alone = [shard for shard in left if deaths[shard] >= TRIES]
        crowd = [shard for shard in left if deaths[shard] < TRIES]
        size = workers if crowd else 1
        batch = crowd or alone[:1]
        held: set[int] = set()
        for done in _pool(folder, manifest, settings, batch, size, held):
            left.remove(done.shard)
            yield done
        deaths.update(held)
        if not crowd and held:
            left.remove(batch[0])
            yield SetAside(batch[0], f"its worker died {deaths[batch[0]]} times")


def _pool(
    folder: Path, manifest: Manifest, settings: Settings, shards: list[int], workers: int, held: set[int]
) -> Iterator[Done]:
    """Read shards until all are done or a worker dies; ``held`` then has those that workers may have held."""
    waiting = iter(shards)
    # Started anew, not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(
        min(workers, len(shards)), mp_context=get_context("spawn"), initializer=_leave_with_the_driver
    ) as pool:
        running: dict[Future[Done], int] = {}

        def fill() -> None:
            # As many as there are workers: what waits in the pool's own queue would count as held when it breaks.
            while len(running) < workers and (shard := next(waiting, None)) is not None:
                running[pool.submit(read_shard, folder, manifest, settings, shard)] = shard

        try:
            fill()
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield future.result()
                    del running[future]
                fill()
        except BrokenProcessPool:
            held.update(running.values())


def _leave_with_the_driver() -> None:
    """In a worker: end it when its driver is gone; it would wait for ever for work that never comes."""
    driver = parent_process()

    def leave() -> None:
        if driver is not None:
            driver.join()
            os._exit(1)  # a shard that is half written stays a temporary file, which the next run sweeps

    threading.Thread(target=leave, daemon=True).start()


def read_on_dask(
    address: str, folder: Path, manifest: Manifest, settings: Settings, shards: Iterable[int]
) -> Iterator[Done | SetAside]:
    """Read shards on a Dask cluster, as they are done. All its machines must see folder, manifest, weights and films
    under the same names.

    Args:
        address: Of the scheduler, ``tcp://host:8786``; or the path of its scheduler file.
        folder, manifest, settings, shards: As for :func:`read_here`.

    Raises:
        ConfigurationError: The scheduler does not answer.
        MissingDependencyError: Dask is not installed.
    """
    with needing("archive"):
        from distributed import Client, as_completed

    try:
        named = {"scheduler_file": address} if os.path.isfile(address) else {"address": address, "timeout": 20}  # noqa: PTH113
        client: Any = Client(**named)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            "the Dask scheduler does not answer", got=f"{address}: {error}", allowed="tcp://host:8786, or its file"
        ) from error
    folder, manifest = folder.resolve(), replace(manifest, path=manifest.path.resolve())  # workers start elsewhere
    with client:
        # A name of its own for each: Dask would give an earlier answer for an equal one.
        tasks = {
            client.submit(read_shard, folder, manifest, settings, shard, pure=False, retries=TRIES): shard
            for shard in shards
        }
        for task in as_completed(tasks):  # type: ignore[no-untyped-call]
            fault = task.exception()
            if isinstance(fault, FractureError):
                raise fault
            yield task.result() if fault is None else SetAside(tasks[task], f"{type(fault).__name__}: {fault}")
