"""1,000 C-STOREs over 8 associations: how many a second a node takes, and its memory.

    python -m benchmarks.node_load [--films 1000] [--side 512]

The door alone: no worker, no sender. Films are CR of ``side`` x ``side`` bytes, each sender a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

from tests.node.harness import RunningNode, film, send

SENDERS = 8


def _send(port: int, numbers: range, side: int) -> int:
    made = [film(number, side=side) for number in numbers]
    return sum(status == 0 for status in send(port, made, patience=60).values())


def _memory(pid: int) -> float:
    """Resident memory in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument("--side", type=int, default=512)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        node = RunningNode(Path(folder), {"workers": 0, "http": {"port": 0}})
        with node, multiprocessing.get_context("spawn").Pool(SENDERS) as pool:
            pid = node.process.pid if node.process else 0
            quarter = told.films // 4
            for part in range(4):
                numbers = range(part * quarter, (part + 1) * quarter)
                work = [(node.port, numbers[k::SENDERS], told.side) for k in range(SENDERS)]
                begin, spent = time.monotonic(), _cpu(pid)
                taken = sum(pool.starmap(_send, work))
                seconds, spent = time.monotonic() - begin, _cpu(pid) - spent
                print(
                    f"{taken} of {len(numbers)} films in {seconds:.1f} s: {taken / seconds:.0f} a second, "
                    f"{1000 * spent / taken:.1f} ms of CPU each; memory {_memory(pid):.0f} MiB",
                    flush=True,
                )
            jobs = node.jobs()
            print(f"jobs: {jobs.counts()}")
            jobs.close()


if __name__ == "__main__":
    main()
