"""Does int8 keep what float32 knows? Static quantization by NNCF, calibrated on films of training, judged on others.

    pip install nncf
    OMP_NUM_THREADS=1 python benchmarks/int8.py FRACATLAS --films 670 --seconds 3000

Of the films that the split held out, drawn by group, each is read by OpenVINO in float32, with every network in int8,
and with one network at a time in int8, at the card's own calibration. Differences of AUC and of AP at IoU 0.5 with
paired bootstrap intervals over groups. Aims: a loss of at most 0.003 AUC and 0.01 AP. Time is processor time of the
networks.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import fracture
from fracture.data.readers import read_annotations
from fracture.data.splits import Split
from fracture.evaluation import Bootstrap, Criterion, PairedDifference, box_table, match, paired_bootstrap
from fracture.evaluation.detection import BoxAveragePrecision
from fracture.evaluation.stats.comparison import paired_difference
from fracture.wing.engine_formats import FORMATS, Call, Flat, plain
from fracture.wing.engines import rebuilt

FORM = FORMATS["openvino"]


class Both:
    """A network of the ensemble in float32 and in int8; each answers a film once."""

    def __init__(self, exact: Any, call: Call) -> None:
        self.exact, self.call, self.small = exact, call, False
        self.answers: list[Mapping[str, Any]] = []
        self.seconds: list[tuple[float, float]] = []

    def run(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.answers:
            begun = time.process_time()
            exact = self.exact.run(inputs)
            between = time.process_time()
            found = self.call([plain(one) for one in inputs.values()])
            self.seconds.append((between - begun, time.process_time() - between))
            self.answers = [exact, rebuilt(exact, iter(map(torch.from_numpy, found)))]
        return self.answers[self.small]


def quantized(network: Any, films: Sequence[Mapping[str, Any]], folder: Path) -> Call:
    """A network in int8, calibrated on its inputs for some films."""
    import nncf
    import openvino

    arrays = [[plain(value) for value in one.values()] for one in films]
    FORM.write(Flat(network, tuple(films[0])), arrays[0], folder)
    model = openvino.Core().read_model(folder / FORM.files[0])
    small = nncf.quantize(model, nncf.Dataset(arrays), subset_size=len(arrays), preset=nncf.QuantizationPreset.MIXED)
    (folder / "int8").mkdir()
    openvino.save_model(small, folder / "int8" / FORM.files[0], compress_to_fp16=False)
    return FORM.open(folder / "int8", torch.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--films", type=int, default=670)
    parser.add_argument("--calibrate", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    detector = fracture.load(asked.weights, device="cpu", precision="float32", engine="openvino")
    annotated, split = read_annotations(asked.data), Split.read(detector.folder / "split.json")
    draw = random.Random(0)
    training = draw.sample(list(split.part(annotated, "train")), asked.calibrate)
    held = list(split.part(annotated, "validation"))
    order = sorted({film.group for film in held})
    draw.shuffle(order)
    held.sort(key=lambda film: order.index(film.group))
    ensemble = detector.ensemble
    prepared = [ensemble.prepare(fracture.read(annotated.root / film.source)) for film in training]
    with tempfile.TemporaryDirectory() as folder:
        for k, exact in enumerate(ensemble._runners):
            spec = ensemble.members[k].preprocess
            inputs = [
                dict(zip(("planes", "mask"), ensemble.tensors([one.inputs[ensemble.specs.index(spec)]]), strict=True))
                for one in prepared
            ]
            place = Path(folder) / str(k)
            place.mkdir()
            ensemble._runners[k] = Both(exact, quantized(exact.reference.network, inputs, place))
        del prepared, inputs
        measure(detector, annotated.root, held[: asked.films], time.monotonic() + asked.seconds)


def measure(detector: Any, root: Path, films: Sequence[Any], ends: float) -> None:
    """Read the films in every way, and print what differs."""
    networks: list[Both] = detector.ensemble._runners
    ways = {"float32": (), "all in int8": networks}
    ways |= {f"{m.name} in int8": [n] for m, n in zip(detector.ensemble.members, networks, strict=True)}
    results: dict[str, list[Any]] = {way: [] for way in ways}
    for film in films:
        if time.monotonic() > ends:
            break
        for network in networks:
            network.answers = []
        for way, small in ways.items():
            for network in networks:
                network.small = network in small
            results[way].append(detector.predict(root / film.source, candidates=True))
    films = films[: len(results["float32"])]
    print(
        f"{len(films)} films, {sum(film.fractured for film in films)} fractured, {len({f.group for f in films})} groups"
    )
    print("| | AUC | difference | AP at IoU 0.5 | difference | other decisions |\n|---|---|---|---|---|---|")
    reached = [one.reached for one in results["float32"]]
    for way, found in results.items():
        score, boxes = compared(films, results["float32"], found)
        other = sum(one.reached != before for one, before in zip(found, reached, strict=True))
        told = [f"{e.value:.4f} | {d.value:+.4f} ({d.low} to {d.high})" for e, d in (score, boxes)]
        print(f"| {way} | {' | '.join(told)} | {other} |")
    for member, network in zip(detector.ensemble.members, networks, strict=True):
        ratio = statistics.median(small / exact for exact, small in network.seconds[1:])
        print(f"{member.name}: int8 takes {ratio:.2f} of float32's time, both by OpenVINO, one thread")


def compared(films: Sequence[Any], exact: Sequence[Any], found: Sequence[Any]) -> list[tuple[Any, Any]]:
    """(of the second, second minus first) for AUC and AP."""
    draws = Bootstrap(groups=[film.group for film in films])
    scores = [[one.probability for one in side] for side in (found, exact)]
    differences: list[PairedDifference] = [
        paired_bootstrap([film.fractured for film in films], scores[0], scores[1], "auc", bootstrap=draws)
    ]
    reference = [(k, box) for k, film in enumerate(films) for box in film.boxes]
    truth = box_table([k for k, _ in reference], [box for _, box in reference], films=len(films))
    sides = []
    for side in (found, exact):
        rows = [(k, (b.x0, b.y0, b.x1, b.y1), b.score) for k, one in enumerate(side) for b in one.candidates]
        where, corners, quality = zip(*rows, strict=True)
        sides.append(
            BoxAveragePrecision(
                match(box_table(where, corners, quality, films=len(films)), truth, Criterion("iou", 0.5))
            )
        )
    differences.append(paired_difference("ap50", sides[0], sides[1], len(films), draws))
    return [(one.first, one.difference) for one in differences]


if __name__ == "__main__":
    main()
