"""The input check on pictures that are not musculoskeletal radiographs, and on films that are.

    python -m benchmarks.input_check WEIGHTS [--films NAME=FOLDER ...] [--split SPLIT --part validation --data DATA]
                                     [--most 300] [--each 12] [--pictures FOLDER] [--fast]

WEIGHTS: a folder whose card has an ``input_check`` (``fracture input-check``), else only the pixels' rules are
measured. Pictures: drawn pages, charts, blank films and chest slices; parts of scikit-learn's two photographs; what
matplotlib, pydicom and (where it is installed) scikit-image ship: photographs, textures, CT and MR slices. Films:
simulated ones, and those of ``--films`` and of ``--split``, at most ``--most`` of each, evenly spaced. Prints one row
for each kind (pictures flagged are hits, films flagged are false alarms), then what was missed.

The kinds hold few independent pictures (two photographs and two CT slices in several parts and windows), so hits are
told as counts, without intervals.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pydicom
import pydicom.data
from numpy.typing import NDArray
from PIL import Image

import fracture
from fracture import simulate
from fracture.data.readers import read_annotations
from fracture.data.splits import Split
from fracture.input_check import WARNING_START
from tests.not_radiographs import drawn

_WINDOWS = {"soft": (-160.0, 240.0), "lung": (-1350.0, 150.0), "bone": (-450.0, 1050.0)}
_SLICES = ("693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".dcm")


def shipped() -> Iterator[tuple[str, str, Any]]:
    """(kind, name, source) of pictures that other packages bring along."""
    samples = Path(matplotlib.get_data_path()) / "sample_data"
    yield "photograph or texture", "grace_hopper", gray(samples / "grace_hopper.jpg")
    raw = np.frombuffer(gzip.decompress((samples / "s1045.ima.gz").read_bytes()), np.uint16)
    yield "CT or MR slice", "matplotlib MR", windowed(raw.reshape(256, 256).astype(np.float64))
    for name in _SLICES:
        path = pydicom.data.get_testdata_file(name, download=False)
        if path is None:
            continue
        data = pydicom.dcmread(str(path))
        values = data.pixel_array * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))
        yield "CT or MR slice", f"{name}, percentiles", windowed(values)
        if data.Modality == "CT":
            for window, limits in _WINDOWS.items():
                yield "CT or MR slice", f"{name}, {window}", windowed(values, limits)
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        print("scikit-image is not installed: without its pictures")
        return
    for path in sorted((Path(found.origin).parent / "data").iterdir()):
        if path.suffix in (".png", ".jpg") and not path.stem.startswith("multipage"):
            yield "photograph or texture", f"scikit-image {path.stem}", gray(path)


def gray(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("L"), np.uint8)


def windowed(values: NDArray[np.float64], limits: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    low, high = limits if limits is not None else np.percentile(values, (0.5, 99.5))
    return np.asarray(np.clip((values - low) / (high - low), 0, 1) * 255, np.uint8)


def films(arguments: argparse.Namespace) -> Iterator[tuple[str, str, Any]]:
    for k in range(arguments.simulated):
        yield "simulated films", f"seed {k}", simulate.radiograph(k).to_radiograph()
    for item in arguments.films:
        name, _, folder = item.partition("=")
        paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in _SUFFIXES)
        for k in spaced(len(paths), arguments.most):
            yield name, paths[k].name, paths[k]
    if arguments.split is not None:
        part = Split.read(arguments.split).part(read_annotations(arguments.data), arguments.part)
        for k in spaced(len(part), arguments.most):
            yield f"{arguments.part} of the split", part[k].source, part.image_path(part[k])


def spaced(count: int, most: int) -> list[int]:
    return [k * count // min(count, most) for k in range(min(count, most))]


def measure(detector: fracture.Detector, rows: list[tuple[str, str, Any]]) -> None:
    """Prints a table and the names of what was not flagged (pictures) or was (films)."""
    table: dict[str, list[tuple[str, bool, bool, float | None, bool]]] = {}
    for (kind, name, _), found in zip(rows, detector.examine_many(source for _, _, source in rows), strict=True):
        if isinstance(found, fracture.Failure):
            table.setdefault(kind, []).append((name, False, False, None, True))
            continue
        warnings = [w for w in detector.judge(found).warnings if w.startswith(WARNING_START)]
        by_distance = any("distance" in w for w in warnings)
        by_pixels = len(warnings) > by_distance
        table.setdefault(kind, []).append((name, by_pixels, by_distance, found.output.input_distance, False))
    width = max(map(len, table))
    print(f"{'':{width}}      n  refused  by pixels  by distance  flagged  median distance")
    for kind, found_ in table.items():
        distances = [d for *_, d, _ in found_ if d is not None]
        middle = f"{np.median(distances):.2f}" if distances else "-"
        counts = [sum(row[k] for row in found_) for k in (4, 1, 2)]
        either = sum(row[1] or row[2] for row in found_)
        print(f"{kind:{width}}  {len(found_):5} {counts[0]:8} {counts[1]:10} {counts[2]:12} {either:8}  {middle:>15}")
    for kind, found_ in table.items():
        flagged = [row[0] for row in found_ if row[1] or row[2]]
        passed = [row[0] for row in found_ if not (row[1] or row[2] or row[4])]
        shown, word = (passed, "passed") if len(passed) < len(flagged) else (flagged, "flagged")
        if shown:
            print(f"{kind}, {word}: {', '.join(shown[:20])}{' ...' if len(shown) > 20 else ''}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="folder or name of the weights")
    parser.add_argument("--films", action="append", default=[], metavar="NAME=FOLDER", help="real films; repeatable")
    parser.add_argument("--data", help="the annotated set of --split")
    parser.add_argument("--split", help="a split file")
    parser.add_argument("--part", default="validation", help="part of the split")
    parser.add_argument("--most", type=int, default=300, help="at most so many films of each kind")
    parser.add_argument("--each", type=int, default=12, help="drawn pictures of each kind")
    parser.add_argument("--simulated", type=int, default=20, help="simulated films")
    parser.add_argument("--pictures", help="a folder of more pictures that are no radiographs")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--fast", action="store_true", help="run the card's fast subset, which is as good here")
    arguments = parser.parse_args()
    detector = fracture.load(arguments.weights, precision=arguments.precision, fast=arguments.fast)
    check = detector.card.input_check
    print(f"{detector.card.label}, {detector.ensemble.dtype}")
    print("no statistics: the pixels' rules alone" if check is None else f"{check.member}, limit {check.limit:.2f}")
    pictures: list[tuple[str, str, Any]] = [*drawn(arguments.each), *shipped()]
    if arguments.pictures:
        more = sorted(p for p in Path(arguments.pictures).rglob("*") if p.suffix.lower() in _SUFFIXES)
        pictures += [("more pictures", p.name, p) for p in more]
    print("\nno radiographs: flagged is right")
    measure(detector, pictures)
    print("\nfilms: flagged is wrong")
    if real := list(films(arguments)):
        measure(detector, real)


if __name__ == "__main__":
    main()
