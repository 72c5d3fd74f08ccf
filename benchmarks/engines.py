"""What an engine says of real films beside torch, and what a film costs in each, in alternation on one thread.

    OMP_NUM_THREADS=1 python benchmarks/engines.py FOLDER --films 300

Both compute in float32. Times are CPU time of this process, file to boxes, so that other processes matter little; the
first film, at which the engine is built, is not timed. ``--seconds`` ends the run earlier, with as many films as were
read until then.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path

import torch

import fracture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="JPEG files, in any depth")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    asked = parser.parse_args()

    torch.set_num_threads(1)
    paths = random.Random(0).sample(sorted(asked.folder.rglob("*.jpg")), asked.films)
    readers = [
        fracture.load(asked.weights, device="cpu", precision="float32", engine=engine)
        for engine in ("torch", asked.engine)
    ]
    for reader in readers:
        reader.predict(paths[0])
    ends = time.monotonic() + asked.seconds
    ratios, scores, corners, decisions, counts, n = [], [0.0], [0.0], 0, 0, 0
    for path in paths:
        if time.monotonic() > ends:
            break
        found, spent = [], []
        for reader in readers if n % 2 else readers[::-1]:
            begun = time.process_time()
            found.append(reader.predict(path, candidates=True))
            spent.append(time.process_time() - begun)
        one, taken = (found, spent) if n % 2 else (found[::-1], spent[::-1])
        n += 1
        ratios.append(taken[1] / taken[0])
        scores.append(abs(one[0].probability - one[1].probability))
        decisions += one[0].reached != one[1].reached
        boxes = [[(b.x0, b.y0, b.x1, b.y1) for b in (*r.boxes, *(r.candidates or ()))] for r in one]
        counts += len(boxes[0]) != len(boxes[1])
        if len(boxes[0]) == len(boxes[1]):
            pairs = zip(*boxes, strict=True)
            corners += [abs(a - b) for left, right in pairs for a, b in zip(left, right, strict=True)]
    print(f"{n} films, {asked.engine} beside torch, float32, one thread")
    print(f"largest difference of a probability {max(scores):.2e}; films with another decision {decisions}")
    print(f"films with another number of boxes {counts}; largest difference of a box's side {max(corners):.3f} px")
    print(f"CPU time of a film, ratio to torch: median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
