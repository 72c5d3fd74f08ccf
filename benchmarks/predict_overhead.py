"""``predict`` from file to ``Prediction`` against the bare forward passes of the ensemble on the same tensors.

    python benchmarks/predict_overhead.py [--weights NAME] [--jpeg FILE] [--dicom FILE] [--members]

Without files it makes a simulated film of 454 x 373 pixels, as JPEG and as JPEG 2000 DICOM. Aim, with the shipped
weights on a 454 px JPEG, 2 threads: at most 1.15 times. ``--members`` adds the paper's ten DRN-D-22 members at
1024 px (random weights; minutes). Both sides alternate within one run, so that a busy machine disturbs them alike.
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
    """Seconds of the members' forward passes on tensors that lie ready."""
    prepared = ensemble.prepare(film)
    inputs = [ensemble.tensors([one]) for one in prepared.inputs]
    with torch.inference_mode():
        start = time.perf_counter()
        for member in ensemble.members:
            member.model(*inputs[ensemble.specs.index(member.preprocess)])
        return time.perf_counter() - start


def measure(detector: fracture.Detector, path: Path, repeats: int) -> tuple[float, float]:
    film = fracture.read(path)
    for _ in range(min(3, repeats - 1)):
        bare_forward(detector.ensemble, film)
        detector.predict(path)
    bare, whole = [], []
    for _ in range(repeats):
        bare.append(bare_forward(detector.ensemble, film))
        start = time.perf_counter()
        detector.predict(path)
        whole.append(time.perf_counter() - start)
    return statistics.median(bare), statistics.median(whole)


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
    options = parser.parse_args()
    torch.set_num_threads(2)
    detector = fracture.load(options.weights, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        jpeg, dicom = simulated(Path(folder))
        jpeg, dicom = options.jpeg or jpeg, options.dicom or dicom
        print(f"{detector.card.label}, {detector.ensemble.dtype}, {torch.get_num_threads()} threads\n")
        print("| film | ensemble | bare forward, ms | predict, ms | ratio | overhead, ms |\n|---|---|---|---|---|---|")
        rows = [("JPEG", jpeg, detector, options.repeats), ("JPEG 2000 DICOM", dicom, detector, options.repeats)]
        if options.members:
            ten = ten_members(detector)
            rows += [("JPEG", jpeg, ten, 2), ("JPEG 2000 DICOM", dicom, ten, 2)]
        for name, path, which, repeats in rows:
            bare, whole = measure(which, path, repeats)
            film = fracture.read(path)
            label = "shipped" if which is detector else "ten DRN-D-22, 1024 px"
            print(
                f"| {name} {film.width} x {film.height} | {label} | {bare * 1e3:.1f} | {whole * 1e3:.1f} "
                f"| {whole / bare:.3f} | {(whole - bare) * 1e3:.1f} |"
            )


if __name__ == "__main__":
    main()
