"""Does the loader starve the model? Films per second of the loader, of the bare forward and backward pass, of the loop.

    python benchmarks/loader.py [ANNOTATED_SET] [--films 64] [--size 480] [--threads 2] [--crops]

Without a set, films of FracAtlas' usual size are drawn. The network is that of the recipe small_public's smaller
member (ResNet-18 to its third stage, map at stride 8, raw and LCN planes, bfloat16). Aim: the loader at least 3 times
as fast as the training step, and the loop within a few percent of the bare pass. Processor seconds are what counts on
a busy machine; wall time is shown too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet, Film
from fracture.models import build_model
from fracture.training.cache import FilmCache
from fracture.training.config import MemberConfig, load_recipe
from fracture.training.dataset import Films
from fracture.training.loop import Loop
from fracture.training.member import MemberStage
from fracture.training.stage import training_steps


def drawn(folder: Path, number: int) -> AnnotatedSet:
    rng = np.random.default_rng(0)
    films = []
    for i in range(number):
        height, width = (454, 373) if i % 3 else (373, 454)
        noise = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), 4)
        cv2.imwrite(str(folder / f"{i}.png"), np.clip(120 + 400 * noise, 1, 255).astype(np.uint8))
        boxes = ((100.0, 100.0, 132.0, 130.0),) if i % 2 else ()
        films.append(Film(f"{i}.png", width, height, i % 2, ("wrist",), boxes=boxes))
    return AnnotatedSet(tuple(films), "drawn", folder)


def timed(name: str, films: int, work: Callable[[], object]) -> float:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{name:34} {films / wall:8.1f} films/s   {1e3 * processor / films:7.1f} ms of processor per film")
    return processor / films


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="?", default=None)
    parser.add_argument("--films", type=int, default=64)
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--crops", action="store_true", help="an epoch of crops, as the first ones are, not of films")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.data:
            annotated = read_annotations(arguments.data)
            annotated = annotated.subset([film.source for film in annotated.films[:: max(1, len(annotated) // 128)]])
        else:
            (folder / "films").mkdir()
            annotated = drawn(folder / "films", 128)
        recipe = load_recipe("small_public").select(["resnet18_both"]).members[0]
        config = recipe.replace(
            {
                "init": "random",
                "model": {"norm": "batch"},
                "preprocess": {"size": arguments.size},
                "sampling": {"balanced_epochs": 0, "later": "natural", "films_per_epoch": arguments.films},
                "crops": {"epochs": int(arguments.crops)},
                "loop": {"epochs": 1},
            }
        )
        measure(annotated, config, folder, arguments.films)


def measure(annotated: AnnotatedSet, config: MemberConfig, folder: Path, number: int) -> None:
    cache = FilmCache(folder / "cache", config.preprocess)
    every = [(film.source, annotated.image_path(film)) for film in annotated]
    timed("first preparation (decode, crop)", len(every), lambda: cache.prepare(every))
    films = Films(annotated, cache, config, annotated.regions)

    def load(workers: int) -> None:
        for _ in training_steps(films, 0, batch=config.batch, micro_batch=config.micro_batch, workers=workers):
            pass

    load(0)
    loader = timed("loader, in the main thread", number, lambda: load(0))
    timed("loader, 1 worker thread", number, lambda: load(1))

    model = build_model(config.model.replace(regions=films.regions), seed=0)
    loop = Loop(MemberStage(model, config, {"train": films}, torch.device("cpu")), folder / "run")
    loop.saved = time.monotonic()
    steps = list(training_steps(films, 0, batch=config.batch, micro_batch=config.micro_batch))

    def bare() -> None:
        for step in steps:
            loop.optimizer.zero_grad()
            for batch in step.batches:
                planes = batch.planes.to(memory_format=torch.channels_last)
                with torch.autocast("cpu", torch.bfloat16):
                    output = model(planes, batch.mask)
                (output.score_logit.mean() + output.map_logits.mean() + output.region_logits.mean()).backward()

    bare()
    model_time = timed("bare forward and backward", number, bare)
    whole = timed("the loop (load, loss, step, mean)", number, loop._epoch)
    print(f"\nloader / bare pass: {model_time / loader:.1f} times as fast (aim: at least 3)")
    print(f"bare pass / loop: {100 * model_time / whole:.0f} % of the loop's processor time")


if __name__ == "__main__":
    main()
