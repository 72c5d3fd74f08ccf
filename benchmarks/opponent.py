"""A general detector taught on the same films: torchvision's RetinaNet from the same start, on the very same windows.

    python benchmarks/opponent.py train --data DATA --split SPLIT --init R18 --out RUN [--epochs 3] [--channels 256]
    python benchmarks/opponent.py compare OURS.jsonl RUN/opponent/predictions_validation.jsonl --data DATA --out JSON

``train`` presents what the recipe ``pyramid_public`` presents to our network with the same seed and as many epochs of
4,000 windows: the same windows in the same order, the same optimizer, schedule and running mean of the weights, the
same layers frozen. All else is torchvision's: anchors, heads, losses, suppression. Two things had to be decided: its
trunk ends at layer3, as ours does, since ``R18`` (conv1 to layer3 of torchvision's ResNet-18) holds no more, so that
its levels have the strides 8, 16, 32 and 64; and ``--channels``, which the default makes as wide as torchvision's. It
has no place for fractures that are cut at a window's edge, which ours leaves out of the loss: there they are
background. Its film score is that of its best box. It can be stopped and goes on.

``compare`` holds our predictions (``fracture predict --json --candidates``, or the ``predictions.jsonl`` of ``fracture
calibrate --out``) and its own against each other on the same films: a paired bootstrap by group, as a section of the
card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from studies.pairs import differences, read_told
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.models.starting_points import read_tensors
from fracture.training import load_recipe
from fracture.training.config import MemberConfig
from fracture.training.dataset import Batch, Films, evaluation_batches
from fracture.training.driver import Running, prepare_films, run_stage, running
from fracture.training.member import film_caches
from fracture.training.stage import Stage, Step

NAME = "opponent"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which the trunk has seen


class Opponent(nn.Module):
    """torchvision's RetinaNet on conv1 to layer3 of a ResNet-18.

    Args:
        start: Tensors of the trunk, named as torchvision names them.
        channels: Of the pyramid and the heads; 256 in torchvision.
    """

    def __init__(self, start: Mapping[str, Tensor], channels: int) -> None:
        super().__init__()
        trunk = resnet18(weights=None, norm_layer=FrozenBatchNorm2d)
        missing, _ = trunk.load_state_dict(dict(start), strict=False)
        if lost := [name for name in missing if not name.startswith(("layer4", "fc")) and "num_batches" not in name]:
            raise SystemExit(f"the starting point lacks {', '.join(lost[:3])}, ...")
        for part in (trunk.conv1, trunk.layer1):  # as the recipe freezes its first two stages
            part.requires_grad_(False)
        levels = BackboneWithFPN(
            trunk, {"layer2": "0", "layer3": "1"}, [128, 256], channels, LastLevelP6P7(channels, channels)
        )
        sizes = tuple((side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in (32, 64, 128, 256))
        self.net = RetinaNet(
            levels,
            num_classes=1,
            anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
            score_thresh=0.01,
            detections_per_img=100,
            image_mean=_MEAN,
            image_std=_STD,
            _skip_resize=True,
        )

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trunk, and ``heads`` for the rest, which learn at a rate of their own."""
        trunk = list(self.net.backbone.body.parameters())
        known = {id(p) for p in trunk}
        return {"trunk": trunk, "heads": [p for p in self.parameters() if id(p) not in known]}

    def losses(self, films: Tensor, boxes: Sequence[Tensor]) -> Mapping[str, Tensor]:
        """Classification and regression, as torchvision weighs them; films (B, 3, H, W) in [0, 1]."""
        images, targets = self.net.transform(
            list(films), [{"boxes": b, "labels": torch.zeros(len(b), dtype=torch.int64)} for b in boxes]
        )
        features = list(self.net.backbone(images.tensors.contiguous(memory_format=torch.channels_last)).values())
        found = self.net.head(features)
        with torch.autocast(films.device.type, enabled=False):
            exact = {name: value.float() for name, value in found.items()}
            losses: Mapping[str, Tensor] = self.net.compute_loss(
                targets, exact, self.net.anchor_generator(images, features)
            )
        return losses


