"""What engines say of real films beside torch, and what a film costs in each, in alternation on one thread.

    OMP_NUM_THREADS=1 python benchmarks/engines.py FOLDER --engine openvino --engine onnx --films 300

All are held against torch in float32, and compute in float32 or, with ``--precision bfloat16``, as those do that have
it; torch in bfloat16 then has a row of its own, and the boxes that are shown are compared alone. Times are CPU time of
this process, file to boxes, so that other processes matter little; the first film, at which an engine is built, is not
timed. Boxes are compared with those nearest to them, since two of equal scores may stand in either order. ``--seconds``
ends the run earlier, with as many films as were read until then.

At best an engine is as fast as the processor multiplies: ``of sgemm`` is the rate of a film's multiplications and
additions, by that of torch's product of two 1024 x 1024 matrices between the films.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import fracture


def corners(result: Any, *, candidates: bool) -> np.ndarray:
    """(n, 4), boxes shown, and candidates too."""
    boxes = (*result.boxes, *(result.candidates or () if candidates else ()))
    return np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes]).reshape(-1, 4)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of a side between boxes and those nearest to them, (n, 4) each."""
    if len(one) != len(other):
        return float("inf")
    between = np.abs(one[:, None] - other[None]).max(-1)
    return float(max(between.min(0).max(), between.min(1).max())) if len(one) else 0.0


def of_sgemm(clock: Callable[[], float], size: int = 1024) -> float:
    """Multiplications and additions a second of torch's matrix product, the best of three."""
    one, other = torch.rand(size, size), torch.rand(size, size)
    best = 0.0
    for _ in range(3):
        begun = clock()
        one @ other
        best = max(best, 2 * size**3 / (clock() - begun))
    return best


def operations(detector: fracture.Detector, path: Path | str) -> float:
    """Multiplications and additions of the networks, for a film that torch reads."""
    with FlopCounterMode(display=False) as counted:
        detector.predict(path)
    return float(counted.get_total_flops())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="JPEG files, in any depth")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--engine", action="append", help="may be repeated")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    paths = random.Random(0).sample(sorted(asked.folder.rglob("*.jpg")), asked.films)
    engines = ["torch", *(asked.engine or ["openvino"])]
    compare(asked.weights, engines, asked.precision, paths, time.monotonic() + asked.seconds)


def compare(weights: str | None, engines: list[str], precision: Any, paths: list[Path], ends: float) -> None:
    """Read films by torch and by the engines, in turns, and print what differs."""
    exact = fracture.load(weights, device="cpu", precision="float32", engine="torch")
    readers = {name: fracture.load(weights, device="cpu", precision=precision, engine=name) for name in engines}
    for reader in readers.values():
        reader.predict(paths[0])
    told_of = engines if precision == "bfloat16" else engines[1:]
    rows: dict[str, list[tuple[float, float, bool, bool, float]]] = {name: [] for name in told_of}
    shares: dict[str, list[float]] = {name: [] for name in engines}
    counted: dict[tuple[int, int], float] = {}  # by the film's size
    for turn, path in enumerate(paths):
        if time.monotonic() > ends:
            break
        found, spent = {}, {}
        for name in engines[:: -1 if turn % 2 else 1]:
            begun = time.process_time()
            found[name] = readers[name].predict(path, candidates=True)
            spent[name] = time.process_time() - begun
        one = exact.predict(path, candidates=True)
        if (size := (one.width, one.height)) not in counted:
            counted[size] = operations(exact, path)
        most = counted[size] / of_sgemm(time.process_time)
        for name, seconds in spent.items():
            shares[name].append(most / seconds)
        for name, told in rows.items():
            two = found[name]
            score, unlike = abs(one.probability - two.probability), len(one.boxes) != len(two.boxes)
            off = apart(*(corners(result, candidates=precision == "float32") for result in (one, two)))
            told.append((spent[name] / spent["torch"], score, one.reached != two.reached, unlike, off))
    print(
        "| engine | films | probability, largest difference | other decisions | more or fewer boxes | box's side, px |"
        " time of torch's |\n|---|---|---|---|---|---|---|"
    )
    for name, told in rows.items():
        ratios, scores, decisions, unlike, off = zip(*told, strict=True)
        finite = [one for one in off if one < float("inf")]  # of films with as many
        print(
            f"| {name} | {len(told)} | {max(scores):.1e} | {sum(decisions)} | {sum(unlike)} "
            f"| {max(finite):.3f} on {len(finite)} | {statistics.median(ratios):.3f} |"
        )
    print("of sgemm: " + ", ".join(f"{name} {statistics.median(share):.2f}" for name, share in shares.items()))


if __name__ == "__main__":
    main()
