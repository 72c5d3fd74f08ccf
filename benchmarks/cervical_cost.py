"""What reading a neck costs: 300 CT slices of 512 x 512 as DICOM files, from the folder to the result.

    python benchmarks/cervical_cost.py [WEIGHTS] [--slices 300] [--side 512] [--threads 2]

Aims: at most 60 s on two cores and under 4 GB of memory. The series is a simulated neck, enlarged. Without weights the
networks are of the shipped recipe's size with random numbers, and seven levels are put in the middle of the series,
since random networks find none; the time depends on neither. Processor time is told beside: a machine that shares its
cores stretches wall time. Memory is the most that a process of its own held, Python and torch within it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from fracture.simulate import neck
from fracture.simulate.series import SimulatedBlock, write_series
from fracture.spine.cervical import levels as finding, reader as reading
from fracture.spine.cervical.card import CervicalCard
from fracture.spine.cervical.metric import LEVELS
from fracture.spine.cervical.networks import build_fractures, build_levels
from fracture.spine.cervical.spec import FractureSpec, LevelSpec
from fracture.wing.contract import load_reader


def series(folder: Path, slices: int, side: int) -> None:
    """A neck of 0.8 mm slices, each enlarged to ``side``; its ends are repeated to the number asked for."""
    made = neck(3, spacing=(0.8, 0.9), partial=0.0)
    planes = [
        made.voxels[min(max(k - (slices - len(made.voxels)) // 2, 0), len(made.voxels) - 1)] for k in range(slices)
    ]
    voxels = np.stack([cv2.resize(one, (side, side)) for one in planes]).astype(np.int16)
    affine = made.affine.copy()
    affine[:3, :2] *= made.voxels.shape[2] / side
    write_series(folder, [SimulatedBlock(voxels, affine)], modality="CT", description="NECK 0.8", study="cost")


def random_reader() -> reading.CervicalReader:
    """Networks of the usual size that know nothing; levels are given."""
    facts = dict.fromkeys(("description", "license", "intended_use"), "random")
    file = {"file": "none.safetensors", "sha256": "0" * 64, "model": {}}
    card = CervicalCard(
        name="random", version="0", created="2026", attribution=(), limitations=(), finder=file, judge=file, **facts
    )
    own = finding.find_levels

    def found(runner, grid, inputs):
        own(runner, grid, inputs)  # its time counts
        middle = np.array(grid.place(tuple((n - 1) / 2 for n in grid.voxels.shape)))
        named = [finding.Vertebra(n, tuple(middle + np.array((0, 0, 17 * (3 - k)))), 0.9) for k, n in enumerate(LEVELS)]
        shares = np.zeros((7, *grid.voxels.shape), np.float32)
        shares[:, ::2, ::2, ::2] = 0.9
        return finding.Levels(tuple(named), shares, grid, ())

    reading.find_levels = found
    networks = build_levels(LevelSpec()), build_fractures(FractureSpec())
    return reading.CervicalReader(card, *networks, device=torch.device("cpu"), dtype=torch.float32)


def measured(folder: str, weights: str | None, threads: int) -> None:
    """Reads the folder twice in this process; the first time warms up."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    reader = random_reader() if weights is None else load_reader(weights, device="cpu")
    for name in ("first", "second"):
        wall, used = time.perf_counter(), time.process_time()
        result = reader.predict(folder)
        wall, used = time.perf_counter() - wall, time.process_time() - used
        print(f"{name}: {wall:.1f} s, {used:.1f} s of processor; {len(result.vertebrae)} levels")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB (aim: under 4)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs="?")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        measured(given.read, given.weights, given.threads)
    else:
        with tempfile.TemporaryDirectory() as folder:
            series(Path(folder) / "series", given.slices, given.side)
            told = [sys.executable, __file__, *([given.weights] if given.weights else [])]
            subprocess.run([*told, "--read", f"{folder}/series", "--threads", str(given.threads)], check=True)