class OpponentStage(Stage):
    """Its training on our windows; judged on whole films as ours is."""

    format = "fracture-opponent/1"
    terms = ("loss", "classification", "bbox_regression")
    batch_statistics = False

    def __init__(self, films: Mapping[str, Films], model: Opponent, config: MemberConfig, run: Running) -> None:
        super().__init__(model, config, films["train"], {k: f.part for k, f in films.items()}, run.device)
        self.films = films

    def losses(self, batch: Batch, totals: Sequence[float]) -> Mapping[str, Tensor]:
        """Of a micro-batch; all cells of a window's picture count, fractures that are cut off as background."""
        found = self.model.losses(_gray(batch), batch.targets.cells.boxes)
        share = len(batch.films) / totals[0]
        return {"loss": sum(found.values()) * share} | {name: value * share for name, value in found.items()}

    def counts(self, step: Step) -> Sequence[float]:
        """Films."""
        return [float(sum(len(batch.films) for batch in step.batches))]

    @torch.inference_mode()
    def judge(self, folder: Path) -> dict[str, Any]:
        """Candidates of the films that were held out, in source pixels."""
        self.model.eval()
        lines = []
        for batch in evaluation_batches(self.films["validation"], micro_batch=1):
            found = self.model.net([_gray(batch)[0]])[0]
            geometry, film = batch.geometries[0], batch.films[0]
            corners = geometry.boxes_to_source(found["boxes"].double().numpy().reshape(-1, 4))
            scores = found["scores"].double().numpy()
            candidates = [
                {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "score": score}
                for (x0, y0, x1, y1), score in zip(corners.tolist(), scores.tolist(), strict=True)
            ]
            best = max(scores, default=0.0)
            lines.append(json.dumps({"source": film.source, "probability": float(best), "candidates": candidates}))
        (folder / "predictions_validation.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return {}


def _gray(batch: Batch) -> Tensor:
    """(B, 3, H, W) in [0, 1]; the mean gray of the trunk's films outside the film, which is 0 for the network."""
    outside = torch.tensor(_MEAN).view(1, 3, 1, 1)
    return torch.where(batch.mask, (batch.planes[:, :1] + 1) / 2, outside)


def build(start: Path, channels: int, config: MemberConfig, parts: Mapping[str, AnnotatedSet], run: Running) -> Stage:
    torch.manual_seed(config.seed)
    model = Opponent(read_tensors(start), channels)
    caches = film_caches(config)
    parts, _ = prepare_films(parts, caches, run, threads=config.loop.workers, skip_unreadable=False)
    regions = parts["train"].regions
    films = {name: Films(part, caches[name], config, regions) for name, part in parts.items()}
    return OpponentStage(films, model, config, run)


def train(options: argparse.Namespace) -> None:
    (config,) = load_recipe("pyramid_public").members
    changes = {
        "split": {"file": str(options.split), "folds": None},
        "loop": {"epochs": options.epochs},
        "region_views": 0,
    }
    annotated = read_annotations(options.data)
    with running(options.out, device="cpu") as run:
        config = config.replace(changes)
        run_stage(NAME, config, annotated, partial(build, options.init, options.channels, config), run)


def compare(options: argparse.Namespace) -> None:
    annotated = read_annotations(options.data)
    ours, theirs = (read_told(path) for path in (options.ours, options.theirs))
    films = [film for film in annotated if film.source in ours and film.source in theirs]
    rows = differences(films, [ours[f.source] for f in films], [theirs[f.source] for f in films])
    table = {
        "format": "fracture-table/1",
        "title": "Beside a general detector, taught on the same windows",
        "text": options.text,
        "columns": ["", "ours", "torchvision's RetinaNet", "difference"],
        "rows": rows,
    }
    Path(options.out).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"{len(films)} films")
    for name, *values in rows:
        print(name, *(f"{v['value']:.3f} ({v['interval'][0]:.3f} to {v['interval'][1]:.3f})" for v in values), sep="; ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    teach = commands.add_parser("train")
    for name in ("data", "split", "init", "out"):
        teach.add_argument(f"--{name}", type=Path, required=True)
    teach.add_argument("--epochs", type=int, default=3)
    teach.add_argument("--channels", type=int, default=256)
    teach.set_defaults(run=train)
    beside = commands.add_parser("compare")
    beside.add_argument("ours", type=Path)
    beside.add_argument("theirs", type=Path)
    beside.add_argument("--data", type=Path, required=True)
    beside.add_argument("--out", type=Path, default=Path("opponent.json"))
    beside.add_argument("--text", default="", help="which networks these are, for the card")
    beside.set_defaults(run=compare)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
