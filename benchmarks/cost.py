"""What a prediction costs: file to boxes against one torchvision ResNet-50 forward at 512 x 512, in one run.

    python benchmarks/cost.py [WEIGHTS] [--film FILE] [--repeats 30] [--threads 2] [--out cost.json]

Without a film it makes a simulated one of 454 x 373 pixels as JPEG. Aim: at most 4 times. Both sides run in the
precision of the detector (bfloat16 where the processor multiplies in it) on the same threads and take turns, so that a
busy machine disturbs them alike; the ratio is that of the medians, its interval a bootstrap of the rounds. The
ResNet-50 runs in both memory layouts, and the faster one counts. Random weights: the time does not depend on them.
Where the card names a fast subset, it is timed too. Processor time is told beside, since a machine that shares its
cores stretches wall time.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from studies.sections import told

import fracture

AIM = 4.0
SIDE = 512


def resnet50(dtype: torch.dtype, layout: torch.memory_format) -> Callable[[], object]:
    """One forward pass of torchvision's network on a picture that lies ready."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None).eval().to(dtype=dtype, memory_format=layout)
    picture = torch.randn(1, 3, SIDE, SIDE).to(dtype=dtype).to(memory_format=layout)

    def run() -> object:
        with torch.inference_mode():
            return model(picture)

    return run


def simulated(folder: Path) -> Path:
    from fracture.simulate import radiograph

    film = radiograph(1, size=(454, 373)).to_radiograph()
    path = folder / "film.jpg"
    cv2.imwrite(str(path), np.round(film.pixels * 255).astype(np.uint8))
    return path


def timed(sides: dict[str, Callable[[], object]], repeats: int, warm: int = 3) -> dict[str, np.ndarray]:
    """Wall and processor seconds of every side in every round, float64 (repeats, 2)."""
    for run in sides.values():
        for _ in range(warm):
            run()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            found[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: np.array(rows) for name, rows in found.items()}


def ratio(ours: np.ndarray, base: np.ndarray, draws: int = 2000) -> dict[str, float]:
    """Ratio of the medians with the percentile interval of resampled rounds."""
    chosen = np.random.default_rng(0).integers(len(ours), size=(draws, len(ours)))
    drawn = np.median(ours[chosen], axis=1) / np.median(base[chosen], axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"value": float(np.median(ours) / np.median(base)), "low": float(low), "high": float(high)}


def processor_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(weights: str | None, film: Path, repeats: int, *, warm: int = 3) -> dict[str, Any]:
    """Time all sides; JSON that ``fracture model-card --extra`` takes."""
    detector = fracture.load(weights, device="cpu")
    dtype = detector.ensemble.dtype
    names = {"ResNet-50, channels last": torch.channels_last, "ResNet-50, contiguous": torch.contiguous_format}
    sides: dict[str, Callable[[], object]] = {name: resnet50(dtype, layout) for name, layout in names.items()}
    sides["predict"] = lambda: detector.predict(film)
    if detector.card.fast is not None:
        quick = fracture.load(weights, device="cpu", fast=True)
        sides["predict, fast"] = lambda: quick.predict(film)
    found = timed(sides, repeats, warm)
    best = min(names, key=lambda name: float(np.median(found[name][:, 0])))
    rows = []
    for name in sides:
        if name == best:
            continue
        wall, processor = (ratio(found[name][:, k], found[best][:, k]) for k in (0, 1))
        rows.append(
            {
                "name": name,
                "milliseconds": float(1e3 * np.median(found[name][:, 0])),
                "ratio": wall,
                "processor_ratio": processor,
                "words": f"processor time {processor['value']:.2f} times",
            }
        )
    picture, kind = fracture.read(film), film.suffix.removeprefix(".").upper()
    return told(
        {
            "format": "fracture-cost/1",
            "weights": detector.card.label,
            "film": f"{kind} of {picture.width} x {picture.height} pixels, file to boxes",
            "precision": str(dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "processor": processor_name(),
            "torch": torch.__version__,
            "repeats": repeats,
            "aim": AIM,
            "baseline": {"name": f"{best}, {SIDE} x {SIDE}", "milliseconds": float(1e3 * np.median(found[best][:, 0]))},
            "rows": rows,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", nargs="?", default=None)
    parser.add_argument("--film", type=Path)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.weights, options.film or simulated(Path(folder)), options.repeats)
    base = result["baseline"]
    print(f"{result['weights']}, {result['film']}, {result['precision']}, {result['threads']} threads\n")
    print("| | ms | ratio | processor time, ratio |\n|---|---|---|---|")
    print(f"| {base['name']} | {base['milliseconds']:.1f} | 1 | 1 |")
    for row in result["rows"]:
        wall, processor = row["ratio"], row["processor_ratio"]
        spread = f"{wall['value']:.2f} ({wall['low']:.2f} to {wall['high']:.2f})"
        print(f"| {row['name']} | {row['milliseconds']:.1f} | {spread} | {processor['value']:.2f} |")
    whole = next(row["ratio"]["value"] for row in result["rows"] if row["name"] == "predict")
    print(f"\naim: at most {AIM:g} times; {'reached' if whole <= AIM else f'missed by {whole - AIM:.2f}'}")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
