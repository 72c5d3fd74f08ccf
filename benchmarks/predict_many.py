"""``predict_many`` over thousands of files: memory per file, and throughput against the bare ensemble.

    OMP_NUM_THREADS=1 python benchmarks/predict_many.py [--n 2000] [--weights NAME] [--folder FILMS] [--precision P] \\
        [--fast]

Without a folder it makes 40 simulated JPEG films of 454 x 373 pixels and goes through them again and again. Aims: a
flat memory (the slope per file is printed), and at least 0.95 of the throughput of bare forward passes on the same
films in turns of the same run: by the clock, where two workers read ahead on a core of their own if the machine is
quiet, and in processor time, which other processes disturb less and which counts their work too. Ratios are the median
over turns, and its quartiles.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import fracture


def resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def simulated(folder: Path, n: int = 40) -> list[Path]:
    from fracture.simulate import radiograph

    paths = []
    for seed in range(n):
        film = radiograph(seed, size=(454, 373)).to_radiograph()
        paths.append(folder / f"{seed}.jpg")
        cv2.imwrite(str(paths[-1]), np.round(film.pixels * 255).astype(np.uint8))
    return paths


def clocks() -> NDArray[np.float64]:
    """Seconds by the clock, and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def bare(detector: fracture.Detector, paths: list[Path], batch_size: int) -> NDArray[np.float64]:
    """Seconds (:func:`clocks`) of forward passes alone over these films, (batches, 2), as predict_many makes them."""
    from fracture.wing.reader import shape_groups

    ensemble, spent = detector.ensemble, []
    for start in range(0, len(paths), batch_size):
        films = [ensemble.prepare(fracture.read(path)) for path in paths[start : start + batch_size]]
        total = np.zeros(2)
        for group in shape_groups(films):
            inputs = [ensemble.tensors([films[i].inputs[k] for i in group]) for k in range(len(ensemble.specs))]
            with torch.inference_mode():
                begin = clocks()
                for member in ensemble.members:
                    member.model(*inputs[ensemble.specs.index(member.preprocess)])
                total += clocks() - begin
        spent.append(total)
    return np.array(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--weights")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--round", type=int, default=48, help="films of a turn, several times the size of a batch")
    options = parser.parse_args()
    asked = {"precision": options.precision, "fast": options.fast}
    detector = fracture.load(options.weights, device="cpu", engine="torch", **asked)
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(options.folder.iterdir()) if options.folder else simulated(Path(folder))
        endless = itertools.cycle(paths)
        list(detector.predict_many(paths[:16], batch_size=options.batch_size))
        done, turns, memory = 0, [], []
        while done < options.n:
            films = list(itertools.islice(endless, options.round))
            begun, first, sides = done, np.zeros(2), {}
            for side in ("bare", "whole")[:: 1 if len(turns) % 2 else -1]:
                start = clocks()
                if side == "bare":
                    sides[side] = bare(detector, films, options.batch_size)
                    continue
                for _ in detector.predict_many(films, batch_size=options.batch_size, workers=2):
                    done += 1
                    if done == begun + options.batch_size:
                        first = clocks() - start
                    if done % 20 == 0:
                        memory.append((done, resident_mib()))
                sides[side] = clocks() - start
            # By the clock without the first batch, for which nothing was read ahead; in processor time all of it.
            plain = sides["bare"]
            turns.append((plain.sum(axis=0), sides["whole"], plain[1:, 0].sum() / (sides["whole"] - first)[0]))
    x, y = np.array(memory).T
    half = x > options.n / 10  # the allocator settles first
    slope = np.polyfit(x[half], y[half], 1)[0]
    print(f"{done} films, memory {y[half][0]:.0f} to {y[-1]:.0f} MiB, {slope * 1024:.2f} KiB per film")
    alone, whole, steady = (np.array(each) for each in zip(*turns, strict=True))
    ratios = {"by the clock": steady, "in processor time": (alone / whole)[:, 1]}
    print(f"{len(turns)} turns of {options.round} films")
    print("| | bare, films/s | predict_many, films/s | ratio |\n|---|---|---|---|")
    for k, (name, of_turns) in enumerate(ratios.items()):
        low, middle, high = np.quantile(of_turns, (0.25, 0.5, 0.75))
        rates = " | ".join(f"{done / seconds.sum(axis=0)[k]:.2f}" for seconds in (alone, whole))
        print(f"| {name} | {rates} | {middle:.3f} ({low:.3f} to {high:.3f}) |")


if __name__ == "__main__":
    main()
