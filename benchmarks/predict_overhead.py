"""``predict`` from file to ``Prediction`` against the bare forward passes of the ensemble on the same tensors.

    OMP_NUM_THREADS=1 python benchmarks/predict_overhead.py [--weights NAME] [--jpeg FILE] [--dicom FILE] [--members]

Without both files it makes a simulated film of 454 x 373 pixels, as JPEG and as JPEG 2000 DICOM (for which
pydicom needs pylibjpeg). Aim, with the shipped
weights on a 454 px JPEG: at most 1.05 times. ``--members`` adds the paper's ten DRN-D-22 members at 1024 px (random
weights; minutes). Processor time; both sides alternate within one run, so that a busy machine disturbs them alike, and
the ratio is the median of the pairs'.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

import fracture
from fracture.limb.ensemble import Ensemble, Member
from fracture.models import build_model
from fracture.models.devices import resolve_device, resolve_precision
from fracture.models.inference import fuse_for_inference
from fracture.preprocess import PreprocessSpec
from fracture.training import load_recipe


def bare_forward(ensemble: Ensemble, film: fracture.Radiograph) -> float:
    """Seconds of the members' forward passes on tensors that lie ready, by the engine that runs them."""
    prepared = ensemble.prepare(film)
    inputs = [dict(zip(("planes", "mask"), ensemble.tensors([one]), strict=True)) for one in prepared.inputs]
    start = time.process_time()
    for runner, member in zip(ensemble._runners, ensemble.members, strict=True):
        runner.run(inputs[ensemble.specs.index(member.preprocess)])
    return time.process_time() - start


def measure(detector: fracture.Detector, path: Path, repeats: int) -> tuple[float, float, float]:
    """Milliseconds of the bare forward passes and of ``predict``, and their ratio."""
    film, pairs = fracture.read(path), []
    for turn in range(repeats + min(3, repeats - 1)):
        bare = bare_forward(detector.ensemble, film) if turn % 2 else 0.0
        start = time.process_time()
        detector.predict(path)
        whole = time.process_time() - start
        pairs.append((bare or bare_forward(detector.ensemble, film), whole))
    pairs = pairs[-repeats:]
    bare, whole = (1000 * statistics.median(one) for one in zip(*pairs, strict=True))
    return bare, whole, statistics.median(b / a for a, b in pairs)


def ten_members(detector: fracture.Detector) -> fracture.Detector:
    """The paper's ensemble with random weights behind the shipped card's thresholds."""
    device = resolve_device("cpu")
    dtype = resolve_precision("auto", device)
    members = []
    for index, recipe in enumerate(load_recipe("jones2020").members):
        model = fuse_for_inference(build_model(recipe.model, seed=index)).to(dtype=dtype)
        members.append(Member(f"member_{index}", model, PreprocessSpec(channels=recipe.model.inputs)))
    return fracture.Detector(Ensemble(members, device=device, dtype=dtype), detector.card)


def simulated(folder: Path) -> tuple[Path, Path]:
    from pydicom.uid import JPEG2000Lossless

    from fracture.simulate import radiograph

    film = radiograph(1, size=(454, 373))
    jpeg, dicom = folder / "film.jpg", folder / "film.dcm"
    cv2.imwrite(str(jpeg), np.round(film.to_radiograph().pixels * 255).astype(np.uint8))
    dataset = film.to_dicom()
    dataset.compress(JPEG2000Lossless)
    dataset.save_as(dicom, enforce_file_format=True)
    return jpeg, dicom


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights")
    parser.add_argument("--jpeg", type=Path)
    parser.add_argument("--dicom", type=Path)
    parser.add_argument("--members", action="store_true")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--engine", default="torch")
    options = parser.parse_args()
    detector = fracture.load(options.weights, device="cpu", engine=options.engine)
    with tempfile.TemporaryDirectory() as folder:
        jpeg, dicom = options.jpeg, options.dicom
        if jpeg is None or dicom is None:
            made = simulated(Path(folder))
            jpeg, dicom = jpeg or made[0], dicom or made[1]
        print(f"{detector.card.label}, {detector.ensemble.dtype}, {torch.get_num_threads()} threads\n")
        print("| film | ensemble | bare forward, ms | predict, ms | ratio |\n|---|---|---|---|---|")
        rows = [("JPEG", jpeg, detector, options.repeats), ("JPEG 2000 DICOM", dicom, detector, options.repeats)]
        if options.members:
            ten = ten_members(detector)
            rows += [("JPEG", jpeg, ten, 2), ("JPEG 2000 DICOM", dicom, ten, 2)]
        for name, path, which, repeats in rows:
            bare, whole, ratio = measure(which, path, repeats)
            film = fracture.read(path)
            label = f"shipped, {options.engine}" if which is detector else "ten DRN-D-22, 1024 px"
            print(f"| {name} {film.width} x {film.height} | {label} | {bare:.1f} | {whole:.1f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
