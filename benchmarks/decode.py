"""``fracture.read`` of JPEG 2000 films against the codec alone on the same frame, in alternation, processor time.

    OMP_NUM_THREADS=1 python benchmarks/decode.py FILM.dcm ... [--repeats 9]

The codec is OpenJPEG, from the frame's bytes in memory to an array; ``read`` is from the file to pixels in [0, 1] with
window, spacing and warnings. Aim: at most 1.1 times the codec's own time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import pydicom
from openjpeg.utils import decode
from pydicom.encaps import generate_frames

import fracture


def spent(call: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="+")
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    print("| film | pixels | codec alone, ms | read, ms | ratio |\n|---|---|---|---|---|")
    for path in asked.films:
        dataset = pydicom.dcmread(path)
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        calls = (lambda frame=frame: decode(frame), lambda path=path: fracture.read(path).pixels)
        seconds = [(spent(calls[0]), spent(calls[1])) for _ in range(asked.repeats + 1)][1:]
        codec, read = (1000 * statistics.median(one) for one in zip(*seconds, strict=True))
        ratio = statistics.median(b / a for a, b in seconds)
        print(f"| {dataset.file_meta.TransferSyntaxUID.name} | {dataset.Columns} x {dataset.Rows} ", end="")
        print(f"| {codec:.0f} | {read:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
