"""An archive read with the shipped weights while its processes are killed, against ``predict_many``, line for line.

    OMP_NUM_THREADS=1 python -m benchmarks.archive_kill FOLDER --films 2000 --kills 5 [--small] [--precision bfloat16]

``fracture archive run`` with two workers is started again after each SIGKILL, of the driver or of a worker, drawn at
random; one film of every shard cannot be read. The lines must be those of ``predict_many`` apart from ``seconds``, each
film once. Prints what was killed, and the rate of the part that was left alone. ``--small`` reads by a small random
network instead: what is tried is the protocol, and 2,000 films by the shipped weights take an hour of two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fracture
from fracture.archive.manifest import write_manifest
from fracture.archive.run import merge
from tests.archive.test_archive import children_of
from tests.weights import write_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="JPEG files, in any depth")
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--shard-size", type=int, default=40, help="a multiple of 8, the batch size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="by a small random network")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [str(path) for path in draw.sample(sorted(asked.folder.rglob("*.jpg")), asked.films)]
        for place in range(0, asked.films, asked.shard_size):
            paths[place + asked.shard_size // 2] = str(folder / f"not_there_{place}.jpg")
        write_manifest(paths, folder / "films.jsonl")
        run, weights = folder / "run", None
        if asked.small:
            weights = str(folder / "weights")
            write_weights(Path(weights), sizes=(64,), channels=(("raw",),), maps=(True,))
        command = [sys.executable, "-m", "fracture", "archive", "run", str(folder / "films.jsonl"), "--out", str(run)]
        command += ["--workers", "2", "--shard-size", str(asked.shard_size), "--device", "cpu"]
        command += ["--precision", asked.precision, "--engine", "torch", *(["--weights", weights] if weights else [])]
        for kill in range(asked.kills):
            _kill_once(command, run, draw, kill, asked)
        there, begun = _done(run), time.perf_counter()
        last = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds, left = time.perf_counter() - begun, -(-asked.films // asked.shard_size) - there
        print(last.stdout.strip().splitlines()[-1])
        print(f"the last run read {left} shards: {left * asked.shard_size / seconds:.2f} films/s, its start included")
        merge(run, folder / "all.jsonl")
        found = [json.loads(line) for line in (folder / "all.jsonl").read_bytes().splitlines()]
        begun = time.perf_counter()
        detector = fracture.load(weights, device="cpu", precision=asked.precision, engine="torch")
        expected = json.loads(json.dumps([one.to_dict() for one in detector.predict_many(paths)]))
        print(f"predict_many: {asked.films / (time.perf_counter() - begun):.2f} films/s, its start included")
    other = sum({**a, "seconds": 0} != {**b, "seconds": 0} for a, b in zip(found, expected, strict=True))
    failed = sum(line["error"] is not None for line in found)
    print(f"{len(found)} lines, {len({line['source'] for line in found})} films, {failed} unreadable, {other} differ")
    if other:
        raise SystemExit(1)


def _kill_once(command: list[str], run: Path, draw: random.Random, kill: int, asked: argparse.Namespace) -> None:
    there = _done(run)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wanted = there + draw.randint(0, max(1, asked.films // asked.shard_size // (asked.kills + 1)))
    while process.poll() is None and (_done(run) < wanted or not children_of(process.pid)):
        time.sleep(0.05)
    time.sleep(draw.random())
    workers = children_of(process.pid) if process.poll() is None else []
    if process.poll() is not None:
        print(f"kill {kill + 1}: the run was over before")
        return
    driver = draw.random() < 0.5 or not workers
    os.kill(process.pid if driver else draw.choice(workers), signal.SIGKILL)
    print(f"kill {kill + 1}: {'driver' if driver else 'worker'}, {_done(run)} shards there", flush=True)
    if not driver:
        time.sleep(2 + draw.random())
        process.kill()
    process.wait()
    for orphan in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)


def _done(run: Path) -> int:
    return len(list((run / "shards").glob("*.jsonl"))) if (run / "shards").exists() else 0


if __name__ == "__main__":
    main()
