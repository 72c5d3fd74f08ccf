"""A start for the DRN-D-22 of `jones2020` from a trained ResNet-18 with a pyramid.

    OMP_NUM_THREADS=1 python benchmarks/drn_start.py --data FRACATLAS --split SPLIT --hold fold0 --steps 600 \\
        --teacher weights/fracatlas-small/resnet18_pyramid.safetensors --out drn_start.safetensors

Levels 4 and 5 of a DRN-D-22 have the shapes of the ResNet's stages 2 and 3 and take their tensors. All others learn for
``--steps`` steps of four windows of 256 px, none of them from a film of ``--hold``: level 3 to say what the ResNet's
stage 1 says (mean squared error by its variance), map and score to say what the ResNet's say. No label is used.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file

from fracture.data.readers import read_annotations
from fracture.data.splits import Split
from fracture.models import FractureModel, build_model
from fracture.training.config import load_recipe
from fracture.training.teacher import Teachers

SIDE, FILMS = 256, 4
STAGES = {"backbone.layer4.": "backbone.layer2.", "backbone.layer5.": "backbone.layer3."}


def grafted(teacher: FractureModel, seed: int) -> FractureModel:
    """A network of `jones2020` with attention, whose levels 4 and 5 are stages of the teacher."""
    (member,) = (one for one in load_recipe("jones2020").members if one.name.endswith("08_raw_attention_map"))
    model = build_model(member.model, seed=seed)
    tensors, known = model.state_dict(), teacher.state_dict()
    for name in tensors:
        for own, other in STAGES.items():
            if name.startswith(own):
                tensors[name] = known[name.replace(own, other)]
    model.load_state_dict(tensors)
    return model


def window(path: Path, rng: random.Random) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixels in [-1, 1] and mask of a window of a film that is 320 to 640 pixels long, mirrored or not."""
    film = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    scale = math.exp(rng.uniform(math.log(320), math.log(640))) / max(film.shape)
    film = cv2.resize(film, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        film = film[:, ::-1]
    y, x = (rng.randint(0, max(0, length - SIDE)) for length in film.shape)
    part = film[y : y + SIDE, x : x + SIDE].astype(np.float32) / 255
    pixels, mask = np.zeros((2, SIDE, SIDE), np.float32)
    height, width = part.shape
    pixels[:height, :width] = 2 * part ** math.exp(rng.uniform(-0.25, 0.25)) - 1
    mask[:height, :width] = 1
    return pixels, mask


def learn(model: FractureModel, teacher: FractureModel, pools: Sequence[Sequence[Path]], steps: int, seed: int) -> None:
    """Steps of windows drawn in turn from each pool of films."""
    taken = [model.backbone.get_submodule(name) for name in ("layer4", "layer5")]
    model.train()
    for level in taken:
        level.eval()  # their statistics are right already
    slow = [p for level in taken for p in level.parameters()]
    known = set(map(id, slow))
    fast = [p for p in model.parameters() if id(p) not in known]
    optimizer = torch.optim.AdamW([{"params": fast, "lr": 1.5e-3}, {"params": slow, "lr": 1e-4}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [1.5e-3, 1e-4], total_steps=steps, pct_start=0.1)
    seen: dict[str, torch.Tensor] = {}
    for name, network, stage in (("told", teacher, "layer1"), ("said", model, "layer3")):
        network.backbone.get_submodule(stage).register_forward_hook(lambda *a, name=name: seen.update({name: a[2]}))
    rng = random.Random(seed)
    for step in range(steps):
        drawn = [window(rng.choice(pools[n % len(pools)]), rng) for n in range(FILMS)]
        planes, mask = (torch.from_numpy(np.stack(part)[:, None]) for part in zip(*drawn, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                told = teacher(planes, mask)
            said = model(planes, mask)
        features = F.mse_loss(seen["said"].float(), seen["told"].float()) / seen["told"].float().var()
        where = F.binary_cross_entropy_with_logits(said.map_logits.float(), told.map_logits.float().sigmoid())
        score = F.binary_cross_entropy_with_logits(said.score_logit.float(), told.score_logit.float().sigmoid())
        optimizer.zero_grad()
        (features + 5 * where + score).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0 or step == steps - 1:
            print(f"{step}: stage 1 {features:.3f}, map {where:.4f}, score {score:.3f}", flush=True)


def options(words: str | None, *, steps: int) -> argparse.ArgumentParser:
    """What such a script is told."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "split", "hold", "teacher", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def pools_of(data: str, split: str, hold: str) -> list[list[Path]]:
    """Normal and fractured films that are not in a part of the split."""
    annotated, held = read_annotations(data), set(Split.read(split).parts[hold])
    films = [film for film in annotated if film.source not in held]
    return [[annotated.image_path(f) for f in films if bool(f.fractured) is kind] for kind in (False, True)]


def main() -> None:
    parser = options(__doc__, steps=600)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    pools = pools_of(asked.data, asked.split, asked.hold)
    (member,) = (one for one in load_recipe("jones2020").members if one.name.endswith("08_raw_attention_map"))
    (teacher,) = Teachers.read([asked.teacher], member.model, torch.device("cpu")).models
    model = grafted(teacher, asked.seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learn(model, teacher, pools, asked.steps, asked.seed)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items() if "num_batches" not in name}
    save_file(tensors, asked.out)


if __name__ == "__main__":
    main()
