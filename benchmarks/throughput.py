"""What two cores give by the clock: two processes against one, an archive against two bare processes, engines.

    python -m benchmarks.throughput FOLDER [--films 48] [--engine torch] [--only engines processes archive]

Needs a machine with nothing else to do, and 4 to 5 minutes of it. All is float32, file to boxes, in one run:

- engines: a film by torch and by each engine that is installed, in turns, on one thread and on two; the median of the
  films' ratios. At best an engine is as fast as the processor multiplies: ``of sgemm`` is the rate of the networks'
  multiplications by that of torch's product of two 1024 x 1024 matrices in the same turns.
- processes: ``predict_many`` in two processes of one thread at the same time, each with all films, in one, in one again
  and in two (aim: two at least 1.9 times one). A batch takes as long as the quicker of its two turns; the ratio is the
  median over batches of the same films, since on a virtual machine the host now and then takes a core away.
- archive: ``fracture archive run --workers 2`` over twice the films (aim: 0.9 of the two bare processes).

Rates leave out starts and ends: from the first shard or batch that is done to the last but one, in each process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import fracture
from benchmarks.engines import of_sgemm, operations
from fracture.archive.manifest import write_manifest
from fracture.wing.engine_choice import PACKAGES, lacking

_BATCH = 8


def engines(weights: str, paths: list[str], threads: int) -> None:
    torch.set_num_threads(threads)
    names = ["torch", *(name for name in PACKAGES if not lacking(name))]
    readers = {name: fracture.load(weights, device="cpu", precision="float32", engine=name) for name in names}
    spent: dict[str, list[float]] = {name: [] for name in names}
    best = []
    for path in paths:
        for reader in readers.values():  # untimed: an engine is compared with torch at each new shape
            reader.predict(path)
        best.append(operations(readers["torch"], path) / of_sgemm(time.perf_counter))
        for name in (*names, *names[::-1]):
            begun = time.perf_counter()
            readers[name].predict(path)
            spent[name].append(time.perf_counter() - begun)
    print("\n| engine | threads | ms a film | ratio to torch (aim: 0.75) | of sgemm |\n|---|---|---|---|---|")
    for name, seconds in spent.items():
        turns = [min(pair) for pair in zip(seconds[::2], seconds[1::2], strict=True)]
        plain = [min(pair) for pair in zip(spent["torch"][::2], spent["torch"][1::2], strict=True)]
        ratio = statistics.median(a / b for a, b in zip(turns, plain, strict=True))
        share = statistics.median(a / b for a, b in zip(best, turns, strict=True))
        print(f"| {name} | {threads} | {1e3 * statistics.median(turns):.0f} | {ratio:.3f} | {share:.2f} |", flush=True)


def _reads(weights: str, paths: list[str], engine: Any, meet: Any, told: Any) -> None:
    torch.set_num_threads(1)
    detector = fracture.load(weights, device="cpu", precision="float32", engine=engine)
    list(detector.predict_many(paths[:_BATCH]))
    meet.wait()
    times = []
    for done, result in enumerate(detector.predict_many(paths), start=1):
        assert result.ok, result
        if done % _BATCH == 0:
            times.append(time.monotonic())
    told.put(times)


def _rate(times: list[float]) -> float:
    """Films a second of batches by when they were done."""
    return _BATCH * (len(times) - 2) / (times[-2] - times[0])


def bare(weights: str, paths: list[str], engine: str, number: int) -> list[list[float]]:
    """When each batch was done, in so many processes at the same time."""
    spawn = multiprocessing.get_context("spawn")
    meet, told = spawn.Barrier(number), spawn.Queue()
    started = [spawn.Process(target=_reads, args=(weights, paths, engine, meet, told)) for _ in range(number)]
    for process in started:
        process.start()
    times = [told.get() for _ in started]
    for process in started:
        process.join()
    return times


def rate(processes: list[list[float]]) -> float:
    """Films a second of processes, without their first and last batch."""
    return sum(_rate(times) for times in processes)


def quickest(turns: list[list[list[float]]]) -> NDArray[np.float64]:
    """Seconds of each batch in each process, (processes, batches), the quicker of its turns."""
    return np.minimum.reduce([np.diff(times, axis=1) for times in turns])


def times_as_fast(ones: list[list[list[float]]], twos: list[list[list[float]]]) -> str:
    """How many times as fast two are as one, by batches: the median and its quartiles."""
    ratios = quickest(ones)[0] * (1 / quickest(twos)).sum(axis=0)
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def archive(weights: str, paths: list[str], engine: str) -> float:
    """Films a second of ``fracture archive run`` with two workers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copies = [folder / f"{turn}-{k}.jpg" for turn in range(2) for k in range(len(paths))]  # none may stand twice
        for path, copy in zip([*paths, *paths], copies, strict=True):
            shutil.copyfile(path, copy)
        write_manifest(list(map(str, copies)), folder / "films.jsonl")
        command = [sys.executable, "-m", "fracture", "archive", "run", str(folder / "films.jsonl")]
        command += ["--out", str(folder / "run"), "--workers", "2", "--shard-size", str(_BATCH)]
        command += ["--device", "cpu", "--precision", "float32", "--engine", engine, "--weights", weights]
        subprocess.run(command, check=True, capture_output=True)
        times = sorted(path.stat().st_mtime for path in (folder / "run" / "shards").glob("*.jsonl"))
    return _BATCH * (len(times) - 3) / (times[-2] - times[1])  # two workers: the first and the last of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="JPEG files, in any depth")
    parser.add_argument("--weights", default="fracatlas-small")
    parser.add_argument("--films", type=int, default=40, help="at least 24")
    parser.add_argument("--engine", default="torch", help="of processes and archive")
    parser.add_argument("--only", nargs="+", default=["engines", "processes", "archive"])
    asked = parser.parse_args()
    number = -(-asked.films // _BATCH) * _BATCH
    paths = [str(path) for path in random.Random(0).sample(sorted(asked.folder.rglob("*.jpg")), number)]
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    if "engines" in asked.only:
        for threads in (1, 2):
            engines(asked.weights, paths[:8], threads)
    if not {"processes", "archive"} & set(asked.only):
        return
    print("\n| | films/s | ratio |\n|---|---|---|")
    numbers = (2, 1, 1, 2) if "processes" in asked.only else (2,)
    turns = [bare(asked.weights, paths, asked.engine, number) for number in numbers]
    twos, ones = ([one for one in turns if len(one) == number] for number in (2, 1))
    two = statistics.mean(map(rate, twos))
    if ones:
        print(f"| one process | {statistics.mean(map(rate, ones)):.2f} | |")
        print(f"| two | {two:.2f} | {times_as_fast(ones, twos)} (aim: 1.9) |", flush=True)
    if "archive" in asked.only:
        whole = archive(asked.weights, paths, asked.engine)
        print(f"| archive, two workers | {whole:.2f} | {whole / two:.3f} of two bare processes (aim: 0.9) |")


if __name__ == "__main__":
    main()
