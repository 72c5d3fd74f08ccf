"""What five DICOM objects of a result cost beyond the prediction: against DCMTK's dcmcrle on the same SC and SEG.

    python benchmarks/dicom_results.py [FILM] [--rounds 7]

Without a film, a simulated one is enlarged to 2,000 x 2,500 pixels. One run measures both sides in turn: all five
objects of a result that is there (read the header again, draw, compress, save), and dcmcrle, once for the capture and
once for the segmentation, both uncompressed on the disk. Aim: at most twice dcmcrle's time. Processor time of both
sides, medians, since a machine that shares its cores stretches wall time. Memory: the peak of the process beyond what
it held before the first object. Aim: under 500 MB.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pydicom

import fracture
from fracture.limb.prediction import Prediction
from fracture.results import OBJECTS
from fracture.wing.result import Box, GridToSource

EXAMPLE = Path(__file__).parents[1] / "examples" / "wrist_radius_transverse.dcm"


def film_of(folder: Path, width: int = 2000, height: int = 2500) -> Path:
    """A simulated film, enlarged, with the noise of a detector."""
    made = pydicom.dcmread(EXAMPLE)
    pixels = cv2.resize(made.pixel_array, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    noise = np.random.default_rng(0).normal(0, 12, pixels.shape)
    made.Rows, made.Columns = height, width
    made.PixelData = np.clip(pixels + noise, 0, 4095).astype("<u2").tobytes()
    path = folder / "film.dcm"
    made.save_as(path)
    return path


def result_of(path: Path) -> Prediction:
    """A positive result as the detector would give it: two boxes, and a map with a hot spot at stride 8."""
    film = fracture.read(path)
    rows, columns = film.height // 8, film.width // 8
    y, x = np.mgrid[:rows, :columns]
    heat = np.exp(-((x - columns / 2) ** 2 + (y - rows / 2) ** 2) / 400).astype(np.float32)
    boxes = tuple(Box(x0, 900.0, x0 + 300, 1300.0, 0.8, "high_specificity") for x0 in (600.0, 1200.0))
    return Prediction(
        source=str(path),
        width=film.width,
        height=film.height,
        probability=0.9,
        fractured=True,
        threshold=0.3,
        boxes=boxes,
        map_threshold=0.4,
        probability_map=heat,
        map_to_source=GridToSource(8, 8),
        radiograph=film,
        model="benchmark",
        model_version="1",
    )


def ours(result: Prediction, folder: Path) -> float:
    """Seconds of processor time for all objects, made and written."""
    start = time.process_time()
    for made in result.to_dicom(OBJECTS):
        made.save_as(folder / f"{made.Modality}.dcm", enforce_file_format=True)
    return time.process_time() - start


def dcmcrle(plain: Path, folder: Path) -> float:
    """Seconds of processor time of dcmcrle on one object."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["dcmcrle", str(plain), str(folder / "packed.dcm")], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = result_of(arguments.film or film_of(folder))
        Prediction.to_dicom(result, ["sr"])  # imports
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ours(result, folder)
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        for kind in ("OT", "SEG"):
            made = pydicom.dcmread(folder / f"{kind}.dcm")
            made.decompress()
            made.save_as(folder / f"{kind}.plain.dcm")
        rounds = []
        for _ in range(arguments.rounds):
            theirs = sum(dcmcrle(folder / f"{kind}.plain.dcm", folder) for kind in ("OT", "SEG"))
            rounds.append((ours(result, folder), theirs))
        mine, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        sizes = ", ".join(
            f"{kind} {(folder / f'{kind}.dcm').stat().st_size:,}" for kind in ("SR", "OT", "PR", "SEG", "KO")
        )
        print(f"film {result.width} x {result.height}; bytes: {sizes}")
        print(f"five objects: {mine:.3f} s; dcmcrle of SC and SEG: {theirs:.3f} s; ratio {mine / theirs:.2f} (aim 2)")
        print(f"memory above the prediction: {memory:.0f} MB (aim under 500)")


if __name__ == "__main__":
    main()
