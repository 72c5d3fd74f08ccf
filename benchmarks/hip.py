"""``fracture.hip.predict`` from file to hips against its two bare forward passes on tensors that lie ready.

    python benchmarks/hip.py [--weights FOLDER] [--film FILE] [--random] [--repeats N]

Aim: at most 1.2 times. Without ``--weights`` the shipped networks are taken; ``--random`` builds the networks of the
recipe ``small`` with random numbers and lets every film have two hips. Without ``--film`` noise of 640 x 640 pixels is
written as JPEG. Both sides alternate within one run. On a machine that is busy with other things the wall times say
more about these: then the ratio of processor times counts, of one thread (``OMP_NUM_THREADS=1``).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

import fracture
from fracture.hip.card import ClassifierCard, HipCard, LocalizerCard, Threshold
from fracture.hip.classifier import build_classifier
from fracture.hip.crops import crop_hip
from fracture.hip.localizer import build_localizer
from fracture.hip.pipeline import HipReader, load
from fracture.hip.spec import Rules
from fracture.hip.training_config import load_hip_recipe
from fracture.models.devices import resolve_device, resolve_precision
from fracture.preprocess.rgb import rgb_input
from fracture.wing.runner import place


def random_reader() -> HipReader:
    """The networks of the recipe small, untrained; any box will do."""
    recipe = load_hip_recipe("small")
    one, two = recipe.localizer, recipe.classifier
    card = HipCard(
        name="random",
        version="0",
        created="",
        description="random numbers",
        license="",
        attribution=(),
        intended_use="",
        limitations=(),
        localizer=LocalizerCard(
            file="a.safetensors",
            sha256="0" * 64,
            model=one.model.to_dict(),
            preprocess=one.preprocess.to_dict(),
            rules=Rules(score=0.0, least_area=0.0, most_area=1.0, overlap=1.0).to_dict(),
        ),
        classifier=ClassifierCard(
            file="b.safetensors", sha256="0" * 64, model=two.model.to_dict(), crop=two.crop.to_dict()
        ),
        fracture=Threshold(threshold=0.5, method="fixed"),
    )
    device = resolve_device("auto")
    networks = build_localizer(one.model, seed=0), build_classifier(two.model, seed=0)
    return HipReader(card, *networks, device=device, dtype=resolve_precision("auto", device))


Seconds = tuple[float, float]  # of the wall, of the processor


def timed(call: Callable[[], object]) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def bare(reader: HipReader, film: fracture.Radiograph) -> Seconds:
    """Seconds of both forward passes."""
    prepared = reader.prepare(film)
    first = place(prepared.planes[None], reader.device, reader.dtype)
    found = reader.localize(film)
    crops = [crop_hip(film.pixels, one.box, one.side, reader.crop, film.aspect) for one in found]
    planes = np.stack([rgb_input(crop.pixels, crop.mask) for crop in crops])
    second = place(planes, reader.device, reader.dtype)

    def passes() -> None:
        reader.localizer(first)
        reader.classifier(second)

    with torch.inference_mode():
        return timed(passes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights")
    parser.add_argument("--film", type=Path)
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--repeats", type=int, default=20)
    chosen = parser.parse_args()
    reader = random_reader() if chosen.random else load(chosen.weights)
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.film
        if path is None:
            path = Path(folder) / "film.jpg"
            noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (640, 640)).astype(np.uint8), (0, 0), 3)
            cv2.imwrite(str(path), noise)
        film = fracture.read(path)
        hips = len(reader.predict(path))
        forward, whole = [], []
        for _ in range(chosen.repeats):
            forward.append(bare(reader, film))
            whole.append(timed(lambda: reader.predict(path)))
    print(f"{film.width} x {film.height}, {hips} hips, {torch.get_num_threads()} threads, {reader.dtype}")
    for name, which in (("wall", 0), ("processor", 1)):
        a, b = (statistics.median(one[which] for one in side) for side in (forward, whole))
        print(f"{name}: two forward passes {1e3 * a:.1f} ms, predict {1e3 * b:.1f} ms, ratio {b / a:.3f}")


if __name__ == "__main__":
    main()
