"""A start for a dilated DenseNet-63 with a pyramid, taught by a dilated ResNet-18 with one.

    OMP_NUM_THREADS=1 python benchmarks/densenet_start.py --data FRACATLAS --split SPLIT --hold fold0 --steps 3000 \\
        --teacher weights/fracatlas-small/resnet18_dilated.safetensors --out densenet_start.safetensors

There are no ImageNet weights of this size. For ``--steps`` steps of windows, none of them from a film of ``--hold``,
the trunk learns to say, through a linear map of its features, what the teacher's trunk says (hints: Romero et al. 2015;
mean squared error by the variance), and what the teacher's heads make of it: score, map, and quality of cells. Then the
linear map becomes part of the heads, which are the teacher's. No label is used.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from drn_start import options, pools_of, window
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fracture.models import FractureModel, ModelSpec, build_model
from fracture.models.pyramid import PyramidHeads
from fracture.training.teacher import Teachers

FILMS = 4


def folded(heads: PyramidHeads, hints: Tensor) -> dict[str, Tensor]:
    """Tensors of heads that read features (n) whose linear map (m, n) is what these heads read (m)."""
    m = hints.shape[0]
    tensors = {name: value.clone() for name, value in heads.state_dict().items()}
    for name in ("coarse.0.0.weight", "lateral.0.weight", "evidence.weight", "region.weight"):
        if name not in tensors:
            continue
        own, rest = tensors[name][:, :m], tensors[name][:, m:]
        tensors[name] = torch.cat([torch.einsum("om...,mn->on...", own, hints), rest], dim=1)
    return tensors


def learn(
    model: FractureModel, hints: nn.Conv2d, teacher: FractureModel, pools: Sequence[Sequence[Path]], steps: int,
    seed: int, rate: float, out: Path,
) -> None:  # fmt: skip
    """Steps of windows drawn in turn from each pool of films; every 100 steps it writes
    what a next call goes on from."""
    model.train()
    parameters = [*model.backbone.parameters(), *hints.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    first, begun = resumed(model, hints, optimizer, out), time.process_time()
    for step in range(first, steps):
        rng = random.Random(f"{seed} {step}")
        optimizer.param_groups[0]["lr"] = rate * min(
            step / (0.05 * steps), 0.5 + 0.5 * math.cos(math.pi * step / steps)
        )
        drawn = [window(rng.choice(pools[n % len(pools)]), rng) for n in range(FILMS)]
        planes, mask = (torch.from_numpy(np.stack(part)[:, None]) for part in zip(*drawn, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                told_deep, told_skip, validity = teacher.features(planes, mask)
                told = teacher.heads(told_deep, told_skip, validity)
            deep, _, _ = model.features(planes, mask)
            deep = hints(deep)
            said = teacher.heads(deep, deep, validity)
        features = F.mse_loss(deep.float(), told_deep.float()) / told_deep.float().var()
        score, where, quality = (
            F.binary_cross_entropy_with_logits(a.float(), b.float().sigmoid())
            for a, b in ((said[0], told[0]), (said[1], told[1]), (said[4].quality, told[4].quality))
        )
        optimizer.zero_grad()
        (features + 5 * where + score + 20 * quality).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        if step % 25 == 0 or step == steps - 1:
            values = f"features {features:.3f}, map {where:.4f}, score {score:.3f}, quality {quality:.4f}"
            print(f"{step}: {values}, {time.process_time() - begun:.0f} s", flush=True)
        if step % 100 == 99 or step == steps - 1:
            write(model, hints, teacher, optimizer, step + 1, out)


def write(
    model: FractureModel, hints: nn.Conv2d, teacher: FractureModel, optimizer: torch.optim.Optimizer, done: int,
    out: Path,
) -> None:  # fmt: skip
    """The network with its own heads, and beside it what the training goes on from."""
    tensors = {f"backbone.{name}": value for name, value in model.backbone.state_dict().items()}
    heads = folded(teacher.heads, hints.weight.detach().float()[:, :, 0, 0])
    tensors |= {f"heads.{name}": value for name, value in heads.items()}
    save_file({name: value.contiguous() for name, value in tensors.items() if "num_batches" not in name}, out)
    state = {f"model.{name}": value for name, value in model.backbone.state_dict().items()}
    state |= {"hints": hints.weight.detach(), "done": torch.tensor(done)}
    for number, moments in optimizer.state_dict()["state"].items():
        state |= {f"moments.{number}.{name}": value for name, value in moments.items()}
    part = out.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in state.items()}, part)
    part.replace(out.with_suffix(".state"))


def resumed(model: FractureModel, hints: nn.Conv2d, optimizer: torch.optim.Optimizer, out: Path) -> int:
    """Steps that an earlier call has done; the networks and the optimizer are then as it left them."""
    if not (path := out.with_suffix(".state")).exists():
        return 0
    state = load_file(path)
    model.backbone.load_state_dict({n.removeprefix("model."): v for n, v in state.items() if n.startswith("model.")})
    hints.weight.data.copy_(state["hints"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.startswith("moments."):
            _, number, own = name.split(".")
            moments.setdefault(int(number), {})[own] = value
    known = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": known["param_groups"]})
    return int(state["done"])


def main() -> None:
    parser = options(__doc__, steps=3000)
    parser.add_argument("--rate", type=float, default=2e-3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    pools = pools_of(asked.data, asked.split, asked.hold)
    plain = ModelSpec(backbone="densenet63", stages=3, map=True)
    (teacher,) = Teachers.read([asked.teacher], plain, torch.device("cpu")).models
    teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    spec = teacher.spec.replace(backbone="densenet63", norm="batch")
    model = build_model(spec, seed=asked.seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(asked.seed)
    hints = nn.Conv2d(model.backbone.channels, teacher.backbone.channels, 1, bias=False)
    learn(model, hints, teacher, pools, asked.steps, asked.seed, asked.rate, Path(asked.out))


if __name__ == "__main__":
    main()
