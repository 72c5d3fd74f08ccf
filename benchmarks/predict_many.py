"""``predict_many`` over thousands of files: memory per file, and throughput against the bare ensemble.

    OMP_NUM_THREADS=1 python benchmarks/predict_many.py [--n 2000] [--weights NAME] [--folder FILMS]

Without a folder it makes 40 simulated JPEG films of 454 x 373 pixels and goes through them again and again. Aims: a
flat memory (the slope per file is printed), and at least 0.95 of the throughput of bare forward passes, which are
timed on the same films between the rounds of the same run; in processor time, which other processes disturb less.
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


def bare(detector: fracture.Detector, paths: list[Path], batch_size: int) -> float:
    """Processor seconds of forward passes alone over these films, in batches as predict_many makes them."""
    from fracture.wing.reader import shape_groups

    ensemble, total = detector.ensemble, 0.0
    for start in range(0, len(paths), batch_size):
        films = [ensemble.prepare(fracture.read(path)) for path in paths[start : start + batch_size]]
        for group in shape_groups(films):
            inputs = [ensemble.tensors([films[i].inputs[k] for i in group]) for k in range(len(ensemble.specs))]
            with torch.inference_mode():
                begin = time.process_time()
                for member in ensemble.members:
                    member.model(*inputs[ensemble.specs.index(member.preprocess)])
                total += time.process_time() - begin
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--weights")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--round", type=int, default=200, help="films between two timings of the bare ensemble")
    options = parser.parse_args()
    detector = fracture.load(options.weights, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(options.folder.iterdir()) if options.folder else simulated(Path(folder))
        endless = itertools.cycle(paths)
        list(detector.predict_many(paths[:16], batch_size=options.batch_size))
        done, whole, alone, memory = 0, 0.0, 0.0, []
        while done < options.n:
            films = list(itertools.islice(endless, options.round))
            start = time.process_time()
            for _ in detector.predict_many(films, batch_size=options.batch_size, workers=2):
                done += 1
                if done % 20 == 0:
                    memory.append((done, resident_mib()))
            whole += time.process_time() - start
            # A tenth of the round, spread over it, is enough to time the bare ensemble on the same mix of films.
            sample = films[:: max(1, len(films) // 40)]
            alone += bare(detector, sample, options.batch_size) * len(films) / len(sample)
    x, y = np.array(memory).T
    half = x > options.n / 10  # the allocator settles first
    slope = np.polyfit(x[half], y[half], 1)[0]
    print("| films | bare, films a processor second | predict_many | ratio | memory, MiB | slope, KiB per film |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {done} | {done / alone:.2f} | {done / whole:.2f} | {alone / whole:.3f} "
        f"| {y[half][0]:.0f} to {y[-1]:.0f} | {slope * 1024:.2f} |"
    )


if __name__ == "__main__":
    main()
