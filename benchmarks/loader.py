"""Training against the bare forward and backward pass of the same network on the same tensors, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.loader [ANNOTATED_SET] [--recipe small_public] [--member resnet18_both]
        [--films 32] [--rounds 4] [--loader-threads 1] [--processes 2]

Each round takes one epoch through the training loop (loader, loss, optimizer, running mean) and then, through the same
network, the tensors of that very epoch forward and backward, with the mean of all outputs as loss. Told is the median
of the rounds' ratios, by processor and by wall time, and what the loader alone takes; aim: 0.95. Processor time is what
counts on a busy machine: there, wall time tells of the others.

``--processes 2`` instead has two processes (gloo) train with one thread each, beside one process alone on the same
steps: what the two spend beyond the one is communication and work done twice; the gain in wall time needs a machine
with nothing else to do. Without a set, films of FracAtlas' usual size are drawn.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

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
from fracture.training.stage import Step, training_steps
from fracture.training.world import joined
from tests.ports import free_port


class Spent(NamedTuple):
    """Seconds."""

    wall: float
    processor: float


def timed(work: Callable[[], object]) -> Spent:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - processor)


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


def prepared(data: str | None, folder: Path, recipe: str, member: str | None, films: int) -> tuple[MemberConfig, Films]:
    """The member's configuration for one epoch of so many presentations, and its films in a cache."""
    if data:
        annotated = read_annotations(data)
        annotated = annotated.subset([film.source for film in annotated.films[:: max(1, len(annotated) // 128)]])
    else:
        (folder / "films").mkdir()
        annotated = drawn(folder / "films", 128)
    chosen = load_recipe(recipe)
    config = (
        (chosen.select([member]) if member else chosen)
        .members[0]
        .replace(
            {
                "init": "random",
                "sampling": {"balanced_epochs": 0, "later": "natural", "films_per_epoch": films},
                "crops": {"epochs": 0},
                "loop": {"epochs": 1, "precision": "float32"},
            }
        )
    )
    cache = FilmCache(folder / "cache", config.preprocess)
    cache.prepare([(film.source, annotated.image_path(film)) for film in annotated])
    return config, Films(annotated, cache, config, annotated.regions)


def ready(config: MemberConfig, films: Films, folder: Path, **options: Any) -> Loop:
    model = build_model(config.model.replace(regions=films.regions), seed=0)
    loop = Loop(MemberStage(model, config, {"train": films}, torch.device("cpu"), **options), folder)
    loop.saved = time.monotonic()
    return loop


def epoch(loop: Loop) -> None:
    """The loop's first epoch, again."""
    loop.state.epoch = loop.state.step = 0
    loop._epoch()


def bare(loop: Loop, steps: list[Step]) -> None:
    """The network alone, forward and backward."""
    model, layout = loop.model.train(), loop.stage.layout
    for step in steps:
        model.zero_grad(set_to_none=True)
        for batch in step.batches:
            with torch.autocast("cpu", loop.stage.precision, enabled=loop.stage.precision != torch.float32):
                output = model(batch.planes.to(memory_format=layout), batch.mask)
            found = [output.score_logit, output.map_logits, output.region_logits]
            if output.cells is not None:
                found += [output.cells.quality, output.cells.boxes]
            torch.stack([one.float().mean() for one in found if one is not None]).sum().backward()


def throughput(config: MemberConfig, films: Films, folder: Path, number: int, rounds: int) -> None:
    loop = ready(config, films, folder / "run")
    options: dict[str, Any] = {"batch": config.batch, "micro_batch": config.micro_batch}
    loader = timed(lambda: [None for _ in training_steps(films, 0, **options, workers=0)])
    steps = list(training_steps(films, 0, **options))
    bare(loop, steps[:1])
    epoch(loop)
    pairs = []
    for turn in range(rounds):
        order = [lambda: bare(loop, steps), lambda: epoch(loop)][:: -1 if turn % 2 else 1]
        pair = [timed(work) for work in order]
        pairs.append(pair[:: -1 if turn % 2 else 1])
    print("| time | loader alone, ms | bare, ms | loop, ms | bare / loop (aim: 0.95) | presentations/s |")
    print("|---|---|---|---|---|---|")
    for name in ("processor", "wall"):
        alone, whole = ([1e3 * getattr(one[k], name) / number for one in pairs] for k in (0, 1))
        ratios = [a / b for a, b in zip(alone, whole, strict=True)]
        middle = statistics.median(whole)
        print(
            f"| {name} | {1e3 * getattr(loader, name) / number:.1f} | {statistics.median(alone):.1f} | {middle:.1f} "
            f"| {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) | {1e3 / middle:.2f} |"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, {number} presentations")


def _trains(
    rank: int, size: int, port: int, config: MemberConfig, films: Films, folder: Path, rounds: int, told: Any
) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    with joined(torch.device("cpu")) as world:
        loop = ready(config, films, folder / f"run_{size}", world=world)
        epoch(loop)
        world.wait()
        found = [timed(lambda: epoch(loop)) for _ in range(rounds)]
        told.put((found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def processes(config: MemberConfig, films: Films, folder: Path, size: int, rounds: int) -> None:
    spawn = multiprocessing.get_context("spawn")
    spent, memory = {}, {}
    for number in (1, size):
        told, port = spawn.Queue(), free_port()
        arguments = (number, port, config, films, folder, rounds, told)
        with ExitStack() as ends:
            started = [spawn.Process(target=_trains, args=(rank, *arguments)) for rank in range(number)]
            for process in started:
                process.start()
                ends.callback(process.join)
            answers = [told.get() for _ in started]
        memory[number] = max(mib for _, mib in answers)
        spent[number] = Spent(
            statistics.median(max(one.wall for one in turn) for turn in zip(*(a for a, _ in answers), strict=True)),
            statistics.median(sum(one.processor for one in t) for t in zip(*(a for a, _ in answers), strict=True)),
        )
    one, many = spent[1], spent[size]
    print("| processes | wall, s | processor of all, s | memory of each, MiB |")
    print("|---|---|---|---|")
    for number, found in spent.items():
        print(f"| {number} | {found.wall:.2f} | {found.processor:.2f} | {memory[number]:.0f} |")
    gain, share = one.wall / many.wall, one.processor / many.processor
    print(f"{gain:.2f} times as fast; one's processor time is {share:.3f} of theirs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=None)
    parser.add_argument("--recipe", default="small_public")
    parser.add_argument("--member", default=None, help="a member of the recipe; its first where left out")
    parser.add_argument("--films", type=int, default=32, help="presentations of a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--loader-threads", type=int, default=None, help="the recipe's where left out")
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, films = prepared(asked.data, folder, asked.recipe, asked.member, asked.films)
        if asked.loader_threads is not None:
            config = config.replace({"loop": {"workers": asked.loader_threads}})
        print(f"{config.name}, {films.preprocess.size} px, batch {config.batch}, {torch.get_num_threads()} threads\n")
        if asked.processes > 1:
            processes(config, films, folder, asked.processes, asked.rounds)
        else:
            throughput(config, films, folder, asked.films, asked.rounds)


if __name__ == "__main__":
    main()
