"""Many clients at once on a server of this machine: errors, memory, and how long an answer takes.

    python benchmarks/serve_load.py [--seconds 60] [--clients 50] [--fake] [FILM]

Every client sends the film again as soon as it is answered, and waits as long as it is told where it is refused (429).
An answer's time is given as a multiple of one bare prediction: the same readers, alone, in a process of their own. One
worker reads film after film, so with n clients that never rest the median is near n, if the server adds nothing.
``--fake`` takes the tests' reader, which has no networks: then all that is measured is the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
SERVER = """
import json, sys
from pathlib import Path
if __name__ == "__main__":
    from fracture.serve.readings import open_weights
    from fracture.serve.run import run
    from fracture.serve.settings import Settings
    told = json.loads(sys.argv[1])
    fake = told.pop("fake")
    if fake:
        from tests.serve.fakes import load
    told |= {"data": Path(told["data"]), "weights": tuple(told["weights"])}
    run(Settings(**told), load if fake else open_weights)
"""
BARE = """
import json, statistics, sys, time
from pathlib import Path
from fracture.serve.readings import open_weights, read_film
told, film = json.loads(sys.argv[1]), Path(sys.argv[2])
if told["fake"]:
    from tests.serve.fakes import load as open_weights
readers = [open_weights(name, "auto", "auto") for name in told["weights"]]
def once():
    start = time.perf_counter()
    read_film(readers, film, film.name, region=[], max_pixels=10**8)
    return time.perf_counter() - start
once()
print(statistics.median(once() for _ in range(5)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", nargs="?", type=Path, default=ROOT / "examples" / "wrist_radius_transverse.dcm")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--fake", action="store_true")
    asked = parser.parse_args()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    weights = ["bright", "pelves"] if asked.fake else ["fracatlas-small", "hip-small"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "load_server.py").write_text(SERVER)
        told = {"data": f"{folder}/data", "weights": weights, "fake": asked.fake, "port": 0, "rate": 10**6, "wait": 600}
        command = [sys.executable, "-c", BARE, json.dumps(told), str(asked.film)]
        bare = float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
        process = subprocess.Popen(
            [sys.executable, f"{folder}/load_server.py", json.dumps(told)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[1]
            found = asyncio.run(_load(url, asked.film.read_bytes(), asked.clients, asked.seconds, process.pid))
        finally:
            process.terminate()
            process.wait(60)
    times, statuses, memory, elapsed = found
    print(f"film {asked.film.name}, {'fake reader' if asked.fake else ' and '.join(weights)}, {os.cpu_count()} cores")
    print(f"one bare prediction: {1000 * bare:.0f} ms (median of 5)")
    print(f"{asked.clients} clients for {asked.seconds:.0f} s: answers by status {dict(sorted(statuses.items()))}")
    print(f"{len(times) / elapsed:.2f} films/s; {1 / bare:.2f} would be one bare prediction after the other")
    cuts = statistics.quantiles(times, n=20)
    middle = statistics.median(times)
    print(f"time to the answer: p50 {middle:.2f} s = {middle / bare:.1f} bare predictions")
    print(f"                    p95 {cuts[18]:.2f} s = {cuts[18] / bare:.1f} bare predictions")
    third = max(1, len(memory) // 3)
    first, last = (statistics.median(part) / 2**20 for part in (memory[third : 2 * third], memory[-third:]))
    print(f"memory of server and worker: {first:.0f} MiB in the second third, {last:.0f} MiB in the last")


async def _load(
    url: str, film: bytes, clients: int, seconds: float, pid: int
) -> tuple[list[float], Counter[int], list[int], float]:
    times: list[float] = []
    statuses: Counter[int] = Counter()
    memory: list[int] = []
    limits = httpx.Limits(max_connections=clients + 1)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits, trust_env=False) as client:
        while (await client.get("/healthz")).json()["ready"] is not True:
            await asyncio.sleep(0.2)
        end = time.monotonic() + seconds

        async def one() -> None:
            while time.monotonic() < end:
                start = time.perf_counter()
                answer = await client.post("/v1/predictions", files={"file": ("film.dcm", film)})
                statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    times.append(time.perf_counter() - start)
                elif answer.status_code == 429:
                    await asyncio.sleep(float(answer.headers["retry-after"]))

        async def watch() -> None:
            while time.monotonic() < end:
                memory.append(sum(_resident(one) for one in [pid, *_children(pid)]))
                await asyncio.sleep(0.5)

        await asyncio.gather(watch(), *(one() for _ in range(clients)))
    return times, statuses, memory, time.monotonic() - end + seconds


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(word)
        for task in Path(f"/proc/{pid}/task").iterdir()
        if task.name != str(pid)
        for word in (task / "children").read_text().split()
    ]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    main()
